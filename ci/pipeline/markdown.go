package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// Markdown tells the same as WriteSummary, and how each stage went, as the summary of a GitHub Actions job: a section for each line, the
// highest first.
func (r Reports) Markdown() (string, error) {
	var b strings.Builder
	for i, report := range slices.Backward(r) {
		if err := report.markdown(&b); err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteString("\n")
		}
	}
	for i, p := range r.passedOver() {
		if i == 0 {
			b.WriteString("\nListed upstream and passed over:\n\n")
		}
		fmt.Fprintf(&b, "- %s\n", cell(p.String()))
	}
	return b.String(), nil
}

func (r *Report) markdown(b *strings.Builder) error {
	fmt.Fprintf(b, "## %s\n\n", cell(r.headline()))
	if r.Error != "" {
		fmt.Fprintf(b, "%s\n\n", quote(r.Error))
	}
	if r.Plan != nil && len(r.Plan.Reasons) > 0 {
		fmt.Fprintf(b, "Because: %s.\n\n", cell(strings.Join(r.Plan.Reasons, "; ")))
	}
	if image := r.Image; image != nil {
		fmt.Fprintf(b, "- Image `%s@%s` for %s\n- Tags %s\n", image.Repository, image.Digest,
			strings.Join(image.Platforms, ", "), strings.Join(image.Tags, ", "))
	}
	if trial := r.Trial; trial != nil {
		for _, line := range trial.Lines() {
			fmt.Fprintf(b, "- Trial %s\n", cell(line))
		}
	}
	if chart := r.Chart; chart != nil {
		fmt.Fprintf(b, "- Chart %s %s for OpenNebula %s\n", chart.Name, chart.Version, chart.AppVersion)
		for _, place := range chart.Published {
			fmt.Fprintf(b, "  - `%s`\n", PublishedLine(place))
		}
	}
	for i, stage := range r.Stages {
		if i == 0 {
			b.WriteString("\n| Stage | | Took | |\n| --- | --- | --- | --- |\n")
		}
		fmt.Fprintf(b, "| %s | %s | %.1f s | %s |\n", stage.Name, stage.State, stage.Seconds, cell(stage.Detail))
	}
	if r.Gate != nil {
		b.WriteString("\n")
		if err := r.Gate.WriteMarkdown(b); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) headline() string {
	name := strings.TrimSpace("OpenNebula " + r.Version)
	switch {
	case r.Error != "":
		return "❌ " + name + ": the release failed"
	case r.DryRun:
		return "✅ " + name + ": dry run, nothing was sent"
	case r.Plan != nil:
		return "✅ " + name + ": " + string(r.Plan.Action)
	default:
		return "✅ " + name
	}
}

// cell keeps a text in one line of a table, and quote in a block of its own, whatever programs have written into it.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", "<br>", "<", "&lt;", "`", "'").Replace(text)
}

func quote(text string) string {
	return "```text\n" + strings.ReplaceAll(strings.TrimSpace(text), "```", "` ` `") + "\n```"
}
