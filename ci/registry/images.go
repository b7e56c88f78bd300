package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Images returns the image of each platform of an artifact, by the platform's name as Describe gives it.
func Images(a Artifact) (map[string]v1.Image, error) {
	images, err := platformImages(a)
	if err != nil {
		return nil, fmt.Errorf("list the platforms: %w", err)
	}
	found := make(map[string]v1.Image, len(images))
	for _, image := range images {
		if image.platform != "" {
			found[image.platform] = image.Image
		}
	}
	return found, nil
}

// Fetch returns what a reference to any image stands for now, to be read from its registry as it is used, for as long as ctx lasts.
// References are Docker's: ubuntu:24.04 is docker.io/library/ubuntu:24.04.
func Fetch(ctx context.Context, ref string, opts ...Option) (Artifact, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w", ref, err)
	}
	r, err := open(parsed.Context().Name(), parsed.Context(), opts)
	if err != nil {
		return nil, err
	}
	return r.Artifact(ctx, parsed.Identifier())
}
