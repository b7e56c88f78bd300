package ocilayout

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"opennebula-kube/ci/registry"
)

// Write writes an image, all platforms of it, as the only one of a layout in the directory dir.
func Write(dir string, artifact registry.Artifact) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	switch a := artifact.(type) {
	case v1.ImageIndex:
		return path.AppendIndex(a)
	case v1.Image:
		return path.AppendImage(a)
	default:
		return fmt.Errorf("it is neither an image nor an index but a %T", artifact)
	}
}

// The files of a layout beside its blobs, and what says that a directory is one.
const (
	IndexFile  = "index.json"
	MarkerFile = "oci-layout"
	Marker     = `{"imageLayoutVersion":"1.0.0"}`
)

// Index is the content of IndexFile of a layout with the artifacts.
func Index(artifacts ...v1.Descriptor) ([]byte, error) {
	return json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: artifacts})
}

// View makes, in the new directory view, a layout of one platform's image out of the layout dir, for programs that take the first
// one that they find. The content stays where it is.
func View(dir, view string, manifest v1.Descriptor) error {
	if err := os.Mkdir(view, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(dir, "blobs"), filepath.Join(view, "blobs")); err != nil {
		return err
	}
	index, err := Index(manifest)
	if err != nil {
		return err
	}
	return seal(view, index)
}

// seal makes a directory with blobs a layout of what index names.
func seal(dir string, index []byte) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, IndexFile), index, 0o644),
		os.WriteFile(filepath.Join(dir, MarkerFile), []byte(Marker), 0o644))
}
