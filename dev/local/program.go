package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"opennebula-kube/dev/goprogram"
)

// givenProgram is the value of the Dockerfile's argument PROGRAM for a program that comes with the build context.
const givenProgram = "given"

// stageContext makes a directory with the image's sources and, for each platform, the program in it, compiled by this machine's Go: the
// engine needs that anyway, and a build then pulls no image to compile with. The caller removes the directory.
func (e *Engine) stageContext(ctx context.Context, wanted []ocispecs.Platform) (_ string, err error) {
	dir, err := os.MkdirTemp(e.scratch, "context-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := os.CopyFS(dir, os.DirFS(e.config.Context)); err != nil {
		return "", fmt.Errorf("copy the image's sources: %w", err)
	}
	for _, platform := range wanted {
		// As the Dockerfile's stage "compiled" does.
		program := filepath.Join("bin", platform.Architecture, "one-container")
		if err := goprogram.Build(ctx, dir, "./cmd/one-container", program, platform.Architecture); err != nil {
			return "", err
		}
	}
	return dir, nil
}
