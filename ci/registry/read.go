package registry

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Tags returns all tags of the repository, sorted. A repository that does not exist yet has none.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	tags, err := r.puller.List(ctx, r.repo)
	if r.absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, r.fail("list the tags of "+r.given, err)
	}
	slices.Sort(tags)
	return tags, nil
}

// Digest returns the digest (sha256:...) of what a tag or digest stands for; ErrNotFound when there is no such thing.
func (r *Repository) Digest(ctx context.Context, tagOrDigest string) (string, error) {
	ref, err := r.reference(tagOrDigest)
	if err != nil {
		return "", err
	}
	desc, err := r.puller.Head(ctx, ref)
	if err != nil {
		return "", r.fail(fmt.Sprintf("look up %s in %s", tagOrDigest, r.given), err)
	}
	return desc.Digest.String(), nil
}

// Describe reads what a tag or digest stands for; ErrNotFound when there is no such thing.
func (r *Repository) Describe(ctx context.Context, tagOrDigest string) (Description, error) {
	artifact, err := r.Artifact(ctx, tagOrDigest)
	if err != nil {
		return Description{}, err
	}
	description, err := Describe(artifact)
	if err != nil {
		return Description{}, r.fail(fmt.Sprintf("describe %s in %s", tagOrDigest, r.given), err)
	}
	return description, nil
}

// Artifact returns what a tag or digest stands for, to be read from the registry as it is used, for as long as ctx lasts;
// ErrNotFound when there is no such thing.
func (r *Repository) Artifact(ctx context.Context, tagOrDigest string) (Artifact, error) {
	ref, err := r.reference(tagOrDigest)
	if err != nil {
		return nil, err
	}
	doing := fmt.Sprintf("read %s in %s", tagOrDigest, r.given)
	desc, err := r.puller.Get(ctx, ref)
	if err != nil {
		return nil, r.fail(doing, err)
	}
	artifact, err := asArtifact(desc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return artifact, nil
}

// Blob returns the content that a descriptor describes, checked against it; ErrNotFound when the registry does not have it. The caller sees to
// its size.
func (r *Repository) Blob(ctx context.Context, of v1.Descriptor) ([]byte, error) {
	doing := fmt.Sprintf("read blob %s in %s", of.Digest, r.given)
	layer, err := r.puller.Layer(ctx, r.repo.Digest(of.Digest.String()))
	if err != nil {
		return nil, r.fail(doing, err)
	}
	content, err := layer.Compressed()
	if err != nil {
		return nil, r.fail(doing, err)
	}
	defer func() { _ = content.Close() }()
	data, err := io.ReadAll(io.LimitReader(content, of.Size+1))
	if err != nil {
		return nil, r.fail(doing, err)
	}
	if int64(len(data)) != of.Size {
		return nil, fmt.Errorf("%s: it has not the %d bytes that its manifest says", doing, of.Size)
	}
	return data, nil
}

func asArtifact(desc *remote.Descriptor) (Artifact, error) {
	switch {
	case desc.MediaType.IsIndex():
		return desc.ImageIndex()
	case desc.MediaType.IsImage():
		return desc.Image()
	default:
		return nil, fmt.Errorf("its media type %q is neither an image nor an index", desc.MediaType)
	}
}

// Resolve returns the digest that a reference to any image stands for now: the one in the reference when it has one, else what
// its registry says. References are Docker's: ubuntu:24.04 is docker.io/library/ubuntu:24.04.
func Resolve(ctx context.Context, ref string, opts ...Option) (string, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w", ref, err)
	}
	if digest, ok := parsed.(name.Digest); ok {
		return digest.DigestStr(), nil
	}
	r, err := open(parsed.Context().Name(), parsed.Context(), opts)
	if err != nil {
		return "", err
	}
	return r.Digest(ctx, parsed.Identifier())
}
