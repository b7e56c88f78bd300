package cli

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"opennebula-kube/ci/release"
	"opennebula-kube/dev/sandbox/apt"
)

// run types a command line, and returns what it printed.
func run(t *testing.T, variables map[string]string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	env := Environment{
		Stdout: open("stdout"), Stderr: open("stderr"), CacheDir: filepath.Join(dir, "cache"), Now: time.Now,
		Getenv: func(name string) string { return variables[name] },
	}
	c := New(env)
	c.SetArgs(args)
	c.SetOut(env.Stdout)
	c.SetErr(env.Stderr)
	err = c.ExecuteContext(t.Context())
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	return read("stdout"), read("stderr"), err
}

// upstream serves the sandbox's releases, with packages that have no program in them, and returns the flags that name it.
func upstream(t *testing.T) []string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	packages, err := apt.Build(t.Context(), apt.Options{
		Dir: t.TempDir(), Versions: apt.DefaultVersions(),
		Standin: func(context.Context, string) (string, error) { return program, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(packages.Handler())
	t.Cleanup(server.Close)
	return []string{"--upstream", server.URL, "--upstream-fingerprint", packages.Fingerprint()}
}

func TestDetection(t *testing.T) {
	from := upstream(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"detect-version"}, "7.2.0\n"},
		{[]string{"detect-version", "--line", "7.0"}, "7.0.2\n"},
		{[]string{"detect-version", "--constraint", "<7.0.2"}, "7.0.1\n"},
		{[]string{"detect-version", "--version", "7.0.0"}, "7.0.0\n"},
	} {
		stdout, _, err := run(t, nil, append(test.args, from...)...)
		if err != nil || stdout != test.want {
			t.Errorf("%v printed %q, %v, want %q", test.args, stdout, err, test.want)
		}
	}
	stdout, _, err := run(t, nil, append([]string{"releases", "--format", "json"}, from...)...)
	var releases []release.Release
	if err == nil {
		err = json.Unmarshal([]byte(stdout), &releases)
	}
	if err != nil || len(releases) != 4 || releases[3].Line != "7.2" || releases[3].Indexes["amd64"] == "" || releases[3].Date.IsZero() {
		t.Errorf("releases: %v, %+v", err, releases)
	}
	stdout, stderr, err := run(t, nil, append([]string{"releases"}, from...)...)
	if err != nil || !strings.Contains(stdout, "7.0.1    7.0   2025-10-22  7.0.1-1  amd64,arm64") {
		t.Errorf("%v\n%s", err, stdout)
	}
	for _, want := range []string{
		"passed over 7.4.0: its package indexes have no package opennebula 7.4.0\n", "passed over 7.4.1: no signed repository for Ubuntu 24.04 (InRelease)\n",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("want %q in\n%s", want, stderr)
		}
	}
}

func TestChartVerbs(t *testing.T) {
	from := upstream(t)
	if _, _, err := run(t, nil, "chart", "lint", "--source", "../.."); err != nil {
		t.Error(err)
	}
	out := t.TempDir()
	images := released(t, "7.0.1-1", "7.0.1-2", "7.2.0-1")
	arguments := slices.Concat([]string{"chart", "package", "--source", "../..", "--output", out}, from)
	stdout, _, err := run(t, nil, append(arguments, "--version", "7.0.1", "--registry", images)...)
	if err != nil {
		t.Fatal(err)
	}
	packaged, err := loader.Load(strings.TrimSpace(stdout))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(packaged.Files, func(f *common.File) bool { return f.Name == "files/image.yaml" })
	if !strings.Contains(string(packaged.Files[at].Data), "repository: "+images+"\ntag: 7.0.1-2\ndigest: sha256:") {
		t.Errorf("the chart refers to\n%s", packaged.Files[at].Data)
	}
	if _, _, err := run(t, nil, arguments...); err != nil {
		t.Errorf("without a registry: %v", err)
	}
	repository, pages := filepath.Join(out, "charts"), filepath.Join(out, "pages.git")
	if output, err := exec.CommandContext(t.Context(), "git", "init", "--bare", pages).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, end := range []string{".tgz\n", ".tgz (was there already)\n"} {
		stdout, _, err := run(t, nil, append([]string{"chart", "publish", "--source", "../..", "--registry", images, "--chart-repository", repository, "--pages", pages}, from...)...)
		if lines := strings.SplitAfter(stdout, "\n"); err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], repository) ||
			!strings.HasPrefix(lines[1], pages+"#gh-pages/opennebula-") || !strings.HasSuffix(lines[0], end) || !strings.HasSuffix(lines[1], end) {
			t.Errorf("published %q, %v, want %q at the end of two lines", stdout, err, end)
		}
	}
	if _, err := os.Stat(filepath.Join(repository, "index.yaml")); err != nil {
		t.Error(err)
	}
}

