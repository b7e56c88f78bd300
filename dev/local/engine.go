// Package local is the pipeline's engine on a bare Linux machine: BuildKit's daemon as a child process, Trivy as a program, and
// Go for what has to do with registries. It needs no Docker and no account; building needs root.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/trivy"
	"opennebula-kube/dev/toolchain"
)

// Config is what an Engine is told about its surroundings.
type Config struct {
	// Context is the directory of the image's sources: that of its Dockerfile.
	Context string
	// StateDir is where the build cache, images and vulnerability databases are kept from one run to the next. Engines of
	// several processes may share it; they build one after the other.
	StateDir string
	// Toolchain finds buildkitd, runc and Trivy when they are needed for the first time.
	Toolchain *toolchain.Toolchain
	// Keychain has the credentials for base images and for the registry that is pushed to; nil is none. Trivy gets none.
	Keychain authn.Keychain
	// DatabaseRepository is the vulnerability database to scan with; "" is trivy.DefaultDatabaseRepository.
	DatabaseRepository string
	// Log takes what builds print, as plain lines; nil discards it.
	Log io.Writer
}

// Engine implements pipeline.Engine. It starts the build daemon with the first build and ends it with Close.
type Engine struct {
	config    Config
	images    store
	databases databases
	scratch   string

	mu     sync.Mutex
	daemon *daemon
}

var _ pipeline.Engine = (*Engine)(nil)

// New makes an Engine and its directories. The caller has to Close it.
func New(_ context.Context, config Config) (*Engine, error) {
	if config.Toolchain == nil {
		return nil, errors.New("local engine: no toolchain given")
	}
	if config.Log == nil {
		config.Log = io.Discard
	}
	if config.Keychain == nil {
		config.Keychain = authn.NewMultiKeychain()
	}
	if config.DatabaseRepository == "" {
		config.DatabaseRepository = trivy.DefaultDatabaseRepository
	}
	if _, err := os.Stat(filepath.Join(config.Context, "Dockerfile")); err != nil {
		return nil, fmt.Errorf("local engine: sources of the image: %w", err)
	}
	stateDir, err := filepath.Abs(config.StateDir)
	if err != nil {
		return nil, fmt.Errorf("local engine: state directory: %w", err)
	}
	config.StateDir = stateDir
	e := &Engine{
		config:    config,
		images:    store{dir: filepath.Join(stateDir, "images"), now: time.Now},
		databases: databases{dir: filepath.Join(stateDir, "trivy"), repository: config.DatabaseRepository, now: time.Now},
		scratch:   filepath.Join(stateDir, "tmp"),
	}
	for _, dir := range []string{e.images.dir, e.databases.dir, e.scratch} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("local engine: state directory: %w", err)
		}
	}
	return e, nil
}

// Close ends the build daemon, if it was started, and waits for its end.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.daemon == nil {
		return nil
	}
	err := e.daemon.stop()
	e.daemon = nil
	return err
}

// builder returns the build daemon, which it starts when there is none or when it has died.
func (e *Engine) builder(ctx context.Context) (*daemon, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.daemon != nil {
		if e.daemon.alive() {
			return e.daemon, nil
		}
		_ = e.daemon.stop()
		e.daemon = nil
	}
	if err := e.config.Toolchain.OSPackages(ctx, toolchain.Need{Command: "runc", Package: "runc"}); err != nil {
		return nil, err
	}
	program, err := e.config.Toolchain.Tool(ctx, "buildkitd")
	if err != nil {
		return nil, err
	}
	d, err := startDaemon(ctx, program, e.config.StateDir, e.config.Log)
	if err != nil {
		return nil, fmt.Errorf("start the build daemon %s: %w", program, err)
	}
	e.daemon = d
	return d, nil
}

// image is an OCI layout in the engine's store.
type image struct {
	engine    *Engine
	digest    string
	platforms []string
}

// Digest implements pipeline.Image.
func (i *image) Digest() string { return i.digest }

// Platforms implements pipeline.Image.
func (i *image) Platforms() []string { return slices.Clone(i.platforms) }

// own returns the image and the directory of its layout.
func (e *Engine) own(img pipeline.Image) (*image, string, error) {
	i, ok := img.(*image)
	if !ok || i.engine != e {
		return nil, "", fmt.Errorf("image %s is not one of this engine's: build it, or pull it, here", img.Digest())
	}
	dir, ok := e.images.find(i.digest)
	if !ok {
		return nil, "", fmt.Errorf("image %s is no longer in %s: build it, or pull it, again", i.digest, e.images.dir)
	}
	return i, dir, nil
}
