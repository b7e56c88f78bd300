package container_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVolumes starts the image on volumes that are no good, and again when they are.
func TestVolumes(t *testing.T) {
	built := newImages(t)
	for _, c := range []struct {
		name string
		// size is that of the volume at first, readOnly how it is mounted.
		size     string
		readOnly bool
		want     string
	}{
		{"read-only", "size=64m", true, "mount it writable"},
		{"full for a program", "size=4k", false, "No space left on device"},
		{"full for start-up itself", "size=12k", false, "make room on it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			volume := newTmpfs(t, c.size)
			bad := run(t, options{image: built.get(t, middle), volume: volume, readOnlyVolume: c.readOnly})
			if status := bad.wait(startLimit); status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			bad.wantLog("error: failed to ", c.want)
			if err := unix.Mount("volume", volume, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
				t.Fatal(err)
			}
			good := run(t, options{image: built.get(t, middle), volume: volume})
			good.ready(startLimit)
			wantStopped(t, good)
		})
	}
}

// newTmpfs is a volume with options of a tmpfs.
func newTmpfs(t *testing.T, size string) string {
	t.Helper()
	volume := t.TempDir()
	if err := unix.Mount("volume", volume, "tmpfs", 0, size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(volume, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return volume
}

// ballast is a file that fills a volume.
const ballast = "ballast"

// fill leaves no more room on a volume than some bytes.
func fill(t *testing.T, volume string, room int64) {
	t.Helper()
	var info unix.Statfs_t
	if err := unix.Statfs(volume, &info); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(volume, ballast))
	if err != nil {
		t.Fatal(err)
	}
	size := int64(info.Bavail)*info.Bsize - room
	if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close()); err != nil {
		t.Fatal(err)
	}
}
