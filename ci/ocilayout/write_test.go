package ocilayout

import (
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
