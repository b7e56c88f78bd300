package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adrg/xdg"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/release"
	"opennebula-kube/dev/cli"
	"opennebula-kube/dev/local"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/sandbox/trivydb"
	"opennebula-kube/dev/toolchain"
)

// root is the root directory of the repository.
const root = "../.."

// The ports are the same each time, for the addresses are part of what the build cache goes by.
const (
	upstreamPort = 28180
	registryPort = 28600
)

// dawn is when the sandbox's vulnerability database is made: a fixed time gives a database that is cached from run to run.
var dawn = time.Date(2026, 8, 20, 6, 0, 0, 0, time.UTC)

// TestPipeline shares one sandbox among all scenarios, which keep apart by releasing to repositories of their own. They run one
// after the other: each engine has the build cache to itself.
func TestPipeline(t *testing.T) {
	w := start(t)
	for _, group := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"story", testStory},
		{"gate", testGate},
		{"scanner", testScanner},
		{"trial", testTrial},
		{"upstream", testUpstream},
		{"registry", testRegistry},
		{"login", testLogin},
		{"verbs", testVerbs},
		{"reproducible", testReproducible},
	} {
		t.Run(group.name, func(t *testing.T) { group.test(t, w) })
	}
}

// world is the sandbox and what runs against it.
type world struct {
	*sandbox.Sandbox
	cache string
	tools *toolchain.Toolchain
	now   func() time.Time
	// sources is the digest of the image's sources.
	sources string
}

func start(t *testing.T) *world {
	t.Helper()
	return startWith(t, sandbox.Options{RegistryPort: registryPort, Now: func() time.Time { return dawn }})
}

// startWith starts a sandbox with these options among others.
func startWith(t testing.TB, options sandbox.Options) *world {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("-short: builds and scans images")
	case local.CanBuild() != nil:
		t.Skip(local.CanBuild())
	}
	// Nobody's own login gets into the tests.
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	begin := time.Now()
	w := &world{
		cache: filepath.Join(xdg.CacheHome, "opennebula-kube"),
		now:   func() time.Time { return dawn.Add(time.Hour + time.Since(begin)) },
	}
	w.tools = toolchain.New(root, w.cache, t.Logf)
	if err := w.tools.OSPackages(t.Context(),
		toolchain.Need{Command: "runc", Package: "runc"}, toolchain.Need{Command: "mmdebstrap", Package: "mmdebstrap"}); err != nil {
		t.Skipf("builds images: %v", err)
	}
	var err error
	if w.sources, err = pipeline.SourcesDigest(filepath.Join(root, "image")); err != nil {
		t.Fatal(err)
	}
	// Now, for it can take longer than a command is given.
	for _, tool := range []string{"buildkitd", "trivy"} {
		if _, err := w.tools.Tool(t.Context(), tool); err != nil {
			t.Fatal(err)
		}
	}
	options.CacheDir, options.Dir, options.Root = w.cache, t.TempDir(), root
	options.Toolchain, options.Log, options.UpstreamPort = w.tools, t.Logf, upstreamPort
	if w.Sandbox, err = sandbox.Start(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// repository names a repository that no other scenario releases to, and one for its chart.
func (w *world) repository(name string) (image, chart string) {
	prefix := w.Registry + "/" + sandbox.Owner + "/" + name
	return prefix + "/opennebula", prefix + "/charts/opennebula"
}

// advisories puts these into the vulnerability database, made at the given time, until the end of the test.
func (w *world) advisories(t *testing.T, updatedAt time.Time, advisories ...sandbox.Advisory) {
	t.Helper()
	if err := w.SetAdvisories(t.Context(), updatedAt, advisories...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.SetAdvisories(context.WithoutCancel(t.Context()), dawn, trivydb.Passing()...); err != nil {
			t.Error(err)
		}
	})
}

// platform is the one that every machine can build for.
func platform() string { return "linux/" + runtime.GOARCH }

// upstreamArgs say where packages come from, and who signs them.
func (w *world) upstreamArgs() []string {
	return []string{"--upstream", w.Upstream, "--upstream-fingerprint", w.UpstreamFingerprint}
}

// imageArgs say what to build. The base image is pinned: scenarios update the tag.
func (w *world) imageArgs() []string {
	return append(w.upstreamArgs(), "--base-image", w.BaseImage, "--platform", platform())
}

// buildArgs are what every verb that builds is told.
func (w *world) buildArgs() []string { return append([]string{"--source", root}, w.imageArgs()...) }

// triedArgs are those of a release of one line to a repository; releaseArgs are for scenarios that end before the trial, or that it has
// nothing to do with, and those would take longer with it.
func (w *world) triedArgs(repository string) []string {
	return append(w.buildArgs(), "--db-repository", w.DatabaseRepository, "--registry", repository, "--line", "7.2")
}

