package apt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CompileStandin returns a function for Options.Standin that compiles the stand-in program for Linux, with the Go on the PATH, out
// of the module in directory module, and keeps the programs in directory cache. The same sources and the same Go give the same
// bytes; what is up to date is not compiled again.
func CompileStandin(module, cache string) func(ctx context.Context, architecture string) (string, error) {
	return func(ctx context.Context, architecture string) (path string, err error) {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			return "", err
		}
		path, err = filepath.Abs(filepath.Join(cache, "standin-"+architecture))
		if err != nil {
			return "", err
		}
		// Two processes must not write the program at the same time.
		lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return "", err
		}
		defer func() { _ = lock.Close() }()
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path,
			"./dev/sandbox/standin/cmd")
		command.Dir = module
		command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOFLAGS=", "GOWORK=off")
		var output bytes.Buffer
		command.Stdout, command.Stderr = &output, &output
		if err := command.Run(); err != nil {
			return "", fmt.Errorf("%s in %s: %w\n%s", command, module, err, output.Bytes())
		}
		return path, nil
	}
}
