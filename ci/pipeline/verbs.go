package pipeline

import (
	"bytes"
	"context"
	"fmt"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/release"
)

// Plan says what Release would do for each line, and why. It changes nothing.
func (p *Pipeline) Plan(ctx context.Context, options Options) ([]release.Plan, error) {
	options.DryRun = true
	reports, err := p.each(ctx, options, func(r *run, t *target) error {
		_, err := r.plan(ctx, t)
		return err
	})
	var plans []release.Plan
	for _, report := range reports {
		if report.Plan != nil {
			plans = append(plans, *report.Plan)
		}
	}
	return plans, err
}

// Build builds the image of the selected release, which it returns too, whatever is published, and sends it nowhere.
func (p *Pipeline) Build(ctx context.Context, options Options) (Image, release.Release, error) {
	return p.begin(options).buildOnly(ctx)
}

// Scan builds the image of the selected release, scans and judges it. The report has the verdict and the scanner's reports; the
// error is ErrGate when the gate did not pass.
func (p *Pipeline) Scan(ctx context.Context, options Options) (*Report, error) {
	r := p.begin(options)
	image, _, err := r.buildOnly(ctx)
	if err == nil {
		err = r.examine(ctx, image)
	}
	return r.report.finish(p.Now(), err), err
}

// Examine does of Scan what comes after the build, for an image that the engine holds.
func (p *Pipeline) Examine(ctx context.Context, image Image, options Options) (*Report, error) {
	r := p.begin(options)
	err := r.examine(ctx, image)
	return r.report.finish(p.Now(), err), err
}

func (r *run) buildOnly(ctx context.Context) (Image, release.Release, error) {
	t, err := r.detectOne(ctx)
	if err != nil {
		return Image{}, t.Release, err
	}
	platforms, err := t.Platforms(r.options.Platforms)
	if err != nil {
		return Image{}, t.Release, err
	}
	base, err := r.base(ctx, r.options.BaseImage)
	if err != nil {
		return Image{}, t.Release, err
	}
	image, err := r.buildImage(ctx, r.spec(t.Release, base, platforms))
	return image, t.Release, err
}

// keepVerdict keeps the verdict in all forms that somebody reads: programs, people, code scanning and GitHub's job summary.
func (r *Report) keepVerdict(verdict gate.Verdict) error {
	for _, form := range []struct {
		name  string
		write func(gate.Verdict, *bytes.Buffer) error
	}{
		{"gate.json", func(v gate.Verdict, b *bytes.Buffer) error { return v.WriteJSON(b) }},
		{"gate.txt", func(v gate.Verdict, b *bytes.Buffer) error { return v.WriteTable(b) }},
		{"gate.sarif", func(v gate.Verdict, b *bytes.Buffer) error { return v.WriteSARIF(b) }},
		{"gate.md", func(v gate.Verdict, b *bytes.Buffer) error { return v.WriteMarkdown(b) }},
	} {
		var buffer bytes.Buffer
		if err := form.write(verdict, &buffer); err != nil {
			return fmt.Errorf("write %s: %w", form.name, err)
		}
		r.keep(form.name, buffer.Bytes())
	}
	return nil
}
