package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
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
		if err := compileProgram(ctx, dir, platform.Architecture); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// compileProgram does what the Dockerfile's stage "compiled" does.
func compileProgram(ctx context.Context, dir, architecture string) error {
	program := filepath.Join("bin", architecture, "one-container")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "./cmd/one-container")
	cmd.Dir = dir
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "GOFLAGS=") && !strings.HasPrefix(entry, "GOEXPERIMENT=") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOWORK=off")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("compile the image's program for linux/%s (it takes Go, on the PATH): %w\n%s", architecture, err, output.Bytes())
	}
	return nil
}
