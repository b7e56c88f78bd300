package container_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/adrg/xdg"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/dev/acceptance"
	"opennebula-kube/dev/local"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/sandbox/apt"
	"opennebula-kube/dev/toolchain"
)

// The versions of OpenNebula that an installation goes through: one of each schema.
const (
	oldest = "7.0.1"
	middle = "7.2.0"
	newest = "7.4.0"
)

func epoch() time.Time { return time.Date(2026, 7, 26, 10, 0, 0, 0, time.UTC) }

// images builds the image and keeps the unpacked ones.
type images struct {
	// Subject is what the images are built of: the sandbox's packages, unless the test is for any.
	acceptance.Subject
	world  *sandbox.Sandbox
	tools  *toolchain.Toolchain
	engine *local.Engine
	dir    string
	made   map[string]image
}

// image is an image that is unpacked.
type image struct {
	rootfs string
	config v1.Config
}

// newImages starts a sandbox with packages and a base image for some architectures, or for this machine's alone when none is named.
func newImages(t testing.TB, architectures ...string) *images {
	t.Helper()
	if len(architectures) == 0 {
		architectures = []string{runtime.GOARCH}
	}
	const root = "../.."
	tools, cache := newTools(t, root)
	var versions []apt.Version
	for _, version := range []string{oldest, middle, newest} {
		versions = append(versions, apt.Version{Version: version, Date: epoch(), Architectures: architectures})
	}
	world, err := sandbox.Start(t.Context(), sandbox.Options{
		CacheDir: cache, Dir: t.TempDir(), Root: root, Toolchain: tools, Architectures: architectures, Versions: versions, Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	engine, err := local.New(t.Context(), local.Config{
		Context: root + "/image", StateDir: t.TempDir(), Toolchain: tools,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return &images{
		Subject: acceptance.Subject{
			Upstream: world.Upstream, Fingerprint: world.UpstreamFingerprint, BaseImage: world.BaseImage, Versions: []string{oldest, middle, newest},
		},
		world: world, tools: tools, engine: engine, dir: t.TempDir(), made: make(map[string]image),
	}
}

// newSubject is newImages for what the environment names.
func newSubject(t *testing.T) *images {
	t.Helper()
	built := newImages(t)
	subject, err := acceptance.FromEnvironment(t.Context(), os.Getenv, "../..", built.Subject)
	if err != nil {
		t.Fatal(err)
	}
	built.Subject = subject
	t.Logf("OpenNebula %s from %s", strings.Join(subject.Versions, ", "), subject.Upstream)
	return built
}

// newTools returns the toolchain and the directory of what is kept from run to run. It skips the test where images cannot be built.
func newTools(t testing.TB, root string) (tools *toolchain.Toolchain, cache string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: builds and runs images")
	}
	if err := local.CanBuild(); err != nil {
		t.Skip(err)
	}
	cache = filepath.Join(xdg.CacheHome, "opennebula-kube")
	return toolchain.New(root, cache, t.Logf), cache
}

// spec is what an image is built from.
func (i *images) spec(version string, platforms ...string) pipeline.BuildSpec {
	return pipeline.BuildSpec{
		Version: version, Upstream: i.Upstream, UpstreamFingerprint: i.Fingerprint, BaseImage: i.BaseImage,
		Platforms: platforms, Epoch: epoch(), Labels: map[string]string{"org.opencontainers.image.version": version},
	}
}

// publish builds the image of an OpenNebula version for some platforms, and pushes it to a tag.
func (i *images) publish(t testing.TB, version string, platforms ...string) (built pipeline.Image, tag string) {
	t.Helper()
	return i.publishAs(t, i.spec(version, platforms...), version)
}

// publishAs builds an image and pushes it to a tag, which it returns with the repository.
func (i *images) publishAs(t testing.TB, spec pipeline.BuildSpec, tag string) (pipeline.Image, string) {
	t.Helper()
	built, err := i.engine.Build(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	repository, err := registry.Open(i.world.Repository)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := built.Push(t.Context(), repository, tag); err != nil {
		t.Fatal(err)
	}
	return built, i.world.Repository + ":" + tag
}

// pull returns an image of the sandbox's registry.
func (i *images) pull(t testing.TB, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return pulled
}

func (i *images) scanner() pipeline.Scanner {
	return pipeline.Scanner{Engine: i.engine, Database: i.world.DatabaseRepository}
}

// get returns the image of an OpenNebula version for this machine.
func (i *images) get(t testing.TB, version string) image {
	t.Helper()
	if made, ok := i.made[version]; ok {
		return made
	}
	_, tag := i.publish(t, version, "linux/"+runtime.GOARCH)
	i.made[version] = unpack(t, i.pull(t, tag), filepath.Join(i.dir, version))
	return i.made[version]
}

// unpack unpacks an image to a directory, which it makes.
func unpack(t testing.TB, packed v1.Image, dir string) image {
	t.Helper()
	config, err := packed.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(packed)
	defer func() { _ = files.Close() }()
	tar := exec.CommandContext(t.Context(), "tar", "--extract", "--preserve-permissions", "--numeric-owner", "--directory", dir)
	tar.Stdin = files
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("unpack the image: %v: %s", err, out)
	}
	return image{rootfs: dir, config: config.Config}
}
