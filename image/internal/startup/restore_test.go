package startup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/backup"
	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
)

// backedUp returns a machine of a version with a backup of an installation of 7.2 in /backup, and what was on the volume then.
func backedUp(t *testing.T, version string) (*machine, map[string]string) {
	t.Helper()
	from := newMachine(t, "7.2.0")
	from.boot()
	from.write(driverDir+"/im/local.rb", "a local probe")
	from.write(sshDir+"/config", "Host *\n")
	from.mkdir(stateDir+"/vms/3/empty", 0o700)
	from.link("/no/such/file", driverDir+"/im/mine.rb")
	from.sql("INSERT INTO host_pool VALUES (42)")
	from.boot()
	store, _, err := backup.Locate(from.host, "/backup", settings.S3{})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/backup", "/tmp"} {
		if err := os.MkdirAll(from.host.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	db := database.New(from.host, from.settings.Database)
	name, err := backup.Make(t.Context(), from.host, db, store, "7.2.0", "sqlite", 1)
	if err != nil {
		t.Fatal(err)
	}
	return restoring(t, version, name, from.read("/backup/"+name)), from.volume()
}

// restoring returns a machine that has a backup to begin with.
func restoring(t *testing.T, version, name, content string) *machine {
	t.Helper()
	m := newMachine(t, version)
	m.write("/backup/"+name, content)
	m.settings.RestoreFrom = "/backup"
	return m
}

func TestRestore(t *testing.T) {
	t.Parallel()
	m, want := backedUp(t, "7.2.0")
	m.boot()
	got := m.volume()
	for path := range want {
		// Made anew: it has the date of its day in it, or is the database.
		if strings.HasPrefix(path, configDir) || path == stateDir+"/one.db" {
			delete(want, path)
			delete(got, path)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("volume (-backed up +restored):\n%s", diff)
	}
	if hosts := m.sql("SELECT oid FROM host_pool"); hosts != "42" {
		t.Errorf("hosts %q, want 42", hosts)
	}
	if !m.logged("OpenNebula 7.2.0 of 2026-05-01 12:00:00 UTC") {
		t.Error("the log does not say what was restored")
	}
	// The next start leaves alone what came after.
	m.sql("INSERT INTO host_pool VALUES (43)")
	m.boot()
	if hosts := m.sql("SELECT COUNT(*) FROM host_pool"); hosts != "2" {
		t.Errorf("%s hosts after another start, want 2", hosts)
	}
	if !m.logged("has an installation: leaving it as it is") {
		t.Error("the log does not say that nothing was restored")
	}
}

// TestRestoreElsewhere restores into a later version, with another password, beside files that are there.
func TestRestoreElsewhere(t *testing.T) {
	t.Parallel()
	m, _ := backedUp(t, "7.4.0")
	m.settings.OneadminPassword = "second"
	m.write(sshDir+"/config", "Host there-before\n")
	m.write(sshDir+"/other", "there before")
	m.boot()
	if hosts, schema := m.sql("SELECT oid FROM host_pool"), m.sql("SELECT version FROM db_versioning"); hosts != "42" || schema != "7.4.0" {
		t.Errorf("hosts %q, schema %s, want 42 and 7.4.0", hosts, schema)
	}
	if got := m.read(sshDir + "/config"); got != "Host *\n" {
		t.Errorf("config %q is not that of the backup", got)
	}
	if got := m.read(sshDir + "/other"); got != "there before" {
		t.Errorf("a file that the backup does not have is now %q", got)
	}
	if got := m.read(backupDir + "/restore/20260501T120000Z/.ssh/config"); got != "Host there-before\n" {
		t.Errorf("the file that was replaced is kept as %q", got)
	}
}

// TestRestoreOverOtherKinds restores where files, directories and links are in the place of others: nothing goes through a link, and what was
// there is kept.
func TestRestoreOverOtherKinds(t *testing.T) {
	t.Parallel()
	m, _ := backedUp(t, "7.2.0")
	m.write("/srv/mine", "mine")
	m.link(m.host.Path("/srv"), stateDir+"/vms")
	m.write(driverDir+"/im", "a file")
	m.write(sshDir+"/config/mine", "in a directory")
	m.boot()
	m.wantDrivers("im/local.rb", "im/mine.rb")
	if got := m.read(sshDir + "/config"); got != "Host *\n" {
		t.Errorf("config %q is not that of the backup", got)
	}
	if got := m.entries("/srv"); len(got) != 1 {
		t.Errorf("restored through a link: %v", got)
	}
	if got := m.entries(stateDir + "/vms")["3/empty"]; got != "drwx------ directory 700" {
		t.Errorf("vms/3/empty is %q", got)
	}
	const aside = backupDir + "/restore/20260501T120000Z/"
	if target, err := os.Readlink(m.host.Path(aside + "vms")); target != m.host.Path("/srv") || err != nil {
		t.Errorf("the link is kept as one to %q, %v", target, err)
	}
	for name, want := range map[string]string{"remotes/im": "a file", ".ssh/config/mine": "in a directory"} {
		if got := m.read(aside + name); got != want {
			t.Errorf("%s is kept as %q, want %q", name, got, want)
		}
	}
}

func TestRestoreAfterAFirstBootThatWasCutOff(t *testing.T) {
	t.Parallel()
	m, _ := backedUp(t, "7.2.0")
	m.write(authDir+"/sunstone_auth", "")
	m.sql("CREATE TABLE pool_control (a)")
	m.boot()
	if hosts := m.sql("SELECT oid FROM host_pool"); hosts != "42" {
		t.Errorf("hosts %q, want 42", hosts)
	}
}

func TestRestoreThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version string
		change        func(m *machine)
		want          []string
	}{
		{"of a newer version", "7.0.1", func(*machine) {}, []string{"OpenNebula 7.2.0", "this is 7.0.1", "nothing was changed"}},
		{"no backup", "7.2.0", func(m *machine) { m.settings.RestoreFrom = "/tmp" }, []string{"no backup in /tmp", "OPENNEBULA_RESTORE_FROM"}},
		{"no such backup", "7.2.0", func(m *machine) { m.settings.RestoreFrom = "/backup/opennebula-20200101T000000Z.tar.gz" }, []string{
			"no opennebula-20200101T000000Z.tar.gz in /backup", "nothing was changed",
		}},
		{"no such directory", "7.2.0", func(m *machine) { m.settings.RestoreFrom = "/nowhere" }, []string{"list the backups in /nowhere"}},
		{"damaged", "7.2.0", func(m *machine) {
			name := filepath.Base(m.only("/backup/*"))
			m.write("/backup/"+name, m.read("/backup/" + name)[:2000])
		}, []string{"damaged", "nothing was changed"}},
		{"of another backend", "7.2.0", func(m *machine) {
			m.settings.Database.Backend = settings.MySQL
			run := m.host.Run
			m.host.Run = func(ctx context.Context, c host.Command) (string, error) {
				if c.Args[0] == "mariadb" {
					return "", nil
				}
				return run(ctx, c)
			}
		}, []string{"backend sqlite", "OPENNEBULA_DB_BACKEND is mysql", "nothing was changed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, _ := backedUp(t, c.version)
			if err := os.MkdirAll(m.host.Path("/tmp"), 0o755); err != nil {
				t.Fatal(err)
			}
			c.change(m)
			err := m.start()
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
			for _, path := range []string{oneAuth, restoreFile, sshDir + "/config"} {
				if _, err := os.Lstat(m.host.Path(path)); err == nil {
					t.Errorf("%s is there", path)
				}
			}
			// The next start without the setting is a first boot.
			if c.name != "of another backend" {
				m.settings.RestoreFrom = ""
				m.boot()
			}
		})
	}
}

