package e2e_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/sandbox/apt"
)

// wantTrial compares the runs of a trial, but for what they say and how long they took.
func wantTrial(t *testing.T, report *pipeline.Report, want ...pipeline.TrialRun) {
	t.Helper()
	if report.Trial == nil {
		t.Fatalf("the report has no trial, but the stages %v", stages(report))
	}
	if diff := cmp.Diff(want, report.Trial.Runs, cmpopts.IgnoreFields(pipeline.TrialRun{}, "Detail", "Seconds")); diff != "" {
		t.Errorf("runs of the image (-want +got):\n%s", diff)
	}
	for _, run := range report.Trial.Runs {
		if (run.Result == pipeline.Passed) != (run.Detail == "") || (run.Result == pipeline.Untried) != (run.Seconds == 0) {
			t.Errorf("run %+v", run)
		}
	}
}

// testTrial releases an image that is built, scanned and let pass by the gate, and does not work.
func testTrial(t *testing.T, w *world) {
	image, _ := w.repository("trial")
	w.run(t, slices.Concat([]string{"push"}, w.releaseArgs(image), []string{"--line", "7.0"})...).passed(t)
	before := maps.Clone(tagsOf(t, image))

	broken := w.broken(t)
	args := slices.Concat([]string{"push"}, w.triedArgs(image), []string{"--upstream", broken.Upstream, "--upstream-fingerprint", broken.UpstreamFingerprint})
	log := "trial-" + strings.ReplaceAll(platform(), "/", "-") + ".log"
	for name, more := range map[string][]string{"release": nil, "dry run": {"--dry-run"}} {
		t.Run(name, func(t *testing.T) {
			o := w.run(t, append(slices.Clone(args), more...)...).failed(t, "the trial failed", platform(), "empty volume", log, "--skip-trial")
			wantTags(t, image, before)
			wantTrial(t, o.report, pipeline.TrialRun{Platform: platform(), Result: pipeline.NotPassed})
			if !slices.Contains(stages(o.report), "gate done") || !slices.Contains(stages(o.report), "trial failed") {
				t.Errorf("stages %v", stages(o.report))
			}
			if printed := string(o.file(t, log)); !strings.Contains(printed, complaint) {
				t.Errorf("the log has not what the programs printed:\n%s", printed)
			}
		})
	}
	t.Run("no reason to skip it", func(t *testing.T) {
		w.run(t, append(slices.Clone(args), "--skip-trial", "")...).failed(t, "--skip-trial is empty")
		wantTags(t, image, before)
	})
	t.Run("skipped", func(t *testing.T) {
		const reason = "it is broken on purpose"
		o := w.run(t, append(slices.Clone(args), "--skip-trial", reason)...).passed(t)
		if o.report.Trial == nil || o.report.Trial.Skipped != reason || !strings.Contains(o.stdout, reason) {
			t.Errorf("the reason is not in the report %+v, or not in\n%s", o.report.Trial, o.stdout)
		}
	})
}

// complaint is what the programs of a broken upstream print.
const complaint = "this program is broken"

// broken starts another sandbox, whose packages can be installed, and have programs that do not work.
func (w *world) broken(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	program := filepath.Join(t.TempDir(), "standin")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho '"+complaint+"' >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	broken, err := sandbox.Start(t.Context(), sandbox.Options{
		CacheDir: w.cache, Dir: t.TempDir(), Root: root, Toolchain: w.tools, Log: t.Logf,
		Versions: []apt.Version{{Version: "7.2.0", Date: time.Date(2026, time.April, 3, 10, 0, 0, 0, time.UTC), Architectures: []string{"amd64", "arm64"}}},
		Standin:  func(context.Context, string) (string, error) { return program, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broken.Close(); err != nil {
			t.Error(err)
		}
	})
	return broken
}
