package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"syscall"

	"opennebula-kube/image/internal/health"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/objectlogs"
	"opennebula-kube/image/internal/oned"
)

// rotateLogs rotates the logs that are due, and removes those of virtual machines and services that are gone.
func rotateLogs(ctx context.Context) error {
	// Its state is beside the logs: containers that share a volume have logs of their own.
	rotate := exec.CommandContext(ctx, "/usr/sbin/logrotate", "--state", objectlogs.Dir+"/.logrotate.status", "/usr/share/one-container/logrotate.conf")
	rotate.Stdout, rotate.Stderr = os.Stdout, os.Stderr
	rotate.Cancel = func() error { return rotate.Process.Signal(syscall.SIGTERM) }
	if err := rotate.Run(); err != nil {
		return fmt.Errorf("rotate the logs: %w", err)
	}
	h := host.System(func(string, ...any) {})
	session, err := oned.Session(h)
	if err != nil {
		// Before oned has a password there is nothing to remove.
		return nil //nolint:nilerr // see above
	}
	at, err := health.OnedURL(h)
	if err != nil {
		return err
	}
	err = objectlogs.Prune(ctx, h, oned.Client{HTTP: &http.Client{Timeout: healthLimit}, URL: at, Session: session})
	if _, ok := errors.AsType[*url.Error](err); ok {
		// That oned does not answer is what the probes are for. The next time will do.
		return nil
	}
	return err
}
