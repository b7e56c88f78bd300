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
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/pipeline"
)

// Harness is the engine under test and the world that it works in.
type Harness struct {
	// New returns an engine that has nothing cached, and ends it with the test.
	New func(t *testing.T) pipeline.Engine
	// WithoutDatabase returns an engine whose vulnerability database does not exist.
	WithoutDatabase func(t *testing.T) pipeline.Engine
	// Stall makes the upstream accept requests and answer none, until the test ends or resume is called. The channel is closed
	// when a request hangs.
	Stall func(t *testing.T) (hanging <-chan struct{}, resume func())

	// Spec can be built. It has one platform.
	Spec pipeline.BuildSpec
	// AbsentVersion is a version that the upstream of Spec does not have.
	AbsentVersion string
	// Vulnerability is the ID of one that the vulnerability database knows for the image of Spec.
	Vulnerability string
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
	t.Run("Push", s.testPush)
	t.Run("Pull", s.testPull)
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

// push sends the image to a tag and reads what is there then, past the engine.
func (s *suite) push(t *testing.T, image pipeline.Image, tag string) v1.Image {
	t.Helper()
	ref := s.Repository + ":" + tag
	digest, err := s.engine.Push(t.Context(), image, ref)
	if err != nil {
		t.Fatal(err)
	}
	if digest != image.Digest() {
		t.Errorf("Push to %s = %s, want the image's digest %s", ref, digest, image.Digest())
	}
	if at := s.tag(t, tag); at != digest {
		t.Errorf("tag %s is at %s, want %s", ref, at, digest)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Image(parsed, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return pushed
}

// tag returns the digest that a tag of the repository is at.
func (s *suite) tag(t *testing.T, tag string) string {
	t.Helper()
	ref, err := name.NewTag(s.Repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Head(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return desc.Digest.String()
}

// tags returns the tags of the repository.
func (s *suite) tags(t *testing.T) []string {
	t.Helper()
	repository, err := name.NewRepository(s.Repository)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repository, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return tags
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
	if diff := cmp.Diff(s.Spec.Platforms, s.image.Platforms()); diff != "" {
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
			if got := s.build(t, c.engine(t), c.spec).Digest(); got != s.image.Digest() {
				t.Errorf("digest %s, want %s as the first time", got, s.image.Digest())
			}
		})
	}
	t.Run("another label", func(t *testing.T) {
		if got := s.build(t, s.engine, s.other()).Digest(); got == s.image.Digest() {
			t.Errorf("digest %s is that of the image without the label", got)
		}
	})
	t.Run("content", func(t *testing.T) { s.testContent(t, s.push(t, s.image, "content")) })
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
		if version, ok := files.installed[pkg]; !ok || !strings.HasPrefix(version, s.Spec.Version+"-") {
			t.Errorf("package %s: installed = %v, version %q, want %s-*", pkg, ok, version, s.Spec.Version)
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
	s.push(t, s.image, "fails")
	before := s.tags(t)
	absent := s.Spec
	absent.Version = s.AbsentVersion
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
				t.Fatalf("no error, but image %s", image.Digest())
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
			if image != nil {
				t.Errorf("an image beside the error %v", err)
			}
			if diff := cmp.Diff(before, s.tags(t)); diff != "" {
				t.Errorf("tags in the registry (-before +after):\n%s", diff)
			}
		})
	}
	t.Run("then works", func(t *testing.T) {
		if got := s.build(t, s.engine, s.Spec).Digest(); got != s.image.Digest() {
			t.Errorf("digest %s, want %s", got, s.image.Digest())
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
	if got := s.build(t, s.engine, spec).Digest(); got != s.image.Digest() {
		t.Errorf("digest after that %s, want %s", got, s.image.Digest())
	}
}

// verdict scans an image and has the gate judge the report.
func (s *suite) verdict(t *testing.T, engine pipeline.Engine, image pipeline.Image) gate.Verdict {
	t.Helper()
	scan, err := engine.Scan(t.Context(), image, s.platform())
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
		scan, err := s.engine.Scan(t.Context(), s.image, foreign)
		if err == nil || !strings.Contains(err.Error(), foreign) {
			t.Errorf("error %v, want one that names %s", err, foreign)
		}
		if scan.Report != nil {
			t.Error("there is a report beside the error")
		}
	})
	t.Run("image of somebody else", func(t *testing.T) {
		if _, err := s.engine.Scan(t.Context(), stranger{s.image}, s.platform()); err == nil {
			t.Error("no error")
		}
	})
	t.Run("no database", func(t *testing.T) {
		s.push(t, s.image, "no-database")
		engine := s.WithoutDatabase(t)
		image, err := engine.Pull(t.Context(), s.Repository+"@"+s.image.Digest())
		if err != nil {
			t.Fatal(err)
		}
		scan, err := engine.Scan(t.Context(), image, s.platform())
		if err == nil {
			t.Fatal("no error")
		}
		if !strings.Contains(err.Error(), "database") {
			t.Errorf("error %q does not say that it is the database", err)
		}
		if scan.Report != nil {
			t.Error("there is a report beside the error")
		}
	})
}

// stranger is an image that no engine returned.
type stranger struct{ pipeline.Image }

func (s *suite) testSBOM(t *testing.T) {
	data, err := s.engine.SBOM(t.Context(), s.image, s.platform())
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
	if _, err := s.engine.SBOM(t.Context(), s.image, "linux/s390x"); err == nil {
		t.Error("no error for a platform that the image lacks")
	}
}

func (s *suite) testPush(t *testing.T) {
	const tag = "push"
	s.push(t, s.image, tag)
	t.Run("again", func(t *testing.T) { s.push(t, s.image, tag) })
	t.Run("taken tag", func(t *testing.T) {
		other := s.build(t, s.engine, s.other())
		if _, err := s.engine.Push(t.Context(), other, s.Repository+":"+tag); err == nil {
			t.Error("no error")
		} else if !strings.Contains(err.Error(), tag) {
			t.Errorf("error %q does not name the tag", err)
		}
		if at := s.tag(t, tag); at != s.image.Digest() {
			t.Errorf("the tag was moved to %s", at)
		}
	})
	t.Run("no tag", func(t *testing.T) {
		if _, err := s.engine.Push(t.Context(), s.image, s.Repository); err == nil {
			t.Error("no error for a reference without a tag")
		}
	})
}

func (s *suite) testPull(t *testing.T) {
	const tag = "pull"
	s.push(t, s.image, tag)
	engine := s.New(t)
	image, err := engine.Pull(t.Context(), s.Repository+"@"+s.image.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if image.Digest() != s.image.Digest() {
		t.Errorf("digest %s, want %s", image.Digest(), s.image.Digest())
	}
	if diff := cmp.Diff(s.image.Platforms(), image.Platforms()); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.verdict(t, s.engine, s.image), s.verdict(t, engine, image)); diff != "" {
		t.Errorf("scan of the pulled image (-as built +as pulled):\n%s", diff)
	}
	for _, c := range []struct{ name, ref string }{
		{"absent", s.Repository + "@sha256:" + strings.Repeat("0", 64)},
		{"by tag", s.Repository + ":" + tag},
	} {
		t.Run(c.name, func(t *testing.T) {
			if image, err := engine.Pull(t.Context(), c.ref); err == nil {
				t.Errorf("no error, but image %s", image.Digest())
			} else if !strings.Contains(err.Error(), c.ref) {
				t.Errorf("error %q does not name %s", err, c.ref)
			}
		})
	}
}

func (s *suite) testContextDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Build": func() error { _, err := s.engine.Build(ctx, s.Spec); return err },
		"Scan":  func() error { _, err := s.engine.Scan(ctx, s.image, s.platform()); return err },
		"SBOM":  func() error { _, err := s.engine.SBOM(ctx, s.image, s.platform()); return err },
		"Push":  func() error { _, err := s.engine.Push(ctx, s.image, s.Repository+":done"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want context.Canceled", err)
			}
		})
	}
}
