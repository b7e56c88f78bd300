package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testReadme runs every call of Dagger that README shows, as it stands there, in a copy of the sources. Only what is not to be had in a
// sandbox is another: the registry, and what a user would write to .env where the public addresses are not reached.
func (d *daggerWorld) testReadme(t *testing.T) {
	dir := t.TempDir()
	d.copySources(t, dir)
	defaults := []string{"SCANNER=" + d.scanner, "RELEASES_UPSTREAM=" + d.Upstream, "DETECT_VERSION_UPSTREAM=" + d.Upstream}
	for _, function := range []string{"PLAN", "BUILD", "RELEASE"} {
		defaults = append(defaults, function+"_UPSTREAM="+d.Upstream, function+"_BASE_IMAGE="+d.BaseImage)
	}
	for _, function := range []string{"PLAN", "RELEASE", "SCAN", "PUSH"} {
		defaults = append(defaults, function+"_DB_REPOSITORY="+d.DatabaseRepository)
	}
	defaults = append(defaults, "PACKAGE_UPSTREAM="+d.Upstream, "PLAN_PLATFORM="+platform(), "BUILD_PLATFORM="+platform(), "RELEASE_PLATFORM="+platform())
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(strings.Join(defaults, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`(?m)^\$ (dagger .+)$`).FindAllStringSubmatch(readFile(t, filepath.Join(root, "README.md")), -1)
	if len(calls) < 10 {
		t.Fatalf("README shows %d calls", len(calls))
	}
	for _, match := range calls {
		line := strings.ReplaceAll(match[1], "ghcr.io/acme/", d.Registry+"/readme/")
		t.Run(match[1], func(t *testing.T) {
			command := exec.CommandContext(t.Context(), "bash", "-c", line)
			command.Dir = dir
			command.Env = append(os.Environ(), "REGISTRY_PASSWORD=password")
			if output, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// copySources copies what is, or is to be, committed.
func (d *daggerWorld) copySources(t *testing.T, dir string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c",
		`git ls-files -co --exclude-standard -z | tar --null -T - -c | tar -x -C "$1"`, "copy", dir)
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("copy the sources: %v\n%s", err, output)
	}
}
