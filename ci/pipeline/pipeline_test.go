package pipeline_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

var firstTags = []string{"7", "7.2", "7.2.0", "7.2.0-1", "latest"}

// stages lists the stages of a run with what became of them, as "scan done".
func stages(report *pipeline.Report) []string {
	list := make([]string, len(report.Stages))
	for i, s := range report.Stages {
		list[i] = s.Name + " " + string(s.State)
	}
	return list
}

func fileNames(report *pipeline.Report) []string {
	list := make([]string, len(report.Files))
	for i, f := range report.Files {
		list[i] = f.Name
	}
	slices.Sort(list)
	return list
}

// chartOf is the chart of a run.
func chartOf(t *testing.T, report *pipeline.Report) *chart.Chart {
	t.Helper()
	at := slices.IndexFunc(report.Files, func(f pipeline.File) bool { return strings.HasSuffix(f.Name, ".tgz") })
	if at < 0 {
		t.Fatalf("no chart among %v", fileNames(report))
	}
	loaded, err := loader.LoadArchive(bytes.NewReader(report.Files[at].Data))
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// wantChange checks the only change that the chart of a run tells of, and whether it is said to contain security updates.
func wantChange(t *testing.T, report *pipeline.Report, kind, description, security string) {
	t.Helper()
	annotations := chartOf(t, report).Metadata.Annotations
	var changes []helmrepo.Change
	if err := yaml.Unmarshal([]byte(annotations["artifacthub.io/changes"]), &changes); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]helmrepo.Change{{Kind: helmrepo.Kind(kind), Description: description}}, changes); diff != "" {
		t.Error(diff)
	}
	if got := annotations["artifacthub.io/containsSecurityUpdates"]; got != security {
		t.Errorf("it is said to contain security updates: %q, want %q", got, security)
	}
}

// chartImage is the image that the chart of a run refers to.
func chartImage(t *testing.T, report *pipeline.Report) string {
	t.Helper()
	files := chartOf(t, report).Files
	at := slices.IndexFunc(files, func(f *common.File) bool { return f.Name == "files/image.yaml" })
	var image helmrepo.Image
	if err := yaml.Unmarshal(files[at].Data, &image); err != nil {
		t.Fatal(err)
	}
	return image.String()
}

// chartVersions are the version in Chart.yaml, and the next one.
func chartVersions(t *testing.T) (first, next string) {
	t.Helper()
	chart, err := loader.LoadDir("../../chart/opennebula")
	if err != nil {
		t.Fatal(err)
	}
	v, err := semver.StrictNewVersion(chart.Metadata.Version)
	if err != nil {
		t.Fatal(err)
	}
	return v.String(), v.IncPatch().String()
}

func TestFirstRelease(t *testing.T) {
	w := newWorld(t, "7.0.1", "7.2.0")
	w.options.Selection.Line = "7.2"
	report := w.released(t)
	want := []string{"detect done", "plan done", "build done", "scan done", "gate done", "trial done", "push done", "promote done", "package done", "publish done"}
	if diff := cmp.Diff(want, stages(report)); diff != "" {
		t.Error(diff)
	}
	tags := w.tags(t)
	for tag, digest := range tags {
		if digest != report.Image.Digest {
			t.Errorf("%s is at %s, want %s", tag, digest, report.Image.Digest)
		}
	}
	if diff := cmp.Diff(firstTags, w.tagNames(t)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"7.2.0-1", "7.2.0", "7.2", "7", "latest"}, report.Image.Tags); diff != "" {
		t.Error(diff)
	}
	files := []string{
		"gate.json", "gate.md", "gate.sarif", "gate.txt", "opennebula-" + report.Chart.Version + ".tgz", "sbom-linux-amd64.cdx.json",
		"sbom-linux-arm64.cdx.json", "trivy-linux-amd64.json", "trivy-linux-arm64.json",
	}
	if diff := cmp.Diff(files, fileNames(report)); diff != "" {
		t.Error(diff)
	}
	for _, move := range report.Plan.Moves {
		if move.To != report.Image.Digest {
			t.Errorf("the report's plan moves %s to %q", move.Tag, move.To)
		}
	}
	spec := w.engine.builds[0]
	if spec.BaseImage != "docker.io/library/ubuntu:24.04@"+oldBase || spec.NoCache || !spec.Epoch.Equal(w.releases[1].Date) ||
		spec.Upstream != "https://downloads.example" || spec.UpstreamFingerprint != w.Fingerprint() ||
		spec.Version != "7.2.0" || spec.Directory != "7.2.0" {
		t.Errorf("built %+v", spec)
	}
	if report.Chart.AppVersion != "7.2.0" || len(report.Chart.Published) != 1 {
		t.Errorf("chart %+v", report.Chart)
	}
	if want := w.Images.Name() + ":7.2.0-1@" + report.Image.Digest; chartImage(t, report) != want {
		t.Errorf("the chart refers to %s, want %s", chartImage(t, report), want)
	}
}

