package e2e_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
	"opennebula-kube/dev/local"
)

// engine makes the embedded engine, with the build cache in stateDir; it is closed at the end of the test.
func (w *world) engine(t *testing.T, stateDir string) *local.Engine {
	t.Helper()
	e, err := local.New(t.Context(), local.Config{
		Context: root + "/image", StateDir: stateDir, Toolchain: w.tools, DatabaseRepository: w.DatabaseRepository, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// direct is a pipeline without a command line, for scenarios that must not wait as long as a person would before it tries again.
func (w *world) direct(t *testing.T, engine pipeline.Engine, repository string) *pipeline.Pipeline {
	t.Helper()
	images, err := registry.Open(repository, registry.WithBackoff(remote.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 3}))
	if err != nil {
		t.Fatal(err)
	}
	return &pipeline.Pipeline{
		Engine: engine, Upstream: w.upstream(t, time.Minute), Images: images, Now: w.now,
		ResolveBase: func(ctx context.Context, ref string) (string, error) { return registry.Resolve(ctx, ref) },
	}
}

// upstream is the sandbox's, asked twice, each time for so long.
func (w *world) upstream(t *testing.T, timeout time.Duration) *release.Upstream {
	t.Helper()
	upstream, err := release.NewUpstream(w.Upstream, release.WithRetry(release.Retry{
		Attempts: 2, Timeout: timeout, WaitMin: time.Millisecond, WaitMax: time.Millisecond,
	}))
	if err != nil {
		t.Fatal(err)
	}
	return upstream
}

func (w *world) options() pipeline.Options {
	return pipeline.Options{
		Selection:           release.Selection{Constraint: ">=7.0.0"},
		Platforms:           []string{platform()},
		BaseImage:           w.BaseImage,
		UpstreamFingerprint: w.UpstreamFingerprint,
		Policy:              gate.Policy{Threshold: []gate.Severity{gate.Critical, gate.High}, MaxDatabaseAge: 48 * time.Hour},
	}
}

// scannedOnce is an engine that does not look at the same image twice: for scenarios about anything but the scanner, which is the
// slowest of all.
type scannedOnce struct {
	pipeline.Engine
	mu    sync.Mutex
	scans map[string]gate.Scan
	sboms map[string][]byte
}

func scanOnce(engine pipeline.Engine) *scannedOnce {
	return &scannedOnce{Engine: engine, scans: map[string]gate.Scan{}, sboms: map[string][]byte{}}
}

// Scan implements pipeline.Engine.
func (s *scannedOnce) Scan(ctx context.Context, image pipeline.Image, platform string) (gate.Scan, error) {
	return once(&s.mu, s.scans, image, platform, func() (gate.Scan, error) { return s.Engine.Scan(ctx, image, platform) })
}

// SBOM implements pipeline.Engine.
func (s *scannedOnce) SBOM(ctx context.Context, image pipeline.Image, platform string) ([]byte, error) {
	return once(&s.mu, s.sboms, image, platform, func() ([]byte, error) { return s.Engine.SBOM(ctx, image, platform) })
}

func once[T any](mu *sync.Mutex, known map[string]T, image pipeline.Image, platform string, get func() (T, error)) (T, error) {
	mu.Lock()
	defer mu.Unlock()
	key := image.Digest() + " " + platform
	if value, ok := known[key]; ok {
		return value, nil
	}
	value, err := get()
	if err == nil {
		known[key] = value
	}
	return value, err
}

// wantError checks that a run failed with an error that says all this, and that its report says the same and claims no release.
func wantError(t *testing.T, report *pipeline.Report, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("the run succeeded: %v", stages(report))
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
	if report.Error != err.Error() || report.Image != nil {
		t.Errorf("the report has error %q and image %+v", report.Error, report.Image)
	}
	if last := report.Stages[len(report.Stages)-1]; last.State != pipeline.Failed {
		t.Errorf("the last stage, %s, is %s", last.Name, last.State)
	}
}
