package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Move moves a tag.
type Move struct {
	// Tag is the name of the tag.
	Tag string
	// From is the digest that it stands for now, as the plan found it; empty when there is no such tag.
	From string
}

// Promote moves tags, in the order given, to a digest that the repository holds whole. All tags are looked at before the first is
// moved, and each again just before it is, for registries have no compare-and-swap: one that is neither at its From nor at the
// digest stops it with ErrTagMoved. A tag that is at the digest already is left as it is. When it stops on the way, the error says
// which tags have been moved.
func (r *Repository) Promote(ctx context.Context, digest string, moves []Move) error {
	doing := fmt.Sprintf("promote %s in %s", digest, r.given)
	due, err := r.due(ctx, digest, moves)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if len(due) == 0 {
		return nil
	}
	artifact, err := r.Whole(ctx, digest)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var moved []string
	for _, move := range due {
		if err := r.move(ctx, artifact, digest, move); err != nil {
			return fmt.Errorf("%s: %w%s", doing, err, movedSoFar(moved))
		}
		moved = append(moved, move.Tag)
	}
	return nil
}

func movedSoFar(tags []string) string {
	if len(tags) == 0 {
		return " (no tag was moved)"
	}
	return fmt.Sprintf(" (moved already: %s)", strings.Join(tags, ", "))
}

// due returns the moves that are still to be made, and an error when any of them can no longer be.
func (r *Repository) due(ctx context.Context, digest string, moves []Move) ([]Move, error) {
	if _, err := r.reference(digest); err != nil || !strings.Contains(digest, ":") {
		return nil, errors.Join(fmt.Errorf("%q is no digest", digest), err)
	}
	var due []Move
	for _, move := range moves {
		at, err := r.at(ctx, move, digest)
		if err != nil {
			return nil, fmt.Errorf("%w%s", err, movedSoFar(nil))
		}
		if at != digest {
			due = append(due, move)
		}
	}
	return due, nil
}

// at returns the digest that the tag of a move stands for, which is either its From or the digest it is to be moved to.
func (r *Repository) at(ctx context.Context, move Move, digest string) (string, error) {
	if _, err := r.tag(move.Tag); err != nil {
		return "", err
	}
	found, err := r.Digest(ctx, move.Tag)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", err
	}
	if found != move.From && found != digest {
		return "", fmt.Errorf("tag %s: %w: expected %s, found %s; run again to plan anew", move.Tag, ErrTagMoved, orNone(move.From), orNone(found))
	}
	return found, nil
}

func orNone(digest string) string {
	if digest == "" {
		return "no such tag"
	}
	return digest
}

func (r *Repository) move(ctx context.Context, a Artifact, digest string, move Move) error {
	at, err := r.at(ctx, move, digest)
	if err != nil || at == digest {
		return err
	}
	ref, err := r.tag(move.Tag)
	if err != nil {
		return err
	}
	if err := r.put(ctx, ref, a); err != nil {
		return r.fail("move tag "+move.Tag, err)
	}
	return nil
}

// Whole returns what a digest stands for, having seen that the repository has all of it; ErrNotFound when anything is missing.
func (r *Repository) Whole(ctx context.Context, digest string) (Artifact, error) {
	artifact, err := r.Artifact(ctx, digest)
	if err != nil {
		return nil, err
	}
	all, err := partsOf(artifact)
	if err != nil {
		return nil, r.fail("look whether it is whole", err)
	}
	missing, err := r.missing(ctx, all.blobs)
	if err != nil {
		return nil, r.fail("look whether it is whole", err)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("it is not whole: %s: %w; push it again", missing[0], ErrNotFound)
	}
	return artifact, nil
}
