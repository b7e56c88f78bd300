package gate

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// section is a titled table of the verdict for people, whatever it is written as.
type section struct {
	title   string
	columns []string
	rows    [][]cell
}

// cell is a text of the report or the exceptions file, not to be trusted to be one line, and where it leads to, if anywhere.
type cell struct{ text, url string }

func texts(values ...string) []cell {
	cells := make([]cell, len(values))
	for i, value := range values {
		cells[i].text = value
	}
	return cells
}

func link(f Finding) cell { return cell{f.ID, f.URL} }

// headline is the decision in a sentence.
func (v Verdict) headline() string {
	word := "failed"
	if v.Passed {
		word = "passed"
	}
	return fmt.Sprintf("Gate %s: %d blocking, %d excepted (threshold %s)", word, len(v.Blocking), len(v.Excepted), join(v.Threshold))
}

// notes are what else there is to know about the decision, a sentence each.
func (v Verdict) notes() []string {
	notes := []string{fmt.Sprintf("Scanned %s with the vulnerability database of %s.",
		strings.Join(v.Platforms, ", "), v.DatabaseUpdatedAt.Format("2006-01-02 15:04 MST"))}
	if v.EndOfLife {
		notes = append(notes, "The operating system of the image is at its end of life: new vulnerabilities in it are reported no more.")
	}
	if v.IgnoredUnfixed > 0 {
		notes = append(notes, fmt.Sprintf("Ignored for want of a fix, though over the threshold: %d.", v.IgnoredUnfixed))
	}
	return notes
}

// sections are the counts, and one section for each list of the verdict that has anything in it.
func (v Verdict) sections() []section {
	all := []section{v.counts(), v.blocking(), v.excepted(), v.expired(), v.unused()}
	sections := all[:0]
	for _, s := range all {
		if len(s.rows) > 0 {
			sections = append(sections, s)
		}
	}
	return sections
}

func (v Verdict) counts() section {
	blocking, excepted := map[Severity]int{}, map[Severity]int{}
	for _, f := range v.Blocking {
		blocking[f.Severity]++
	}
	for _, e := range v.Excepted {
		excepted[e.Finding.Severity]++
	}
	s := section{title: "Findings", columns: []string{"Severity", "Found", "Fix available", "Blocking", "Excepted"}}
	for _, severity := range Severities() {
		s.rows = append(s.rows, texts(string(severity), strconv.Itoa(v.Counts[severity]), strconv.Itoa(v.Fixed[severity]),
			strconv.Itoa(blocking[severity]), strconv.Itoa(excepted[severity])))
	}
	return s
}

func (v Verdict) blocking() section {
	s := section{
		title:   "Blocking",
		columns: []string{"Severity", "Vulnerability", "Package", "Installed", "Fixed in", "Platforms", "Title"},
	}
	for _, f := range v.Blocking {
		row := texts(string(f.Severity), "", f.Package, f.Installed, fixedIn(f), strings.Join(f.Platforms, ", "), f.Title)
		row[1] = link(f)
		s.rows = append(s.rows, row)
	}
	return s
}

func (v Verdict) excepted() section {
	s := section{
		title:   "Excepted",
		columns: []string{"Severity", "Vulnerability", "Package", "Installed", "Fixed in", "Through", "By", "Reason"},
	}
	for _, e := range v.Excepted {
		f := e.Finding
		row := texts(string(f.Severity), "", f.Package, f.Installed, fixedIn(f), e.Exception.Expires.Format(dateLayout),
			place(e.Exception), e.Exception.Reason)
		row[1] = link(f)
		s.rows = append(s.rows, row)
	}
	return s
}

func (v Verdict) expired() section {
	return exceptions("Expired exceptions: what they let through blocks again; mend it, or decide anew", v.Expired)
}

func (v Verdict) unused() section {
	return exceptions("Unused exceptions: they match nothing that would block; remove them", v.Unused)
}

func exceptions(title string, list []Exception) section {
	s := section{title: title, columns: []string{"Vulnerability", "Package", "Through", "Where", "Reason"}}
	for _, e := range list {
		s.rows = append(s.rows, texts(e.ID, e.Package, e.Expires.Format(dateLayout), place(e), e.Reason))
	}
	return s
}

// maxPlace is below what any form cuts a cell to.
const maxPlace = 60

// place is where an exception stands. What a long path loses is its beginning: the file and the line are what leads there.
func place(e Exception) string {
	runes := []rune(e.Where())
	if len(runes) <= maxPlace {
		return string(runes)
	}
	return "…" + string(runes[len(runes)-maxPlace+1:])
}

func fixedIn(f Finding) string {
	if f.Fixed == "" {
		return "no fix yet"
	}
	return f.Fixed
}

// oneLine makes a text fit for a line of at most limit characters: a control character, which could drive a terminal, becomes a
// space, and so does a run of space.
func oneLine(text string, limit int) string {
	line := strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(line); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return line
}
