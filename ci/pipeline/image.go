package pipeline

import (
	"context"
	"fmt"
	"os"

	"opennebula-kube/ci/kept"
	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/registry"
)

// Image is an image on this machine.
type Image struct {
	// Dir is the OCI layout that holds the image and nothing else. It is for reading.
	Dir string
	// Digest is the digest that the image has, or will have, in a registry: that of its index when it has several platforms.
	Digest string
	// Platforms are the platforms that the image has, as os/architecture, sorted.
	Platforms []string
}

// OpenImage takes the image in an OCI layout.
func OpenImage(dir string) (Image, error) {
	artifact, err := registry.FromLayout(dir)
	if err != nil {
		return Image{}, err
	}
	described, err := registry.Describe(artifact)
	if err != nil {
		return Image{}, err
	}
	return Image{Dir: dir, Digest: described.Digest, Platforms: described.Platforms}, nil
}

// openAs takes the image in an OCI layout that is to have the digest.
func openAs(dir, digest string) (Image, error) {
	image, err := OpenImage(dir)
	if err != nil {
		return Image{}, err
	}
	if image.Digest != digest {
		return Image{}, fmt.Errorf("layout %s holds image %s, want %s", dir, image.Digest, digest)
	}
	return image, nil
}

// Keep moves a staged layout, which is to have the image with the digest, to where layouts keeps it, and returns the image there.
func Keep(layouts kept.Directories, stage, digest string) (Image, error) {
	image, err := openAs(stage, digest)
	if err != nil {
		return Image{}, err
	}
	image.Dir, err = layouts.Commit(stage, digest)
	return image, err
}

// Push sends the image whole to a tag and returns its digest. It never moves a tag that exists: when the tag is there with the same
// digest nothing is sent, with another digest it is an error.
func (i Image) Push(ctx context.Context, to *registry.Repository, tag string) (string, error) {
	artifact, err := registry.FromLayout(i.Dir)
	if err != nil {
		return "", err
	}
	return to.Push(ctx, artifact, tag)
}

// Pull returns a published image, all platforms of it, from layouts, where it stays. One that is there already is not fetched again.
func Pull(ctx context.Context, from *registry.Repository, digest string, layouts kept.Directories) (Image, error) {
	image, err := pull(ctx, from, digest, layouts)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s@%s: %w", from.Name(), digest, err)
	}
	return image, nil
}

func pull(ctx context.Context, from *registry.Repository, digest string, layouts kept.Directories) (Image, error) {
	if dir, ok := layouts.Find(digest); ok {
		return openAs(dir, digest)
	}
	artifact, err := from.Artifact(ctx, digest)
	if err != nil {
		return Image{}, err
	}
	stage, err := layouts.Stage()
	if err != nil {
		return Image{}, err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	if err := ocilayout.Write(stage, artifact); err != nil {
		return Image{}, err
	}
	return Keep(layouts, stage, digest)
}
