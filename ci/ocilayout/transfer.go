package ocilayout

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"

	"opennebula-kube/ci/registry"
)

// Push sends the image in the layout dir to ref (repository:tag) and returns its digest. It is registry.Repository.Push.
func Push(ctx context.Context, dir, ref string, opts ...registry.Option) (string, error) {
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("push to %q: %w; name a repository and a tag, such as ghcr.io/acme/opennebula:7.0.1-1", ref, err)
	}
	artifact, err := registry.FromLayout(dir)
	if err != nil {
		return "", err
	}
	repository, err := registry.Open(tag.Context().Name(), opts...)
	if err != nil {
		return "", err
	}
	return repository.Push(ctx, artifact, tag.TagStr())
}

// Digest returns the digest of a reference that has one (repository@sha256:...).
func Digest(ref string) (string, error) {
	pinned, err := name.NewDigest(ref)
	if err != nil {
		return "", fmt.Errorf("it is not named by digest (repository@sha256:...): %w", err)
	}
	return pinned.DigestStr(), nil
}

// Pull writes the image that ref names by digest, all platforms of it, as a layout to the directory dir.
func Pull(ctx context.Context, ref, dir string, opts ...registry.Option) error {
	if _, err := Digest(ref); err != nil {
		return err
	}
	artifact, err := registry.Fetch(ctx, ref, opts...)
	if err != nil {
		return err
	}
	return Write(dir, artifact)
}
