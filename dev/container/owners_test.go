package container_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// without is a container that lacks a capability, as root does on a volume of NFS that is exported with root_squash.
func without(capability string) func(*specs.Spec) {
	return func(spec *specs.Spec) {
		spec.Process.Capabilities = only(slices.DeleteFunc(capabilities(), func(name string) bool { return name == capability }))
	}
}

// testOwners starts the image on a volume with owners and modes that are not what OpenNebula, ssh and sshd want. Each step leaves a volume
// that is in use.
func testOwners(t *testing.T, built *images) {
	volume := t.TempDir()
	start := func(t *testing.T, version string, env ...string) *container {
		t.Helper()
		return run(t, options{image: built.get(t, version), volume: volume, env: env})
	}
	// change does something to all that is on the volume.
	change := func(t *testing.T, what func(path string, info fs.FileInfo) error) {
		t.Helper()
		err := filepath.WalkDir(volume, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Type() == fs.ModeSymlink {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			return what(path, info)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// What kubelet does at each start of a pod with an fsGroup.
	giveToGroup := func(t *testing.T) {
		t.Helper()
		change(t, func(path string, info fs.FileInfo) error {
			mode := info.Mode() | 0o660
			if info.IsDir() {
				mode |= 0o770 | fs.ModeSetgid
			}
			if err := os.Chown(path, -1, 9869); err != nil {
				return err
			}
			return os.Chmod(path, mode)
		})
	}
	inOrder(t, []step{
		{"group of Kubernetes - empty", func(t *testing.T) {
			giveToGroup(t)
			c := start(t, middle)
			c.ready(startLimit)
			wantSSH(t, c)
			wantStopped(t, c)
		}},
		{"group of Kubernetes", func(t *testing.T) {
			giveToGroup(t)
			c := start(t, middle)
			c.ready(startLimit)
			wantSSH(t, c)
			if strings.Contains(c.log(), "somebody") {
				t.Error("modes for the group are taken for local changes")
			}
			wantStopped(t, c)
		}},
		{"another user", func(t *testing.T) {
			change(t, func(path string, info fs.FileInfo) error {
				if err := os.Chmod(path, info.Mode()&^0o077); err != nil {
					return err
				}
				return os.Chown(path, 1234, 1234)
			})
			c := start(t, middle)
			c.ready(startLimit)
			c.wantLog("belongs to user 1234, group 1234")
			wantSSH(t, c)
			wantStopped(t, c)
		}},
		{"database and credentials of root", func(t *testing.T) {
			for _, file := range []string{"one.db", ".one/one_auth", ".one/sunstone_auth", ".ssh/id_rsa", ".ssh/authorized_keys"} {
				path := filepath.Join(volume, file)
				if err := os.Chown(path, 0, 0); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, 0o400); err != nil {
					t.Fatal(err)
				}
			}
			c := start(t, middle)
			c.ready(startLimit)
			c.wantLog("one.db belongs to user 0 and has mode 400")
			wantSSH(t, c)
		}},
		{"file that cannot be read", func(t *testing.T) {
			// All but this is root's, for a root that may not more than others.
			change(t, func(path string, _ fs.FileInfo) error { return os.Chown(path, 0, 0) })
			if err := os.Chmod(filepath.Join(volume, ".one/one_auth"), 0); err != nil {
				t.Fatal(err)
			}
			c := run(t, options{image: built.get(t, middle), volume: volume, adjust: without("CAP_DAC_OVERRIDE")})
			if status := c.wait(startLimit); status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			c.wantLog("error: failed to ", "/var/lib/one", "permission denied", "DAC_OVERRIDE", "no_root_squash")
		}},
		{"owner that cannot be changed", func(t *testing.T) {
			change(t, func(path string, _ fs.FileInfo) error { return os.Chown(path, 1234, 1234) })
			c := run(t, options{image: built.get(t, middle), volume: volume, adjust: without("CAP_CHOWN")})
			if status := c.wait(startLimit); status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			c.wantLog("give /var/lib/one to oneadmin: ", "operation not permitted", "CHOWN", "no_root_squash")
		}},
		{"all well again", func(t *testing.T) {
			c := start(t, middle)
			c.ready(startLimit)
			wantSSH(t, c)
			// By hand, while it runs: it has to say so, and the next start mends it.
			if err := os.WriteFile(filepath.Join(volume, ".one/one_auth"), []byte("oneadmin:by-hand\n# since May\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := c.exec(asRoot, "one-container", "healthcheck", "ready")
			if err == nil || !strings.Contains(out, "start the container again") {
				t.Errorf("healthcheck: %v: %s", err, out)
			}
			c.mustExec(asRoot, "one-container", "healthcheck", "live")
			wantStopped(t, c)
		}},
		{"credentials by hand", func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(volume, ".one/sunstone_auth"), []byte("serveradmin:wrong\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(volume, ".one/oneflow_auth"), []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
			c := start(t, middle)
			c.ready(startLimit)
			c.wantLog("changed the password of user 0 in the database", "changed the password of user 1 in the database")
			c.mustExec(asOneadmin, "oneuser", "show", "0")
			for _, file := range []string{"sunstone_auth", "oneflow_auth", "onegate_auth", "oneform_auth"} {
				if got := read(t, filepath.Join(volume, ".one", file)); got != "serveradmin:wrong\n" {
					t.Errorf("%s is %q", file, got)
				}
			}
			wantStopped(t, c)
		}},
		{"group of Kubernetes - upgrade", func(t *testing.T) {
			giveToGroup(t)
			c := start(t, newest)
			c.ready(startLimit)
			if strings.Contains(c.log(), "somebody") {
				t.Error("modes for the group are taken for local changes")
			}
			wantStopped(t, c)
		}},
	})
}