// released is a repository that has images under these tags.
func released(t *testing.T, tags ...string) string {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/acme/opennebula"
	for _, tag := range tags {
		image, err := random.Image(100, 1)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.NewTag(repository + ":" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
	}
	return repository
}

func TestErrorsSayWhatToDo(t *testing.T) {
	nothing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(nothing.Close)
	bad := filepath.Join(t.TempDir(), "exceptions.yaml")
	if err := os.WriteFile(bad, []byte("exceptions:\n  - id: CVE-2026-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	image := []string{"--source", "../..", "--upstream", nothing.URL}
	for _, test := range []struct {
		args []string
		want string
	}{
		{append([]string{"detect-version"}, image...), nothing.URL},
		{[]string{"detect-version", "--source", "../..", "--upstream", "downloads.opennebula.io"}, "downloads.opennebula.io"},
		{[]string{"detect-version", "--source", t.TempDir(), "--upstream", nothing.URL}, "--upstream-fingerprint"},
		{[]string{"releases", "--format", "xml"}, "table, json"},
		{append([]string{"release", "--output", t.TempDir()}, image...), "--registry"},
		{append([]string{"push", "--registry", "ghcr.io/acme/opennebula:tag"}, image...), "ghcr.io/acme/opennebula:tag"},
		{append([]string{"push", "--registry", "ghcr.io/acme/opennebula", "--username", "me"}, image...), passwordVariable},
		{append([]string{"push", "--registry", "ghcr.io/acme/opennebula", "--password-file", "x"}, image...), "--username"},
		{append([]string{"scan", "--severity", "AWFUL"}, image...), "AWFUL"},
		{append([]string{"build", "--upstream-fingerprint", "repo2.key", "--output", "new"}, image...), `"repo2.key": not a key's fingerprint`},
		{append([]string{"scan", "--exceptions", bad}, image...), bad + ":2"},
		{append([]string{"scan", "--exceptions", "absent.yaml"}, image...), "absent.yaml"},
		{append([]string{"release", "--registry", "ghcr.io/acme/opennebula", "--chart-registry", "ghcr.io/Acme/opennebula"}, image...), "--chart-registry"},
		{append([]string{"release", "--registry", "docker.io/acme/images/opennebula"}, image...), "Docker Hub has"},
		{append([]string{"sbom"}, image...), "--platform"},
		{append([]string{"chart", "publish", "--pages", "git@github.com:acme/charts"}, image...), "give the https address"},
		{append([]string{"chart", "publish", "--pages-token-file", "x"}, image...), "--pages-token-file needs --pages"},
		{append([]string{"chart", "publish", "--pages", "https://g.org/a/b", "--pages-token-file", "absent"}, image...), "read the token for the pages: open absent"},
		{[]string{"build", "--source", t.TempDir(), "--output", filepath.Join(t.TempDir(), "new")}, "--source"},
		{append([]string{"build", "--output", t.TempDir()}, image...), "exists"},
		{[]string{"chart", "lint", "--source", t.TempDir()}, "Chart.yaml"},
		{append([]string{"chart", "publish"}, image...), "--registry"},
		{
			append([]string{"chart", "publish", "--source", "../..", "--registry", released(t, "7.0.1-1"), "--chart-repository", t.TempDir()}, upstream(t)...),
			"has no released image of OpenNebula 7.2.0; release it first",
		},
	} {
		_, _, err := run(t, nil, test.args...)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: error %v, want one with %q", test.args, err, test.want)
		}
	}
}

func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := Environment{Getenv: func(name string) string { return map[string]string{passwordVariable: "from environment"}[name] }}
	for _, test := range []struct {
		options  registryOptions
		user, pw string
	}{
		{registryOptions{}, "", ""},
		{registryOptions{Username: "me"}, "me", "from environment"},
		{registryOptions{Username: "me", PasswordFile: file}, "me", "from file"},
	} {
		if user, pw, err := test.options.credentials(env); err != nil || user != test.user || pw != test.pw {
			t.Errorf("%+v: %q, %q, %v", test.options, user, pw, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, empty + "-not"} {
		if _, _, err := (&registryOptions{Username: "me", PasswordFile: path}).credentials(env); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("password file %s: error %v", path, err)
		}
	}
}

func TestPagesToken(t *testing.T) {
	given := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		given <- password
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	from, images := upstream(t), released(t, "7.2.0-1")
	for want, args := range map[string][]string{"from-environment": nil, "from-file": {"--pages-token-file", file}} {
		args = slices.Concat([]string{"chart", "publish", "--source", "../..", "--registry", images, "--pages", server.URL + "/charts"}, from, args)
		_, _, err := run(t, map[string]string{tokenVariable: "from-environment"}, args...)
		if err == nil || !strings.Contains(err.Error(), "contents: write") {
			t.Errorf("%v: error %v", args, err)
		}
		if got := <-given; got != want {
			t.Errorf("%v sends the token %q, want %q", args, got, want)
		}
	}
}
