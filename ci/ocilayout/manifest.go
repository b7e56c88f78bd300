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
	image, err := Image(dir, platform)
	if err != nil {
		return v1.Descriptor{}, err
	}
	manifest, err := partial.Descriptor(image)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return *manifest, nil
}

// Image returns what the image in the layout dir is on a platform, such as linux/amd64.
func Image(dir, platform string) (v1.Image, error) {
	artifact, err := registry.FromLayout(dir)
	if err != nil {
		return nil, err
	}
	images, err := registry.Images(artifact)
	if err != nil {
		return nil, err
	}
	image, ok := images[platform]
	if !ok {
		return nil, fmt.Errorf("the image has no platform %s, it has %s", platform, strings.Join(slices.Sorted(maps.Keys(images)), ", "))
	}
	return image, nil
}
