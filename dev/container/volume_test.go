package container_test

import (
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
			volume := t.TempDir()
			if err := unix.Mount("volume", volume, "tmpfs", 0, c.size); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(volume, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
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
