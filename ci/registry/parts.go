package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// part is one thing that a registry has to hold for an artifact to be whole: a blob or a manifest.
type part struct {
	digest   v1.Hash
	blob     v1.Layer // nil for a manifest
	manifest Artifact // nil for a blob
}

func (p part) String() string {
	if p.blob != nil {
		return "blob " + p.digest.String()
	}
	return "manifest " + p.digest.String()
}

// parts are all parts of an artifact, each once.
type parts struct {
	blobs   []part
	images  []part // their manifests
	indexes []part // those inside another before it
	seen    map[v1.Hash]bool
}

// stages are the parts in the order that a registry wants them: some refuse a manifest that names what they do not have.
func (p *parts) stages() [][]part {
	stages := [][]part{p.blobs, p.images}
	for _, index := range p.indexes {
		stages = append(stages, []part{index})
	}
	return stages
}

func partsOf(a Artifact) (*parts, error) {
	p := &parts{seen: map[v1.Hash]bool{}}
	if err := p.addManifest(a); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *parts) addManifest(a Artifact) error {
	digest, err := a.Digest()
	if err != nil || p.seen[digest] {
		return err
	}
	p.seen[digest] = true
	self := part{digest: digest, manifest: a}
	switch a := a.(type) {
	case v1.Image:
		err = p.addImage(a)
		p.images = append(p.images, self)
	case v1.ImageIndex:
		err = p.addIndex(a)
		p.indexes = append(p.indexes, self)
	default:
		err = fmt.Errorf("%T is neither an image nor an index", a)
	}
	if err != nil {
		return fmt.Errorf("read manifest %s: %w", digest, err)
	}
	return nil
}

func (p *parts) addIndex(index v1.ImageIndex) error {
	children, err := partial.Manifests(index)
	if err != nil {
		return err
	}
	for _, child := range children {
		manifest, ok := child.(Artifact)
		if !ok {
			return fmt.Errorf("the index names something that is neither an image nor an index (%T)", child)
		}
		if err := p.addManifest(manifest); err != nil {
			return err
		}
	}
	return nil
}

func (p *parts) addImage(image v1.Image) error {
	blobs, err := image.Layers()
	if err != nil {
		return err
	}
	config, err := partial.ConfigLayer(image)
	if err != nil {
		return err
	}
	for _, blob := range append(blobs, config) {
		mediaType, err := blob.MediaType()
		if err != nil {
			return err
		}
		digest, err := blob.Digest()
		if err != nil {
			return err
		}
		// Layers that may not be redistributed stay where they are.
		if mediaType.IsDistributable() && !p.seen[digest] {
			p.seen[digest] = true
			p.blobs = append(p.blobs, part{digest: digest, blob: blob})
		}
	}
	return nil
}

// missing returns which of the parts the registry does not have, in the same order.
func (r *Repository) missing(ctx context.Context, all []part) ([]part, error) {
	absent := make([]bool, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for i, p := range all {
		group.Go(func() error {
			exists, err := r.exists(ctx, p)
			absent[i] = !exists
			if err != nil {
				return fmt.Errorf("look for %s: %w", p, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []part
	for i, p := range all {
		if absent[i] {
			missing = append(missing, p)
		}
	}
	return missing, nil
}

func (r *Repository) exists(ctx context.Context, p part) (bool, error) {
	ref := r.repo.Digest(p.digest.String())
	if p.blob != nil {
		layer, err := r.puller.Layer(ctx, ref)
		if err != nil {
			return false, err
		}
		return partial.Exists(layer)
	}
	_, err := r.puller.Head(ctx, ref)
	if r.absent(err) {
		return false, nil
	}
	return err == nil, err
}

// errForgets is a registry that takes something, says that it has it, and then does not.
var errForgets = errors.New("the registry accepted it twice but does not have it")

// ensure makes the registry hold all parts. It sends what is missing, looks whether that is there now, and sends once more what
// is not.
func (r *Repository) ensure(ctx context.Context, all []part) error {
	missing, err := r.missing(ctx, all)
	for range 2 {
		if err != nil || len(missing) == 0 {
			return err
		}
		if err := r.send(ctx, missing); err != nil {
			return err
		}
		missing, err = r.missing(ctx, missing)
	}
	if err != nil || len(missing) == 0 {
		return err
	}
	names := make([]string, len(missing))
	for i, p := range missing {
		names[i] = p.String()
	}
	return fmt.Errorf("%s: %w; run again, or look into the registry's storage", strings.Join(names, ", "), errForgets)
}

// send uploads parts that do not name each other.
func (r *Repository) send(ctx context.Context, all []part) error {
	// A pusher takes for granted what it has sent before, so none is kept.
	pusher, err := remote.NewPusher(r.options...)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for _, p := range all {
		group.Go(func() error {
			var err error
			if p.blob != nil {
				err = pusher.Upload(ctx, r.repo, p.blob)
			} else {
				err = pusher.Put(ctx, r.repo.Digest(p.digest.String()), p.manifest)
			}
			if err != nil {
				return fmt.Errorf("send %s: %w", p, err)
			}
			return nil
		})
	}
	return group.Wait()
}