// TestRestoreThatIsGivenUp takes the setting away when a restore has been cut off: the half of it must not become an installation.
func TestRestoreThatIsGivenUp(t *testing.T) {
	t.Parallel()
	m, _ := backedUp(t, "7.2.0")
	restore := m.host.Run
	m.host.Run = func(ctx context.Context, c host.Command) (string, error) {
		if _, err := os.Lstat(m.host.Path(restoreFile)); err == nil {
			return "", errCut
		}
		return restore(ctx, c)
	}
	chown := m.host.Chown
	m.host.Chown = func(path string, o host.Owner) error {
		if _, err := os.Lstat(m.host.Path(restoreFile)); err == nil {
			return errCut
		}
		return chown(path, o)
	}
	if err := m.start(); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	m.host.Run, m.host.Chown = restore, chown
	m.settings.RestoreFrom = ""
	if err := m.start(); err == nil || !strings.Contains(err.Error(), "OPENNEBULA_RESTORE_FROM is no longer set") {
		t.Errorf("error %v", err)
	}
	// It goes on with what it has begun with, whatever has come since.
	m.write("/backup/opennebula-20990101T000000Z.tar.gz", "another")
	m.settings.RestoreFrom = "/backup"
	m.boot()
	if hosts := m.sql("SELECT oid FROM host_pool"); hosts != "42" {
		t.Errorf("hosts %q, want 42", hosts)
	}
}

// only returns the one path that fits a pattern.
func (m *machine) only(pattern string) string {
	m.t.Helper()
	found, err := filepath.Glob(m.host.Path(pattern))
	if err != nil || len(found) != 1 {
		m.t.Fatalf("%s: %q, %v, want one file", pattern, found, err)
	}
	return found[0]
}
