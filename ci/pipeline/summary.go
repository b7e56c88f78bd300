package pipeline

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"opennebula-kube/ci/gate"
)

// WriteSummary tells people in a few lines what was released, what the gate said, and where everything lies: the files are in dir.
func (r Reports) WriteSummary(out io.Writer, dir string) error {
	for _, report := range r {
		if err := report.writeSummary(out, dir); err != nil {
			return err
		}
	}
	name := "skipped"
	for _, p := range r.passedOver() {
		if _, err := fmt.Fprintf(out, "%-9s  %s\n", name, p); err != nil {
			return err
		}
		name = ""
	}
	_, err := fmt.Fprintf(out, "report     %s\n", filepath.Join(dir, "release.json"))
	return err
}

func (r *Report) writeSummary(out io.Writer, dir string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	if r.Version != "" {
		row("version", "%s", r.Version)
	}
	if r.Plan != nil {
		row("action", "%s%s", r.Plan.Action, dryRunMark(r.DryRun))
	}
	if image := r.Image; image != nil {
		row("image", "%s@%s", image.Repository, image.Digest)
		row("platforms", "%s", strings.Join(image.Platforms, ", "))
		row("tags", "%s", strings.Join(image.Tags, ", "))
	}
	if verdict := r.Gate; verdict != nil {
		row("gate", "%s", verdictLine(*verdict))
	}
	if trial := r.Trial; trial != nil {
		name := "trial"
		for _, line := range trial.Lines() {
			row(name, "%s", line)
			name = ""
		}
	}
	if chart := r.Chart; chart != nil {
		row("chart", "%s %s for OpenNebula %s", chart.Name, chart.Version, chart.AppVersion)
		for _, place := range chart.Published {
			row("", "%s", place.Location)
		}
	} else if slices.ContainsFunc(r.Stages, func(s StageReport) bool { return s.Name == "package" }) {
		row("chart", "%s", "none")
	}
	name := "files"
	for _, file := range r.Files {
		row(name, "%s", filepath.Join(dir, r.Line, file.Name))
		name = ""
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}

func dryRunMark(dry bool) string {
	if dry {
		return " (dry run: nothing was sent)"
	}
	return ""
}

func verdictLine(v gate.Verdict) string {
	word := "passed"
	if !v.Passed {
		word = "FAILED"
	}
	counts := make([]string, 0, 5)
	for _, severity := range gate.Severities() {
		counts = append(counts, fmt.Sprintf("%d %s", v.Counts[severity], strings.ToLower(string(severity))))
	}
	return fmt.Sprintf("%s: %s; %d excepted", word, strings.Join(counts, ", "), len(v.Excepted))
}
