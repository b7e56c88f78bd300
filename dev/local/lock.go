package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// acquire opens the lock file path and locks it, and waits for whoever holds it. The lock lasts until every process that has the
// returned file open has closed it or is gone: a child that inherits the file keeps it.
func acquire(ctx context.Context, path string, log io.Writer) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for waiting := false; ; {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !waiting {
			waiting = true
			_, _ = fmt.Fprintf(log, "another run is building with %s: waiting for its end\n", path)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("wait for the run that holds %s: %w", path, context.Cause(ctx))
		case <-retry.C:
		}
	}
}
