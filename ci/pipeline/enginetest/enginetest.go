// Package enginetest is what every pipeline.Engine has to do, as a test suite.
package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/kept"
	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
)

// Harness is the engine under test and the world that it works in.
type Harness struct {
	// New returns an engine that has nothing cached, and ends it with the test.
	New func(t *testing.T) pipeline.Engine
	// Dir returns a directory, on this machine, that the engine takes as Local, as it does those below it.
	Dir func(t *testing.T) string
	// Stall makes the upstream accept requests and answer none, until the test ends or resume is called. The channel is closed
	// when a request hangs.
	Stall func(t *testing.T) (hanging <-chan struct{}, resume func())

	// Spec can be built. It has one platform.
	Spec pipeline.BuildSpec
	// AbsentVersion is a version that the upstream of Spec does not have.
	AbsentVersion string
	// Vulnerability is the ID of one that the vulnerability database knows for the image of Spec.
	Vulnerability string
	// Database is the repository of the vulnerability database, NoDatabase one that does not exist.
	Database, NoDatabase string
	// Repository is one in an empty registry that takes pushes without a login. The machine of the test reaches it too.
	Repository string
}

// promptly is how soon an engine has to return once its context is done.
const promptly = 30 * time.Second

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	s := &suite{Harness: h, engine: h.New(t)}
	s.image = s.build(t, s.engine, h.Spec)

	t.Run("Build", s.testBuild)
	t.Run("BuildFails", s.testBuildFails)
	t.Run("BuildStops", s.testBuildStops)
	t.Run("Scan", s.testScan)
	t.Run("SBOM", s.testSBOM)
	t.Run("Pull", s.testPull)
	t.Run("Run", s.testRun)
	t.Run("ContextDone", s.testContextDone)
}

type suite struct {
	Harness
	engine pipeline.Engine
	image  pipeline.Image // of Spec
}

