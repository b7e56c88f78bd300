// Package local is the pipeline's engine on a bare Linux machine: BuildKit's daemon as a child process builds images, runc runs programs
// in them, and Trivy is a program on the machine. It needs no Docker and no account; images need root.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/kept"
	"opennebula-kube/ci/pipeline"
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
	// Keychain has the credentials for base images; nil is none.
	Keychain authn.Keychain
	// Log takes what builds print, as plain lines; nil discards it.
	Log io.Writer
}

// How many images, and results of programs that have a key, such as vulnerability databases, are kept at least.
const (
	keptImages  = 5
	keptResults = 2
)

// Engine implements pipeline.Engine. It starts the build daemon with the first build and ends it with Close.
type Engine struct {
	config  Config
	images  kept.Directories
	results kept.Directories
	// scratch is for what lasts as long as the engine.
	scratch string

	mu     sync.Mutex
	daemon *daemon
	// keyed is held while a program with a key runs: one of two does for both.
	keyed sync.Mutex
	roots roots
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
	if _, err := os.Stat(filepath.Join(config.Context, "Dockerfile")); err != nil {
		return nil, fmt.Errorf("local engine: sources of the image: %w", err)
	}
	stateDir, err := filepath.Abs(config.StateDir)
	if err != nil {
		return nil, fmt.Errorf("local engine: state directory: %w", err)
	}
	config.StateDir = stateDir
	e := &Engine{
		config:  config,
		images:  kept.Directories{Dir: filepath.Join(stateDir, "images"), Count: keptImages, Now: time.Now},
		results: kept.Directories{Dir: filepath.Join(stateDir, "results"), Count: keptResults, Now: time.Now},
	}
	if e.scratch, err = (kept.Directories{Dir: filepath.Join(stateDir, "tmp"), Now: time.Now}).Stage(); err != nil {
		return nil, fmt.Errorf("local engine: state directory: %w", err)
	}
	return e, nil
}

// Layouts are where the engine keeps images, for whoever pulls some.
func (e *Engine) Layouts() kept.Directories { return e.images }

// Close ends the build daemon, if it was started, waits for its end, and removes what does not outlast the engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := os.RemoveAll(e.scratch)
	if e.daemon != nil {
		err = errors.Join(e.daemon.stop(), err)
		e.daemon = nil
	}
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
	if err := e.needRunc(ctx); err != nil {
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

func (e *Engine) needRunc(ctx context.Context) error {
	return e.config.Toolchain.OSPackages(ctx, toolchain.Need{Command: "runc", Package: "runc"})
}
