package pipeline_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/release"
)

// versionsOf lists what reports are about, and what was to be done, as "7.0.2 build".
func versionsOf(reports pipeline.Reports) []string {
	var list []string
	for _, report := range reports {
		action := "nothing planned"
		if report.Plan != nil {
			action = string(report.Plan.Action)
		}
		list = append(list, report.Version+" "+action)
	}
	return list
}

// A release takes care of the newest version of each line that is selected.
func TestLines(t *testing.T) {
	for name, test := range map[string]struct {
		selection release.Selection
		want      []string
		tags      string
	}{
		"all": {release.Selection{}, []string{"7.0.2 build", "7.2.0 build", "7.10.1 build"},
			"7 7.0 7.0.2 7.0.2-1 7.10 7.10.1 7.10.1-1 7.2 7.2.0 7.2.0-1 latest"},
		"constraint": {release.Selection{Constraint: ">=7.2.0"}, []string{"7.2.0 build", "7.10.1 build"},
			"7 7.10 7.10.1 7.10.1-1 7.2 7.2.0 7.2.0-1 latest"},
		"line":    {release.Selection{Line: "7.0"}, []string{"7.0.2 build"}, "7.0 7.0.2 7.0.2-1"},
		"version": {release.Selection{Version: "7.0.1"}, []string{"7.0.1 build"}, "7.0.1 7.0.1-1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "7.0.1", "7.0.2", "7.2.0", "7.10.0", "7.10.1")
			for i := range w.releases {
				w.releases[i].Line = w.releases[i].Version[:strings.LastIndex(w.releases[i].Version, ".")]
			}
			w.options.Selection = test.selection
			reports, err := w.Release(t.Context(), w.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, versionsOf(reports)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(strings.Fields(test.tags), w.tagNames(t)); diff != "" {
				t.Error(diff)
			}
			// The chart goes with the highest of all, and with no other.
			for _, report := range reports {
				if got := report.Chart != nil; got != (report.Version == "7.10.1") {
					t.Errorf("a chart with %s: %v", report.Version, got)
				}
			}
			names := map[string]bool{}
			files, err := reports.Files()
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if names[file.Name] {
					t.Errorf("two files %s", file.Name)
				}
				names[file.Name] = true
			}
			for _, report := range reports {
				if !names[report.Line+"/gate.json"] {
					t.Errorf("no verdict on %s in %v", report.Version, slices.Sorted(maps.Keys(names)))
				}
			}
			again, err := w.Release(t.Context(), w.options)
			if err != nil || len(again) != len(reports) || slices.ContainsFunc(again, func(r *pipeline.Report) bool { return r.Plan.Action != release.Nothing }) {
				t.Errorf("a second run: %v, %v", versionsOf(again), err)
			}
		})
	}
}

// A line that fails does not stop the others, whichever it is, and the run fails and names it.
func TestLineFails(t *testing.T) {
	for _, failing := range []string{"7.0.2", "7.2.0"} {
		t.Run(failing, func(t *testing.T) {
			w := newWorld(t, "7.0.2", "7.2.0")
			w.engine.selftest = func(trial trial) (pipeline.Result, error) {
				if trial.version == failing {
					return pipeline.Result{Status: 1, Stderr: "broken"}, nil
				}
				return pipeline.Result{}, nil
			}
			reports, err := w.Release(t.Context(), w.options)
			if !errors.Is(err, pipeline.ErrTrial) || !strings.Contains(err.Error(), "OpenNebula "+failing+": ") {
				t.Fatalf("error %v, want one that names %s", err, failing)
			}
			if len(reports) != 2 {
				t.Fatalf("reports %v", versionsOf(reports))
			}
			for _, report := range reports {
				if failed := report.Error != ""; failed != (report.Version == failing) || failed == (report.Image != nil) {
					t.Errorf("%s: image %+v, error %q", report.Version, report.Image, report.Error)
				}
				if report.Chart != nil && failing == "7.2.0" {
					t.Errorf("a chart for what was not released: %+v", report.Chart)
				}
			}
			if text := reports.Failure(); !strings.HasPrefix(text, "OpenNebula "+failing+": ") {
				t.Errorf("the reports' error is %q", text)
			}
			markdown, err := reports.Markdown()
			if err != nil {
				t.Fatal(err)
			}
			bad, good := strings.Index(markdown, "## ❌ OpenNebula "+failing), strings.Index(markdown, "## ✅ OpenNebula ")
			if bad < 0 || good < 0 || (bad < good) != (failing == "7.2.0") {
				t.Errorf("not a section for each line, the highest first:\n%s", markdown)
			}
		})
	}
}

// What ends the whole run ends it at once.
func TestLinesStop(t *testing.T) {
	w := newWorld(t, "7.0.2", "7.2.0")
	ctx, stop := context.WithCancel(t.Context())
	w.engine.selftest = func(trial) (pipeline.Result, error) {
		stop()
		return pipeline.Result{}, ctx.Err()
	}
	reports, err := w.Release(ctx, w.options)
	if !errors.Is(err, context.Canceled) || len(reports) != 1 {
		t.Errorf("%v after %v", err, versionsOf(reports))
	}
}

// Plan says of each line what a release would do.
func TestPlanLines(t *testing.T) {
	w := newWorld(t, "7.0.2", "7.2.0")
	w.options.Selection.Line = "7.2"
	w.released(t)
	w.options.Selection.Line = ""
	plans, err := w.Plan(t.Context(), w.options)
	if err != nil || len(plans) != 2 {
		t.Fatalf("%v, %d plans", err, len(plans))
	}
	if plans[0].Action != release.Build || plans[0].RevisionTag() != "7.0.2-1" || plans[1].Action != release.Nothing {
		t.Errorf("%s of %s, %s of %s", plans[0].Action, plans[0].RevisionTag(), plans[1].Action, plans[1].RevisionTag())
	}
}
