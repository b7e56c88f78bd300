package cli

import (
	"context"
	"errors"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/dev/local"
)

// imageOptions are the flags of every verb that builds.
type imageOptions struct {
	upstream  upstreamOptions
	selection selectionOptions
	source    sourceOptions
	build     buildOptions
}

func (o *imageOptions) add(c *cobra.Command) {
	o.upstream.add(c)
	o.selection.add(c)
	o.source.add(c)
	o.build.add(c)
}

// session is a pipeline with what it holds open.
type session struct {
	*pipeline.Pipeline
	options  pipeline.Options
	keychain authn.Keychain
	engine   *local.Engine
	progress *Progress
}

// Close ends the engine and the progress.
func (s *session) Close() error {
	err := s.engine.Close()
	s.progress.Close()
	return err
}

// open makes a pipeline on the embedded engine. Verbs that judge nothing give no gate, verbs that talk to no registry an empty one.
func (e Environment) open(ctx context.Context, image imageOptions, scan *gateOptions, to registryOptions) (_ *session, err error) {
	upstream, err := image.upstream.open(e, image.source)
	if err != nil {
		return nil, err
	}
	var policy gate.Policy
	var database string
	if scan != nil {
		database = scan.DatabaseRepository
		if policy, err = scan.policy(image.source); err != nil {
			return nil, err
		}
	}
	base, err := image.build.base(image.source)
	if err != nil {
		return nil, err
	}
	project, err := image.build.project(ctx, image.source)
	if err != nil {
		return nil, err
	}
	sources, err := pipeline.SourcesDigest(image.source.image())
	if err != nil {
		return nil, err
	}
	keychain, err := to.keychain(e)
	if err != nil {
		return nil, err
	}
	var images *registry.Repository
	if to.Repository != "" {
		if images, err = registry.Open(to.Repository, registry.WithKeychain(keychain)); err != nil {
			return nil, err
		}
	}
	progress := NewProgress(e.Stderr, e.Now)
	engine, err := e.engine(ctx, image.source, keychain, progress)
	if err != nil {
		progress.Close()
		return nil, err
	}
	return &session{
		Pipeline: &pipeline.Pipeline{
			Engine:   engine,
			Layouts:  engine.Layouts(),
			Database: database,
			Upstream: upstream,
			Images:   images,
			ResolveBase: func(ctx context.Context, ref string) (string, error) {
				return registry.Resolve(ctx, ref, registry.WithKeychain(keychain))
			},
			Now:      e.Now,
			Progress: progress.Event,
		},
		options: pipeline.Options{
			Selection: image.selection.Selection,
			Platforms: image.build.Platforms,
			Project:   project,
			Sources:   sources,
			BaseImage: base,
			Policy:    policy,
		},
		keychain: keychain,
		engine:   engine,
		progress: progress,
	}, nil
}

// with runs do on a pipeline and closes it.
func (e Environment) with(ctx context.Context, image imageOptions, scan *gateOptions, to registryOptions, do func(*session) error) error {
	s, err := e.open(ctx, image, scan, to)
	if err != nil {
		return err
	}
	err = do(s)
	return errors.Join(err, s.Close())
}
