package registry

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// FromLayout opens the artifact in an OCI layout directory, which must hold exactly one, an image or an index, as BuildKit's oci
// exporter writes it. All of it is checked to be there; manifests and configurations are hashed too, layers only measured, for a
// registry hashes them on arrival.
func FromLayout(dir string) (Artifact, error) {
	artifact, err := fromLayout(dir)
	if err != nil {
		return nil, fmt.Errorf("open OCI layout %s: %w", dir, err)
	}
	return artifact, nil
}

func fromLayout(dir string) (Artifact, error) {
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		return nil, fmt.Errorf("this is no OCI layout: %w", err)
	}
	path, err := layout.FromPath(dir)
	if err != nil {
		return nil, err
	}
	root, err := path.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read index.json: %w", err)
	}
	if n := len(manifest.Manifests); n != 1 {
		return nil, fmt.Errorf("index.json names %d artifacts, not exactly one", n)
	}
	desc := manifest.Manifests[0]
	if err := (layoutCheck{path}).manifest(desc); err != nil {
		return nil, err
	}
	if desc.MediaType.IsIndex() {
		return root.ImageIndex(desc.Digest)
	}
	return root.Image(desc.Digest)
}

// layoutCheck looks whether a layout is whole.
type layoutCheck struct{ path layout.Path }

func (l layoutCheck) manifest(desc v1.Descriptor) error {
	raw, err := l.read(desc)
	if err != nil {
		return err
	}
	switch {
	case desc.MediaType.IsIndex():
		index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return fmt.Errorf("read index %s: %w", desc.Digest, err)
		}
		for _, child := range index.Manifests {
			if err := l.manifest(child); err != nil {
				return err
			}
		}
		return nil
	case desc.MediaType.IsImage():
		image, err := v1.ParseManifest(bytes.NewReader(raw))
		if err != nil {
			return fmt.Errorf("read manifest %s: %w", desc.Digest, err)
		}
		return l.image(image)
	default:
		return fmt.Errorf("%s has media type %q, which is neither an image nor an index", desc.Digest, desc.MediaType)
	}
}

func (l layoutCheck) image(manifest *v1.Manifest) error {
	if _, err := l.read(manifest.Config); err != nil {
		return err
	}
	for _, layer := range manifest.Layers {
		if !layer.MediaType.IsDistributable() {
			continue
		}
		if err := l.measure(layer); err != nil {
			return err
		}
	}
	return nil
}

func (l layoutCheck) read(desc v1.Descriptor) ([]byte, error) {
	if err := l.measure(desc); err != nil {
		return nil, err
	}
	data, err := l.path.Bytes(desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	if found, _, err := v1.SHA256(bytes.NewReader(data)); err != nil || found != desc.Digest {
		return nil, errors.Join(fmt.Errorf("blob %s is damaged: its content has digest %s", desc.Digest, found), err)
	}
	return data, nil
}

func (l layoutCheck) measure(desc v1.Descriptor) error {
	info, err := os.Stat(filepath.Join(string(l.path), "blobs", desc.Digest.Algorithm, desc.Digest.Hex))
	if err != nil {
		return fmt.Errorf("blob %s is missing: %w", desc.Digest, err)
	}
	if info.Size() != desc.Size {
		return fmt.Errorf("blob %s is damaged: it has %d bytes, not %d", desc.Digest, info.Size(), desc.Size)
	}
	return nil
}
