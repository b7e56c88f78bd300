package release

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WritePlans writes plans for people, with an empty line between two.
func WritePlans(w io.Writer, plans []Plan) error {
	for i, plan := range plans {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return fmt.Errorf("write the plans: %w", err)
			}
		}
		if err := plan.Text(w); err != nil {
			return err
		}
	}
	return nil
}

// Text writes the plan for people. It is written whole or, when w fails, not counted on.
func (p Plan) Text(w io.Writer) error {
	var buffer bytes.Buffer
	table := tabwriter.NewWriter(&buffer, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", values...) }

	row("action", "%s", p.Action)
	for i, reason := range p.Reasons {
		name := ""
		if i == 0 {
			name = "because"
		}
		row(name, "%s", reason)
	}
	row("release", "OpenNebula %s of %s, package version %s", p.Release.Version, p.Release.Date.Format("2006-01-02"), p.Release.PackageVersion)
	row("image", "%s for %s", p.RevisionTag(), strings.Join(p.Platforms, ", "))
	row("base", "%s (%s)", p.Base.Name, p.Base.Digest)
	if p.Published != nil {
		row("published", "%s (%s)", p.Published.Ref, p.Published.Digest)
	}
	for i, m := range p.Moves {
		name := ""
		if i == 0 {
			name = "tags"
		}
		from, to := m.From, m.To
		if from == "" {
			from = "new"
		}
		if to == "" {
			to = "the new image"
		}
		row(name, "%s: %s -> %s", m.Tag, from, to)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	if _, err := w.Write(buffer.Bytes()); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}