func TestSecondRunFindsNothingToDo(t *testing.T) {
	w := newWorld(t, "7.2.0")
	first := w.released(t)
	w.engine.builds, w.engine.trials = nil, nil
	pushes := w.faults.Inject(httpfault.Fault{Method: http.MethodPut, Effect: httpfault.Status(http.StatusTeapot)})
	second := w.released(t)
	if second.Plan.Action != release.Nothing || len(w.engine.builds) > 0 || len(w.engine.trials) > 0 || pushes() > 0 {
		t.Errorf("action %s, %d builds, trials %v, %d pushes", second.Plan.Action, len(w.engine.builds), w.engine.trials, pushes())
	}
	if second.Trial != nil {
		t.Errorf("the report tells of a trial: %+v", second.Trial)
	}
	if second.Image.Digest != first.Image.Digest || !slices.Equal(second.Image.Tags, first.Image.Tags) {
		t.Errorf("image %+v, want %+v", second.Image, first.Image)
	}
	if second.Chart.Published[0].Published {
		t.Error("the chart was published again")
	}
	if second.Gate == nil || !second.Gate.Passed {
		t.Errorf("verdict %+v on what is published", second.Gate)
	}
}

func TestRebuild(t *testing.T) {
	fixed := []vulnerability{{"CVE-2026-1", "CRITICAL", "3.1"}}
	for name, change := range map[string]func(*world){
		"base image": func(w *world) { w.base = newBase },
		"packaging":  func(w *world) { w.releases[0].PackageVersion = "7.2.0-2" },
		"sources":    func(w *world) { w.options.Sources = "sha256:dddd" },
		"fix": func(w *world) {
			w.engine.vulnerabilities[""] = fixed
			w.engine.packages = "mended"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "7.2.0")
			first := w.released(t)
			change(w)
			second := w.released(t)
			if second.Plan.Action != release.Rebuild || second.Image.Digest == first.Image.Digest || !w.engine.builds[1].NoCache {
				t.Fatalf("action %s, image %+v, built %+v", second.Plan.Action, second.Image, w.engine.builds[1])
			}
			tags := w.tags(t)
			for _, tag := range append([]string{"7.2.0-2"}, firstTags...) {
				want := second.Image.Digest
				if tag == "7.2.0-1" {
					want = first.Image.Digest
				}
				if tags[tag] != want {
					t.Errorf("%s is at %s, want %s", tag, tags[tag], want)
				}
			}
			third := w.released(t)
			if third.Plan.Action != release.Nothing {
				t.Errorf("a third run: %s, %v", third.Plan.Action, third.Plan.Reasons)
			}
			if one, two := chartVersions(t); first.Chart.Version != one || second.Chart.Version != two || third.Chart.Version != two || third.Chart.Published[0].Published {
				t.Errorf("chart %+v, then %+v, then %+v", first.Chart, second.Chart, third.Chart)
			}
			wantChange(t, first, "changed", "OpenNebula 7.2.0", "")
			if name == "fix" {
				wantChange(t, second, "security", "Image 7.2.0-2: a fix exists now for CVE-2026-1", "true")
			} else {
				wantChange(t, second, "changed", "Image 7.2.0-2: "+second.Plan.Reasons[0], "")
			}
			if want := w.Images.Name() + ":7.2.0-2@" + second.Image.Digest; chartImage(t, third) != want {
				t.Errorf("the chart refers to %s, want %s", chartImage(t, third), want)
			}
		})
	}
}

