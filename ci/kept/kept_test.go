package kept_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/kept"
)

const (
	digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	named  = "sha256-0000000000000000000000000000000000000000000000000000000000000000"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}

func TestCommit(t *testing.T) {
	d := kept.Directories{Dir: filepath.Join(t.TempDir(), "new"), Count: 1, Now: time.Now}
	if dir, ok := d.Find(digest); ok {
		t.Errorf("found %s before it was there", dir)
	}
	for _, content := range []string{"first", "second"} {
		stage, err := d.Stage()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stage, content), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, ok := d.Find(digest); ok != (content == "second") {
			t.Errorf("found = %v before the %s was committed", ok, content)
		}
		dir, err := d.Commit(stage, digest)
		if err != nil || dir != filepath.Join(d.Dir, named) {
			t.Fatalf("committed to %s, %v", dir, err)
		}
		if found, ok := d.Find(digest); !ok || found != dir {
			t.Errorf("found %s, %v, want %s", found, ok, dir)
		}
		if diff := cmp.Diff([]string{"first"}, names(t, dir)); diff != "" {
			t.Errorf("what is kept (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{named}, names(t, d.Dir)); diff != "" {
			t.Errorf("after the %s (-want +got):\n%s", content, diff)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

func TestStageRemovesWhatIsOld(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	for name, age := range map[string]time.Duration{
		"a": 0, "b": time.Hour, "c": 3 * time.Hour, "d": 4 * time.Hour, "e": 5 * time.Hour,
		".stage-young": time.Minute, ".stage-old": 3 * time.Hour,
	} {
		if err := os.MkdirAll(filepath.Join(dir, name, "blobs"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		count int
		want  []string
	}{
		{3, []string{".stage-young", "a", "b", "c"}},
		{1, []string{".stage-young", "a", "b"}}, // b may be in use by another process
	} {
		stage, err := kept.Directories{Dir: dir, Count: c.count, Now: func() time.Time { return now }}.Stage()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(stage); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, names(t, dir)); diff != "" {
			t.Errorf("keep %d (-want +got):\n%s", c.count, diff)
		}
	}
}

// What was used a moment ago is not what goes.
func TestFindKeeps(t *testing.T) {
	now := time.Now()
	d := kept.Directories{Dir: t.TempDir(), Now: func() time.Time { return now }}
	if err := os.Mkdir(filepath.Join(d.Dir, named), 0o755); err != nil {
		t.Fatal(err)
	}
	now = now.Add(24 * time.Hour)
	if _, ok := d.Find(digest); !ok {
		t.Fatal("not found")
	}
	if _, err := d.Stage(); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Find(digest); !ok {
		t.Error("it went although it was in use")
	}
}
