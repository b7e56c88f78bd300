package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// machine is a host whose programs are functions.
type machine struct {
	mu       sync.Mutex
	programs map[string]func(ctx context.Context, c command) error
	ran      []command
	lines    []string
}

func (m *machine) lookPath(name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.programs[name]; !ok {
		return "", fs.ErrNotExist
	}
	return "/bin/" + name, nil
}

func (m *machine) run(ctx context.Context, c command) error {
	m.mu.Lock()
	m.ran = append(m.ran, c)
	program := m.programs[strings.TrimPrefix(c.args[0], "/bin/")]
	m.mu.Unlock()
	return program(ctx, c)
}

func (m *machine) log(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, fmt.Sprintf(format, args...))
}

func (m *machine) said() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.lines, "\n")
}

func (m *machine) runs(match func(args []string) bool) (found []command) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.ran {
		if match(c.args) {
			found = append(found, c)
		}
	}
	return found
}

// newToolchain is one for a repository that pins trivy 0.74.0, on the machine.
func newToolchain(t *testing.T, m *machine) *Toolchain {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "dev/tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	mod := "module example.com/tools\n\ngo 1.26.3\n\nrequire github.com/aquasecurity/trivy v0.74.0 // indirect\n"
	if err := os.WriteFile(filepath.Join(root, "dev/tools/trivy.mod"), []byte(mod), 0o644); err != nil {
		t.Fatal(err)
	}
	tc := New(root, t.TempDir(), m.log)
	tc.host.goos, tc.host.uid = "linux", 0
	tc.host.environ = func() []string { return []string{"HOME=/h", "GOOS=plan9", "GOFLAGS=-mod=vendor", "CGO_ENABLED=1"} }
	tc.host.lookPath, tc.host.run = m.lookPath, m.run
	tc.host.tick = time.Hour
	return tc
}

func says(text string) func(context.Context, command) error {
	return func(_ context.Context, c command) error {
		_, err := io.WriteString(c.stdout, text)
		return err
	}
}

// compiler is a go that lists three packages and compiles a program.
func compiler(_ context.Context, c command) error {
	if c.args[1] == "list" {
		_, err := io.WriteString(c.stdout, "a\nb\nc\n")
		return err
	}
	return os.WriteFile(c.args[slices.Index(c.args, "-o")+1], []byte("#!/bin/sh\n"), 0o755)
}

func isBuild(args []string) bool { return args[0] == "/bin/go" && args[1] == "build" }

func TestToolOnPath(t *testing.T) {
	for _, c := range []struct {
		name, output string
		used         bool
		reason       string
	}{
		{"pinned version", "Version: 0.74.0\nVulnerability DB:\n  Version: 2\n  UpdatedAt: 2026-08-01 00:00:00 +0000 UTC\n", true, ""},
		{"with v and commit", "trivy v0.74.0+g1234567\n", true, ""},
		{"older", "Version: 0.73.9\n", false, "/bin/trivy is 0.73.9"},
		{"newer", "Version: 0.75.0\n", false, "/bin/trivy is 0.75.0"},
		{"pre-release", "Version: 0.74.0-rc.1\n", false, "/bin/trivy is 0.74.0-rc.1"},
		{"development build", "Version: dev\n", false, "/bin/trivy is of an unknown version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{programs: map[string]func(context.Context, command) error{"trivy": says(c.output), "go": compiler}}
			tc := newToolchain(t, m)
			path, err := tc.Tool(t.Context(), "trivy")
			if err != nil {
				t.Fatal(err)
			}
			if used := path == "/bin/trivy"; used != c.used {
				t.Errorf("path %s: the one on the PATH used = %v, want %v", path, used, c.used)
			}
			if !strings.Contains(m.said(), c.reason) {
				t.Errorf("said %q, want %q in it", m.said(), c.reason)
			}
		})
	}
}

func TestToolThatCannotTellItsVersion(t *testing.T) {
	m := &machine{programs: map[string]func(context.Context, command) error{
		"trivy": func(context.Context, command) error { return errors.New("exec format error") }, "go": compiler}}
	tc := newToolchain(t, m)
	if path, err := tc.Tool(t.Context(), "trivy"); err != nil || path == "/bin/trivy" {
		t.Errorf("got %s, %v", path, err)
	}
	if want := "does not tell its version: exec format error"; !strings.Contains(m.said(), want) {
		t.Errorf("said %q, want %q in it", m.said(), want)
	}
}

