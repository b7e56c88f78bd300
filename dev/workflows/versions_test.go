package workflows

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// action installs Dagger in the workflows.
const action = ".github/actions/dagger/action.yml"

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
		"Dagger, of the module and in the workflows": {find("dagger.json", `"engineVersion": "(\S+)"`), find(action, `VERSION: (v\S+)`)},
		"Dagger, its command and its engine":         {find(action, `VERSION: (v\S+)`), find(action, `ENGINE: \S+:(v[^@]+)@sha256:`)},
		"Dagger, of the module and in README":        {find("dagger.json", `"engineVersion": "(\S+)"`), find("README.md", `/install\) (v[0-9.]+) and`)},
		"MariaDB, of the chart and of its image": {
			find("chart/opennebula/charts/mariadb/Chart.yaml", `(?m)^appVersion: "(\S+)"$`), find("chart/opennebula/charts/mariadb/values.yaml", `(?m)^  tag: (\S+)$`),
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
	used := map[string]bool{}
	for _, file := range []string{
		"ci/engine/run.go", "ci/checks.go", "dagger.json", action, "chart/opennebula/charts/mariadb/values.yaml", "dev/chart/kubeschema/modules.go",
	} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, manager := range config.CustomManagers {
			for _, pattern := range manager.MatchStrings {
				if regexp.MustCompile(pattern).Match(content) {
					found, used[pattern] = true, true
				}
			}
		}
		if !found {
			t.Errorf("no pattern of renovate.json matches in %s", file)
		}
	}
	for _, manager := range config.CustomManagers {
		for _, pattern := range manager.MatchStrings {
			if !used[pattern] {
				t.Errorf("renovate.json looks for %s, which is nowhere", pattern)
			}
		}
	}
}
