package container_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/adrg/xdg"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"opennebula-kube/ci/pipeline"
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

func newImages(t *testing.T) *images {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: builds and runs images")
	}
	if err := local.CanBuild(); err != nil {
		t.Skip(err)
	}
	const root = "../.."
	cache := filepath.Join(xdg.CacheHome, "opennebula-kube")
	tools := toolchain.New(root, cache, t.Logf)
	var versions []apt.Version
	for _, version := range []string{oldest, middle, newest} {
		versions = append(versions, apt.Version{Version: version, Date: epoch(), Architectures: []string{runtime.GOARCH}})
	}
	world, err := sandbox.Start(t.Context(), sandbox.Options{
		CacheDir: cache, Dir: t.TempDir(), Root: root, Toolchain: tools, Versions: versions, Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	engine, err := local.New(t.Context(), local.Config{Context: root + "/image", StateDir: t.TempDir(), Toolchain: tools})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return &images{world: world, tools: tools, engine: engine, dir: t.TempDir(), made: make(map[string]image)}
}

// get returns the image of an OpenNebula version.
func (i *images) get(t *testing.T, version string) image {
	t.Helper()
	if made, ok := i.made[version]; ok {
		return made
	}
	built, err := i.engine.Build(t.Context(), pipeline.BuildSpec{
		Version: version, Upstream: i.world.Upstream, UpstreamFingerprint: i.world.UpstreamFingerprint, BaseImage: i.world.BaseImage,
		Platforms: []string{"linux/" + runtime.GOARCH}, Epoch: epoch(),
	})
	if err != nil {
		t.Fatal(err)
	}
	tag := i.world.Repository + ":" + version
	if _, err := i.engine.Push(t.Context(), built, tag); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	config, err := pushed.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	made := image{rootfs: filepath.Join(i.dir, version), config: config.Config}
	unpack(t, pushed, made.rootfs)
	i.made[version] = made
	return made
}

func unpack(t *testing.T, image v1.Image, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(image)
	defer func() { _ = files.Close() }()
	tar := exec.CommandContext(t.Context(), "tar", "--extract", "--preserve-permissions", "--numeric-owner", "--directory", dir)
	tar.Stdin = files
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("unpack the image: %v: %s", err, out)
	}
}
