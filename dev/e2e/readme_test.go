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
	defaults := []string{"SCANNER=" + d.scanner, "GOLANG=" + d.golang}
	for argument, functions := range map[string][]string{
		"upstream=" + d.Upstream:                       {"releases", "detectVersion", "plan", "build", "release"},
		"upstreamFingerprint=" + d.UpstreamFingerprint: {"releases", "detectVersion", "plan", "build", "release"},
		"dbRepository=" + d.DatabaseRepository:         {"plan", "release"},
		"baseImage=" + d.BaseImage:                     {"plan", "build", "release"},
		"platform=" + platform():                       {"plan", "build", "release"},
		"line=7.2":                                     {"release"},
	} {
		for _, function := range functions {
			defaults = append(defaults, function+"_"+argument)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(strings.Join(defaults, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`(?m)^\$ (dagger .+)$`).FindAllStringSubmatch(readFile(t, filepath.Join(root, "README.md")), -1)
	if len(calls) < 10 {
		t.Fatalf("README shows %d calls", len(calls))
	}
	for _, match := range calls {
		// Defaults from .env reach the functions of the module itself only.
		line := strings.NewReplacer("ghcr.io/acme/", d.Registry+"/readme/", " scan ", " scan --db-repository "+d.DatabaseRepository+" ",
			" push ", " push --db-repository "+d.DatabaseRepository+" ", " package ", " package "+strings.Join(d.upstreamArgs(), " ")+" ").Replace(match[1])
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
func (d *daggerWorld) copySources(t testing.TB, dir string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c",
		`git ls-files -co --exclude-standard -z | tar --null -T - -c | tar -x -C "$1"`, "copy", dir)
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("copy the sources: %v\n%s", err, output)
	}
}
