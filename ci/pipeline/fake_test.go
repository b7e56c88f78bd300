package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/kept"
	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
	"opennebula-kube/ci/trivy"
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
	// passedOver is what the upstream lists besides.
	passedOver []release.PassedOver
	upstream   error
	base       string
	faults     *httpfault.Switch
	engine     *engine
	events     []pipeline.Event
}

func (w *world) Releases(context.Context) (release.Catalog, error) {
	return release.Catalog{Releases: w.releases, PassedOver: w.passedOver}, w.upstream
}
func (w *world) URL() string         { return "https://downloads.example" }
func (w *world) Fingerprint() string { return "0123456789ABCDEF0123456789ABCDEF01234567" }

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
	w.engine = &engine{t: t, vulnerabilities: map[string][]vulnerability{}, entrypoint: []string{"/usr/bin/one-container"}}
	w.Pipeline = pipeline.Pipeline{
		Engine:      w.engine,
		Layouts:     kept.Directories{Dir: t.TempDir(), Now: time.Now},
		Database:    database(t),
		Upstream:    w,
		Images:      images,
		ResolveBase: func(context.Context, string) (string, error) { return w.base, nil },
		Now:         func() time.Time { return today },
		Progress:    func(e pipeline.Event) { w.events = append(w.events, e) },
	}
	w.options = pipeline.Options{
		Sources:   "sha256:cccc",
		BaseImage: "docker.io/library/ubuntu:24.04",
		Policy:    gate.Policy{Threshold: []gate.Severity{gate.Critical, gate.High}, MaxDatabaseAge: 48 * time.Hour},
		Chart:     pipeline.ChartOptions{Dir: "../../chart/opennebula", RepositoryDir: t.TempDir()},
	}
	return w
}

// database publishes something in the place of a vulnerability database, in a registry of its own.
func database(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ref, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/trivy-db:2")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		t.Fatal(err)
	}
	return ref.String()
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

// release releases, and returns the report of the highest line.
func (w *world) release(t *testing.T) (*pipeline.Report, error) {
	t.Helper()
	reports, err := w.Release(t.Context(), w.options)
	return reports[len(reports)-1], err
}

func (w *world) push(t *testing.T) (*pipeline.Report, error) {
	t.Helper()
	reports, err := w.Push(t.Context(), w.options)
	return reports[len(reports)-1], err
}

// released runs a release that is to succeed.
func (w *world) released(t *testing.T) *pipeline.Report {
	t.Helper()
	report, err := w.release(t)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// vulnerability is one that the scanner finds.
type vulnerability struct {
	id, severity, fixed string
}

// engine makes images out of their specification alone, and knows what programs say without running any.
type engine struct {
	t *testing.T
	// packages is the state of the package archives, which a build without cache picks up.
	packages, cached string
	// vulnerabilities are those of all images with a state of the archives.
	vulnerabilities map[string][]vulnerability

	builds   []pipeline.BuildSpec
	buildErr error
	// What Trivy prints when it fails: empty, it does not fail.
	scanSays, sbomSays string

	// entrypoint is that of the images; selftest, if any, is how they test themselves. trials tells which were asked to.
	entrypoint []string
	selftest   func(trial) (pipeline.Result, error)
	trials     []trial
}

// trial is an image that tests itself: the version in it, on a volume that one of another version has left, or none.
type trial struct{ version, platform, on string }

func (e *engine) Build(_ context.Context, spec pipeline.BuildSpec) (pipeline.Image, error) {
	e.builds = append(e.builds, spec)
	if e.buildErr != nil {
		return pipeline.Image{}, e.buildErr
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
			return pipeline.Image{}, err
		}
		image, err = mutate.ConfigFile(image, &v1.ConfigFile{OS: os, Architecture: architecture, Config: v1.Config{
			Labels: labels, Entrypoint: e.entrypoint, Cmd: []string{"start"},
		}})
		if err != nil {
			return pipeline.Image{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: architecture}},
		})
	}
	dir := e.t.TempDir()
	if err := ocilayout.Write(dir, index); err != nil {
		return pipeline.Image{}, err
	}
	return pipeline.OpenImage(dir)
}