// Somebody who asks for a new revision gets one, also of what has not changed at all.
func TestRebuildThatWasAskedFor(t *testing.T) {
	w := newWorld(t, "7.2.0")
	first := w.released(t)
	w.options.Rebuild = true
	second := w.released(t)
	if second.Plan.Action != release.Rebuild || !w.engine.builds[1].NoCache || second.Image.Digest != first.Image.Digest {
		t.Errorf("action %s, image %+v, built %+v", second.Plan.Action, second.Image, w.engine.builds[1])
	}
	if diff := cmp.Diff([]string{"7.2.0-2", "7.2.0", "7.2", "7", "latest"}, second.Image.Tags); diff != "" {
		t.Error(diff)
	}
	if digest := w.tags(t)["7.2.0-2"]; digest != first.Image.Digest {
		t.Errorf("7.2.0-2 is at %s, want %s", digest, first.Image.Digest)
	}
}

// A fix may be known before the archives have it: then a rebuild cannot help, and what is published stays.
func TestRebuildThatDoesNotHelp(t *testing.T) {
	w := newWorld(t, "7.2.0")
	first := w.released(t)
	w.engine.vulnerabilities[""] = []vulnerability{{"CVE-2026-1", "CRITICAL", "3.1"}}
	report, err := w.release(t)
	if !errors.Is(err, pipeline.ErrGate) || report.Plan.Action != release.Rebuild {
		t.Errorf("error %v, want ErrGate", err)
	}
	if diff := cmp.Diff(firstTags, w.tagNames(t)); diff != "" {
		t.Error(diff)
	}
	if w.tags(t)["latest"] != first.Image.Digest {
		t.Error("latest moved")
	}
}

// A vulnerability without a fix is no reason for a rebuild, and what is published stays.
func TestUnfixedInWhatIsPublished(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.released(t)
	w.engine.vulnerabilities[""] = []vulnerability{{"CVE-2026-1", "CRITICAL", ""}}
	report := w.released(t)
	if report.Plan.Action != release.Nothing || report.Gate.Passed {
		t.Errorf("action %s, verdict %+v; want nothing to do, and to be told", report.Plan.Action, report.Gate)
	}
}

func TestOlderLine(t *testing.T) {
	w := newWorld(t, "7.0.0", "7.0.1", "7.2.0")
	w.released(t)
	latest := w.tags(t)["latest"]
	w.options.Selection.Line = "7.0"
	report := w.released(t)
	tags := w.tags(t)
	if tags["latest"] != latest || tags["7"] != latest {
		t.Error("latest or 7 moved to a lower version")
	}
	if tags["7.0"] != report.Image.Digest || tags["7.0.1"] != report.Image.Digest {
		t.Error("7.0 is not at the highest release of its line")
	}
	if report.Chart != nil || !slices.Contains(stages(report), "publish skipped") {
		t.Errorf("the chart of an older line was released: %+v", report.Chart)
	}
}

func TestPromoteAfterAnInterruptedRun(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.faults.Inject(httpfault.Fault{Method: http.MethodPut, Path: "/v2/acme/opennebula/manifests/7", Effect: httpfault.Status(http.StatusBadGateway)})
	report, err := w.release(t)
	if err == nil || report.Error == "" || slices.Contains(stages(report), "publish done") {
		t.Fatalf("error %v, stages %v", err, stages(report))
	}
	w.faults.Clear()
	w.engine.builds, w.engine.trials = nil, nil
	w.options.DryRun = true
	dry := w.released(t)
	w.options.DryRun = false
	second := w.released(t)
	if chartImage(t, dry) != chartImage(t, second) {
		t.Errorf("the chart of the dry run refers to %s, that of the release to %s", chartImage(t, dry), chartImage(t, second))
	}
	if second.Plan.Action != release.Promote || len(w.engine.builds)+len(w.engine.trials) > 0 {
		t.Errorf("action %s after %d builds and trials %v, want promote without any", second.Plan.Action, len(w.engine.builds), w.engine.trials)
	}
	if diff := cmp.Diff(firstTags, w.tagNames(t)); diff != "" {
		t.Error(diff)
	}
}

