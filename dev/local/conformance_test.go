package local_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/adrg/xdg"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/pipeline/enginetest"
	"opennebula-kube/dev/local"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/toolchain"
)

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds images")
	}
	if err := local.CanBuild(); err != nil {
		t.Skip(err)
	}
	cache := filepath.Join(xdg.CacheHome, "opennebula-kube")
	tools := toolchain.New("../..", cache, t.Logf)
	world, err := sandbox.Start(t.Context(), sandbox.Options{
		CacheDir: cache, Dir: t.TempDir(), Root: "../..", Toolchain: tools, Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})

	harness := enginetest.InSandbox(world.Upstream, world.UpstreamFingerprint, world.BaseImage, world.Repository)
	harness.Database, harness.NoDatabase = world.DatabaseRepository, world.Registry+"/no-such-db:2"
	harness.Dir = func(t *testing.T) string { return t.TempDir() }
	harness.New = func(t *testing.T) pipeline.Engine {
		t.Helper()
		state := t.TempDir()
		e, err := local.New(t.Context(), local.Config{Context: "../../image", StateDir: state, Toolchain: tools, Log: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			wantNothingLeft(t, state)
		})
		return e
	}
	harness.Stall = func(t *testing.T) (<-chan struct{}, func()) {
		t.Cleanup(world.UpstreamFaults.Clear)
		return world.Stall(), world.UpstreamFaults.Clear
	}
	enginetest.Run(t, harness)
}

// wantNothingLeft checks that an engine that is closed left no half-made image, no scratch file and no mount.
func wantNothingLeft(t *testing.T, state string) {
	t.Helper()
	for _, pattern := range []string{"images/.*", "results/.*", "tmp/*", "tmp/.*"} {
		left, err := filepath.Glob(filepath.Join(state, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range left {
			t.Errorf("left behind: %s", path)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(state)) {
		t.Errorf("left mounted: something below %s", state)
	}
}
