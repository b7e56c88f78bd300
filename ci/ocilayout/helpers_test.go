package ocilayout

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"opennebula-kube/ci/registry"
)

var (
	epoch = time.Date(2026, 4, 3, 12, 0, 0, 0, time.UTC)
	older = epoch.Add(-24 * time.Hour)
	newer = epoch.Add(24 * time.Hour)
)

// file is an entry with a modification time.
func file(name string, at time.Time) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: at}
}

// link is a symbolic link.
func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777, ModTime: newer}
}

func layerOf(t *testing.T, headers ...tar.Header) v1.Layer {
	t.Helper()
	data := archive(t, headers...)
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	layer, err := tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// add puts steps, with their layers if they have any, on an image.
func add(t *testing.T, image v1.Image, steps ...mutate.Addendum) v1.Image {
	t.Helper()
	image, err := mutate.Append(image, steps...)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func configOf(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// configure changes the configuration of an image.
func configure(t *testing.T, image v1.Image, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	config := configOf(t, image).DeepCopy()
	change(config)
	image, err := mutate.ConfigFile(image, config)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// baseImage has two layers, and steps without one before, between and after them, all of it newer than the epoch.
func baseImage(t *testing.T, architecture string) v1.Image {
	t.Helper()
	step := func(by string, layer v1.Layer) mutate.Addendum {
		return mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{
			Created: v1.Time{Time: newer}, CreatedBy: by, Author: "the distribution", Comment: "official", EmptyLayer: layer == nil,
		}}
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image = add(t, image,
		step("ARG RELEASE", nil), step("ADD rootfs", layerOf(t, file("etc/os-release", newer))),
		step("ENV LANG=C", nil), step("RUN upgrade", layerOf(t, file("usr/bin/apt", newer))), step("CMD bash", nil))
	return configure(t, image, func(c *v1.ConfigFile) {
		c.OS, c.Architecture, c.Created = "linux", architecture, v1.Time{Time: newer}
	})
}

// builtOn adds layers to a base as Dagger does: the history has one step for each layer, and has forgotten the base's own.
func builtOn(t *testing.T, base v1.Image, layers ...v1.Layer) v1.Image {
	t.Helper()
	image := base
	for _, layer := range layers {
		image = add(t, image, mutate.Addendum{Layer: layer, MediaType: types.OCILayer})
	}
	return configure(t, image, func(c *v1.ConfigFile) {
		c.Created = v1.Time{Time: newer}
		c.Config.Labels = map[string]string{"of": c.Architecture}
		c.History = nil
		for range c.RootFS.DiffIDs {
			c.History = append(c.History, v1.History{Created: v1.Time{Time: newer}, CreatedBy: "dagger"})
		}
	})
}

// multiPlatform is an image for two platforms, with an attestation as BuildKit makes it.
func multiPlatform(t *testing.T) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range []v1.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "amd64"}, {OS: "unknown", Architecture: "unknown"}} {
		image := configure(t, baseImage(t, p.Architecture), func(c *v1.ConfigFile) { c.OS = p.OS })
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return index
}

func digestOf(t *testing.T, a interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	digest, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// written is a layout with an artifact.
func written(t *testing.T, artifact registry.Artifact) string {
	t.Helper()
	dir := t.TempDir()
	if err := Write(dir, artifact); err != nil {
		t.Fatal(err)
	}
	return dir
}

// opened reads a layout, all of it.
func opened[A registry.Artifact](t *testing.T, dir string) A {
	t.Helper()
	artifact, err := registry.FromLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	typed, ok := artifact.(A)
	if !ok {
		t.Fatalf("%s holds a %T", dir, artifact)
	}
	return typed
}

func layersOf(t *testing.T, image v1.Image) []v1.Layer {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return layers
}

// entries are the names in a layer, in their order, and what stands for each.
func entries(t *testing.T, layer v1.Layer) (names []string, headers map[string]*tar.Header) {
	t.Helper()
	content, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	headers = map[string]*tar.Header{}
	if err := eachEntry(content, func(h *tar.Header, _ io.Reader) error {
		names = append(names, h.Name)
		headers[h.Name] = h
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return names, headers
}

// notADirectory is a path at which no directory can be made, whoever tries.
func notADirectory(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(file, "layout")
}

// wantError checks that there is an error and that it says all of the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}
