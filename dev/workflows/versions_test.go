package workflows

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Versions that several files name are the same everywhere.
func TestVersionsAgree(t *testing.T) {
	find := func(file, pattern string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		match := regexp.MustCompile(pattern).FindSubmatch(data)
		if match == nil {
			t.Fatalf("%s has nothing like %s", file, pattern)
		}
		return string(match[1])
	}
	for name, versions := range map[string][2]string{
		"Trivy, embedded and in Dagger": {
			find("dev/tools/trivy.mod", `github.com/aquasecurity/trivy v(\S+)`), find("ci/engine/run.go", `ghcr.io/aquasecurity/trivy:([^@]+)@sha256:`),
		},
		"Go, of the module and of the checks": {find("go.mod", `(?m)^go (\S+)$`), find("ci/checks.go", `library/golang:([0-9.]+)-bookworm@sha256:`)},
		"Go, of the image and of the checks": {
			find("image/Dockerfile", `(?m)^ARG GO_IMAGE=(\S+)$`), find("ci/checks.go", `"(docker.io/library/golang:\S+)"`),
		},
		"Dagger, of the module and in ci.yml": {
			find("dagger.json", `"engineVersion": "(\S+)"`), find(".github/workflows/ci.yml", `version: (v[0-9.]+)`),
		},
		"Dagger, in release.yml and schedule.yml": {
			find(".github/workflows/release.yml", `version: (v[0-9.]+)`), find(".github/workflows/schedule.yml", `version: (v[0-9.]+)`),
		},
		"Dagger, in release.yml and acceptance.yml": {
			find(".github/workflows/release.yml", `version: (v[0-9.]+)`), find(".github/workflows/acceptance.yml", `version: (v[0-9.]+)`),
		},
		"MariaDB, of the chart and of its image": {
			find("chart/opennebula/charts/mariadb/Chart.yaml", `(?m)^appVersion: "(\S+)"$`), find("chart/opennebula/charts/mariadb/values.yaml", `(?m)^  tag: (\S+)$`),
		},
		"Dagger, in ci.yml and release.yml": {
			find(".github/workflows/ci.yml", `version: (v[0-9.]+)`), find(".github/workflows/release.yml", `version: (v[0-9.]+)`),
		},
	} {
		if versions[0] != versions[1] {
			t.Errorf("%s: %s and %s", name, versions[0], versions[1])
		}
	}
}

// The bot finds each version that is pinned outside of module files and Dockerfiles.
func TestRenovateFindsPins(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, ".github", "renovate.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		CustomManagers []struct{ MatchStrings []string }
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{
		"ci/engine/run.go", "ci/checks.go", "dagger.json", ".github/workflows/ci.yml", ".github/workflows/schedule.yml",
		".github/workflows/acceptance.yml", "chart/opennebula/charts/mariadb/values.yaml", "dev/chart/kubeschema/modules.go",
	} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, manager := range config.CustomManagers {
			for _, pattern := range manager.MatchStrings {
				found = found || regexp.MustCompile(pattern).Match(content)
			}
		}
		if !found {
			t.Errorf("no pattern of renovate.json matches in %s", file)
		}
	}
}
