package ocilayout

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Join makes, in the directory to, one image of images for one platform each, in the layouts dirs, whose manifests it is given. Of one
// image it makes no index; otherwise the index gets the annotations. The layouts' content is moved: they are of no use afterwards.
func Join(to string, dirs []string, manifests []ocispecs.Descriptor, annotations map[string]string) (ocispecs.Descriptor, error) {
	out, err := create(to)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	for _, dir := range dirs {
		if err := out.take(dir); err != nil {
			return ocispecs.Descriptor{}, fmt.Errorf("join the images for several platforms: %w", err)
		}
	}
	if len(manifests) == 1 {
		return manifests[0], out.finish(manifests[0])
	}
	index := indexOf(manifests...)
	index.Annotations = annotations
	top, err := out.putJSON(ocispecs.MediaTypeImageIndex, index)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	return top, out.finish(top)
}

// take moves the blobs of another layout here.
func (w writer) take(dir string) error {
	from := filepath.Join(dir, "blobs", "sha256")
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.Rename(filepath.Join(from, entry.Name()), filepath.Join(w.blobs, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func indexOf(manifests ...ocispecs.Descriptor) ocispecs.Index {
	return ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex, Manifests: manifests}
}
