package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/release"
)

const (
	amd = "linux/amd64"
	arm = "linux/arm64"
)

// next gives the upstream a version, and releases the image of that.
func (w *world) next(t *testing.T, version string) (*pipeline.Report, error) {
	t.Helper()
	w.engine.trials = nil
	w.releases = append(w.releases, release.Release{
		Version: version, Line: version[:3], Date: today, Architectures: []string{"amd64", "arm64"}, PackageVersion: version + "-1", Directory: version,
	})
	w.options.Selection.Version = version
	return w.push(t)
}

// wantRuns compares the trial in a report with runs, whose From is a tag.
func (w *world) wantRuns(t *testing.T, report *pipeline.Report, want ...pipeline.TrialRun) {
	t.Helper()
	for i := range want {
		if want[i].From != "" {
			want[i].From = w.Images.Name() + ":" + want[i].From
		}
	}
	if diff := cmp.Diff(want, report.Trial.Runs, cmpopts.IgnoreFields(pipeline.TrialRun{}, "Detail")); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

// wantDetail compares what a run of the trial says with a part of it.
func wantDetail(t *testing.T, report *pipeline.Report, run int, want string) {
	t.Helper()
	if got := report.Trial.Runs[run].Detail; !strings.Contains(got, want) {
		t.Errorf("run %d says %q, want %q in it", run, got, want)
	}
}

func (w *world) wantTrials(t *testing.T, want ...trial) {
	t.Helper()
	if diff := cmp.Diff(want, w.engine.trials, cmp.AllowUnexported(trial{})); diff != "" {
		t.Errorf("what was run (-want +got):\n%s", diff)
	}
}

func TestTrial(t *testing.T) {
	w := newWorld(t, "7.0.1")
	first, err := w.push(t)
	if err != nil {
		t.Fatal(err)
	}
	w.wantTrials(t, trial{"7.0.1", amd, ""}, trial{"7.0.1", arm, ""})
	w.wantRuns(t, first, pipeline.TrialRun{Platform: amd, Result: pipeline.Passed}, pipeline.TrialRun{Platform: amd, Upgrade: true, Result: pipeline.Untried},
		pipeline.TrialRun{Platform: arm, Result: pipeline.Passed}, pipeline.TrialRun{Platform: arm, Upgrade: true, Result: pipeline.Untried})
	wantDetail(t, first, 1, "no image of this version or a lower one is published")

	second, err := w.next(t, "7.2.0")
	if err != nil {
		t.Fatal(err)
	}
	w.wantTrials(t, trial{"7.2.0", amd, ""}, trial{"7.0.1", amd, ""}, trial{"7.2.0", amd, "7.0.1"},
		trial{"7.2.0", arm, ""}, trial{"7.0.1", arm, ""}, trial{"7.2.0", arm, "7.0.1"})
	passed := []pipeline.TrialRun{
		{Platform: amd, Result: pipeline.Passed}, {Platform: amd, Upgrade: true, From: "7.0.1-1", Result: pipeline.Passed},
		{Platform: arm, Result: pipeline.Passed}, {Platform: arm, Upgrade: true, From: "7.0.1-1", Result: pipeline.Passed},
	}
	w.wantRuns(t, second, passed...)

	// A rebuild goes on with what the version below has left; one of the lowest version with its own.
	w.base = newBase
	w.engine.trials = nil
	if _, err := w.push(t); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(w.engine.trials, trial{"7.2.0", amd, "7.0.1"}) {
		t.Errorf("a rebuild: %v", w.engine.trials)
	}
	w.options.Selection.Version = "7.0.1"
	w.engine.trials = nil
	if _, err := w.push(t); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(w.engine.trials, trial{"7.0.1", amd, "7.0.1"}) {
		t.Errorf("a rebuild of the lowest version: %v", w.engine.trials)
	}
}

// failsOn makes the selftest fail for one version on a volume that another one has left.
func failsOn(version, on string) func(trial) (pipeline.Result, error) {
	return func(asked trial) (pipeline.Result, error) {
		if asked.version != version || asked.on != on {
			return pipeline.Result{}, nil
		}
		return pipeline.Result{Status: 1, Stdout: "selftest: test\n", Stderr: "a line of the log\n\x1b[1mred\nerror: selftest: failed to log in: no |answer\n"}, nil
	}
}

func TestTrialFails(t *testing.T) {
	for name, test := range map[string]struct {
		on, file, says string
		runs           []pipeline.TrialRun
	}{
		"empty volume": {"", "trial-linux-amd64.log", "linux/amd64: empty volume failed: selftest: failed to log in: no |answer", []pipeline.TrialRun{
			{Platform: amd, Result: pipeline.NotPassed},
		}},
		"upgrade": {"7.0.1", "trial-linux-amd64-upgrade.log", ":7.0.1-1 failed: selftest: failed to log in: no |answer", []pipeline.TrialRun{
			{Platform: amd, Result: pipeline.Passed}, {Platform: amd, Upgrade: true, From: "7.0.1-1", Result: pipeline.NotPassed},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "7.0.1")
			w.released(t)
			before := w.tags(t)
			w.engine.selftest = failsOn("7.2.0", test.on)
			report, err := w.next(t, "7.2.0")
			if !errors.Is(err, pipeline.ErrTrial) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), test.file) {
				t.Errorf("error %v, want %q and %s in it", err, test.says, test.file)
			}
			if diff := cmp.Diff(before, w.tags(t)); diff != "" {
				t.Errorf("tags (-before +after):\n%s", diff)
			}
			w.wantRuns(t, report, test.runs...)
			i := slices.IndexFunc(report.Files, func(f pipeline.File) bool { return f.Name == test.file })
			if i < 0 || !strings.Contains(string(report.Files[i].Data), "a line of the log\n") {
				t.Errorf("files %v, want %s with the log", fileNames(report), test.file)
			}
			if !slices.Contains(stages(report), "trial failed") {
				t.Errorf("stages %v", stages(report))
			}
			markdown, err := pipeline.Reports{report}.Markdown()
			if err != nil || !strings.Contains(markdown, `failed to log in: no \|answer`) {
				t.Errorf("%v\n%s", err, markdown)
			}
		})
	}
}

