package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push makes the registry hold an artifact whole, puts the tag on it, and returns its digest. It sends only what the registry
// does not have, everything by digest first, and the tag last, after a look that all of it is there; so a push that is cut off
// leaves nothing under the tag, and the next one goes on from there. A tag that stands for another digest is left alone:
// ErrTagTaken.
func (r *Repository) Push(ctx context.Context, a Artifact, tag string) (digest string, err error) {
	ref, err := r.tag(tag)
	if err != nil {
		return "", err
	}
	hash, err := a.Digest()
	if err != nil {
		return "", fmt.Errorf("push to %s: %w", ref, err)
	}
	digest = hash.String()
	doing := fmt.Sprintf("push %s to %s:%s", digest, r.given, tag)
	if _, err := r.free(ctx, tag, digest); err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	all, err := partsOf(a)
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	for _, stage := range all.stages() {
		if err := r.ensure(ctx, stage); err != nil {
			return "", r.fail(doing, err)
		}
	}
	// Uploading takes minutes, in which another run may have pushed the same revision.
	free, err := r.free(ctx, tag, digest)
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	if free {
		if err := r.put(ctx, ref, a); err != nil {
			return "", r.fail(doing, err)
		}
	}
	return digest, nil
}

// free tells whether a tag is still to be put: true when there is none, false when it stands for the digest already.
func (r *Repository) free(ctx context.Context, tag, digest string) (bool, error) {
	found, err := r.Digest(ctx, tag)
	switch {
	case errors.Is(err, ErrNotFound):
		return true, nil
	case err != nil:
		return false, err
	case found != digest:
		return false, fmt.Errorf("%w: it stands for %s", ErrTagTaken, found)
	}
	return false, nil
}

func (r *Repository) put(ctx context.Context, tag name.Tag, a Artifact) error {
	pusher, err := remote.NewPusher(r.options...)
	if err != nil {
		return err
	}
	return pusher.Put(ctx, tag, a)
}
