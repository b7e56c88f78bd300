package local

import (
	"context"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
)

// Push implements pipeline.Engine.
func (e *Engine) Push(ctx context.Context, img pipeline.Image, ref string) (string, error) {
	i, dir, err := e.own(img)
	if err != nil {
		return "", err
	}
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return "", err
	}
	artifact, err := registry.FromLayout(dir)
	if err != nil {
		return "", err
	}
	repository, err := registry.Open(tag.Context().Name(), registry.WithKeychain(e.config.Keychain))
	if err != nil {
		return "", err
	}
	digest, err := repository.Push(ctx, artifact, tag.TagStr())
	if err != nil {
		return "", err
	}
	if digest != i.digest {
		return "", fmt.Errorf("push %s to %s: the registry has it as %s", i.digest, ref, digest)
	}
	return digest, nil
}

// Pull implements pipeline.Engine. An image that is in the store already is not fetched again.
func (e *Engine) Pull(ctx context.Context, ref string) (pipeline.Image, error) {
	img, err := e.pull(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	return img, nil
}

func (e *Engine) pull(ctx context.Context, ref string) (*image, error) {
	pinned, err := name.NewDigest(ref)
	if err != nil {
		return nil, fmt.Errorf("it is not named by digest (repository@sha256:...): %w", err)
	}
	digest := pinned.DigestStr()
	if dir, ok := e.images.find(digest); ok {
		names, err := layoutPlatforms(dir, digest)
		if err != nil {
			return nil, err
		}
		return &image{engine: e, digest: digest, platforms: names}, nil
	}
	repository, err := registry.Open(pinned.Context().Name(), registry.WithKeychain(e.config.Keychain))
	if err != nil {
		return nil, err
	}
	artifact, err := repository.Artifact(ctx, digest)
	if err != nil {
		return nil, err
	}
	stage, err := e.images.stage()
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	if err := writeLayout(stage, artifact); err != nil {
		return nil, err
	}
	names, err := e.images.commit(stage, digest)
	if err != nil {
		return nil, err
	}
	return &image{engine: e, digest: digest, platforms: names}, nil
}

// writeLayout writes an image, all platforms of it, as the only one of a layout.
func writeLayout(dir string, artifact registry.Artifact) error {
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