// Whatever keeps an upgrade from being tried, but is not the new image's fault, is said.
func TestTrialWithoutUpgrade(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		says   string
	}{
		"no selftest":      {func(w *world) { w.engine.entrypoint = []string{"/usr/bin/one-container", "start"} }, "7.0.1-1 has no selftest"},
		"does not pass":    {func(w *world) { w.engine.selftest = failsOn("7.0.1", "") }, "does not pass itself: selftest: failed to log in"},
		"no such platform": {func(w *world) { w.options.Platforms = []string{arm} }, "7.0.1-1 has linux/arm64 alone"},
		"parts of it gone": {func(*world) {}, "not whole in the registry"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "7.0.1")
			test.change(w)
			w.options.SkipTrial = new("no matter")
			w.released(t)
			w.options.SkipTrial, w.options.Platforms, w.engine.entrypoint = nil, []string{amd}, []string{"/usr/bin/one-container"}
			if name == "parts of it gone" {
				w.faults.Inject(httpfault.Fault{
					Method: http.MethodHead, Path: "/v2/acme/opennebula/blobs/*", Times: 1, Effect: httpfault.Status(http.StatusNotFound),
				})
			}
			report, err := w.next(t, "7.2.0")
			if err != nil {
				t.Fatal(err)
			}
			upgrade := report.Trial.Runs[1]
			if upgrade.Result != pipeline.Untried || !upgrade.Upgrade {
				t.Errorf("the upgrade: %+v", upgrade)
			}
			wantDetail(t, report, 1, test.says)
		})
	}
}

// What published images cannot be had for is an error: nothing is known then.
func TestTrialNeedsTheRegistry(t *testing.T) {
	w := newWorld(t, "7.0.1")
	w.released(t)
	w.faults.Inject(httpfault.Fault{Method: http.MethodGet, Path: "/v2/acme/opennebula/blobs/*", Effect: httpfault.Status(http.StatusForbidden)})
	w.Layouts.Dir = t.TempDir()
	if report, err := w.next(t, "7.2.0"); err == nil || !slices.Contains(stages(report), "trial failed") {
		t.Errorf("error %v, stages %v", err, stages(report))
	}
}

func TestTrialOfAForeignPlatform(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.engine.selftest = func(asked trial) (pipeline.Result, error) {
		if asked.platform == arm {
			return pipeline.Result{}, fmt.Errorf("%w: no emulator", pipeline.ErrForeign)
		}
		return pipeline.Result{}, nil
	}
	report := w.released(t)
	w.wantRuns(t, report, pipeline.TrialRun{Platform: amd, Result: pipeline.Passed},
		pipeline.TrialRun{Platform: amd, Upgrade: true, Result: pipeline.Untried}, pipeline.TrialRun{Platform: arm, Result: pipeline.Untried})
	wantDetail(t, report, 2, "cannot be run here: no emulator")
	if !strings.Contains(report.Stages[5].Detail, "linux/arm64: empty volume not tried") {
		t.Errorf("the stage says %q", report.Stages[5].Detail)
	}
}

func TestSkipTrial(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.options.SkipTrial = new("the selftest is broken")
	report := w.released(t)
	if len(w.engine.trials) > 0 || !slices.Contains(stages(report), "trial skipped") {
		t.Errorf("trials %v, stages %v", w.engine.trials, stages(report))
	}
	reports := pipeline.Reports{report}
	if trial := readBack(t, reports)[0].Trial; trial == nil || trial.Skipped != "the selftest is broken" {
		t.Errorf("release.json has %+v", trial)
	}
	var summary strings.Builder
	markdown, err := reports.Markdown()
	if err := errors.Join(err, reports.WriteSummary(&summary, "out")); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{markdown, summary.String()} {
		if !strings.Contains(text, "skipped: the selftest is broken") {
			t.Errorf("the reason is not in\n%s", text)
		}
	}
	for _, none := range []string{"", " \n"} {
		w.options.SkipTrial = &none
		if _, err := w.release(t); err == nil || !strings.Contains(err.Error(), "--skip-trial") {
			t.Errorf("reason %q: %v", none, err)
		}
	}
}

// withdrawing is an engine in a world where all vulnerabilities are withdrawn while it builds.
type withdrawing struct{ *engine }

func (w withdrawing) Build(ctx context.Context, spec pipeline.BuildSpec) (pipeline.Image, error) {
	clear(w.vulnerabilities)
	return w.engine.Build(ctx, spec)
}

// A build that gives what is published already is not tried again.
func TestSameBuildIsNotTried(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.released(t)
	w.engine.trials = nil
	w.engine.vulnerabilities[""] = []vulnerability{{"CVE-2026-1", "HIGH", "3.1"}}
	w.Engine = withdrawing{w.engine}
	report := w.released(t)
	if report.Plan.Action != release.Rebuild || len(w.engine.trials) > 0 || report.Trial != nil {
		t.Errorf("action %s, trials %v, %+v", report.Plan.Action, w.engine.trials, report.Trial)
	}
	if got := stages(report); !slices.Contains(got, "trial skipped") || !slices.Contains(got, "push skipped") {
		t.Errorf("stages %v", got)
	}
}