func TestToolIsCompiledOnce(t *testing.T) {
	m := &machine{programs: map[string]func(context.Context, command) error{"go": compiler}}
	tc := newToolchain(t, m)

	var wg sync.WaitGroup
	paths := make([]string, 4)
	for i := range paths {
		wg.Go(func() {
			var err error
			if paths[i], err = tc.Tool(t.Context(), "trivy"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	want := filepath.Join(tc.cache, "tools", "trivy-0.74.0")
	for _, path := range paths {
		if path != want {
			t.Errorf("path %s, want %s", path, want)
		}
	}
	builds := m.runs(isBuild)
	if len(builds) != 1 {
		t.Fatalf("compiled %d times, want once", len(builds))
	}
	if left, err := filepath.Glob(filepath.Join(tc.cache, "tools", ".build-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	build := builds[0]
	wantArgs := []string{"/bin/go", "build", "-mod=readonly", "-modfile=dev/tools/trivy.mod", "-v", "-buildvcs=false",
		"-ldflags", "-s -w -X github.com/aquasecurity/trivy/pkg/version/app.ver=0.74.0", "-o", "OUTPUT", "github.com/aquasecurity/trivy/cmd/trivy"}
	build.args[slices.Index(build.args, "-o")+1] = "OUTPUT"
	if diff := cmp.Diff(wantArgs, build.args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"HOME=/h", "GOWORK=off", "CGO_ENABLED=0", "GOEXPERIMENT=jsonv2"}, build.env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if build.dir != tc.root {
		t.Errorf("compiled in %s, want %s", build.dir, tc.root)
	}
	for _, want := range []string{"compiling trivy v0.74.0 (it is not on the PATH); this takes up to some minutes, once: it is kept in " + want, "compiled trivy v0.74.0 in "} {
		if !strings.Contains(m.said(), want) {
			t.Errorf("said %q, want %q in it", m.said(), want)
		}
	}
}

// TestProgramOfTheRepository compiles one of the repository's own programs again for each change of what it is made of.
func TestProgramOfTheRepository(t *testing.T) {
	// One on the PATH would be of nobody knows what sources.
	m := &machine{programs: map[string]func(context.Context, command) error{"go": compiler, "kubernetes-node": says("v1.34.4")}}
	tc := newToolchain(t, m)
	source := filepath.Join(tc.root, "dev/kube/node")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	write("go.mod", "module example.com/node\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.34.4\n")
	write("main.go", "package main\n")
	seen := make(map[string]bool)
	for _, step := range []struct {
		name, file, content string
		compiled            int
	}{
		{"first", "main.go", "package main\n", 1},
		{"the same", "main.go", "package main\n", 1},
		{"a test", "main_test.go", "package main\n", 1},
		{"a source", "main.go", "package main // changed\n", 2},
		{"a new source", "dns.go", "package main\n", 3},
		{"a sum", "go.sum", "k8s.io/kubernetes v1.34.4 h1:x\n", 4},
	} {
		write(step.file, step.content)
		path, err := tc.Tool(t.Context(), "kubernetes-node")
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if want := filepath.Join(tc.cache, "tools", "kubernetes-node-1.34.4-"); !strings.HasPrefix(path, want) {
			t.Errorf("%s: path %s, want %s...", step.name, path, want)
		}
		seen[path] = true
		if builds := m.runs(isBuild); len(builds) != step.compiled || len(seen) != step.compiled {
			t.Errorf("%s: compiled %d times as %d files, want %d", step.name, len(builds), len(seen), step.compiled)
		}
	}
	build := m.runs(isBuild)[0]
	if build.dir != source {
		t.Errorf("compiled in %s, want %s", build.dir, source)
	}
	build.args[slices.Index(build.args, "-o")+1] = "OUTPUT"
	version := "-X k8s.io/component-base/version."
	wantArgs := []string{"/bin/go", "build", "-mod=readonly", "-v", "-buildvcs=false", "-ldflags", "-s -w " + version + "gitVersion=v1.34.4 " +
		version + "gitMajor=1 " + version + "gitMinor=34 " + version + "gitTreeState=clean", "-o", "OUTPUT", "."}
	if diff := cmp.Diff(wantArgs, build.args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

func TestCompileTellsProgress(t *testing.T) {
	m := new(machine)
	told := make(chan struct{})
	m.programs = map[string]func(context.Context, command) error{"go": func(ctx context.Context, c command) error {
		if c.args[1] == "build" {
			if _, err := io.WriteString(c.stderr, "go: downloading x v1\nexample.com/a\nexample.com/b\n"); err != nil {
				return err
			}
			select {
			case <-told:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return compiler(ctx, c)
	}}
	tc := newToolchain(t, m)
	tc.host.tick = time.Millisecond
	var once sync.Once
	tc.log = func(format string, args ...any) {
		m.log(format, args...)
		if line := fmt.Sprintf(format, args...); strings.HasPrefix(line, "compiling trivy: 2 of at most 3 packages, ") {
			once.Do(func() { close(told) })
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := tc.Tool(ctx, "trivy"); err != nil {
		t.Fatalf("%v; said:\n%s", err, m.said())
	}
}

func TestToolErrors(t *testing.T) {
	t.Run("unknown", func(t *testing.T) {
		_, err := newToolchain(t, new(machine)).Tool(t.Context(), "docker")
		wantError(t, err, `tool "docker" is not one of the repository's: actionlint, buildctl, buildkitd, crane, golangci-lint, helm, helm-docs, helm-unittest, helm3, kubernetes-node, trivy`)
	})
	t.Run("no module file", func(t *testing.T) {
		_, err := newToolchain(t, new(machine)).Tool(t.Context(), "golangci-lint")
		wantError(t, err, "find the pinned version of golangci-lint", "golangci-lint.mod")
	})
	t.Run("not pinned", func(t *testing.T) {
		tc := newToolchain(t, new(machine))
		if err := os.WriteFile(filepath.Join(tc.root, "go.mod"), []byte("module m\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := tc.Tool(t.Context(), "helm")
		wantError(t, err, "does not require module helm.sh/helm/v4")
	})
	t.Run("no go", func(t *testing.T) {
		_, err := newToolchain(t, new(machine)).Tool(t.Context(), "trivy")
		wantError(t, err, "make trivy v0.74.0", "it is not on the PATH", "install Go 1.26.3 or newer", "or trivy v0.74.0")
	})
	t.Run("does not compile", func(t *testing.T) {
		m := &machine{programs: map[string]func(context.Context, command) error{"go": func(ctx context.Context, c command) error {
			if c.args[1] == "build" {
				_, _ = io.WriteString(c.stderr, "example.com/a\n# example.com/b\nb.go:1:1: expected 'package', found 'EOF'\n")
				return errors.New("exit status 1")
			}
			return compiler(ctx, c)
		}}}
		tc := newToolchain(t, m)
		_, err := tc.Tool(t.Context(), "trivy")
		wantError(t, err, "compile it: exit status 1", "b.go:1:1: expected 'package'")
		if strings.Contains(err.Error(), "example.com/a") {
			t.Errorf("error names a package that did compile: %v", err)
		}
		if _, err := os.Stat(filepath.Join(tc.cache, "tools", "trivy-0.74.0")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a tool that did not compile is there: %v", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := &machine{programs: map[string]func(context.Context, command) error{"go": func(ctx context.Context, c command) error {
			if c.args[1] == "build" {
				cancel()
				return errors.New("signal: killed")
			}
			return compiler(ctx, c)
		}}}
		if _, err := newToolchain(t, m).Tool(ctx, "trivy"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
	})
}

// TestPins holds the table against the repository's own module files: every tool is pinned, and by a tool directive.
func TestPins(t *testing.T) {
	for name, spec := range tools() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("../..", spec.moduleFile)
			if _, err := readPin(file, spec.module); err != nil {
				t.Error(err)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if spec.source == "" && !strings.Contains(string(data), spec.pkg+"\n") {
				t.Errorf("%s has no tool directive for %s", spec.moduleFile, spec.pkg)
			}
		})
	}
}

func TestFindVersion(t *testing.T) {
	for output, want := range map[string]string{
		"buildkitd github.com/moby/buildkit v0.34.2 0123456789abcdef\n":                       "v0.34.2",
		"buildctl github.com/moby/buildkit v0.0.0+unknown\n":                                  "v0.0.0+unknown",
		"golangci-lint has version 2.15.0 built with go1.26.8 from ? on unknown\n":            "2.15.0",
		"1.7.12\ninstalled by building from source\nbuilt with go1.26.8 compiler for linux\n": "1.7.12",
		"v4.3.1+g1234567\n": "v4.3.1+g1234567",
		"(devel)\n":         "",
	} {
		if got := findVersion(output); got != want {
			t.Errorf("findVersion(%q) = %q, want %q", output, got, want)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	out := new(tail)
	for i := range 100 {
		_, _ = fmt.Fprintf(out, "line %d\r\n", i)
	}
	_, _ = io.WriteString(out, "unfini")
	_, _ = io.WriteString(out, "shed")
	got := strings.Split(out.String(), "\n")
	if len(got) != keptLines+1 || got[0] != "line 85" || got[keptLines] != "unfinished" {
		t.Errorf("kept %q", got)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q, want %q in it", err, part)
		}
	}
}
