package local_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/adrg/xdg"

	"opennebula-kube/ci/httpfault"
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

	engine := func(database string) func(t *testing.T) pipeline.Engine {
		return func(t *testing.T) pipeline.Engine {
			t.Helper()
			state := t.TempDir()
			e, err := local.New(t.Context(), local.Config{
				Context: "../../image", StateDir: state, Toolchain: tools, DatabaseRepository: database, Log: t.Output(),
			})
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
	}
	enginetest.Run(t, enginetest.Harness{
		New:             engine(world.DatabaseRepository),
		WithoutDatabase: engine(world.Registry + "/no-such-db:2"),
		Stall: func(t *testing.T) (<-chan struct{}, func()) {
			hanging := make(chan struct{})
			var once sync.Once
			hang := httpfault.Hang()
			world.UpstreamFaults.Inject(httpfault.Fault{Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				once.Do(func() { close(hanging) })
				hang(w, r, next)
			}})
			t.Cleanup(world.UpstreamFaults.Clear)
			return hanging, world.UpstreamFaults.Clear
		},
		Spec: pipeline.BuildSpec{
			Version:   "7.0.1",
			Upstream:  world.Upstream,
			BaseImage: world.BaseImage,
			Platforms: []string{"linux/" + runtime.GOARCH},
			Epoch:     time.Date(2025, 10, 22, 12, 0, 0, 0, time.UTC),
			Labels:    map[string]string{"org.opencontainers.image.version": "7.0.1", "org.example.quoted": `a "b" $c`},
		},
		AbsentVersion: "7.0.77",
		Vulnerability: "CVE-2099-1001",
		Repository:    world.Repository,
	})
}

// wantNothingLeft checks that an engine that is closed left no half-made image, no scratch file and no mount.
func wantNothingLeft(t *testing.T, state string) {
	t.Helper()
	for _, pattern := range []string{"images/.*", "trivy/.*", "tmp/*", "tmp/.*"} {
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
