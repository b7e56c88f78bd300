// Package goprogram compiles Go programs of this repository for containers.
package goprogram

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Build compiles the package pkg of the module in dir, with the Go on the PATH, as the file output: a static program for Linux on an
// architecture. A relative output is below dir. The same sources and the same Go give the same bytes, whatever the caller's settings for Go are.
func Build(ctx context.Context, dir, pkg, output, architecture string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", output, pkg)
	cmd.Dir = dir
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "GOFLAGS=") && !strings.HasPrefix(entry, "GOEXPERIMENT=") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOWORK=off")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("compile %s in %s for linux/%s (it takes Go, on the PATH): %w\n%s", pkg, dir, architecture, err, said.Bytes())
	}
	return nil
}
