package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/repo/v1"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/release"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/sandbox/apt"
	"opennebula-kube/dev/sandbox/trivydb"
)

// story is the life of one repository: each step finds what the ones before have left.
type story struct {
	*world
	image, charts string
	chartDir      string
	args          []string
	// published are the digests of the revisions of 7.2.0 so far, older those of everything else.
	published []string
	older     map[string]string
}

// testStory releases again and again to the same place while the world moves on.
func testStory(t *testing.T, w *world) {
	s := &story{world: w, chartDir: filepath.Join(t.TempDir(), "charts"), older: map[string]string{}}
	s.image, s.charts = w.repository("story")
	// The base image by its tag, and last, for the last of a flag counts: it is going to be updated.
	s.args = slices.Concat([]string{"release"}, w.triedArgs(s.image),
		[]string{"--chart-registry", s.charts, "--chart-repository", s.chartDir, "--base-image", w.BaseTag})
	for _, step := range []struct {
		name string
		test func(*testing.T)
	}{
		{"dry run", s.dryRun},
		{"first release", s.firstRelease},
		{"nothing to do", s.nothing},
		{"older line", s.olderLine},
		{"all lines", s.allLines},
		{"base image updated", s.baseUpdated},
		{"sources changed", s.sourcesChanged},
		{"vulnerability fixed", s.fixed},
	} {
		if !t.Run(step.name, step.test) {
			t.FailNow() // the rest has no ground to stand on
		}
	}
}

// wantState checks that the repository has all revisions so far, and the moving tags at the newest.
func (s *story) wantState(t *testing.T) {
	t.Helper()
	want := maps.Clone(s.older)
	for i, digest := range s.published {
		want[release.RevisionTag("7.2.0", i+1)] = digest
		maps.Copy(want, at(digest, "7.2.0", "7.2", "7", "latest"))
	}
	wantTags(t, s.image, want)
}

func (s *story) dryRun(t *testing.T) {
	o := s.run(t, append(s.args, "--dry-run")...).passed(t).planned(t, release.Build, "7.2.0 is not published yet")
	wantTags(t, s.image, nil)
	wantTags(t, s.charts, nil)
	if _, err := os.Stat(s.chartDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the chart repository has been touched: %v", err)
	}
	want := []string{"detect done", "plan done", "build done", "scan done", "gate done", "trial done", "push skipped", "promote skipped",
		"package done", "publish skipped"}
	if diff := cmp.Diff(want, stages(o.report)); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	if !o.report.DryRun || o.report.Image != nil || o.report.Chart.Published != nil {
		t.Errorf("the report claims a release: %+v", o.report)
	}
	if !strings.Contains(o.stdout, "dry run") {
		t.Errorf("the summary does not say that nothing was sent:\n%s", o.stdout)
	}
}