func (e *engine) Run(_ context.Context, program pipeline.Program) (pipeline.Result, error) {
	switch {
	case program.Image.Dir == "" && program.Args[0] == "trivy":
		return e.trivy(program)
	case slices.Equal(program.Args, []string{"/usr/bin/one-container", "selftest"}):
		return e.testItself(program)
	default:
		return pipeline.Result{}, fmt.Errorf("nobody knows the program %q", program.Args)
	}
}

// testItself leaves the image's version on the volume.
func (e *engine) testItself(program pipeline.Program) (pipeline.Result, error) {
	image, err := ocilayout.Image(program.Image.Dir, program.Platform)
	if err != nil {
		return pipeline.Result{}, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return pipeline.Result{}, err
	}
	asked := trial{version: config.Config.Labels["org.opencontainers.image.version"], platform: program.Platform}
	if volume := program.Out["/var/lib/one"]; volume != nil {
		on, err := volume.ReadFile(e.t.Context(), "version", 100)
		if err != nil {
			return pipeline.Result{}, err
		}
		asked.on = string(on)
	}
	e.trials = append(e.trials, asked)
	if e.selftest != nil {
		if result, err := e.selftest(asked); err != nil || result.Status != 0 {
			return result, err
		}
	}
	dir := e.t.TempDir()
	return pipeline.Result{Out: map[string]pipeline.Directory{"/var/lib/one": pipeline.Local(dir)}},
		os.WriteFile(filepath.Join(dir, "version"), []byte(asked.version), 0o644)
}

// trivy stands in for the scanner's program.
func (e *engine) trivy(program pipeline.Program) (pipeline.Result, error) {
	name, path, says := trivy.Report, trivy.Output, ""
	var content any
	switch {
	case slices.Contains(program.Args, "--download-db-only"):
		name, path = trivy.MetadataFile, trivy.DatabaseDir
		content = map[string]any{"UpdatedAt": today.Add(-time.Hour)}
	case slices.Contains(program.Args, "cyclonedx"):
		content, says = map[string]string{"bomFormat": "CycloneDX"}, e.sbomSays
	default:
		labels, err := lookedAt(program)
		if err != nil {
			return pipeline.Result{}, err
		}
		content, says = report(e.vulnerabilities[labels["packages"]]), e.scanSays
	}
	if says != "" {
		return pipeline.Result{Status: 1, Stderr: says}, nil
	}
	dir := e.t.TempDir()
	data, err := json.Marshal(content)
	if err != nil {
		return pipeline.Result{}, err
	}
	file := filepath.Join(dir, name)
	return pipeline.Result{Out: map[string]pipeline.Directory{path: pipeline.Local(dir)}},
		errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644))
}

// lookedAt returns the labels of the image that Trivy gets to see: the only one in the layout that it is given.
func lookedAt(program pipeline.Program) (map[string]string, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(program.Files[trivy.Input+"/"+ocilayout.IndexFile]))
	if err != nil {
		return nil, err
	}
	blobs := program.In[trivy.Input+"/"+ocilayout.Blobs].(pipeline.Local)
	read := func(digest v1.Hash) (io.ReadCloser, error) {
		return os.Open(filepath.Join(string(blobs), digest.Algorithm, digest.Hex))
	}
	file, err := read(index.Manifests[0].Digest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	manifest, err := v1.ParseManifest(file)
	if err != nil {
		return nil, err
	}
	if file, err = read(manifest.Config.Digest); err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	config, err := v1.ParseConfigFile(file)
	if err != nil {
		return nil, err
	}
	return config.Config.Labels, nil
}

// report is Trivy's on an image with these vulnerabilities.
func report(vulnerabilities []vulnerability) any {
	found := []map[string]string{}
	for _, v := range vulnerabilities {
		found = append(found, map[string]string{
			"VulnerabilityID": v.id, "PkgName": "openssl", "InstalledVersion": "3.0", "FixedVersion": v.fixed, "Severity": v.severity,
		})
	}
	return map[string]any{
		"SchemaVersion": 2,
		"Metadata":      map[string]any{"OS": map[string]string{"Family": "ubuntu", "Name": "24.04"}},
		"Results": []any{map[string]any{
			"Target": "image", "Class": "os-pkgs", "Type": "ubuntu", "Vulnerabilities": found,
			"Packages": []any{map[string]string{"Name": "openssl", "Version": "3.0"}},
		}},
	}
}
