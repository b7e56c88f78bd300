package local

import (
	"context"
	"fmt"
	"os"

	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
)

// Push implements pipeline.Engine.
func (e *Engine) Push(ctx context.Context, img pipeline.Image, ref string) (string, error) {
	i, dir, err := e.own(img)
	if err != nil {
		return "", err
	}
	digest, err := ocilayout.Push(ctx, dir, ref, registry.WithKeychain(e.config.Keychain))
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
	digest, err := ocilayout.Digest(ref)
	if err != nil {
		return nil, err
	}
	if dir, ok := e.images.find(digest); ok {
		names, err := layoutPlatforms(dir, digest)
		if err != nil {
			return nil, err
		}
		return &image{engine: e, digest: digest, platforms: names}, nil
	}
	stage, err := e.images.stage()
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	if err := ocilayout.Pull(ctx, ref, stage, registry.WithKeychain(e.config.Keychain)); err != nil {
		return nil, err
	}
	names, err := e.images.commit(stage, digest)
	if err != nil {
		return nil, err
	}
	return &image{engine: e, digest: digest, platforms: names}, nil
}
