package ocilayout

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"opennebula-kube/ci/registry"
)

// Manifest returns the manifest that the image in the layout dir has for a platform, such as linux/amd64.
func Manifest(dir, platform string) (v1.Descriptor, error) {
	artifact, err := registry.FromLayout(dir)
	if err != nil {
		return v1.Descriptor{}, err
	}
	images, err := registry.Images(artifact)
	if err != nil {
		return v1.Descriptor{}, err
	}
	image, ok := images[platform]
	if !ok {
		return v1.Descriptor{}, fmt.Errorf("the image has no platform %s, it has %s", platform, strings.Join(slices.Sorted(maps.Keys(images)), ", "))
	}
	manifest, err := partial.Descriptor(image)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return *manifest, nil
}
