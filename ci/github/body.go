package github

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	// maxBody and maxTitle are how many characters GitHub takes.
	maxBody  = 65536
	maxTitle = 256

	// cutReserve is what the end of a code block and the note on what was cut can take.
	cutReserve = 300
)

// fencePattern is the line that begins or ends a code block.
var fencePattern = regexp.MustCompile("^ {0,3}(`{3,16}|~{3,16})")

// passingPattern is what differs between two runs that fail alike: dates, times, durations, and the number in a link to a run. Versions,
// counts and digests stay, for they are what a failure is about.
var passingPattern = regexp.MustCompile(`\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?: ?(?:UTC|GMT|Z\b|[+-]\d\d:?\d\d))?` +
	`|\b\d\d:\d\d(?::\d\d(?:\.\d+)?)?\b` +
	`|\b(?:\d+(?:\.\d+)?(?:ns|µs|ms|s|m|h))+\b` +
	`|/actions/runs/\d+(?:/(?:attempts|job)/\d+)*`)

// lasting is what of an issue's text stays the same while the failure is the same.
func lasting(text string) string {
	return passingPattern.ReplaceAllString(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), "…")
}

// compose is the body of an issue of ours: the marker, which nobody sees, and the text, as far as it fits.
func (r *Repository) compose(text string) string {
	head := r.marker() + "\n\n"
	return head + cut(text, maxBody-utf8.RuneCountInString(head))
}

// cut keeps a text to so many characters. It cuts at the end of a line, ends a code block that it cuts, and says how much is left out.
func cut(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	total := utf8.RuneCountInString(text)
	if total <= limit {
		return text
	}
	var b strings.Builder
	room, fence := limit-cutReserve, ""
	kept := 0
	for line := range strings.SplitAfterSeq(text, "\n") {
		size := utf8.RuneCountInString(line)
		if kept+size > room {
			if kept == 0 {
				line, size = string([]rune(line)[:room]), room
				b.WriteString(line + "\n")
				kept = size
			}
			break
		}
		b.WriteString(line)
		kept, fence = kept+size, fenceAfter(fence, line)
	}
	if fence != "" {
		b.WriteString(fence + "\n")
	}
	fmt.Fprintf(&b, "\n*The last %d of %d characters are left out: GitHub takes no more than %d. The log of the run has all.*\n",
		total-kept, total, maxBody)
	return b.String()
}

// fenceAfter is what would end the code block that is open after a line, when fence is what would end the one open before it. It is
// empty outside of code blocks.
func fenceAfter(fence, line string) string {
	found := fencePattern.FindStringSubmatch(line)
	switch {
	case found == nil:
		return fence
	case fence == "":
		return found[1]
	case strings.HasPrefix(found[1], fence) && strings.TrimSpace(line) == found[1]:
		return ""
	}
	return fence
}

// shorten is a title on one line, as long as GitHub takes it.
func shorten(title string) string {
	title = strings.Join(strings.Fields(title), " ")
	if characters := []rune(title); len(characters) > maxTitle {
		title = string(characters[:maxTitle-1]) + "…"
	}
	return title
}
