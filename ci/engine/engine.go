// Package engine is the pipeline's engine on Dagger, which builds images and runs programs in them, or in Trivy's image. Nothing passes
// through the machine that the pipeline was called from.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/pipeline"
)

// Config is what an Engine is told about its surroundings.
type Config struct {
	// Context are the image's sources: the directory of its Dockerfile.
	Context *dagger.Directory
	// GoImage is the image to compile the image's own program with; "" is the one that the Dockerfile pins.
	GoImage string
	// Scanner has Trivy, as the program trivy; nil is Trivy's own image, see DefaultScanner.
	Scanner *dagger.Container
	// Keychain has the credentials for base images; nil is none.
	Keychain authn.Keychain
	// Dir is a directory for images on their way from and to Dagger; in a module's function one below the working directory.
	Dir string
}

// Engine implements pipeline.Engine. What it leaves in Dir is the caller's to remove.
type Engine struct {
	dag    *dagger.Client
	config Config

	mu sync.Mutex
	// uploads are the directories of this machine that Dagger has, and archives the images; each is handed over once.
	uploads  map[string]*dagger.Directory
	archives map[string]*dagger.File
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
	return &Engine{
		dag: session, config: config, uploads: make(map[string]*dagger.Directory), archives: make(map[string]*dagger.File),
	}
}

// scratch makes a new directory in the engine's.
func (e *Engine) scratch(pattern string) (string, error) { return os.MkdirTemp(e.config.Dir, pattern) }

// Upload hands a directory of this machine to Dagger.
func (e *Engine) Upload(dir string) *dagger.Directory {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.uploads[dir] == nil {
		e.uploads[dir] = e.dag.Address(dir).Directory()
	}
	return e.uploads[dir]
}

// Open takes the image in an OCI layout that Dagger has.
func (e *Engine) Open(ctx context.Context, layout *dagger.Directory) (pipeline.Image, error) {
	dir, err := e.scratch("image-")
	if err != nil {
		return pipeline.Image{}, err
	}
	if _, err := layout.Export(ctx, dir); err != nil {
		return pipeline.Image{}, stopped(ctx, err)
	}
	return pipeline.OpenImage(dir)
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