// What a registry has lost a part of is pushed again, under a new revision.
func TestPublishedImageIsNotWhole(t *testing.T) {
	w := newWorld(t, "7.2.0")
	first := w.released(t)
	hits := w.faults.Inject(httpfault.Fault{
		Method: http.MethodHead, Path: "/v2/acme/opennebula/blobs/*", Times: 1, Effect: httpfault.Status(http.StatusNotFound),
	})
	second := w.released(t)
	if hits() != 1 || second.Plan.Action != release.Build || w.tags(t)["7.2.0-2"] != first.Image.Digest {
		t.Errorf("action %s, tags %v", second.Plan.Action, w.tags(t))
	}
	if third := w.released(t); third.Plan.Action != release.Nothing {
		t.Errorf("a third run: %s, %v", third.Plan.Action, third.Plan.Reasons)
	}
}

func TestPromoteNeedsTheGate(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.faults.Inject(httpfault.Fault{Method: http.MethodPut, Path: "/v2/acme/opennebula/manifests/7.2.0", Effect: httpfault.Status(http.StatusBadGateway)})
	if _, err := w.release(t); err == nil {
		t.Fatal("no error")
	}
	w.faults.Clear()
	w.engine.vulnerabilities[""] = []vulnerability{{"CVE-2026-1", "HIGH", ""}}
	if _, err := w.release(t); !errors.Is(err, pipeline.ErrGate) {
		t.Errorf("error %v, want ErrGate", err)
	}
	if diff := cmp.Diff([]string{"7.2.0-1"}, w.tagNames(t)); diff != "" {
		t.Error(diff)
	}
}

// Whatever stops a run before the push leaves no tag behind.
func TestNothingIsVisibleAfterAFailure(t *testing.T) {
	broken := errors.New("broken")
	for name, breaks := range map[string]func(*world){
		"upstream":     func(w *world) { w.upstream = broken },
		"no release":   func(w *world) { w.releases = nil },
		"platform":     func(w *world) { w.options.Platforms = []string{"linux/s390x"} },
		"build":        func(w *world) { w.engine.buildErr = broken },
		"scan":         func(w *world) { w.engine.scanSays = broken.Error() },
		"contents":     func(w *world) { w.engine.sbomSays = broken.Error() },
		"old database": func(w *world) { w.options.Policy.MaxDatabaseAge = time.Minute },
		"gate":         func(w *world) { w.engine.vulnerabilities[""] = []vulnerability{{"CVE-2026-1", "HIGH", ""}} },
		"trial": func(w *world) {
			w.engine.selftest = func(trial) (pipeline.Result, error) { return pipeline.Result{Status: 1, Stderr: "broken"}, nil }
		},
		"trial that cannot be had": func(w *world) {
			w.engine.selftest = func(trial) (pipeline.Result, error) { return pipeline.Result{}, broken }
		},
		"no selftest":       func(w *world) { w.engine.entrypoint = []string{"/usr/bin/one-container", "start"} },
		"no reason to skip": func(w *world) { w.options.SkipTrial = new(string) },
		"push": func(w *world) {
			w.faults.Inject(httpfault.Fault{Method: http.MethodPost, Effect: httpfault.Status(http.StatusForbidden)})
		},
		"registry": func(w *world) { w.faults.Inject(httpfault.Fault{Effect: httpfault.Status(http.StatusUnauthorized)}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "7.2.0")
			breaks(w)
			report, err := w.release(t)
			if err == nil {
				t.Fatal("no error")
			}
			if report == nil || report.Error != err.Error() || report.FinishedAt.IsZero() {
				t.Errorf("report %+v, want it to tell the error", report)
			}
			if len(w.events) > 0 && w.events[len(w.events)-1].State != pipeline.Failed {
				t.Errorf("last event %+v, want one that says what failed", w.events[len(w.events)-1])
			}
			w.faults.Clear()
			if tags := w.tagNames(t); len(tags) > 0 {
				t.Errorf("visible after the failure: %v", tags)
			}
			entries, err := os.ReadDir(w.options.Chart.RepositoryDir)
			if err != nil || len(entries) > 0 {
				t.Errorf("published after the failure: %v, %v", entries, err)
			}
		})
	}
}

