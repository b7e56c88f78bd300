package registry_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"opennebula-kube/ci/registry"
)

// writeLayout makes a layout directory of the artifacts.
func writeLayout(t *testing.T, artifacts ...registry.Artifact) layout.Path {
	t.Helper()
	path, err := layout.Write(t.TempDir(), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range artifacts {
		switch a := a.(type) {
		case v1.Image:
			err = path.AppendImage(a)
		case v1.ImageIndex:
			err = path.AppendIndex(a)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestFromLayout(t *testing.T) {
	for name, artifact := range map[string]registry.Artifact{"image": platformImage(t, "linux", "amd64"), "index": buildkitIndex(t)} {
		t.Run(name, func(t *testing.T) {
			opened, err := registry.FromLayout(string(writeLayout(t, artifact)))
			if err != nil {
				t.Fatal(err)
			}
			r := start(t).open(t)
			push(t, r, opened, "7.0.1-1")
			wantWhole(t, r, "7.0.1-1", artifact)
		})
	}
}

func TestFromLayoutFindsWhatIsBroken(t *testing.T) {
	index := buildkitIndex(t)
	indexed, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	child := indexed.Manifests[0].Digest
	image, err := index.Image(child)
	if err != nil {
		t.Fatal(err)
	}
	contents, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	blob := func(p layout.Path, h v1.Hash) string { return filepath.Join(string(p), "blobs", h.Algorithm, h.Hex) }
	drop := func(name string) func(*testing.T, layout.Path) {
		return func(t *testing.T, p layout.Path) {
			if err := os.Remove(filepath.Join(string(p), name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const music = `{"schemaVersion":2,"manifests":[{"mediaType":"audio/ogg","size":1,"digest":"` + nowhere + `"}]}`
	remove := func(h v1.Hash) func(*testing.T, layout.Path) {
		return func(t *testing.T, p layout.Path) {
			if err := os.Remove(blob(p, h)); err != nil {
				t.Fatal(err)
			}
		}
	}
	change := func(h v1.Hash, how func([]byte) []byte) func(*testing.T, layout.Path) {
		return func(t *testing.T, p layout.Path) {
			data, err := os.ReadFile(blob(p, h))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(blob(p, h), how(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	shorter := func(b []byte) []byte { return b[:len(b)/2] }
	flipped := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b }
	file := func(name, content string) func(*testing.T, layout.Path) {
		return func(t *testing.T, p layout.Path) {
			if err := os.WriteFile(filepath.Join(string(p), name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		artifacts []registry.Artifact
		damage    func(*testing.T, layout.Path)
		says      string
	}{
		"nothing in it":          {nil, nil, "names 0 artifacts"},
		"two in it":              {[]registry.Artifact{index, image}, nil, "names 2 artifacts"},
		"no layout":              {[]registry.Artifact{index}, drop("oci-layout"), "no OCI layout"},
		"no index.json":          {[]registry.Artifact{index}, drop("index.json"), "index.json"},
		"index.json is no JSON":  {[]registry.Artifact{index}, file("index.json", "<html>"), "index.json"},
		"index.json is of music": {nil, file("index.json", music), nowhere},
		"image missing":          {[]registry.Artifact{index}, remove(child), child.String()},
		"image damaged":          {[]registry.Artifact{index}, change(child, flipped), child.String()},
		"configuration missing":  {[]registry.Artifact{index}, remove(contents.Config.Digest), contents.Config.Digest.String()},
		"configuration damaged":  {[]registry.Artifact{index}, change(contents.Config.Digest, flipped), contents.Config.Digest.String()},
		"layer missing":          {[]registry.Artifact{index}, remove(contents.Layers[0].Digest), contents.Layers[0].Digest.String()},
		"layer cut":              {[]registry.Artifact{index}, change(contents.Layers[0].Digest, shorter), contents.Layers[0].Digest.String()},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeLayout(t, test.artifacts...)
			if test.damage != nil {
				test.damage(t, path)
			}
			_, err := registry.FromLayout(string(path))
			mustFail(t, err, nil, string(path), test.says)
		})
	}
}

func TestADamagedLayerIsNotPushed(t *testing.T) {
	image := platformImage(t, "linux", "amd64")
	path := writeLayout(t, image)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(string(path), "blobs", digest.Algorithm, digest.Hex)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	artifact, err := registry.FromLayout(string(path))
	if err != nil {
		t.Fatal(err)
	}
	r := start(t).open(t)
	_, err = r.Push(t.Context(), artifact, "7.0.1-1")
	mustFail(t, err, nil, digest.String())
	if tag := at(t, r, "7.0.1-1"); tag != "" {
		t.Errorf("the tag stands for %s", tag)
	}
}
