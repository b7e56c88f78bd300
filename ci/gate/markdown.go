package gate

import (
	"fmt"
	"io"
	"net/url"
	"strings"
)

const (
	// GitHub drops a step's summary of more than 1 MiB whole. The step may have more to say than the verdict.
	maxMarkdown = 1<<20 - 64<<10

	// markdownReserve is what headings, and the lines on what was left out, can take after the rows have used up the rest.
	markdownReserve = 8 << 10

	maxMarkdownCell = 200
)

// WriteMarkdown writes the verdict as the summary of a GitHub Actions job. Rows that GitHub would not take for their number are
// left out and counted.
func (v Verdict) WriteMarkdown(w io.Writer) error {
	mark := "❌"
	if v.Passed {
		mark = "✅"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### %s %s\n\n", mark, markdownText(v.headline()))
	for _, note := range v.notes() {
		fmt.Fprintf(&b, "%s\n\n", markdownText(note))
	}
	for _, s := range v.sections() {
		s.markdown(&b)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the verdict as Markdown: %w", err)
	}
	return nil
}

func (s section) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "#### %s\n\n| %s |\n|%s\n", s.title, strings.Join(s.columns, " | "), strings.Repeat(" --- |", len(s.columns)))
	for i, cells := range s.rows {
		row := "|"
		for _, c := range cells {
			row += " " + c.markdown() + " |"
		}
		if b.Len()+len(row) > maxMarkdown-markdownReserve {
			fmt.Fprintf(b, "\n%d of %d left out: a job summary holds no more. The verdict as JSON has all.\n", len(s.rows)-i, len(s.rows))
			break
		}
		b.WriteString(row + "\n")
	}
	b.WriteString("\n")
}

func (c cell) markdown() string {
	text := markdownText(oneLine(c.text, maxMarkdownCell))
	if target := webURL(c.url); target != "" && len(target) <= maxMarkdownCell {
		return fmt.Sprintf("[%s](<%s>)", text, markdownURL(target))
	}
	return text
}

// markdownText writes text so that none of it is Markdown, HTML, a link, or the name of a person to notify.
func markdownText(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case strings.ContainsRune("&<>|`*_[]\\~#!@$", r):
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return strings.NewReplacer("://", "&#58;//", "www.", "www&#46;").Replace(b.String())
}

// markdownURL writes an address so that it can end neither the link nor the cell that it stands in.
func markdownURL(address string) string {
	return strings.NewReplacer("|", "%7C", "<", "%3C", ">", "%3E", `\`, "%5C", "`", "%60").Replace(address)
}

// webURL returns an address that a browser can be sent to, or nothing.
func webURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return u.String()
}
