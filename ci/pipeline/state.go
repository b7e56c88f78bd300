package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// tagRequests bounds how many tags are asked for at once: registries count requests.
const tagRequests = 4

// state asks the registry for what a plan needs: the tags, what the ones that may move stand for, and the newest revision. No
// registry has nothing.
func (p *Pipeline) state(ctx context.Context, target release.Release) (release.State, error) {
	if p.Images == nil {
		return release.State{}, nil
	}
	names, err := p.Images.Tags(ctx)
	if err != nil {
		return release.State{}, err
	}
	state := release.State{Tags: names, Digests: map[string]string{}}
	wanted := release.CandidateTags(target)
	newest, found := release.NewestRevision(target.Version, names)
	if found {
		wanted = append(wanted, newest)
	}
	var mu sync.Mutex
	group, request := errgroup.WithContext(ctx)
	group.SetLimit(tagRequests)
	for _, tag := range wanted {
		group.Go(func() error {
			digest, err := p.Images.Digest(request, tag)
			if errors.Is(err, registry.ErrNotFound) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			state.Digests[tag] = digest
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return release.State{}, err
	}
	digest, found := state.Digests[newest]
	if !found {
		return state, nil
	}
	artifact, err := p.Images.Whole(ctx, digest)
	if errors.Is(err, registry.ErrNotFound) {
		return state, nil // nobody can pull it: as good as not published
	}
	if err != nil {
		return release.State{}, err
	}
	described, err := registry.Describe(artifact)
	if err != nil {
		return release.State{}, fmt.Errorf("read what %s:%s is: %w", p.Images.Name(), newest, err)
	}
	state.Published = &release.Published{
		Ref:       p.Images.Name() + ":" + newest,
		Digest:    digest,
		Platforms: described.Platforms,
		Labels:    described.Labels,
	}
	return state, nil
}
