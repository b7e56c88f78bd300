package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opennebula-kube/image/internal/host"
)

func TestServe(t *testing.T) {
	h := host.System(t.Logf)
	dir := t.TempDir()
	started, ended := filepath.Join(dir, "started"), filepath.Join(dir, "ended")
	program := host.Command{Args: []string{"sh", "-c", `trap 'touch "$1"; exit 0' TERM; touch "$0"; while :; do sleep 0.05; done`, started, ended}}
	await := func(ctx context.Context) error {
		for {
			if _, err := os.Stat(started); err == nil {
				return nil
			}
			if err := h.Sleep(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if err := h.Serve(t.Context(), program, await); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ended); err != nil {
		t.Errorf("the program was not asked to end: %v", err)
	}
	failure := errors.New("no use")
	if err := h.Serve(t.Context(), program, func(context.Context) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("error %v, want that of the use", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := h.Serve(ctx, program, func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestServeOfWhatEnds(t *testing.T) {
	h := host.System(t.Logf)
	forever := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	err := h.Serve(t.Context(), host.Command{Args: []string{"sh", "-c", "echo broken >&2; exit 3"}}, forever)
	if exit, ok := errors.AsType[*host.ExitError](err); !ok || exit.Status != 3 || exit.Output != "broken" {
		t.Errorf("error %v, want status 3 and what was printed", err)
	}
	if err := h.Serve(t.Context(), host.Command{Args: []string{"/no/such/program"}}, forever); err == nil || !strings.Contains(err.Error(), "run /no/such/program") {
		t.Errorf("error %v", err)
	}
}
