package e2e_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/kept"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
	"opennebula-kube/dev/local"
)

// engine makes the embedded engine, with the build cache in stateDir; it is closed at the end of the test.
func (w *world) engine(t *testing.T, stateDir string) *local.Engine {
	t.Helper()
	e, err := local.New(t.Context(), local.Config{
		Context: root + "/image", StateDir: stateDir, Toolchain: w.tools, Log: t.Output(),
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
		Engine: engine, Upstream: w.upstream(t, time.Minute), Images: images, Database: w.DatabaseRepository, Now: w.now,
		Layouts:     kept.Directories{Dir: filepath.Join(w.cache, "images"), Count: 5, Now: time.Now},
		ResolveBase: func(ctx context.Context, ref string) (string, error) { return registry.Resolve(ctx, ref) },
	}
}

// upstream is the sandbox's, asked twice, each time for so long.
func (w *world) upstream(t *testing.T, timeout time.Duration) *release.Upstream {
	t.Helper()
	upstream, err := release.NewUpstream(w.Upstream, w.UpstreamFingerprint, release.WithClock(w.now), release.WithRetry(release.Retry{
		Attempts: 2, Timeout: timeout, WaitMin: time.Millisecond, WaitMax: time.Millisecond,
	}))
	if err != nil {
		t.Fatal(err)
	}
	return upstream
}

func (w *world) options() pipeline.Options {
	return pipeline.Options{
		Sources:   w.sources,
		Selection: release.Selection{Line: "7.2"},
		Platforms: []string{platform()},
		BaseImage: w.BaseImage,
		SkipTrial: new(untried),
		Policy:    gate.Policy{Threshold: []gate.Severity{gate.Critical, gate.High}, MaxDatabaseAge: 48 * time.Hour},
	}
}

// only returns the report of a run that is about one line.
func only(reports pipeline.Reports, err error) (*pipeline.Report, error) { return reports[0], err }

// scannedOnce is an engine that does not have Trivy look at the same image twice: for scenarios about anything but the scanner, which is
// the slowest of all.
type scannedOnce struct {
	pipeline.Engine
	mu    sync.Mutex
	known map[string]pipeline.Result
}

func scanOnce(engine pipeline.Engine) *scannedOnce {
	return &scannedOnce{Engine: engine, known: map[string]pipeline.Result{}}
}

// Run implements pipeline.Engine. Trivy's arguments name the image by its digest.
func (s *scannedOnce) Run(ctx context.Context, program pipeline.Program) (pipeline.Result, error) {
	if program.Image.Dir != "" || program.Key != "" {
		return s.Engine.Run(ctx, program)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.Join(program.Args, " ")
	if result, ok := s.known[key]; ok {
		return result, nil
	}
	result, err := s.Engine.Run(ctx, program)
	if err == nil && result.Status == 0 {
		s.known[key] = result
	}
	return result, err
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
