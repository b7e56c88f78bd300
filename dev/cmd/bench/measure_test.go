package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/dev/sandbox"
)

func testBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	return &bench{
		world: &sandbox.Sandbox{Registry: "127.0.0.1:5000"},
		tools: filepath.Join(dir, "cache", "tools"),
		dir:   filepath.Join(dir, "work"),
	}
}

// TestPlace looks at what runs share: the state within a side and round, what is published with nobody but the run that finds it.
func TestPlace(t *testing.T) {
	b := testBench(t)
	publishedBy, stateOf := map[string]step{}, map[string]step{}
	for _, s := range schedule(2) {
		at := b.place(s)
		owner, taken := publishedBy[at.images]
		if want := (step{s.round, s.side, warm}); s.kind == nothing && owner != want {
			t.Errorf("%v finds what %v published, want %v", s, owner, want)
		}
		if s.kind != nothing && taken {
			t.Errorf("%v releases to %s, as %v does", s, at.images, owner)
		}
		if s.kind != nothing {
			publishedBy[at.images] = s
		}
		first, known := stateOf[at.state]
		if known != (s.kind != cold) {
			t.Errorf("%v works on state of %v", s, first)
		}
		if known && (first.round != s.round || first.side != s.side) {
			t.Errorf("%v works on state of %v", s, first)
		}
		stateOf[at.state] = s
	}
	want := place{
		state:  filepath.Join(b.dir, "round-2", "shell"),
		out:    filepath.Join(b.dir, "round-2", "shell-cold"),
		images: "127.0.0.1:5000/acme/round-2-shell-cold/opennebula",
		charts: "127.0.0.1:5000/acme/round-2-shell-cold/charts/opennebula",
	}
	if diff := cmp.Diff(want, b.place(step{2, shellSide, cold}), cmp.AllowUnexported(place{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSeedKeepsTheTools(t *testing.T) {
	b := testBench(t)
	tool := filepath.Join(b.tools, "trivy-1.0.0")
	if err := os.MkdirAll(b.tools, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tool, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	s := step{1, pipelineSide, cold}
	at := b.place(s)
	if err := b.seed(s, at); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(at.state, "opennebula-kube")
	if _, err := os.Stat(filepath.Join(cache, "tools", "trivy-1.0.0")); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(cache); err != nil || len(entries) != 1 {
		t.Errorf("a cold run finds %v (%v), want the tools alone", entries, err)
	}
	// A round's state is thrown away, and the tools are not its.
	if err := os.RemoveAll(at.state); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tool); err != nil {
		t.Errorf("the tools are gone with the state: %v", err)
	}
}

func TestLastLines(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"one\n", "one"},
		{"one\ntwo\nthree\n\n", "two\nthree"},
	} {
		if got := lastLines(c.text, 2); got != c.want {
			t.Errorf("lastLines(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}
