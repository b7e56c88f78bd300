// Package engine is the pipeline's engine on Dagger: images are built by Dagger and scanned in a container of it; what has to do with
// registries is Go, which runs beside them. Nothing passes through the machine that the pipeline was called from.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/trivy"
)

// Config is what an Engine is told about its surroundings.
type Config struct {
	// Context are the image's sources: the directory of its Dockerfile.
	Context *dagger.Directory
	// GoImage is the image to compile the image's own program with; "" is the one that the Dockerfile pins.
	GoImage string
	// Scanner has Trivy, as the program trivy; nil is Trivy's own image, see DefaultScanner.
	Scanner *dagger.Container
	// Keychain has the credentials for base images and for the registry that is pushed to; nil is none. Trivy gets none.
	Keychain authn.Keychain
	// DatabaseRepository is the vulnerability database to scan with; "" is trivy.DefaultDatabaseRepository.
	DatabaseRepository string
	// Dir is a directory for images on their way from and to Dagger; in a module's function one below the working directory.
	Dir string
}

// Engine implements pipeline.Engine. What it leaves in Dir is the caller's to remove.
type Engine struct {
	dag    *dagger.Client
	config Config
}

var _ pipeline.Engine = (*Engine)(nil)

// New makes an Engine in a session of Dagger.
func New(session *dagger.Client, config Config) *Engine {
	if config.Scanner == nil {
		config.Scanner = session.Container().From(DefaultScanner)
	}
	if config.Keychain == nil {
		config.Keychain = authn.NewMultiKeychain()
	}
	if config.DatabaseRepository == "" {
		config.DatabaseRepository = trivy.DefaultDatabaseRepository
	}
	return &Engine{dag: session, config: config}
}

// image is an OCI layout on disk.
type image struct {
	engine    *Engine
	dir       string
	digest    string
	platforms []string
	// upload hands the layout to Dagger, once.
	upload func() *dagger.Directory
}

// Digest implements pipeline.Image.
func (i *image) Digest() string { return i.digest }

// Platforms implements pipeline.Image.
func (i *image) Platforms() []string { return slices.Clone(i.platforms) }

// open makes an image of the layout dir.
func (e *Engine) open(dir string) (*image, error) {
	artifact, err := registry.FromLayout(dir)
	if err != nil {
		return nil, err
	}
	described, err := registry.Describe(artifact)
	if err != nil {
		return nil, err
	}
	return &image{
		engine: e, dir: dir, digest: described.Digest, platforms: described.Platforms,
		upload: sync.OnceValue(func() *dagger.Directory { return e.dag.Address(dir).Directory() }),
	}, nil
}

func (e *Engine) own(img pipeline.Image) (*image, error) {
	i, ok := img.(*image)
	if !ok || i.engine != e {
		return nil, fmt.Errorf("image %s is not one of this engine's: build it, or pull it, here", img.Digest())
	}
	return i, nil
}

// scratch makes a new directory in the engine's.
func (e *Engine) scratch(pattern string) (string, error) { return os.MkdirTemp(e.config.Dir, pattern) }

// Layout returns an image as an OCI layout.
func (e *Engine) Layout(img pipeline.Image) (*dagger.Directory, error) {
	i, err := e.own(img)
	if err != nil {
		return nil, err
	}
	return i.upload(), nil
}

// Open takes an image back that an engine of another session or process gave as Layout.
func (e *Engine) Open(ctx context.Context, layout *dagger.Directory) (pipeline.Image, error) {
	dir, err := e.scratch("image-")
	if err != nil {
		return nil, err
	}
	if _, err := layout.Export(ctx, dir); err != nil {
		return nil, stopped(ctx, err)
	}
	return e.open(dir)
}

// Push implements pipeline.Engine.
func (e *Engine) Push(ctx context.Context, img pipeline.Image, ref string) (string, error) {
	i, err := e.own(img)
	if err != nil {
		return "", err
	}
	return ocilayout.Push(ctx, i.dir, ref, registry.WithKeychain(e.config.Keychain))
}

// Pull implements pipeline.Engine.
func (e *Engine) Pull(ctx context.Context, ref string) (pipeline.Image, error) {
	img, err := e.pull(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	return img, nil
}

func (e *Engine) pull(ctx context.Context, ref string) (*image, error) {
	dir, err := e.scratch("pulled-")
	if err != nil {
		return nil, err
	}
	if err := ocilayout.Pull(ctx, ref, dir, registry.WithKeychain(e.config.Keychain)); err != nil {
		return nil, err
	}
	return e.open(dir)
}

// stopped is the error of a call to Dagger: its own for a context that is done is no context.Canceled, and the end of what a program
// said is not part of it.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var program *dagger.ExecError
	if errors.As(err, &program) {
		return fmt.Errorf("it ended with status %d:\n%s", program.ExitCode, pipeline.LastLines(program.Stdout+program.Stderr))
	}
	return err
}
