package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"opennebula-kube/ci/pipeline"
)

// testReproducible builds the same input with two caches that are empty, at the same time, and with the one that is not.
func testReproducible(t *testing.T, w *world) {
	pipelines := []*pipeline.Pipeline{
		w.direct(t, w.engine(t, t.TempDir()), w.Repository),
		w.direct(t, w.engine(t, t.TempDir()), w.Repository),
		w.direct(t, w.engine(t, w.cache), w.Repository),
	}
	digests := make([]string, len(pipelines))
	var builds errgroup.Group
	for i, p := range pipelines {
		builds.Go(func() error {
			image, _, err := p.Build(t.Context(), w.options())
			if err == nil {
				digests[i] = image.Digest
			}
			return err
		})
	}
	if err := builds.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(slices.Compact(slices.Clone(digests))) != 1 || !strings.HasPrefix(digests[0], "sha256:") {
		t.Errorf("the same input gives %q", digests)
	}
}
