// Package cli is the command line of the pipeline on the embedded engine: flags and wiring, no decisions.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"opennebula-kube/dev/local"
	"opennebula-kube/dev/toolchain"
)

// Environment is what a command takes from the process that it runs in.
type Environment struct {
	// Stdout gets results, Stderr progress.
	Stdout, Stderr *os.File
	// Getenv looks environment variables up.
	Getenv func(string) string
	// CacheDir is where tools, build cache and vulnerability databases are kept between runs.
	CacheDir string
	// Now is the clock.
	Now func() time.Time
}

// System is the environment of this process: its cache is in $XDG_CACHE_HOME/opennebula-kube, or in ~/.cache.
func System() (Environment, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Environment{}, fmt.Errorf("find a directory for the cache: %w; set XDG_CACHE_HOME", err)
	}
	return Environment{
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Getenv:   os.Getenv,
		CacheDir: filepath.Join(cache, "opennebula-kube"),
		Now:      time.Now,
	}, nil
}

// New returns the command with all its verbs.
func New(env Environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "pipeline",
		Short: "Release OpenNebula's image and Helm chart",
		Long: "pipeline detects OpenNebula releases, builds, scans, gates, pushes and tags the image, and packages and publishes the Helm chart,\n" +
			"on this machine alone: it brings its own BuildKit and Trivy.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		releasesCommand(env), detectVersionCommand(env), planCommand(env),
		buildCommand(env), scanCommand(env), sbomCommand(env), pushCommand(env),
		chartCommand(env), releaseCommand(env),
	)
	return root
}

// engine makes the embedded engine. It is to be closed.
func (e Environment) engine(ctx context.Context, source sourceOptions, keychain authn.Keychain, p *Progress) (*local.Engine, error) {
	return local.New(ctx, local.Config{
		Context:   source.image(),
		StateDir:  e.CacheDir,
		Toolchain: toolchain.New(source.Dir, e.CacheDir, p.Say),
		Keychain:  keychain,
		Log:       p,
	})
}

// writeFile puts a file in place whole: whoever reads it never sees half of it.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
