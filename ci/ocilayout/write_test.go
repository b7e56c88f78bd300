package ocilayout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"opennebula-kube/ci/registry"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	index := multiPlatform(t)
	if err := Write(dir, index); err != nil {
		t.Fatal(err)
	}
	read := opened[v1.ImageIndex](t, dir)
	if want, got := digestOf(t, index), digestOf(t, read); got != want {
		t.Errorf("the layout holds %s, want %s", got, want)
	}
	if err := validate.Index(read); err != nil {
		t.Error(err)
	}
	// What is written to the same place is the only one there.
	image := baseImage(t, "amd64")
	if err := Write(dir, image); err != nil {
		t.Fatal(err)
	}
	if want, got := digestOf(t, image), digestOf(t, opened[v1.Image](t, dir)); got != want {
		t.Errorf("the layout holds %s, want %s", got, want)
	}
}

func TestWriteFails(t *testing.T) {
	to := notADirectory(t)
	wantError(t, Write(to, baseImage(t, "amd64")), filepath.Dir(to))
	wantError(t, Write(t.TempDir(), struct{ registry.Artifact }{}), "neither an image nor an index", "struct")
}

func TestIndex(t *testing.T) {
	platform := v1.Platform{OS: "linux", Architecture: "amd64"}
	manifests := []v1.Descriptor{
		{MediaType: types.OCIManifestSchema1, Size: 2, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}, Platform: &platform},
		{MediaType: types.OCIImageIndex, Size: 3, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("b", 64)}},
	}
	data, err := Index(manifests...)
	if err != nil {
		t.Fatal(err)
	}
	index, err := v1.ParseIndexManifest(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	if index.SchemaVersion != 2 || index.MediaType != types.OCIImageIndex || len(index.Manifests) != 2 ||
		index.Manifests[0].Digest != manifests[0].Digest || !index.Manifests[0].Platform.Equals(platform) ||
		index.Manifests[1].Digest != manifests[1].Digest {
		t.Errorf("index %s", data)
	}
}

func TestView(t *testing.T) {
	dir := written(t, multiPlatform(t))
	manifest, err := Manifest(dir, "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	view := filepath.Join(t.TempDir(), "view")
	if err := View(dir, view, manifest); err != nil {
		t.Fatal(err)
	}
	image := opened[v1.Image](t, view)
	if want, got := digestOf(t, baseImage(t, "arm64")), digestOf(t, image); got != want {
		t.Errorf("the view shows %s, want %s", got, want)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	wantError(t, View(dir, view, manifest), view, "exists")
	// Whoever removes the view leaves the image.
	if err := os.RemoveAll(view); err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(opened[v1.ImageIndex](t, dir)); err != nil {
		t.Error(err)
	}
}
