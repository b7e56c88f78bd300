package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/dev/toolchain"
)

// pinnedTrivy is the version that a program has to say it is to be taken for Trivy.
func pinnedTrivy(t *testing.T) string {
	t.Helper()
	const file = "../tools/trivy.mod"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(mod.Require, func(r *modfile.Require) bool { return r.Mod.Path == "github.com/aquasecurity/trivy" })
	if i < 0 {
		t.Fatalf("%s does not require Trivy", file)
	}
	return strings.TrimPrefix(mod.Require[i].Mod.Version, "v")
}

// asTrivy puts a script on the PATH in Trivy's place.
func asTrivy(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	script = fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" --version \"*) echo \"Version: %s\"; exit ;; esac\n%s\n", pinnedTrivy(t), script)
	if err := os.WriteFile(filepath.Join(dir, "trivy"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func newEngine(t *testing.T, state string) *Engine {
	t.Helper()
	e, err := New(t.Context(), Config{Context: "../../image", StateDir: state, Toolchain: toolchain.New("../..", t.TempDir(), t.Logf)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Join(state, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return e
}

// A tool gets its directories and files below a working directory of its own, and no secret of the environment.
func TestRunTool(t *testing.T) {
	asTrivy(t, `set -e
echo "args $*"; cat given/file given/sub/name; echo report > out/report; pwd
env | grep -v '^PWD=\|^_=\|^SHLVL=\|^OLDPWD=' | cut -d= -f1 | sort >&2`)
	t.Setenv("REGISTRY_PASSWORD", "secret")
	t.Setenv("DOCKER_CONFIG", "/secret")
	t.Setenv("NO_PROXY", "127.0.0.1")
	for _, key := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if _, set := os.LookupEnv(key); set {
			t.Setenv(key, "")
			if err := os.Unsetenv(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	e := newEngine(t, t.TempDir())
	in := t.TempDir()
	if err := os.WriteFile(filepath.Join(in, "name"), []byte("in a directory\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	result, err := e.Run(t.Context(), pipeline.Program{
		Args: []string{"trivy", "a b", ""}, Env: []string{"MORE=1"}, Files: map[string][]byte{"given/file": []byte("a file\n")},
		In: map[string]pipeline.Directory{"given/sub": pipeline.Local(in)}, Out: map[string]pipeline.Directory{"out": nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(result.Stdout, "args a b \na file\nin a directory\n"+e.scratch+"/") || result.Status != 0 {
		t.Errorf("ended %+v", result)
	}
	if want := "HOME\nMORE\nNO_PROXY\nPATH\nTMPDIR\n"; result.Stderr != want {
		t.Errorf("the environment has\n%s, want\n%s", result.Stderr, want)
	}
	if data, err := result.Out["out"].ReadFile(t.Context(), "report", 100); err != nil || string(data) != "report\n" {
		t.Errorf("left %q, %v", data, err)
	}
}

// A program with a key runs once, whoever asks, unless it fails.
func TestRunKeyed(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	asTrivy(t, `echo run >> `+runs+`; echo "$1" > out/left; exit "$2"`)
	state := t.TempDir()
	run := func(t *testing.T, key, name, status string) pipeline.Result {
		t.Helper()
		result, err := newEngine(t, state).Run(t.Context(), pipeline.Program{
			Args: []string{"trivy", name, status}, Out: map[string]pipeline.Directory{"out": nil}, Key: key,
		})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	const key = "sha256:1"
	for _, c := range []struct {
		key, name, status, want string
		runs                    int
	}{
		{key, "failing", "1", "", 1},
		{key, "first", "0", "first\n", 2},
		{key, "second", "0", "first\n", 2},
		{"sha256:2", "third", "0", "third\n", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := run(t, c.key, c.name, c.status)
			if c.want == "" {
				if result.Status != 1 || result.Out["out"] != nil {
					t.Errorf("ended %+v", result)
				}
			} else if data, err := result.Out["out"].ReadFile(t.Context(), "left", 100); err != nil || string(data) != c.want {
				t.Errorf("left %q, %v; want %q", data, err, c.want)
			}
			if data, err := os.ReadFile(runs); err != nil || strings.Count(string(data), "run") != c.runs {
				t.Errorf("it has run %q, %v; want %d", data, err, c.runs)
			}
		})
	}
}

func TestRunToolStops(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	asTrivy(t, `echo yes > `+started+`; exec sleep 600`)
	e := newEngine(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := e.Run(ctx, pipeline.Program{Args: []string{"trivy"}})
		done <- err
	}()
	for {
		if _, err := os.Stat(started); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("ended before it was interrupted: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestTail(t *testing.T) {
	var kept tail
	for i := range 5 {
		if n, err := kept.Write([]byte(strings.Repeat(fmt.Sprint(i), pipeline.KeptOutput/2))); err != nil || n != pipeline.KeptOutput/2 {
			t.Fatal(n, err)
		}
	}
	if got := kept.String(); len(got) != pipeline.KeptOutput || strings.Trim(got, "34") != "" {
		t.Errorf("%d bytes are kept, from %q", len(got), got[:10])
	}
}

// What a directory of another engine's is, nobody knows here.
func TestRunForeignDirectory(t *testing.T) {
	asTrivy(t, "exit 0")
	_, err := newEngine(t, t.TempDir()).Run(t.Context(), pipeline.Program{
		Args: []string{"trivy"}, In: map[string]pipeline.Directory{"in": struct{ pipeline.Directory }{}},
	})
	if err == nil || !strings.Contains(err.Error(), "not one of this machine's") {
		t.Errorf("error %v", err)
	}
}

func TestNewErrors(t *testing.T) {
	tools := toolchain.New("../..", t.TempDir(), t.Logf)
	for want, config := range map[string]Config{
		"no toolchain":         {Context: "../../image", StateDir: t.TempDir()},
		"sources of the image": {Context: t.TempDir(), StateDir: t.TempDir(), Toolchain: tools},
		"state directory":      {Context: "../../image", StateDir: "/dev/null/x", Toolchain: tools},
	} {
		if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
