package tail_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"opennebula-kube/image/internal/tail"
)

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oned.log")
	write(t, path, os.O_CREATE, "of an earlier run\n")
	got := follow(t, path)
	write(t, path, os.O_APPEND, "one\n")
	got.want(t, "one\n")
	write(t, path, os.O_APPEND, "two\n")
	got.want(t, "one\ntwo\n")
	write(t, path, os.O_TRUNC, "3\n")
	got.want(t, "one\ntwo\n3\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path+".1", os.O_APPEND, "last of the old\n")
	got.want(t, "one\ntwo\n3\nlast of the old\n")
	write(t, path, os.O_CREATE, "first of the new\n")
	got.want(t, "one\ntwo\n3\nlast of the old\nfirst of the new\n")
	write(t, path, os.O_APPEND, "at the end")
	got.stop(t)
	got.want(t, "one\ntwo\n3\nlast of the old\nfirst of the new\nat the end")
}

func TestFollowWaitsForFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later.log")
	got := follow(t, path)
	time.Sleep(20 * time.Millisecond)
	write(t, path, os.O_CREATE, "now\n")
	got.want(t, "now\n")
	got.stop(t)
}

func TestFollowPassesErrorsOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	broken := errors.New("broken")
	time.AfterFunc(20*time.Millisecond, func() { _ = os.WriteFile(path, []byte("x"), 0o600) })
	err := tail.Follow(t.Context(), path, writerFunc(func([]byte) (int, error) { return 0, broken }), time.Millisecond)
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type followed struct {
	cancel context.CancelFunc
	done   chan error

	mu   sync.Mutex
	text bytes.Buffer
}

func (f *followed) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}

func (f *followed) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.String()
}

func (f *followed) want(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); f.String() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %q, want %q", f, want)
		}
	}
}

func (f *followed) stop(t *testing.T) {
	t.Helper()
	f.cancel()
	if err := <-f.done; err != nil {
		t.Error(err)
	}
}

func follow(t *testing.T, path string) *followed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	f := &followed{cancel: cancel, done: make(chan error, 1)}
	begun := make(chan struct{})
	go func() {
		close(begun)
		f.done <- tail.Follow(ctx, path, f, time.Millisecond)
	}()
	<-begun
	time.Sleep(10 * time.Millisecond)
	return f
}

func write(t *testing.T, path string, flag int, text string) {
	t.Helper()
	f, err := os.OpenFile(path, flag|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
