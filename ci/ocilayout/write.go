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

// What a layout consists of: a directory of blobs, an index of what is in them, and what says that a directory is one.
const (
	Blobs      = "blobs"
	IndexFile  = "index.json"
	MarkerFile = "oci-layout"
	Marker     = `{"imageLayoutVersion":"1.0.0"}`
)

// Index is the content of IndexFile of a layout with the artifacts.
func Index(artifacts ...v1.Descriptor) ([]byte, error) {
	return json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: artifacts})
}

// seal makes a directory with blobs a layout of what index names.
func seal(dir string, index []byte) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, IndexFile), index, 0o644),
		os.WriteFile(filepath.Join(dir, MarkerFile), []byte(Marker), 0o644))
}
