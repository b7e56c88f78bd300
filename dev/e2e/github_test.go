package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"net"
)

// fakeGitHub is as much of GitHub's API as a report to it needs.
type fakeGitHub struct {
	mu     sync.Mutex
	sarifs []map[string]any
	issues []map[string]any
	off    bool // it refuses all, as with code scanning and issues turned off
}

func (f *fakeGitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	answer := func(status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value)
	}
	const repository = "/repos/acme/opennebula-kube"
	path := strings.TrimPrefix(r.URL.Path, repository)
	var number int
	switch {
	case r.Header.Get("Authorization") != "Bearer the-token":
		answer(http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
	case f.off:
		answer(http.StatusForbidden, map[string]string{"message": "It is turned off for this repository"})
	case r.Method == http.MethodPost && path == "/code-scanning/sarifs":
		f.sarifs = append(f.sarifs, body)
		answer(http.StatusAccepted, map[string]string{"id": "1"})
	case r.Method == http.MethodPost && path == "/labels":
		answer(http.StatusCreated, body)
	case r.Method == http.MethodGet && path == "/issues":
		open := []map[string]any{}
		for _, issue := range f.issues {
			if issue["state"] == "open" {
				open = append(open, issue)
			}
		}
		answer(http.StatusOK, open)
	case r.Method == http.MethodPost && path == "/issues":
		labels := []map[string]any{}
		for _, name := range body["labels"].([]any) {
			labels = append(labels, map[string]any{"name": name})
		}
		body["labels"], body["number"], body["state"] = labels, len(f.issues)+1, "open"
		body["html_url"] = fmt.Sprintf("https://github.example.org/acme/opennebula-kube/issues/%d", len(f.issues)+1)
		f.issues = append(f.issues, body)
		answer(http.StatusCreated, body)
	case sscanf(path, "/issues/%d", &number) && r.Method == http.MethodPatch:
		for key, value := range body {
			f.issues[number-1][key] = value
		}
		answer(http.StatusOK, f.issues[number-1])
	case sscanf(path, "/issues/%d/comments", &number) && r.Method == http.MethodGet:
		answer(http.StatusOK, []any{})
	case sscanf(path, "/issues/%d/comments", &number) && r.Method == http.MethodPost:
		answer(http.StatusCreated, body)
	default:
		answer(http.StatusNotFound, map[string]string{"message": "Not Found: " + r.Method + " " + r.URL.Path})
	}
}

func sscanf(path, format string, number *int) bool {
	n, err := fmt.Sscanf(path, format, number)
	return n == 1 && err == nil
}

// serveOn serves a handler on an address of this machine.
func serveOn(t *testing.T, host string, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// testReport has releases report to GitHub: one that the gate stops, twice, and one that works.
func (d *daggerWorld) testReport(t *testing.T) {
	hub := new(fakeGitHub)
	image, _ := d.repository("dagger-report")
	t.Setenv("TEST_GITHUB_TOKEN", "the-token")
	report := []string{"report-to-github", "--token", "env:TEST_GITHUB_TOKEN", "--repository", "acme/opennebula-kube",
		"--commit", strings.Repeat("a", 40), "--ref", "refs/heads/main", "--api", serveOn(t, privateAddress(t), hub),
		"--issue", "--run", "https://github.example.org/run/1"}
	release := func(args ...string) []string {
		return append(append(append([]string{"release"}, d.releaseOptions(image)...), args...), report...)
	}
	var output string
	for range 2 {
		var err error
		output, err = d.tryCall(t, release("--keep-report", "--severity", "MEDIUM")...)
		if err == nil || !strings.Contains(output, "the gate did not pass") {
			t.Fatalf("a release that the gate stops: %v\n%s", err, output)
		}
		if strings.Contains(output, "the-token") {
			t.Error("the token is printed")
		}
	}
	if len(hub.issues) != 1 || hub.issues[0]["state"] != "open" {
		t.Fatalf("issues after two failures: %v\n%s", hub.issues, output)
	}
	for _, want := range []string{"the gate did not pass", "https://github.example.org/run/1", "CVE-2099-"} {
		if !strings.Contains(hub.issues[0]["body"].(string), want) {
			t.Errorf("the issue does not say %q:\n%s", want, hub.issues[0]["body"])
		}
	}
	if markdown := d.call(t, release("--keep-report")...); !strings.Contains(markdown, "## ✅ OpenNebula 7.2.0") {
		t.Errorf("after a release that works it prints\n%s", markdown)
	}
	if hub.issues[0]["state"] != "closed" {
		t.Errorf("after a success the issue is %v", hub.issues[0]["state"])
	}
	if len(hub.sarifs) != 3 || hub.sarifs[0]["ref"] != "refs/heads/main" || hub.sarifs[0]["sarif"] == "" {
		t.Errorf("code scanning has %d uploads", len(hub.sarifs))
	}

	// A report that cannot be delivered makes no release fail, and is told once.
	hub.mu.Lock()
	hub.off = true
	hub.mu.Unlock()
	output = d.call(t, release("--keep-report")...)
	if !strings.Contains(output, "## ✅ OpenNebula 7.2.0") || strings.Count(output, "\n::warning::") != 1 || !strings.Contains(output, "turned off") {
		t.Errorf("with code scanning and issues turned off it prints\n%s", output)
	}
	if output, err := d.tryCall(t, release("--keep-report", "--severity", "MEDIUM")...); err == nil || !strings.Contains(output, "the gate did not pass") ||
		!strings.Contains(output, "\n::warning::") {
		t.Errorf("a release that the gate stops, with code scanning and issues turned off: %v\n%s", err, output)
	}
}
