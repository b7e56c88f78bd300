package ocilayout

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"opennebula-kube/ci/registry"
)

// platforms are layouts of one platform's image each, which have layers in common, and their manifests.
func platforms(t *testing.T, architectures ...string) (dirs []string, manifests []ocispecs.Descriptor) {
	t.Helper()
	for _, architecture := range architectures {
		base := baseImage(t, architecture)
		dir, manifest := redated(t, builtOn(t, base, layerOf(t, file("added", newer))), base)
		dirs, manifests = append(dirs, dir), append(manifests, manifest)
	}
	return dirs, manifests
}

func TestJoinOne(t *testing.T) {
	dirs, manifests := platforms(t, "amd64")
	to := filepath.Join(t.TempDir(), "image")
	top, err := Join(to, dirs, manifests, nil)
	if err != nil {
		t.Fatal(err)
	}
	if top.Digest != manifests[0].Digest {
		t.Errorf("it is %s now, was %s", top.Digest, manifests[0].Digest)
	}
	image := opened[v1.Image](t, to)
	if got := digestOf(t, image); got != manifests[0].Digest.String() {
		t.Errorf("the layout holds %s, want %s", got, manifests[0].Digest)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
}

func TestJoinSeveral(t *testing.T) {
	join := func() (string, ocispecs.Descriptor, []ocispecs.Descriptor) {
		dirs, manifests := platforms(t, "amd64", "arm64")
		to := filepath.Join(t.TempDir(), "image")
		top, err := Join(to, dirs, manifests, map[string]string{"org.example.note": "of all"})
		if err != nil {
			t.Fatal(err)
		}
		return to, top, manifests
	}
	to, top, manifests := join()
	index := opened[v1.ImageIndex](t, to)
	if manifest, err := index.IndexManifest(); err != nil || manifest.Annotations["org.example.note"] != "of all" {
		t.Errorf("annotations %v, %v", manifest.Annotations, err)
	}
	got, err := registry.Describe(index)
	if err != nil {
		t.Fatal(err)
	}
	want := registry.Description{
		Digest: top.Digest.String(), Platforms: []string{"linux/amd64", "linux/arm64"}, Labels: map[string]string{"of": "amd64"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	for i, platform := range want.Platforms {
		if manifest, err := Manifest(to, platform); err != nil || manifest.Digest.String() != manifests[i].Digest.String() {
			t.Errorf("%s is %s, %v; it was %s", platform, manifest.Digest, err, manifests[i].Digest)
		}
	}
	if _, again, _ := join(); again.Digest != top.Digest {
		t.Errorf("digest %s, then %s", top.Digest, again.Digest)
	}
}

func TestJoinFails(t *testing.T) {
	dirs, manifests := platforms(t, "amd64", "arm64")
	nothing := t.TempDir()
	_, err := Join(filepath.Join(t.TempDir(), "image"), []string{dirs[0], nothing}, manifests, nil)
	wantError(t, err, "join the images for several platforms", nothing)
	to := notADirectory(t)
	_, err = Join(to, dirs[1:], manifests[1:], nil)
	wantError(t, err, filepath.Dir(to))
}