func TestGateFailureKeepsTheReports(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.engine.vulnerabilities[""] = []vulnerability{{"CVE-2026-1", "HIGH", ""}}
	report, err := w.release(t)
	if !errors.Is(err, pipeline.ErrGate) {
		t.Fatalf("error %v, want ErrGate", err)
	}
	for _, name := range []string{"trivy-linux-amd64.json", "gate.json", "gate.sarif", "gate.md", "gate.txt"} {
		if !slices.Contains(fileNames(report), name) {
			t.Errorf("%s is missing of %v", name, fileNames(report))
		}
	}
	if report.Gate == nil || len(report.Gate.Blocking) != 1 {
		t.Errorf("verdict %+v", report.Gate)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.options.DryRun = true
	pushes := w.faults.Inject(httpfault.Fault{Method: http.MethodPut, Effect: httpfault.Status(http.StatusTeapot)})
	report := w.released(t)
	want := []string{"detect done", "plan done", "build done", "scan done", "gate done", "trial done", "push skipped", "promote skipped", "package done", "publish skipped"}
	if diff := cmp.Diff(want, stages(report)); diff != "" {
		t.Error(diff)
	}
	if tags := w.tagNames(t); len(tags) > 0 || pushes() > 0 {
		t.Errorf("tags %v, %d pushes", tags, pushes())
	}
	if entries, err := os.ReadDir(w.options.Chart.RepositoryDir); err != nil || len(entries) > 0 {
		t.Errorf("chart repository: %v, %v", entries, err)
	}
	if report.Image != nil {
		t.Errorf("a dry run tells of a released image: %+v", report.Image)
	}
	// What would be pushed is what a run pushes.
	w.options.DryRun = false
	w.faults.Clear()
	if want := chartImage(t, w.released(t)); chartImage(t, report) != want {
		t.Errorf("the chart refers to %s, want %s", chartImage(t, report), want)
	}
}

// Without a registry there is nothing that the chart could refer to but what its sources name.
func TestDryRunWithoutRegistry(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.options.DryRun, w.Images = true, nil
	if got := chartImage(t, w.released(t)); got != "ghcr.io/opennebula-kube/opennebula:@" {
		t.Errorf("the chart refers to %s", got)
	}
}

// A new OpenNebula reaches those who use the chart without a change of Chart.yaml.
func TestChartOfNextRelease(t *testing.T) {
	w := newWorld(t, "7.2.0")
	first := w.released(t)
	next := w.releases[0]
	next.Version, next.Line, next.PackageVersion = "7.4.0", "7.4", "7.4.0-1"
	w.releases = append(w.releases, next)
	w.options.DryRun = true
	dry := w.released(t)
	w.options.DryRun = false
	second := w.released(t)
	if one, two := chartVersions(t); first.Chart.Version != one || second.Chart.Version != two || second.Chart.AppVersion != "7.4.0" || dry.Chart.Version != two {
		t.Errorf("chart %+v, then %+v, of the dry run %+v", first.Chart, second.Chart, dry.Chart)
	}
	if want := w.Images.Name() + ":7.4.0-1@" + second.Image.Digest; chartImage(t, second) != want {
		t.Errorf("the chart refers to %s, want %s", chartImage(t, second), want)
	}
}

// The chart names the project that releases it, and a commit alone makes no new version.
func TestChartNamesProject(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.options.Project = pipeline.Project{URL: "https://github.com/acme/cloud", Revision: strings.Repeat("0", 40)}
	first := w.released(t)
	annotations := chartOf(t, first).Metadata.Annotations
	for name, want := range map[string]string{"source": w.options.Project.URL, "revision": w.options.Project.Revision} {
		if got := annotations["org.opencontainers.image."+name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	w.options.Project.Revision = strings.Repeat("1", 40)
	if second := w.released(t); second.Chart.Digest != first.Chart.Digest {
		t.Errorf("another commit gives %+v after %+v", second.Chart, first.Chart)
	}
}

// Somebody else publishes the version that was counted, between the count and the publication.
func TestChartCountedAgain(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.Progress = func(e pipeline.Event) {
		if e.Stage != "publish" || e.State != pipeline.Started {
			return
		}
		a, err := helmrepo.Package(w.options.Chart.Dir, helmrepo.Release{AppVersion: "7.0.0", Date: today})
		if err != nil {
			t.Error(err)
		}
		if _, err := helmrepo.PublishDirectory(w.options.Chart.RepositoryDir, a, "", today); err != nil {
			t.Error(err)
		}
	}
	report := w.released(t)
	if one, two := chartVersions(t); report.Chart.Version != two || !slices.Contains(fileNames(report), "opennebula-"+two+".tgz") ||
		slices.Contains(fileNames(report), "opennebula-"+one+".tgz") {
		t.Errorf("chart %+v, files %v", report.Chart, fileNames(report))
	}
}

func TestChartToRegistry(t *testing.T) {
	w := newWorld(t, "7.2.0")
	host, _, _ := strings.Cut(w.Images.Name(), "/")
	charts, err := registry.Open(host+"/acme/charts/opennebula", quick()...)
	if err != nil {
		t.Fatal(err)
	}
	w.options.Chart.Registry = charts
	first := w.released(t)
	if _, err := charts.Digest(t.Context(), first.Chart.Version); err != nil {
		t.Error(err)
	}
	for _, place := range w.released(t).Chart.Published {
		if place.Published {
			t.Errorf("published again: %+v", place)
		}
	}
}

func TestPushLeavesTheChartAlone(t *testing.T) {
	w := newWorld(t, "7.2.0")
	report, err := w.push(t)
	if err != nil || report.Chart != nil {
		t.Fatalf("%v, chart %+v", err, report.Chart)
	}
	if diff := cmp.Diff(firstTags, w.tagNames(t)); diff != "" {
		t.Error(diff)
	}
}

func TestPlanChangesNothing(t *testing.T) {
	w := newWorld(t, "7.2.0")
	plans, err := w.Plan(t.Context(), w.options)
	if err != nil || len(plans) != 1 || plans[0].Action != release.Build || plans[0].RevisionTag() != "7.2.0-1" {
		t.Errorf("plans %+v, %v", plans, err)
	}
	if len(w.engine.builds) > 0 || len(w.tagNames(t)) > 0 {
		t.Error("planning built or pushed")
	}
}

// What upstream lists and is not a release is said: while the run lasts, in its reports, and when nothing else is there.
func TestPassedOver(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.passedOver = []release.PassedOver{{Directory: "7.4.0", Reason: "nobody has signed it"}}
	reports, err := w.Release(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	if said := w.events[2].String(); said != "detect   skipped: 7.4.0: nobody has signed it" {
		t.Errorf("after the detection the run says %q", said)
	}
	data, err := json.Marshal(reports)
	if err != nil || !strings.Contains(string(data), `"directory":"7.4.0"`) {
		t.Errorf("release.json, %v:\n%s", err, data)
	}
	markdown, err := reports.Markdown()
	if err != nil || !strings.HasSuffix(markdown, "\n\nListed upstream and passed over:\n\n- 7.4.0: nobody has signed it\n") {
		t.Errorf("Markdown, %v:\n%s", err, markdown)
	}
	var summary strings.Builder
	if err := reports.WriteSummary(&summary, ""); err != nil || !strings.Contains(summary.String(), "\nskipped    7.4.0: nobody has signed it\nreport     ") {
		t.Errorf("summary, %v:\n%s", err, summary.String())
	}
	w.options.Selection.Version = "7.4.0"
	report, err := w.release(t)
	if err == nil || !strings.Contains(err.Error(), "passed over: 7.4.0: nobody has signed it") || len(report.PassedOver) != 1 {
		t.Errorf("error %v, report %+v", err, report.PassedOver)
	}
}

// An upstream that has less than the registry is an error, never "nothing to do": it is an old copy.
func TestUpstreamFallsBehind(t *testing.T) {
	w := newWorld(t, "7.0.1", "7.2.0")
	w.released(t)
	before := w.tags(t)
	w.releases = w.releases[:1]
	report, err := w.release(t)
	if err == nil || !strings.Contains(err.Error(), "the newest release upstream is 7.0.1, but 7.2.0 is published already") {
		t.Errorf("error %v", err)
	}
	if last := report.Stages[len(report.Stages)-1]; last.Name != "plan" || last.State != pipeline.Failed || report.Plan != nil {
		t.Errorf("it ended with %+v, plan %+v", last, report.Plan)
	}
	w.options.Selection.Line = "7.0"
	if report := w.released(t); report.Plan.Action != release.Nothing {
		t.Errorf("the line that is there: %+v", report.Plan)
	}
	if diff := cmp.Diff(before, w.tags(t)); diff != "" {
		t.Errorf("tags (-before +after):\n%s", diff)
	}
}

func TestBuildAndScanAlone(t *testing.T) {
	w := newWorld(t, "7.2.0")
	w.options.Platforms = []string{"linux/amd64"}
	image, _, err := w.Build(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"linux/amd64"}, image.Platforms); diff != "" {
		t.Error(diff)
	}
	report, err := w.Scan(t.Context(), w.options)
	if err != nil || report.Gate == nil || !report.Gate.Passed {
		t.Errorf("%v, verdict %+v", err, report.Gate)
	}
	w.engine.vulnerabilities[""] = []vulnerability{{"CVE-2026-1", "HIGH", ""}}
	if report, err = w.Scan(t.Context(), w.options); !errors.Is(err, pipeline.ErrGate) || report.Gate == nil {
		t.Errorf("error %v, want ErrGate and the verdict", err)
	}
}

// readBack reads what is in release.json.
func readBack(t *testing.T, reports pipeline.Reports) pipeline.Reports {
	t.Helper()
	files, err := reports.Files()
	if err != nil {
		t.Fatal(err)
	}
	last := files[len(files)-1]
	var read pipeline.Reports
	if err := json.Unmarshal(last.Data, &read); err != nil || last.Name != "release.json" || len(read) != len(reports) {
		t.Fatalf("%s: %v\n%s", last.Name, err, last.Data)
	}
	return read
}

func TestReportJSON(t *testing.T) {
	report := newWorld(t, "7.2.0").released(t)
	read := readBack(t, pipeline.Reports{report})[0]
	if read.Version != "7.2.0" || read.Image.Digest != report.Image.Digest || read.Gate.Counts[gate.Critical] != 0 || len(read.Stages) != 10 {
		t.Errorf("read back %+v", read)
	}
}

func TestDefaultBaseImage(t *testing.T) {
	dockerfile, err := os.ReadFile(filepath.Join("..", "..", "image", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := pipeline.DefaultBaseImage(dockerfile)
	if err != nil || !strings.HasPrefix(ref, "docker.io/library/ubuntu:24.04@sha256:") {
		t.Errorf("%q, %v", ref, err)
	}
	for _, bad := range []string{"", "FROM scratch\n", "ARG BASE_IMAGE\n", "ARG BASE_IMAGE=\n"} {
		if ref, err := pipeline.DefaultBaseImage([]byte(bad)); err == nil {
			t.Errorf("%q gives %q, want an error", bad, ref)
		}
	}
}

func TestDefaultFingerprint(t *testing.T) {
	dockerfile, err := os.ReadFile(filepath.Join("..", "..", "image", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	fingerprint, err := pipeline.DefaultFingerprint(dockerfile)
	if err != nil || release.CheckFingerprint(fingerprint) != nil {
		t.Errorf("%q, %v", fingerprint, err)
	}
	if fingerprint, err := pipeline.DefaultFingerprint([]byte("ARG UPSTREAM_FINGERPRINT\n")); err == nil {
		t.Errorf("a Dockerfile without a default gives %q", fingerprint)
	}
}
