package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

const (
	oldBase = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	newBase = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

var today = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// world is a pipeline on an engine without a builder, with a real registry in memory.
type world struct {
	pipeline.Pipeline
	options  pipeline.Options
	releases []release.Release
	upstream error
	base     string
	faults   *httpfault.Switch
	engine   *engine
	events   []pipeline.Event
}

func (w *world) Releases(context.Context) ([]release.Release, error) { return w.releases, w.upstream }
func (w *world) URL() string                                         { return "https://downloads.example" }

func newWorld(t *testing.T, versions ...string) *world {
	t.Helper()
	w := &world{base: oldBase}
	w.faults = httpfault.New(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	server := httptest.NewUnstartedServer(w.faults)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	images, err := registry.Open(strings.TrimPrefix(server.URL, "http://")+"/acme/opennebula", quick()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		w.releases = append(w.releases, release.Release{
			Version: version, Line: version[:3], Date: today.AddDate(0, -1, 0), Architectures: []string{"amd64", "arm64"},
			PackageVersion: version + "-1", Directory: version,
		})
	}
	w.engine = &engine{images: images, vulnerabilities: map[string][]vulnerability{}}
	w.Pipeline = pipeline.Pipeline{
		Engine:      w.engine,
		Upstream:    w,
		Images:      images,
		ResolveBase: func(context.Context, string) (string, error) { return w.base, nil },
		Now:         func() time.Time { return today },
		Progress:    func(e pipeline.Event) { w.events = append(w.events, e) },
	}
	w.options = pipeline.Options{
		BaseImage:           "docker.io/library/ubuntu:24.04",
		UpstreamFingerprint: "0123456789ABCDEF0123456789ABCDEF01234567",
		Policy:              gate.Policy{Threshold: []gate.Severity{gate.Critical, gate.High}, MaxDatabaseAge: 48 * time.Hour},
		Chart:               pipeline.ChartOptions{Dir: "../../chart/opennebula", RepositoryDir: t.TempDir()},
	}
	return w
}

func quick() []registry.Option {
	return []registry.Option{
		registry.WithKeychain(authn.NewMultiKeychain()),
		registry.WithBackoff(remote.Backoff{Duration: time.Microsecond, Factor: 1, Steps: 2}),
	}
}

// tags returns all tags of the repository with their digests.
func (w *world) tags(t *testing.T) map[string]string {
	t.Helper()
	names, err := w.Images.Tags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]string{}
	for _, name := range names {
		if tags[name], err = w.Images.Digest(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	return tags
}

func (w *world) tagNames(t *testing.T) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(w.tags(t)))
}

// released runs a release that is to succeed.
func (w *world) released(t *testing.T) *pipeline.Report {
	t.Helper()
	report, err := w.Release(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// vulnerability is one that the scanner finds.
type vulnerability struct {
	id, severity, fixed string
}

// engine makes images out of their specification alone.
type engine struct {
	images *registry.Repository
	// packages is the state of the package archives, which a build without cache picks up.
	packages, cached string
	// vulnerabilities are those of all images with a state of the archives.
	vulnerabilities map[string][]vulnerability

	builds                              []pipeline.BuildSpec
	pushes                              int
	buildErr, scanErr, sbomErr, pushErr error
}

type fakeImage struct {
	artifact registry.Artifact
	registry.Description
}

func (i fakeImage) Digest() string      { return i.Description.Digest }
func (i fakeImage) Platforms() []string { return i.Description.Platforms }

func describe(artifact registry.Artifact) (pipeline.Image, error) {
	described, err := registry.Describe(artifact)
	return fakeImage{artifact: artifact, Description: described}, err
}

func (e *engine) Build(_ context.Context, spec pipeline.BuildSpec) (pipeline.Image, error) {
	e.builds = append(e.builds, spec)
	if e.buildErr != nil {
		return nil, e.buildErr
	}
	if spec.NoCache {
		e.cached = e.packages
	}
	labels := maps.Clone(spec.Labels)
	labels["packages"] = e.cached
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range spec.Platforms {
		os, architecture, _ := strings.Cut(platform, "/")
		image, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte(spec.Version+spec.BaseImage+platform), types.OCIUncompressedLayer))
		if err != nil {
			return nil, err
		}
		image, err = mutate.ConfigFile(image, &v1.ConfigFile{OS: os, Architecture: architecture, Config: v1.Config{Labels: labels}})
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: architecture}},
		})
	}
	return describe(index)
}

func (e *engine) Pull(ctx context.Context, ref string) (pipeline.Image, error) {
	_, digest, _ := strings.Cut(ref, "@")
	artifact, err := e.images.Artifact(ctx, digest)
	if err != nil {
		return nil, err
	}
	return describe(artifact)
}

func (e *engine) Scan(_ context.Context, image pipeline.Image, platform string) (gate.Scan, error) {
	if e.scanErr != nil {
		return gate.Scan{}, e.scanErr
	}
	found := []map[string]string{}
	for _, v := range e.vulnerabilities[image.(fakeImage).Labels["packages"]] {
		found = append(found, map[string]string{
			"VulnerabilityID": v.id, "PkgName": "openssl", "InstalledVersion": "3.0", "FixedVersion": v.fixed, "Severity": v.severity,
		})
	}
	report, err := json.Marshal(map[string]any{
		"SchemaVersion": 2,
		"Metadata":      map[string]any{"OS": map[string]string{"Family": "ubuntu", "Name": "24.04"}},
		"Results": []any{map[string]any{
			"Target": "image", "Class": "os-pkgs", "Type": "ubuntu", "Vulnerabilities": found,
			"Packages": []any{map[string]string{"Name": "openssl", "Version": "3.0"}},
		}},
	})
	return gate.Scan{Platform: platform, Report: report, DatabaseUpdatedAt: today.Add(-time.Hour)}, err
}

func (e *engine) SBOM(_ context.Context, _ pipeline.Image, platform string) ([]byte, error) {
	return []byte(fmt.Sprintf(`{"bomFormat":"CycloneDX","platform":%q}`, platform)), e.sbomErr
}

func (e *engine) Push(ctx context.Context, image pipeline.Image, ref string) (string, error) {
	e.pushes++
	if e.pushErr != nil {
		return "", e.pushErr
	}
	tag, found := strings.CutPrefix(ref, e.images.Name()+":")
	if !found {
		return "", errors.New("not a reference of this repository: " + ref)
	}
	return e.images.Push(ctx, image.(fakeImage).artifact, tag)
}