func (s *suite) build(t *testing.T, engine pipeline.Engine, spec pipeline.BuildSpec) pipeline.Image {
	t.Helper()
	image, err := engine.Build(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// repository is where images are pushed to, past the engine.
func (s *suite) repository(t *testing.T) *registry.Repository {
	t.Helper()
	repository, err := registry.Open(s.Repository)
	if err != nil {
		t.Fatal(err)
	}
	return repository
}

// push sends an image to a tag.
func (s *suite) push(t *testing.T, image pipeline.Image, tag string) {
	t.Helper()
	if digest, err := image.Push(t.Context(), s.repository(t), tag); err != nil || digest != image.Digest {
		t.Fatalf("pushed %s, %v; want %s", digest, err, image.Digest)
	}
}

func (s *suite) platform() string { return s.Spec.Platforms[0] }

// other is a spec whose image is another one, and cheap to make.
func (s *suite) other() pipeline.BuildSpec {
	spec := s.Spec
	spec.Labels = maps.Clone(spec.Labels)
	if spec.Labels == nil {
		spec.Labels = make(map[string]string)
	}
	spec.Labels["org.example.other"] = "yes"
	return spec
}

func (s *suite) testBuild(t *testing.T) {
	if diff := cmp.Diff(s.Spec.Platforms, s.image.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	noCache := s.Spec
	noCache.NoCache = true
	for _, c := range []struct {
		name   string
		engine func(t *testing.T) pipeline.Engine
		spec   pipeline.BuildSpec
	}{
		{"again", func(*testing.T) pipeline.Engine { return s.engine }, s.Spec},
		{"without the cache", func(*testing.T) pipeline.Engine { return s.engine }, noCache},
		{"by an engine that never built", s.New, s.Spec},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := s.build(t, c.engine(t), c.spec).Digest; got != s.image.Digest {
				t.Errorf("digest %s, want %s as the first time", got, s.image.Digest)
			}
		})
	}
	t.Run("another label", func(t *testing.T) {
		if got := s.build(t, s.engine, s.other()).Digest; got == s.image.Digest {
			t.Errorf("digest %s is that of the image without the label", got)
		}
	})
	t.Run("content", func(t *testing.T) {
		s.push(t, s.image, "content")
		image, err := ocilayout.Image(s.image.Dir, s.platform())
		if err != nil {
			t.Fatal(err)
		}
		s.testContent(t, image)
	})
}

func (s *suite) testContent(t *testing.T, pushed v1.Image) {
	config, err := pushed.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range s.Spec.Labels {
		if got := config.Config.Labels[key]; got != want {
			t.Errorf("label %s = %q, want %q", key, got, want)
		}
	}
	if got := config.Created.UTC(); !got.Equal(s.Spec.Epoch) {
		t.Errorf("created %s, want the epoch %s", got, s.Spec.Epoch)
	}
	if got := config.OS + "/" + config.Architecture; got != s.platform() {
		t.Errorf("platform %s, want %s", got, s.platform())
	}
	files, err := readFiles(pushed)
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{
		"opennebula", "opennebula-fireedge", "opennebula-flow", "opennebula-gate", "opennebula-guacd", "opennebula-migration", "opennebula-tools",
	} {
		version, ok := files.installed[pkg]
		if pkg == "opennebula-guacd" { // whose revisions are its own
			ok = ok && strings.HasPrefix(version, s.Spec.Version+"-")
		} else {
			ok = ok && version == s.Spec.PackageVersion
		}
		if !ok {
			t.Errorf("package %s has version %q, want %s", pkg, version, s.Spec.PackageVersion)
		}
	}
	for _, path := range files.secrets {
		t.Errorf("%s is in the image, and the same in every deployment of it", path)
	}
	for _, path := range files.late {
		t.Errorf("%s is dated after the epoch", path)
	}
}

func (s *suite) testBuildFails(t *testing.T) {
	absent := s.Spec
	absent.Version, absent.PackageVersion = s.AbsentVersion, ""
	repackaged := s.Spec
	repackaged.PackageVersion = s.Spec.Version + "-99"
	foreign := s.Spec
	foreign.UpstreamFingerprint = strings.Repeat("0123456789", 4)
	keyless := s.Spec
	keyless.UpstreamFingerprint = s.Spec.UpstreamFingerprint[24:]
	unpinned := s.Spec
	unpinned.BaseImage, _, _ = strings.Cut(s.Spec.BaseImage, "@")
	gone := s.Spec
	gone.BaseImage = unpinned.BaseImage + "@sha256:" + strings.Repeat("0", 64)
	nowhere := s.Spec
	nowhere.Platforms = nil
	undated := s.Spec
	undated.Epoch = time.Time{}
	for _, c := range []struct {
		name string
		spec pipeline.BuildSpec
		want []string
	}{
		{"absent version", absent, []string{s.AbsentVersion, s.Spec.Upstream}},
		{"a packaging that is not there", repackaged, []string{"Version '" + repackaged.PackageVersion + "' for 'opennebula' was not found"}},
		{"signed by another key", foreign, []string{"no valid signature by the key " + foreign.UpstreamFingerprint, s.Spec.Upstream}},
		{"key by its ID", keyless, []string{keyless.UpstreamFingerprint, "40 hexadecimal digits"}},
		{"base image not pinned", unpinned, []string{unpinned.BaseImage}},
		{"base image gone", gone, []string{gone.BaseImage}},
		{"no platform", nowhere, []string{"platform"}},
		{"no epoch", undated, []string{"epoch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image, err := s.engine.Build(t.Context(), c.spec)
			if err == nil {
				t.Fatalf("no error, but image %s", image.Digest)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
			if image.Dir != "" {
				t.Errorf("an image beside the error %v", err)
			}
		})
	}
	t.Run("then works", func(t *testing.T) {
		if got := s.build(t, s.engine, s.Spec).Digest; got != s.image.Digest {
			t.Errorf("digest %s, want %s", got, s.image.Digest)
		}
	})
}

func (s *suite) testBuildStops(t *testing.T) {
	hanging, resume := s.Stall(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	spec := s.Spec
	spec.NoCache = true
	result := make(chan error, 1)
	go func() {
		_, err := s.engine.Build(ctx, spec)
		result <- err
	}()
	select {
	case <-hanging:
	case err := <-result:
		t.Fatalf("the build asked the upstream nothing: %v", err)
	}
	begin := time.Now()
	cancel()
	err := <-result
	if took := time.Since(begin); took > promptly {
		t.Errorf("the build stopped %s after its context, want at most %s", took, promptly)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	resume()
	if got := s.build(t, s.engine, spec).Digest; got != s.image.Digest {
		t.Errorf("digest after that %s, want %s", got, s.image.Digest)
	}
}

func (s *suite) scanner(engine pipeline.Engine) pipeline.Scanner {
	return pipeline.Scanner{Engine: engine, Database: s.Database}
}

// verdict scans an image and has the gate judge the report.
func (s *suite) verdict(t *testing.T, engine pipeline.Engine, image pipeline.Image) gate.Verdict {
	t.Helper()
	scan, err := s.scanner(engine).Scan(t.Context(), image, s.platform())
	if err != nil {
		t.Fatal(err)
	}
	if scan.Platform != s.platform() {
		t.Errorf("scan of platform %q, want %q", scan.Platform, s.platform())
	}
	// Everything over the threshold, so that the verdict names all that was found.
	policy := gate.Policy{Threshold: gate.Severities(), MaxDatabaseAge: 30 * 24 * time.Hour}
	verdict, err := gate.Evaluate([]gate.Scan{scan}, policy, time.Now())
	if err != nil {
		t.Fatalf("the gate does not take the report: %v", err)
	}
	return verdict
}

func (s *suite) testScan(t *testing.T) {
	verdict := s.verdict(t, s.engine, s.image)
	if !slices.ContainsFunc(verdict.Blocking, func(f gate.Finding) bool { return f.ID == s.Vulnerability }) {
		t.Errorf("%s was not found, but %v", s.Vulnerability, verdict.Blocking)
	}
	t.Run("same again", func(t *testing.T) {
		if diff := cmp.Diff(verdict, s.verdict(t, s.engine, s.image)); diff != "" {
			t.Errorf("second scan (-first +second):\n%s", diff)
		}
	})
	t.Run("platform that the image lacks", func(t *testing.T) {
		const foreign = "linux/s390x"
		scan, err := s.scanner(s.engine).Scan(t.Context(), s.image, foreign)
		if err == nil || !strings.Contains(err.Error(), foreign) {
			t.Errorf("error %v, want one that names %s", err, foreign)
		}
		if scan.Report != nil {
			t.Error("there is a report beside the error")
		}
	})
	t.Run("no database", func(t *testing.T) {
		scan, err := pipeline.Scanner{Engine: s.engine, Database: s.NoDatabase}.Scan(t.Context(), s.image, s.platform())
		if err == nil || !strings.Contains(err.Error(), "database "+s.NoDatabase) {
			t.Errorf("error %v, want one that says that it is the database", err)
		}
		if scan.Report != nil {
			t.Error("there is a report beside the error")
		}
	})
}

func (s *suite) testSBOM(t *testing.T) {
	data, err := s.scanner(s.engine).SBOM(t.Context(), s.image, s.platform())
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BOMFormat  string `json:"bomFormat"`
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(data, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" {
		t.Errorf("format %q, want CycloneDX", bom.BOMFormat)
	}
	listed := false
	for _, c := range bom.Components {
		listed = listed || c.Name == "opennebula" && strings.HasPrefix(c.Version, s.Spec.Version)
	}
	if !listed {
		t.Errorf("opennebula %s is not among its %d components", s.Spec.Version, len(bom.Components))
	}
	if _, err := s.scanner(s.engine).SBOM(t.Context(), s.image, "linux/s390x"); err == nil {
		t.Error("no error for a platform that the image lacks")
	}
}

// testPull has an engine that did not build the image look at it.
func (s *suite) testPull(t *testing.T) {
	s.push(t, s.image, "pull")
	layouts := kept.Directories{Dir: s.Dir(t), Now: time.Now}
	image, err := pipeline.Pull(t.Context(), s.repository(t), s.image.Digest, layouts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.verdict(t, s.engine, s.image), s.verdict(t, s.New(t), image)); diff != "" {
		t.Errorf("scan of the pulled image (-as built +as pulled):\n%s", diff)
	}
}

func (s *suite) testContextDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Build": func() error { _, err := s.engine.Build(ctx, s.Spec); return err },
		"Scan":  func() error { _, err := s.scanner(s.engine).Scan(ctx, s.image, s.platform()); return err },
		"SBOM":  func() error { _, err := s.scanner(s.engine).SBOM(ctx, s.image, s.platform()); return err },
		"Run": func() error {
			_, err := s.engine.Run(ctx, s.program("true"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want context.Canceled", err)
			}
		})
	}
}
