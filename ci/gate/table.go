package gate

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// maxTableCell is the width of a cell in characters, so that a row stays readable on a wide terminal.
const maxTableCell = 72

// WriteTable writes the verdict for a person at a terminal.
func (v Verdict) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines := append([]string{v.headline()}, v.notes()...)
	// Errors of writing are kept by the tabwriter's target and come out of Flush.
	_, _ = fmt.Fprintln(tw, strings.Join(lines, "\n"))
	for _, s := range v.sections() {
		_, _ = fmt.Fprintf(tw, "\n%s\n%s\n", s.title, strings.ToUpper(strings.Join(s.columns, "\t")))
		for _, row := range s.rows {
			cells := make([]string, len(row))
			for i, c := range row {
				cells[i] = oneLine(c.text, maxTableCell)
			}
			_, _ = fmt.Fprintln(tw, strings.Join(cells, "\t"))
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write the verdict as a table: %w", err)
	}
	return nil
}
