package e2e_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// testRelease releases, finds nothing to do, and is stopped by the gate.
func (d *daggerWorld) testRelease(t *testing.T) {
	image, chart := d.repository("dagger-release")
	run := func(args ...string) []string {
		return append(append([]string{"release"}, d.releaseOptions("")...), args...)
	}
	to := func(args ...string) []string {
		return run(append([]string{"--registry", image, "--chart-registry", chart}, args...)...)
	}

	t.Run("dry run without a registry", func(t *testing.T) {
		d.call(t, run("--dry-run")...)
	})
	t.Run("gate", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "out")
		stopped := to("--severity", "MEDIUM")
		output, err := d.tryCall(t, stopped...)
		if err == nil || !strings.Contains(output, "the gate did not pass") {
			t.Errorf("a bare call: %v\n%s", err, output)
		}
		if output, err = d.tryCall(t, append(stopped, "--keep-report", "markdown")...); err == nil || !strings.Contains(output, "CVE-2099-") {
			t.Errorf("markdown: %v\n%s", err, output)
		}
		d.call(t, append(stopped, "--keep-report", "files", "export", "--path", dir)...)
		report := d.report(t, dir)
		if report.Gate == nil || report.Gate.Passed || report.Error == "" {
			t.Errorf("release.json says %+v", report)
		}
		repository, err := registry.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		if tags, err := repository.Tags(t.Context()); err != nil || len(tags) > 0 {
			t.Errorf("visible after the gate stopped the release: %v, %v", tags, err)
		}
	})
	t.Run("release", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "out")
		d.call(t, to("files", "export", "--path", dir)...)
		report := d.report(t, dir)
		if report.Error != "" {
			t.Fatal(report.Error)
		}
		wantPlan(t, *report.Plan, release.Build)
		for _, file := range []string{"gate.sarif", "gate.md", "trivy-linux-amd64.json", chartArchive(t)} {
			if strings.Contains(file, "amd64") && platform() != "linux/amd64" {
				continue
			}
			readFile(t, filepath.Join(dir, report.Line, file))
		}
		wholeChart(t, chart, tagsOf(t, chart)[report.Chart.Version])
	})
	t.Run("nothing to do", func(t *testing.T) {
		if summary := d.call(t, to("summary")...); !strings.Contains(summary, "action     nothing") {
			t.Errorf("the second release says\n%s", summary)
		}
	})
}

// releaseOptions are what a release to a repository is told; none is for a dry run.
func (d *daggerWorld) releaseOptions(repository string) []string {
	options := append(d.imageArgs(), "--db-repository", d.DatabaseRepository, "--line", "7.2")
	if repository == "" {
		return options
	}
	return append(options, "--registry", repository)
}

func (d *daggerWorld) report(t *testing.T, dir string) *pipeline.Report {
	t.Helper()
	var reports pipeline.Reports
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dir, "release.json"))), &reports); err != nil || len(reports) != 1 {
		t.Fatalf("%d reports: %v", len(reports), err)
	}
	return reports[0]
}
