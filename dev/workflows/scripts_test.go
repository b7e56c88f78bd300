package workflows

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// program puts a shell script on a path of its own, and returns that.
func program(t *testing.T, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The log has all that Dagger prints, and the summary what a call comes to.
func TestSummary(t *testing.T) {
	// Go repeats a test's result until a file changes that the test itself has read.
	if _, err := os.ReadFile(filepath.Join(root, ".github", "summary")); err != nil {
		t.Fatal(err)
	}
	const progress = `echo '1   : load module' >&2; echo '2   : release ERROR' >&2; printf '2   : ! \n\n## a report among the progress\n' >&2; `
	for name, test := range map[string]struct {
		dagger, log, summary string
		code                 int
	}{
		"works": {progress + `echo "## ✅ $*"`, "## ✅ --progress plain call release --version 7.0 1", "## ✅ --progress plain call release --version 7.0 1\n", 0},
		"fails": {progress + `printf 'Error: \n\n## ❌ OpenNebula\n\nthe gate did not pass\n' >&2; exit 3`, "the gate did not pass",
			"Error: \n\n## ❌ OpenNebula\n\nthe gate did not pass\n", 3},
		"cannot start": {`echo 'Error: no engine' >&2; exit 1`, "no engine", "Error: no engine\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			summary := filepath.Join(t.TempDir(), "summary")
			// As GitHub runs the step of a job.
			command := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c",
				`.github/summary dagger --progress plain call release --version "7.0 1"`)
			command.Dir = root
			command.Env = append(os.Environ(), "PATH="+program(t, "dagger", test.dagger)+":"+os.Getenv("PATH"), "GITHUB_STEP_SUMMARY="+summary)
			log, _ := command.CombinedOutput()
			if code := command.ProcessState.ExitCode(); code != test.code {
				t.Errorf("it ends with %d, want %d", code, test.code)
			}
			if !strings.Contains(string(log), test.log) || test.code != 1 && !strings.Contains(string(log), "1   : load module\n") {
				t.Errorf("the log is\n%s", log)
			}
			if got, err := os.ReadFile(summary); err != nil || string(got) != test.summary {
				t.Errorf("the summary is %v\n%s", err, got)
			}
		})
	}
}

// Dagger is installed when it is the archive that is pinned, and not otherwise.
func TestDaggerIsChecked(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, action))
	if err != nil {
		t.Fatal(err)
	}
	var composite struct{ Runs struct{ Steps []step } }
	if err := yaml.Unmarshal(data, &composite); err != nil || len(composite.Runs.Steps) != 1 {
		t.Fatalf("%v, %d steps", err, len(composite.Runs.Steps))
	}
	install := composite.Runs.Steps[0]

	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	files := tar.NewWriter(compressed)
	if err := files.WriteHeader(&tar.Header{Name: "dagger", Mode: 0o755, Size: 9, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Write([]byte("#!/bin/sh")); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	served := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(served, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	// It serves one address and leaves the file where it is asked to.
	curl := program(t, "curl", `url=${*: -1}; [ "$url" = "https://github.com/dagger/dagger/releases/download/$VERSION/dagger_${VERSION}_linux_amd64.tar.gz" ] || exit 22
while [ "$1" != --output ]; do shift; done; cp '`+served+`' "$2"`)
	run := func(sum string) (temp string, output []byte, err error) {
		temp = t.TempDir()
		command := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", install.Run)
		command.Env = []string{
			"PATH=" + curl + ":" + os.Getenv("PATH"), "RUNNER_TEMP=" + temp, "GITHUB_PATH=" + filepath.Join(temp, "path"),
			"GITHUB_ENV=" + filepath.Join(temp, "env"), "VERSION=" + install.Env["VERSION"], "SHA256=" + sum, "ENGINE=" + install.Env["ENGINE"],
		}
		output, err = command.CombinedOutput()
		return temp, output, err
	}

	temp, output, err := run(fmt.Sprintf("%x", sha256.Sum256(archive.Bytes())))
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if info, err := os.Stat(filepath.Join(temp, "dagger", "dagger")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("no program: %v", err)
	}
	if path, err := os.ReadFile(filepath.Join(temp, "path")); err != nil || string(path) != filepath.Join(temp, "dagger")+"\n" {
		t.Errorf("the path is extended by %q, %v", path, err)
	}
	if env, err := os.ReadFile(filepath.Join(temp, "env")); err != nil ||
		string(env) != "_EXPERIMENTAL_DAGGER_RUNNER_HOST=docker-image://"+install.Env["ENGINE"]+"\n" {
		t.Errorf("the environment is extended by %q, %v", env, err)
	}

	if temp, output, err = run(install.Env["SHA256"]); err == nil {
		t.Errorf("another archive than the pinned one is installed:\n%s", output)
	}
	if left, err := filepath.Glob(filepath.Join(temp, "dagger", "*")); err != nil || len(left) > 0 {
		t.Errorf("of another archive there is %v, %v", left, err)
	}
}
