package container_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestBackup backs up an installation of 7.0 that is at work, and begins one of 7.2 with that.
func TestBackup(t *testing.T) {
	built := newImages(t)
	t.Run("SQLite", func(t *testing.T) {
		testBackup(t, func(t *testing.T) *backedUp { return newBackedUp(t, built) })
	})
	t.Run("MariaDB", func(t *testing.T) {
		testBackup(t, func(t *testing.T) *backedUp {
			b := newBackedUp(t, built)
			b.server = newServer(t, built, "secret")
			b.env = b.server.env()
			return b
		})
	})
}

// backedUp is an installation with a place for backups, which is mounted at /backup.
type backedUp struct {
	installation
	place string
}

func newBackedUp(t *testing.T, built *images) *backedUp {
	t.Helper()
	return &backedUp{installation{built: built, volume: t.TempDir()}, t.TempDir()}
}

// mount makes the place of the backups, and what else adjust does, a part of a container.
func (b *backedUp) mount(access string, adjust func(*specs.Spec)) func(*specs.Spec) {
	return func(spec *specs.Spec) {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/backup", Type: "bind", Source: b.place, Options: []string{"rbind", access}})
		if adjust != nil {
			adjust(spec)
		}
	}
}

func (b *backedUp) run(t *testing.T, version, access string, more ...string) *container {
	t.Helper()
	c := run(t, options{
		image: b.built.get(t, version), volume: b.volume, env: slices.Concat([]string{few}, b.env, more), adjust: b.mount(access, nil),
	})
	if b.server != nil {
		b.server.join(t, c)
	}
	return c
}

// backUp runs the command as a CronJob does: in a container of its own beside that of oned, with little that it may do.
func (b *backedUp) backUp(t *testing.T, oned *container, capabilities ...string) (status int, log string) {
	t.Helper()
	c := run(t, options{
		image: b.built.get(t, oldest), volume: b.volume, readOnly: true, readOnlyVolume: true,
		env: append(b.env, "OPENNEBULA_BACKUP_TO=/backup", "OPENNEBULA_DB_WAIT=10s"),
		adjust: b.mount("rw", func(spec *specs.Spec) {
			network{fmt.Sprintf("/proc/%d/ns/net", oned.pid(t))}.join(spec)
			spec.Process.Args = []string{"one-container", "backup"}
			spec.Process.Capabilities = only(capabilities)
		}),
	})
	return c.wait(startLimit), c.log()
}

func (b *backedUp) archives(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(b.place, "opennebula-*.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func testBackup(t *testing.T, installation func(*testing.T) *backedUp) {
	t.Helper()
	from := installation(t)
	oned := from.run(t, oldest, "rw", "OPENNEBULA_ONEADMIN_PASSWORD=first")
	oned.ready(startLimit)
	oned.mustExec(asOneadmin, "oneuser", "create", "kept", "secret")
	oned.mustExec(asOneadmin, "sh", "-c", "echo '# changed here' >> /var/lib/one/remotes/etc/vnm/OpenNebulaNetwork.conf")
	identity := identityOf(t, from.volume)

	said := oned.mustExec(asRoot, "env", "OPENNEBULA_BACKUP_TO=/backup", "one-container", "backup")
	if made := from.archives(t); len(made) != 1 || !strings.Contains(said, "made "+filepath.Base(made[0])+" in /backup") {
		t.Fatalf("backups %q, the command printed %q", made, said)
	}
	oned.mustExec(asOneadmin, "oneuser", "create", "later", "secret")
	needed := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"}
	for _, lacking := range needed {
		status, log := from.backUp(t, oned, slices.DeleteFunc(slices.Clone(needed), func(name string) bool { return name == lacking })...)
		if status != 1 || !strings.Contains(log, "error: ") {
			t.Errorf("without %s the backup has status %d, want 1: %s", lacking, status, log)
		}
	}
	oned.wantEventually(t, "the next second, for another name", func() bool {
		return filepath.Base(from.archives(t)[0]) < time.Now().UTC().Format("opennebula-20060102T150405Z.tar.gz")
	})
	if status, log := from.backUp(t, oned, needed...); status != 0 || !strings.Contains(log, "made opennebula-") {
		t.Fatalf("the backup has status %d: %s", status, log)
	}
	made := from.archives(t)
	if len(made) != 2 {
		t.Fatalf("backups %q, want two", made)
	}
	if left, err := filepath.Glob(filepath.Join(from.place, ".*")); len(left) > 0 || err != nil {
		t.Errorf("failed backups have left %q, %v", left, err)
	}
	oned.signal("TERM")
	oned.wait(stopLimit)

	to := installation(t)
	newest := filepath.Join(to.place, filepath.Base(made[1]))
	whole := read(t, made[1])
	for _, damaged := range []string{whole[:len(whole)/2], whole[:len(whole)-8] + "damaged!"} {
		if err := os.WriteFile(newest, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		c := to.run(t, middle, "ro", "OPENNEBULA_RESTORE_FROM=/backup")
		if status := c.wait(startLimit); status != 1 {
			t.Errorf("status %d with a damaged backup, want 1", status)
		}
		c.wantLog("failed to restore a backup", filepath.Base(newest), "damaged", "nothing was changed")
		for _, path := range []string{".one/one_auth", ".ssh/id_rsa", ".one-container/restore"} {
			if exists(filepath.Join(to.volume, path)) {
				t.Errorf("%s is there after a damaged backup", path)
			}
		}
	}
	if err := os.WriteFile(newest, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	c := to.run(t, middle, "ro", "OPENNEBULA_RESTORE_FROM=/backup")
	c.ready(startLimit)
	c.wantLog("OpenNebula " + oldest + " of ")
	to.check(t, c, middle, identity)
	if out := c.mustExec(asOneadmin, "oneuser", "show", "3"); !strings.Contains(out, "later") {
		t.Errorf("oneuser show 3 prints %q, want the user that was made last", out)
	}
	c.mustExec(asOneadmin, "oneuser", "create", "afterwards", "secret")
	c.signal("TERM")
	c.wait(stopLimit)

	c = to.run(t, middle, "ro", "OPENNEBULA_RESTORE_FROM=/backup")
	c.ready(startLimit)
	c.wantLog("has an installation: leaving it as it is")
	if out := c.mustExec(asOneadmin, "oneuser", "show", "4"); !strings.Contains(out, "afterwards") {
		t.Errorf("oneuser show 4 prints %q, want the user that was made after the backup was restored", out)
	}
}