func (s *story) firstRelease(t *testing.T) {
	o := s.run(t, s.args...).passed(t).planned(t, release.Build, "7.2.0 is not published yet")
	digest := o.report.Image.Digest
	s.published = []string{digest}
	s.wantState(t)

	image := wholeImage(t, s.image, digest)
	file := config(t, image)
	if args := slices.Concat(file.Config.Entrypoint, file.Config.Cmd); file.Config.User != "" || !slices.Equal(args, []string{"/usr/bin/one-container", "start"}) {
		t.Errorf("the image runs %q as %q", args, file.Config.User)
	}
	if !slices.Equal(file.Config.Cmd, []string{"start"}) {
		t.Errorf("other commands than %q cannot be given to the image alone", file.Config.Cmd)
	}
	if want := releaseDate(t, s.world, "7.2.0"); !file.Created.Time.Equal(want) {
		t.Errorf("the image was created at %s, want the release's %s", file.Created, want)
	}
	_, baseDigest, _ := strings.Cut(s.BaseImage, "@")
	wantLabels := map[string]string{
		"org.opencontainers.image.version":   "7.2.0",
		"org.opencontainers.image.base.name": s.BaseTag,
		release.LabelBaseDigest:              baseDigest,
		release.LabelPackages:                "7.2.0-1",
		release.LabelSources:                 s.sources,
	}
	for label, want := range wantLabels {
		if got := file.Config.Labels[label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	found := installed(t, image)
	for _, name := range []string{"opennebula", "opennebula-fireedge", "opennebula-flow", "opennebula-gate"} {
		if found[name] != "7.2.0-1" {
			t.Errorf("the image has %s %q, want 7.2.0-1", name, found[name])
		}
	}
	wantTrial(t, o.report, pipeline.TrialRun{Platform: platform(), Result: pipeline.Passed},
		pipeline.TrialRun{Platform: platform(), Upgrade: true, Result: pipeline.Untried})
	s.wantFiles(t, o)
	s.wantSummary(t, o, digest)
	s.wantChart(t, o)
}

func releaseDate(t *testing.T, w *world, version string) time.Time {
	t.Helper()
	for _, v := range w.Packages.Versions() {
		if v.Version == version {
			return v.Date
		}
	}
	t.Fatalf("the sandbox has no version %s", version)
	return time.Time{}
}

// wantFiles checks the files that a release leaves.
func (s *story) wantFiles(t *testing.T, o outcome) {
	t.Helper()
	suffix := strings.ReplaceAll(platform(), "/", "-")
	report := decode[struct {
		SchemaVersion int
		Metadata      struct{ OS struct{ Family, Name string } }
	}](t, o.file(t, "trivy-"+suffix+".json"))
	if report.SchemaVersion != 2 || report.Metadata.OS.Family != "debian" || !strings.HasPrefix(report.Metadata.OS.Name, "12") {
		t.Errorf("Trivy's report says %+v", report)
	}

	sbom := decode[struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}](t, o.file(t, "sbom-"+suffix+".cdx.json"))
	listed := map[string]string{}
	for _, component := range sbom.Components {
		listed[component.Name] = component.Version
	}
	if sbom.BOMFormat != "CycloneDX" || listed["opennebula"] != "7.2.0-1" {
		t.Errorf("the SBOM is %s and has opennebula %q", sbom.BOMFormat, listed["opennebula"])
	}

	log := decode[struct {
		Version string
		Runs    []struct {
			Tool    struct{ Driver struct{ Name string } }
			Results []struct{ RuleID string }
		}
	}](t, o.file(t, "gate.sarif"))
	if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name == "" {
		t.Errorf("the SARIF log says %+v", log)
	}

	verdict := decode[gate.Verdict](t, o.file(t, "gate.json"))
	if diff := cmp.Diff(*o.report.Gate, verdict); diff != "" {
		t.Errorf("gate.json differs from release.json:\n%s", diff)
	}
	if !verdict.Passed || verdict.Counts[gate.Medium] == 0 || verdict.Counts[gate.Low] == 0 || !verdict.DatabaseUpdatedAt.Equal(dawn) {
		t.Errorf("the verdict is %+v", verdict)
	}
	for _, name := range []string{"gate.txt", "gate.md"} {
		if !bytes.Contains(o.file(t, name), []byte("passed")) {
			t.Errorf("%s does not say that the gate passed:\n%s", name, o.file(t, name))
		}
	}

	got := []string{}
	entries, err := os.ReadDir(filepath.Join(o.dir, "7.2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	want := []string{"gate.json", "gate.md", "gate.sarif", "gate.txt", "opennebula-" + o.report.Chart.Version + ".tgz",
		"sbom-" + suffix + ".cdx.json", "trivy-" + suffix + ".json"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// wantSummary checks that a person sees what was released and where it lies.
func (s *story) wantSummary(t *testing.T, o outcome, digest string) {
	t.Helper()
	for _, want := range []string{
		"7.2.0", "build", s.image + "@" + digest, "7.2.0-1, 7.2.0, 7.2, 7, latest", "0 critical, 0 high",
		filepath.Join(o.dir, "release.json"), filepath.Join(s.chartDir, "opennebula-"+o.report.Chart.Version+".tgz"),
	} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("the summary lacks %q:\n%s", want, o.stdout)
		}
	}
	for _, stage := range []string{"detect", "plan", "build", "scan", "gate", "trial", "push", "promote", "package", "publish"} {
		if !strings.Contains(o.stderr, "\n"+stage) && !strings.HasPrefix(o.stderr, stage) {
			t.Errorf("the progress lacks stage %s", stage)
		}
	}
	if strings.Contains(o.stderr, "\x1b") {
		t.Error("the progress has escape sequences, and goes to no terminal")
	}
}

// wantChart checks that the chart that the run packaged refers to the newest image, and is in all places beside those before it: each revision of the
// image has a version of its own.
func (s *story) wantChart(t *testing.T, o outcome) {
	t.Helper()
	report := o.report.Chart
	archive := o.file(t, "opennebula-"+report.Version+".tgz")
	loaded, err := loader.LoadArchive(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	versions := chartVersions(t, len(s.published))
	if loaded.Name() != "opennebula" || loaded.AppVersion() != "7.2.0" || loaded.Metadata.Version != report.Version || report.Version != versions[len(versions)-1] {
		t.Errorf("the chart is %+v, want the last of %v", loaded.Metadata, versions)
	}
	if err := loaded.Validate(); err != nil {
		t.Errorf("the chart is not valid: %v", err)
	}
	wantImage(t, loaded, helmrepo.Image{
		Repository: s.image, Tag: release.RevisionTag("7.2.0", len(s.published)), Digest: s.published[len(s.published)-1],
	})

	index, err := repo.LoadIndexFile(filepath.Join(s.chartDir, "index.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := index.Get("opennebula", report.Version)
	if err != nil {
		t.Fatal(err)
	}
	if entry.AppVersion != "7.2.0" || entry.Digest != report.Digest || len(entry.URLs) != 1 {
		t.Errorf("the chart repository has %+v", entry)
	} else if served := readFile(t, filepath.Join(s.chartDir, entry.URLs[0])); served != string(archive) {
		t.Errorf("%s is another archive than the one in %s", entry.URLs[0], o.dir)
	}

	tags := tagsOf(t, s.charts)
	if diff := cmp.Diff(versions, slices.Sorted(maps.Keys(tags))); diff != "" || len(index.Entries["opennebula"]) != len(versions) {
		t.Fatalf("the chart's repository has other tags, or the index not as many versions:\n%s", diff)
	}
	pulled := wholeChart(t, s.charts, tags[report.Version])
	if diff := cmp.Diff(loaded.Metadata, pulled.Metadata); diff != "" {
		t.Errorf("the chart in the registry differs (-packaged +pulled):\n%s", diff)
	}
}

// chartVersions are the first n versions of the chart: the one in Chart.yaml, and those that are counted from there.
func chartVersions(t *testing.T, n int) []string {
	t.Helper()
	metadata, err := chartutil.LoadChartfile(filepath.Join(root, "chart/opennebula/Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := semver.StrictNewVersion(metadata.Version)
	if err != nil {
		t.Fatal(err)
	}
	versions := make([]string, n)
	for i := range versions {
		versions[i] = fmt.Sprintf("%d.%d.%d", v.Major(), v.Minor(), v.Patch()+uint64(i))
	}
	return versions
}

// wantImage checks which image a chart refers to.
func wantImage(t *testing.T, c *chart.Chart, want helmrepo.Image) {
	t.Helper()
	for _, file := range c.Files {
		if file.Name != "files/image.yaml" {
			continue
		}
		var image helmrepo.Image
		if err := yaml.Unmarshal(file.Data, &image); err != nil || image.String() != want.String() {
			t.Errorf("the chart refers to %s, want %s (%v)", image, want, err)
		}
		return
	}
	t.Error("the chart has no files/image.yaml")
}

func wholeChart(t *testing.T, repository, digest string) *chart.Chart {
	t.Helper()
	image := artifact(t, repository, digest)
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("the chart has %d layers (%v), want one", len(layers), err)
	}
	content, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	loaded, err := loader.LoadArchive(content)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func (s *story) nothing(t *testing.T) {
	index := readFile(t, filepath.Join(s.chartDir, "index.yaml"))
	o := s.run(t, s.args...).passed(t).planned(t, release.Nothing)
	s.wantState(t)
	if got := o.report.Image.Digest; got != s.published[len(s.published)-1] {
		t.Errorf("the report has image %s, want %s", got, s.published[len(s.published)-1])
	}
	if got := readFile(t, filepath.Join(s.chartDir, "index.yaml")); got != index {
		t.Errorf("the chart repository has changed:\n%s", cmp.Diff(index, got))
	}
	if o.report.Trial != nil {
		t.Errorf("the image was tried again: %+v", o.report.Trial)
	}
	for _, place := range o.report.Chart.Published {
		if place.Published {
			t.Errorf("the chart went to %s again", place.Location)
		}
	}
}

func (s *story) olderLine(t *testing.T) {
	index := readFile(t, filepath.Join(s.chartDir, "index.yaml"))
	o := s.run(t, append(s.args, "--line", "7.0")...).passed(t).planned(t, release.Build, "7.0.2 is not published yet")
	s.older = at(o.report.Image.Digest, "7.0.2-1", "7.0.2", "7.0")
	s.wantState(t)
	if o.report.Chart != nil || readFile(t, filepath.Join(s.chartDir, "index.yaml")) != index {
		t.Error("the chart was released with a release that is not the highest")
	}
	if found := installed(t, artifact(t, s.image, o.report.Image.Digest)); found["opennebula"] != "7.0.2-1" {
		t.Errorf("the image has opennebula %q", found["opennebula"])
	}
}

// allLines releases without a word about a line, when there is nothing to do for any.
func (s *story) allLines(t *testing.T) {
	o := s.run(t, append(s.args, "--line", "")...).passed(t)
	if len(o.reports) != 2 {
		t.Fatalf("%d reports", len(o.reports))
	}
	for i, version := range []string{"7.0.2", "7.2.0"} {
		if o.reports[i].Version != version || !strings.Contains(o.stdout, version) {
			t.Errorf("report %d is about %s, want %s\n%s", i, o.reports[i].Version, version, o.stdout)
		}
		wantPlan(t, *o.reports[i].Plan, release.Nothing)
		readFile(t, filepath.Join(o.dir, o.reports[i].Line, "gate.json"))
	}
	s.wantState(t)
}

func (s *story) baseUpdated(t *testing.T) {
	updated, err := s.UpdateBase(t.Context(), "2")
	if err != nil {
		t.Fatal(err)
	}
	_, now, _ := strings.Cut(updated, "@")
	o := s.run(t, s.args...).passed(t).planned(t, release.Rebuild, "base image has changed", now)
	s.published = append(s.published, o.report.Image.Digest)
	wantTrial(t, o.report, pipeline.TrialRun{Platform: platform(), Result: pipeline.Passed},
		pipeline.TrialRun{Platform: platform(), Upgrade: true, From: s.image + ":7.0.2-1", Result: pipeline.Passed})
	if s.published[1] == s.published[0] {
		t.Error("the rebuilt image is the old one")
	}
	s.wantState(t)
	s.wantChart(t, o)
	if got := config(t, artifact(t, s.image, s.published[1])).Config.Labels[release.LabelBaseDigest]; got != now {
		t.Errorf("the image says that it is built on %s, want %s", got, now)
	}
}

// sourcesChanged has a maintainer change the image's sources.
func (s *story) sourcesChanged(t *testing.T) {
	changed := t.TempDir()
	for _, name := range []string{"image", "chart", "dev/tools"} {
		if err := os.CopyFS(filepath.Join(changed, name), os.DirFS(filepath.Join(root, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "ci/go.mod", "ci/go.sum"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(changed, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(changed, name), []byte(readFile(t, filepath.Join(root, name))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(changed, "image/rootfs/etc/changed"), []byte("by a maintainer\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := s.run(t, append(s.args, "--source", changed)...).passed(t).planned(t, release.Rebuild, "digest of the image's sources has changed")
	s.published = append(s.published, o.report.Image.Digest)
	s.wantState(t)
	s.wantChart(t, o)
	if s.run(t, append(s.args, "--source", changed)...).passed(t).planned(t, release.Nothing); s.published[2] == s.published[1] {
		t.Error("the rebuilt image is the old one")
	}
	// A revision counts what was published before it: the sources as they were are a change too.
	o = s.run(t, s.args...).passed(t).planned(t, release.Rebuild, "digest of the image's sources has changed")
	if s.published = append(s.published, o.report.Image.Digest); s.published[3] != s.published[1] {
		t.Errorf("the same sources give %s, gave %s before", s.published[3], s.published[1])
	}
	s.wantState(t)
	s.wantChart(t, o)
}

// fixed has a vulnerability appear whose fix is in the next build of the packages, and then that build.
func (s *story) fixed(t *testing.T) {
	s.advisories(t, dawn.Add(time.Minute), append(trivydb.Passing(), sandbox.Advisory{
		ID: "CVE-2099-2001", SourcePackage: "opennebula", FixedVersion: "7.2.0-2", Severity: "HIGH", Title: "opennebula: invented, high",
	})...)
	packaged := apt.Version{Version: "7.2.0", Date: releaseDate(t, s.world, "7.2.0"), Architectures: []string{"amd64", "arm64"}}
	t.Cleanup(func() {
		if err := s.Packages.AddVersion(context.WithoutCancel(t.Context()), packaged); err != nil {
			t.Error(err)
		}
	})
	mended := packaged
	mended.Revision = 2
	if err := s.Packages.AddVersion(t.Context(), mended); err != nil {
		t.Fatal(err)
	}
	o := s.run(t, s.args...).passed(t).
		planned(t, release.Rebuild, "a fix exists now for CVE-2099-2001", "package version has changed from 7.2.0-1 to 7.2.0-2")
	s.published = append(s.published, o.report.Image.Digest)
	s.wantState(t)
	s.wantChart(t, o)
	if found := installed(t, artifact(t, s.image, o.report.Image.Digest)); found["opennebula"] != "7.2.0-2" {
		t.Errorf("the image has opennebula %q, want the one with the fix", found["opennebula"])
	}
	if !o.report.Gate.Passed || bytes.Contains(o.file(t, "gate.json"), []byte("CVE-2099-2001")) {
		t.Errorf("the verdict is that on the old image: %+v", o.report.Gate)
	}
	s.nothing(t)
}
