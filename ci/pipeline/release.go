package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// ErrGate is the error of a run that the gate stopped; the report has the verdict.
var ErrGate = errors.New("the gate did not pass")

// Release brings the registry and the chart repositories up to date with upstream. It finds the newest release of each line that is
// selected, plans, and does what the plan says, the lowest line first. A line that fails does not stop the others: the error names each.
//
// There is a report for each line, or one of a run that found none. After a failure it is complete up to the stage that failed. Nothing is
// visible under any tag before the gate and the trial have passed. Run again, it does what is left to do and skips the rest.
func (p *Pipeline) Release(ctx context.Context, options Options) (Reports, error) {
	return p.each(ctx, options, func(r *run, t *target) error {
		if err := r.image(ctx, t); err != nil {
			return err
		}
		return r.chart(ctx, *t, r.ships)
	})
}

// Push does of Release what concerns the image.
func (p *Pipeline) Push(ctx context.Context, options Options) (Reports, error) {
	return p.each(ctx, options, func(r *run, t *target) error { return r.image(ctx, t) })
}

// each does a run for the newest release of each line that is selected.
func (p *Pipeline) each(ctx context.Context, options Options, do func(*run, *target) error) (Reports, error) {
	r := p.begin(options)
	targets, err := r.targets(ctx)
	if err != nil {
		return Reports{r.report.finish(p.Now(), err)}, err
	}
	var reports Reports
	var errs []error
	for _, t := range targets {
		r := r.forLine(t)
		err := do(r, &t)
		reports = append(reports, r.report.finish(p.Now(), err))
		switch {
		case err == nil:
		case len(targets) == 1:
			return reports, err
		default:
			errs = append(errs, fmt.Errorf("OpenNebula %s: %w", t.Version, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return reports, errors.Join(errs...)
}

// targets finds the releases that a run is about.
func (r *run) targets(ctx context.Context) ([]target, error) {
	if reason := r.options.SkipTrial; reason != nil && strings.TrimSpace(*reason) == "" {
		return nil, errors.New("--skip-trial is empty: say why the image is to be released untried, for the report of the run")
	}
	if r.Images == nil && !r.options.DryRun {
		return nil, errors.New("no repository to release the image to was given: name one (--registry), or try it without (--dry-run)")
	}
	return r.detect(ctx, release.Selection.Newest)
}

// forLine is a run of its own for one of the releases that a run has found.
func (r *run) forLine(t target) *run {
	report := *r.report
	report.Version, report.Line = t.Version, t.Line
	report.Stages = slices.Clone(report.Stages)
	return &run{Pipeline: r.Pipeline, options: r.options, report: &report}
}

// target is the release that a run is about.
type target struct {
	release.Release
	// all are all installable releases, the lowest first.
	all []release.Release
	// tags are those of the repository.
	tags []string
	// latest tells whether no release, upstream or published, is higher.
	latest bool
}

func (r *run) image(ctx context.Context, t *target) error {
	plan, err := r.plan(ctx, t)
	if err != nil {
		return err
	}
	switch plan.Action {
	case release.Nothing:
		r.skip("build", "nothing to do: "+strings.Join(plan.Reasons, "; "))
		r.released(plan.Published.Digest, plan)
		return nil
	case release.Promote:
		r.skip("build", "the image is published as "+plan.Published.Ref)
		if err := r.judge(); err != nil {
			return err
		}
		return r.promote(ctx, plan, plan.Published.Digest)
	default:
		return r.build(ctx, *t, plan)
	}
}

// detect reads what upstream has and chooses from it what the options select.
func (r *run) detect(ctx context.Context, choose func(release.Selection, release.Catalog) ([]release.Release, error)) ([]target, error) {
	var targets []target
	err := r.stage("detect", "reading "+r.Upstream.URL(), func() (string, error) {
		all, err := r.Upstream.Releases(ctx)
		if err != nil {
			return "", err
		}
		r.report.PassedOver = all.PassedOver
		chosen, err := choose(r.options.Selection, all)
		if err != nil {
			return "", err
		}
		names := make([]string, len(chosen))
		for i, c := range chosen {
			targets = append(targets, target{Release: c, all: all.Releases})
			names[i] = fmt.Sprintf("%s of %s", c.Version, c.Date.Format("2006-01-02"))
		}
		return fmt.Sprintf("OpenNebula %s, of %d releases", strings.Join(names, ", "), len(all.Releases)), nil
	})
	for _, p := range r.report.PassedOver {
		r.tell(Event{Stage: "detect", State: Skipped, Detail: p.String()})
	}
	return targets, err
}

// detectOne is detect for what is about the newest release alone.
func (r *run) detectOne(ctx context.Context) (target, error) {
	targets, err := r.detect(ctx, func(s release.Selection, all release.Catalog) ([]release.Release, error) {
		picked, err := s.Pick(all)
		return []release.Release{picked}, err
	})
	if err != nil {
		return target{}, err
	}
	r.report.Version, r.report.Line = targets[0].Version, targets[0].Line
	return targets[0], nil
}

func (r *run) plan(ctx context.Context, t *target) (release.Plan, error) {
	var plan release.Plan
	err := r.stage("plan", "comparing OpenNebula "+t.Version+" with "+r.repository(), func() (string, error) {
		base, err := r.base(ctx, r.options.BaseImage)
		if err != nil {
			return "", err
		}
		state, err := r.state(ctx, t.Release)
		if err != nil {
			return "", err
		}
		upstream := release.Catalog{Releases: t.all, PassedOver: r.report.PassedOver}
		if err := r.options.Selection.CheckPublished(t.Release, upstream, state.Tags); err != nil {
			return "", err
		}
		t.tags = state.Tags
		t.latest = slices.Contains(release.MovingTags(t.Release, t.all, state.Tags), release.Latest)
		wanted := release.Wanted{Base: base, Sources: r.options.Sources, Platforms: r.options.Platforms, Rebuild: r.options.Rebuild}
		if state.Published != nil {
			if err := r.review(ctx, *state.Published); err != nil {
				return "", fmt.Errorf("look for vulnerabilities fixed since %s was published: %w", state.Published.Ref, err)
			}
			wanted.Fixable = r.report.Gate.Fixable()
		}
		if plan, err = release.NewPlan(t.Release, t.all, state, wanted); err != nil {
			return "", err
		}
		r.report.Plan = &plan
		return string(plan.Action) + ": " + strings.Join(plan.Reasons, "; "), nil
	})
	return plan, err
}

// review scans a published image and keeps the verdict for the report.
func (r *run) review(ctx context.Context, published release.Published) error {
	image, err := Pull(ctx, r.Images, published.Digest, r.Layouts)
	if err != nil {
		return err
	}
	return r.scan(ctx, image)
}

// scan scans all platforms of an image and keeps reports and verdict. What the verdict says is for judge.
func (r *run) scan(ctx context.Context, image Image) error {
	scans, err := r.scans(ctx, image)
	if err != nil {
		return err
	}
	for _, scan := range scans {
		r.report.keep("trivy-"+fileName(scan.Platform)+".json", scan.Report)
	}
	verdict, err := gate.Evaluate(scans, r.options.Policy, r.Now())
	if err != nil {
		return err
	}
	verdict.Line = r.report.Line
	r.report.Gate = &verdict
	return r.report.keepVerdict(verdict)
}

func (p *Pipeline) scanner() Scanner { return Scanner{Engine: p.Engine, Database: p.Database} }

func (p *Pipeline) scans(ctx context.Context, image Image) ([]gate.Scan, error) {
	var scans []gate.Scan
	for _, platform := range image.Platforms {
		scan, err := p.scanner().Scan(ctx, image, platform)
		if err != nil {
			return nil, err
		}
		scans = append(scans, scan)
	}
	return scans, nil
}

// judge stops the run unless the verdict lets it pass.
func (r *run) judge() error {
	verdict := r.report.Gate
	return r.stage("gate", "judging the scan", func() (string, error) {
		if !verdict.Passed {
			return "", fmt.Errorf("%w: %d vulnerabilities over the threshold; mend them, or let them through with a reason and an end date in "+
				"the exceptions file", ErrGate, len(verdict.Blocking))
		}
		return fmt.Sprintf("passed: %s, %d excepted", verdict.Summary(), len(verdict.Excepted)), nil
	})
}

// build makes a new revision: it builds, scans, judges, tries, pushes and promotes.
func (r *run) build(ctx context.Context, t target, plan release.Plan) error {
	spec := r.spec(t.Release, plan.Base, plan.Platforms)
	// What made the plan say rebuild may lie behind steps that the build cache thinks unchanged.
	spec.NoCache = plan.Action == release.Rebuild
	image, err := r.buildImage(ctx, spec)
	if err != nil {
		return err
	}
	if err := r.examine(ctx, image); err != nil {
		return err
	}
	same := plan.Published != nil && plan.Published.Digest == image.Digest
	if same {
		r.skip("trial", "the build is the same as "+plan.Published.Ref)
	} else if err := r.trial(ctx, image, t); err != nil {
		return err
	}
	kept := same && !r.options.Rebuild
	if kept {
		plan.Revision--
	}
	if r.options.DryRun {
		r.ship(image.Digest, plan)
		r.skip("push", "dry run: "+r.repository()+":"+plan.RevisionTag()+" would be "+image.Digest)
		r.skip("promote", "dry run: would move "+describe(plan.Moves))
		return nil
	}
	if kept {
		r.skip("push", "the build is the same as "+plan.Published.Ref)
		return r.promote(ctx, plan, image.Digest)
	}
	if err := r.stage("push", r.Images.Name()+":"+plan.RevisionTag(), func() (string, error) {
		return image.Push(ctx, r.Images, plan.RevisionTag())
	}); err != nil {
		return err
	}
	return r.promote(ctx, plan, image.Digest)
}

func (r *run) buildImage(ctx context.Context, spec BuildSpec) (image Image, err error) {
	what := fmt.Sprintf("OpenNebula %s for %s on %s", spec.Version, strings.Join(spec.Platforms, ", "), spec.BaseImage)
	err = r.stage("build", what, func() (string, error) {
		if image, err = r.Engine.Build(ctx, spec); err != nil {
			return "", err
		}
		return image.Digest, nil
	})
	return image, err
}

// examine scans an image that was just built, lists its contents, and stops the run unless the gate passes.
func (r *run) examine(ctx context.Context, image Image) error {
	r.report.Files, r.report.Gate = nil, nil // those of the published image, if there was one
	if err := r.stage("scan", "looking for known vulnerabilities", func() (string, error) {
		if err := r.scan(ctx, image); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s; database of %s", r.report.Gate.Summary(), r.report.Gate.DatabaseUpdatedAt.Format("2006-01-02 15:04 MST")),
			r.sbom(ctx, image)
	}); err != nil {
		return err
	}
	return r.judge()
}

func (r *run) sbom(ctx context.Context, image Image) error {
	for _, platform := range image.Platforms {
		data, err := r.scanner().SBOM(ctx, image, platform)
		if err != nil {
			return err
		}
		r.report.keep("sbom-"+fileName(platform)+".cdx.json", data)
	}
	return nil
}

// promote moves the plan's tags to the digest, which is in the registry already.
func (r *run) promote(ctx context.Context, plan release.Plan, digest string) error {
	if r.options.DryRun {
		r.ship(digest, plan)
		r.skip("promote", "dry run: would move "+describe(plan.Moves))
		return nil
	}
	return r.stage("promote", "moving "+describe(plan.Moves), func() (string, error) {
		moves := make([]registry.Move, len(plan.Moves))
		for i, move := range plan.Moves {
			moves[i] = registry.Move{Tag: move.Tag, From: move.From}
		}
		if err := r.Images.Promote(ctx, digest, moves); err != nil {
			return "", err
		}
		for i := range plan.Moves { // the report's too, which shares them
			plan.Moves[i].To = digest
		}
		r.released(digest, plan)
		return describe(plan.Moves) + " -> " + digest, nil
	})
}

// repository names where the image goes.
func (r *run) repository() string {
	if r.Images == nil {
		return "<no registry>"
	}
	return r.Images.Name()
}

func (r *run) released(digest string, plan release.Plan) {
	r.ship(digest, plan)
	r.report.Image = r.ships
}

// ship has the chart refer to an image, unless there is no repository that it goes to.
func (r *run) ship(digest string, plan release.Plan) {
	if r.Images == nil {
		return
	}
	r.ships = &ImageReport{
		Repository: r.Images.Name(),
		Digest:     digest,
		Platforms:  plan.Platforms,
		Tags:       append([]string{plan.RevisionTag()}, plan.Tags...),
	}
}

func describe(moves []release.TagMove) string {
	tags := make([]string, len(moves))
	for i, move := range moves {
		tags[i] = move.Tag
	}
	return strings.Join(tags, ", ")
}

// fileName makes a part of a file name of a platform: linux-amd64 of linux/amd64.
func fileName(platform string) string { return strings.ReplaceAll(platform, "/", "-") }
