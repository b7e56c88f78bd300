package registry

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Artifact is what a manifest stands for: a v1.Image (also one that is no container image, such as a chart) or a v1.ImageIndex.
type Artifact interface {
	// Digest is the digest of the manifest.
	Digest() (v1.Hash, error)
	// MediaType is the media type of the manifest.
	MediaType() (types.MediaType, error)
	// RawManifest is the manifest, byte for byte.
	RawManifest() ([]byte, error)
}

var (
	_ Artifact = (v1.Image)(nil)
	_ Artifact = (v1.ImageIndex)(nil)
)

// Description is what is worth knowing of an artifact.
type Description struct {
	// Digest is that of the manifest or, with several platforms, of the index.
	Digest string
	// Platforms are the platforms it runs on, as os/architecture, sorted. A chart has none.
	Platforms []string
	// Labels are the labels of the image; of an index, those of its first platform.
	Labels map[string]string
}

// Describe reads what an artifact is. BuildKit's attestations, which sit in an index beside the images, are no platforms.
func Describe(a Artifact) (Description, error) {
	digest, err := a.Digest()
	if err != nil {
		return Description{}, err
	}
	images, err := platformImages(a)
	if err != nil {
		return Description{}, fmt.Errorf("read %s: %w", digest, err)
	}
	description := Description{Digest: digest.String()}
	if len(images) == 0 {
		return description, nil
	}
	slices.SortStableFunc(images, func(a, b platformImage) int { return strings.Compare(a.platform, b.platform) })
	for _, image := range images {
		if image.platform != "" {
			description.Platforms = append(description.Platforms, image.platform)
		}
	}
	description.Platforms = slices.Compact(description.Platforms)
	config, err := images[0].ConfigFile()
	if err != nil {
		return Description{}, fmt.Errorf("read the configuration of an image in %s: %w", digest, err)
	}
	description.Labels = config.Config.Labels
	return description, nil
}

// platformImage is an image and its platform, as os/architecture; empty when it has none.
type platformImage struct {
	v1.Image
	platform string
}

// onPlatform takes the platform from the index or, where that says nothing, from the image's own configuration.
func onPlatform(image v1.Image, platform *v1.Platform) (platformImage, error) {
	if platform == nil {
		config, err := image.ConfigFile()
		if err != nil {
			return platformImage{}, err
		}
		platform = config.Platform()
	}
	if platform == nil || platform.OS == "" {
		return platformImage{Image: image}, nil
	}
	return platformImage{Image: image, platform: platform.OS + "/" + platform.Architecture}, nil
}

func platformImages(a Artifact) ([]platformImage, error) {
	switch a := a.(type) {
	case v1.Image:
		image, err := onPlatform(a, nil)
		return []platformImage{image}, err
	case v1.ImageIndex:
		return indexImages(a)
	default:
		return nil, fmt.Errorf("%T is neither an image nor an index", a)
	}
}

func indexImages(index v1.ImageIndex) ([]platformImage, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var images []platformImage
	for _, desc := range manifest.Manifests {
		switch {
		case isAttestation(desc):
		case desc.MediaType.IsImage():
			image, err := index.Image(desc.Digest)
			if err != nil {
				return nil, err
			}
			known, err := onPlatform(image, desc.Platform)
			if err != nil {
				return nil, err
			}
			images = append(images, known)
		case desc.MediaType.IsIndex():
			inner, err := index.ImageIndex(desc.Digest)
			if err != nil {
				return nil, err
			}
			more, err := indexImages(inner)
			if err != nil {
				return nil, err
			}
			images = append(images, more...)
		}
	}
	return images, nil
}

func isAttestation(desc v1.Descriptor) bool {
	return desc.Annotations["vnd.docker.reference.type"] == "attestation-manifest" ||
		desc.Platform != nil && desc.Platform.OS == "unknown"
}
