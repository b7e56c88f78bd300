package apt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"opennebula-kube/dev/goprogram"
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
		return path, goprogram.Build(ctx, module, "./dev/sandbox/standin/cmd", path, architecture)
	}
}
