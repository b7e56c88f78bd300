package container_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testCapabilities takes away one capability at a time: what is declared is what is needed.
func testCapabilities(t *testing.T, built *images) {
	ends := func(lines ...string) func(*testing.T, *container) {
		return func(t *testing.T, c *container) {
			t.Helper()
			if status := c.wait(startLimit); status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			c.wantLog(lines...)
		}
	}
	lacking := map[string]func(t *testing.T, c *container){
		"CAP_CHOWN":            ends("failed to prepare the volume", "CHOWN"),
		"CAP_DAC_OVERRIDE":     ends("failed to prepare the volume", "DAC_OVERRIDE"),
		"CAP_FOWNER":           ends("failed to prepare the volume", "FOWNER"),
		"CAP_SETUID":           ends("failed to ", "operation not permitted"),
		"CAP_SETGID":           ends("failed to ", "operation not permitted"),
		"CAP_NET_BIND_SERVICE": ends("service sshd keeps failing", "Permission denied"),
		"CAP_KILL": func(t *testing.T, c *container) {
			c.ready(startLimit)
			pid := c.mustExec(asRoot, "supervisorctl", "pid", "guacd")
			out, err := c.exec(asRoot, "supervisorctl", "stop", "guacd")
			if _, gone := c.exec(asRoot, "test", "-d", "/proc/"+pid); gone != nil {
				t.Errorf("guacd was stopped: %v: %s", err, out)
			}
		},
		"CAP_SYS_CHROOT": func(t *testing.T, c *container) {
			c.ready(startLimit)
			out, err := c.exec(asOneadmin, "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
				"BatchMode=yes", "oneadmin@127.0.0.1", "id")
			if err == nil {
				t.Errorf("ssh works: %s", out)
			}
			c.wantEventually(t, "the reason", func() bool { return strings.Contains(c.log(), "chroot") })
		},
	}
	for _, capability := range capabilities() {
		t.Run(capability, func(t *testing.T) {
			check := lacking[capability]
			if check == nil {
				t.Fatal("nothing is known to need it: try the image without it, and take it off the list, here and in the README, or say what does")
			}
			check(t, run(t, options{image: built.get(t, middle), volume: t.TempDir(), adjust: without(capability)}))
		})
	}
	t.Run("with all of them", func(t *testing.T) {
		image := built.get(t, middle)
		c := run(t, options{image: image, volume: t.TempDir()})
		c.ready(startLimit)
		wantSSH(t, c)
		for _, line := range []string{"NoNewPrivs:\t1", "CapBnd:\t00000000000404eb"} {
			c.mustExec(asRoot, "grep", "-qxF", line, "/proc/1/status")
		}
		wantStopped(t, c)
		wantWritten(t, c, image)
	})
}

// wantWritten checks where a container has written.
func wantWritten(t *testing.T, c *container, of image) {
	t.Helper()
	declared := []string{"/run", "/tmp", "/etc/one", "/var/log/one"}
	files := 0
	err := filepath.WalkDir(c.upper, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, c.upper)
		if slices.ContainsFunc(declared, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }) {
			files++
			return nil
		}
		// Directories on the way are copied along; the file is for the runtime to mount its own at.
		if _, err := os.Lstat(filepath.Join(of.rootfs, name)); entry.IsDir() && err == nil || name == "/etc/hosts" {
			return nil
		}
		t.Errorf("%s was written", name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files were written: this has looked in the wrong place", files)
	}
}
