package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/registry"
)

// platformImage is a small image for one platform.
func platformImage(t *testing.T, architecture string) v1.Image {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// multiPlatform is an index of two platforms and an attestation, as BuildKit makes it.
func multiPlatform(t *testing.T) v1.ImageIndex {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, p := range []v1.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "amd64"}, {OS: "unknown", Architecture: "unknown"}} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: platformImage(t, p.Architecture), Descriptor: v1.Descriptor{Platform: &p}})
	}
	return index
}

func digestOf(t *testing.T, a registry.Artifact) string {
	t.Helper()
	hash, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

func newStore(t *testing.T) store { return store{dir: t.TempDir(), now: time.Now} }

func keep(t *testing.T, s store, a registry.Artifact, digest string) ([]string, error) {
	t.Helper()
	stage, err := s.stage()
	if err != nil {
		t.Fatal(err)
	}
	if err := ocilayout.Write(stage, a); err != nil {
		t.Fatal(err)
	}
	return s.commit(stage, digest)
}

func TestStoreCommit(t *testing.T) {
	for _, c := range []struct {
		name     string
		artifact registry.Artifact
		want     []string
	}{
		{"image", platformImage(t, "amd64"), []string{"linux/amd64"}},
		{"index", multiPlatform(t), []string{"linux/amd64", "linux/arm64"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			digest := digestOf(t, c.artifact)
			if _, ok := s.find(digest); ok {
				t.Error("found before it was there")
			}
			for _, when := range []string{"new", "again"} {
				platforms, err := keep(t, s, c.artifact, digest)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, platforms); diff != "" {
					t.Errorf("%s: platforms (-want +got):\n%s", when, diff)
				}
			}
			dir, ok := s.find(digest)
			if !ok {
				t.Fatal("not found")
			}
			artifact, err := registry.FromLayout(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := digestOf(t, artifact); got != digest {
				t.Errorf("holds %s, want %s", got, digest)
			}
			if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 1 {
				t.Errorf("in the store: %v, %v; want the image alone", entries, err)
			}
		})
	}
	t.Run("another digest", func(t *testing.T) {
		if _, err := keep(t, newStore(t), platformImage(t, "amd64"), baseDigest); err == nil || !strings.Contains(err.Error(), "want "+baseDigest) {
			t.Errorf("error %v", err)
		}
	})
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{
		"a": 0, "b": time.Hour, "c": 3 * time.Hour, "d": 4 * time.Hour, "e": 5 * time.Hour,
		stagePrefix + "young": time.Minute, stagePrefix + "old": 3 * time.Hour,
	} {
		if err := os.MkdirAll(filepath.Join(dir, name, "blobs"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		keep int
		want []string
	}{
		{3, []string{stagePrefix + "young", "a", "b", "c"}},
		{1, []string{stagePrefix + "young", "a", "b"}}, // b may be in use by another process
	} {
		if err := prune(dir, c.keep, now); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, entry := range entries {
			got = append(got, entry.Name())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("keep %d (-want +got):\n%s", c.keep, diff)
		}
	}
}

func TestAcquireWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := acquire(t.Context(), path, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var said strings.Builder
	// The second one says that it waits; then its context ends.
	_, err = acquire(ctx, path, writerFunc(func(p []byte) (int, error) { cancel(); return said.Write(p) }))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if want := fmt.Sprintf("another run is building with %s: waiting for its end\n", path); said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	// A third one gets it when the first one lets go.
	third, err := acquire(t.Context(), path, writerFunc(func(p []byte) (int, error) { return len(p), first.Close() }))
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
