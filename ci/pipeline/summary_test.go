package pipeline

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/release"
)

func TestSummary(t *testing.T) {
	var out strings.Builder
	report := &Report{
		Version: "7.0.1", Line: "7.0",
		Plan:  &release.Plan{Action: release.Build},
		Image: &ImageReport{Repository: "ghcr.io/acme/opennebula", Digest: "sha256:1", Platforms: []string{"linux/amd64"}, Tags: []string{"7.0.1-1", "latest"}},
		Gate:  &gate.Verdict{Passed: true, Counts: map[gate.Severity]int{gate.Low: 3}},
		Chart: &ChartReport{Name: "opennebula", Version: "0.1.0", AppVersion: "7.0.1",
			Published: []helmrepo.Result{{Location: "charts/opennebula-0.1.0.tgz", Published: true}}},
		Files: []File{{Name: "gate.json"}},
	}
	if err := (Reports{report}).WriteSummary(&out, "out"); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"version    7.0.1",
		"action     build",
		"image      ghcr.io/acme/opennebula@sha256:1",
		"platforms  linux/amd64",
		"tags       7.0.1-1, latest",
		"gate       passed: 0 critical, 0 high, 0 medium, 3 low, 0 unknown; 0 excepted",
		"chart      opennebula 0.1.0 for OpenNebula 7.0.1",
		"           charts/opennebula-0.1.0.tgz",
		"files      out/7.0/gate.json",
		"",
		"report     out/release.json",
		"",
	}, "\n")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
