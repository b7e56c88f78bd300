package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

func TestAcquireWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := acquire(t.Context(), path, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var said strings.Builder
	// The second one says that it waits; then its context ends.
	_, err = acquire(ctx, path, writerFunc(func(p []byte) (int, error) { cancel(); return said.Write(p) }))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if want := fmt.Sprintf("another run is building with %s: waiting for its end\n", path); said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	// A third one gets it when the first one lets go.
	third, err := acquire(t.Context(), path, writerFunc(func(p []byte) (int, error) { return len(p), first.Close() }))
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