func (w *world) releaseArgs(repository string) []string {
	return append(w.triedArgs(repository), "--skip-trial", untried)
}

// untried is why most scenarios do not try the image.
const untried = "this is about something else"

// outcome is what is left of a command that has run.
type outcome struct {
	stdout, stderr string
	err            error
	// dir is the directory given by --output; reports are what release.json in it says, if there is one, and report is the last.
	dir     string
	reports pipeline.Reports
	report  *pipeline.Report
}

// patience is how long a command may take: one that hangs is to fail by its own name.
const patience = 5 * time.Minute

// run runs a command line.
func (w *world) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return w.runIn(t.Context(), t, nil, args...)
}

// runIn runs a command line until ctx ends, with environment variables. No engine of the test may have built with the same cache
// and still be open: the command would wait for its end.
func (w *world) runIn(ctx context.Context, t *testing.T, environ map[string]string, args ...string) outcome {
	t.Helper()
	var o outcome
	if slices.Contains([]string{"release", "push"}, args[0]) && !slices.Contains(args, "--output") {
		o.dir = filepath.Join(t.TempDir(), "out")
		args = append(slices.Clone(args), "--output", o.dir)
	}
	files := make([]*os.File, 2)
	for i, name := range []string{"stdout", "stderr"} {
		file, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		files[i] = file
	}
	command := cli.New(cli.Environment{
		Stdout: files[0], Stderr: files[1], CacheDir: w.cache, Now: w.now,
		Getenv: func(name string) string { return environ[name] },
	})
	command.SetArgs(args)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the command does not end within %s", patience))
	defer cancel()
	begin := time.Now()
	o.err = command.ExecuteContext(ctx)
	t.Logf("pipeline %s: %v (%s)", args[0], o.err, time.Since(begin).Round(time.Millisecond))
	o.stdout, o.stderr = readFile(t, files[0].Name()), readFile(t, files[1].Name())
	if o.dir == "" {
		return o
	}
	data, err := os.ReadFile(filepath.Join(o.dir, "release.json"))
	if err != nil {
		t.Logf("no report: %v", err)
		return o
	}
	if err := json.Unmarshal(data, &o.reports); err != nil || len(o.reports) == 0 {
		t.Fatalf("release.json: %v\n%s", err, data)
	}
	o.report = o.reports[len(o.reports)-1]
	return o
}

// passed ends the test unless the command succeeded.
func (o outcome) passed(t *testing.T) outcome {
	t.Helper()
	if o.err != nil {
		t.Fatalf("the command failed: %v\n%s", o.err, o.stderr)
	}
	return o
}

// failed ends the test unless the command failed with an error that says all this, in release.json too where it wrote one.
func (o outcome) failed(t *testing.T, want ...string) outcome {
	t.Helper()
	if o.err == nil {
		t.Fatalf("the command succeeded, want an error with %q:\n%s", want, o.stderr)
	}
	for _, part := range want {
		if !strings.Contains(o.err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", o.err, part)
		}
	}
	if o.report != nil && !strings.Contains(o.err.Error(), o.report.Error) || o.report != nil && o.report.Error == "" {
		t.Errorf("release.json has error %q, want %q", o.report.Error, o.err)
	}
	return o
}

// planned ends the test unless the run's plan was this, for all these reasons, and its stages ended without failure.
func (o outcome) planned(t *testing.T, action release.Action, reasons ...string) outcome {
	t.Helper()
	if o.report == nil || o.report.Plan == nil {
		t.Fatalf("no plan in release.json; output:\n%s", o.stderr)
	}
	wantPlan(t, *o.report.Plan, action, reasons...)
	return o
}

func wantPlan(t *testing.T, plan release.Plan, action release.Action, reasons ...string) {
	t.Helper()
	said := strings.Join(plan.Reasons, "; ")
	if plan.Action != action {
		t.Fatalf("the plan is %s (%s), want %s", plan.Action, said, action)
	}
	for _, reason := range reasons {
		if !strings.Contains(said, reason) {
			t.Errorf("the plan's reasons are %q, want %q in them", said, reason)
		}
	}
}

// stages lists what became of the stages of a run: "build done", ...
func stages(report *pipeline.Report) []string {
	var list []string
	for _, stage := range report.Stages {
		list = append(list, stage.Name+" "+string(stage.State))
	}
	return list
}

// file reads one of the files that the run left.
func (o outcome) file(t *testing.T, name string) []byte {
	t.Helper()
	return []byte(readFile(t, filepath.Join(o.dir, o.report.Line, name)))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var value T
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("not the JSON that was expected: %v\n%.2000s", err, data)
	}
	return value
}
