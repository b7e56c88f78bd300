package startup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/host"
)

func TestFirstBootAndRestarts(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"7.0.1", "7.2.0", "7.4.0"} {
		t.Run(version, func(t *testing.T) {
			m := newMachine(t, version)
			if err := m.start(); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"sunstone_auth", "oneflow_auth", "onegate_auth", "oneform_auth", "oneks_auth"} {
				if _, err := os.Stat(m.host.Path(authDir + "/" + file)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is there before oned's first start: it would refuse to start", file)
				}
			}
			if err := m.oned(); err != nil {
				t.Fatal(err)
			}
			m.boot()
			before := m.volume()
			for range 3 {
				m.boot()
			}
			if diff := cmp.Diff(before, m.volume()); diff != "" {
				t.Errorf("restarts changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestDirectories(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	left := []string{
		"/run/lock/one/one", "/run/one/oned.pid", "/run/one/ssh-agent.sock", "/run/one/ssh-agent.env", "/run/supervisor.sock", "/run/supervisord.pid",
		"/run/one-container/stopping",
	}
	for _, file := range left {
		m.write(file, "")
	}
	m.boot()
	for path, want := range map[string]fs.FileMode{
		"/run/lock/one": 0o755, "/run/one": 0o750, "/run/one/ssh-socks": 0o700, "/var/log/one": 0o750, authDir: 0o700, sshDir: 0o700,
	} {
		info, err := os.Stat(m.host.Path(path))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want || m.owner(m.host.Path(path)) != host.Oneadmin() {
			t.Errorf("%s has mode %o and owner %v, want %o and oneadmin", path, got, m.owner(m.host.Path(path)), want)
		}
	}
	for _, file := range left {
		if _, err := os.Stat(m.host.Path(file)); err == nil {
			t.Errorf("%s of an earlier container is still there", file)
		}
	}
}

func TestVolumeOfSomebodyElse(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	for inode := range m.owners {
		m.owners[inode] = host.Owner{UID: 1000, GID: 1000}
	}
	m.boot()
	for path := range m.volume() {
		want := host.Oneadmin()
		if strings.HasPrefix(path, hostKeyDir) && !strings.HasSuffix(path, ".pub") {
			want = host.Owner{}
		}
		if owner := m.owner(m.host.Path(path)); strings.HasPrefix(path, stateDir) && owner != want {
			t.Errorf("%s belongs to %v", path, owner)
		}
	}
	if !m.logged("belongs to user 1000, group 1000") {
		t.Error("the log does not say so")
	}

	t.Run("that may not be changed", func(t *testing.T) {
		m := newMachine(t, "7.2.0")
		m.write(stateDir+"/file", "")
		m.host.Chown = func(path string, _ host.Owner) error {
			return &fs.PathError{Op: "lchown", Path: path, Err: fs.ErrPermission}
		}
		err := m.start()
		for _, want := range []string{stateDir, "CHOWN", "no_root_squash"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q in it", err, want)
			}
		}
	})
}

func TestTroubleWithTheVolumeIsExplained(t *testing.T) {
	t.Parallel()
	for cause, want := range map[syscall.Errno]string{
		syscall.EROFS: "mount it writable", syscall.ENOSPC: "make room on it", syscall.EDQUOT: "make room on it", syscall.EPERM: "the capabilities CHOWN",
	} {
		m := newMachine(t, "7.2.0")
		m.host.Chown = func(path string, _ host.Owner) error { return &fs.PathError{Op: "lchown", Path: path, Err: cause} }
		err := m.start()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "failed to prepare the volume") {
			t.Errorf("%v: error %v, want %q in it", cause, err, want)
		}
	}
}

func TestLeftoversOfAPowerCut(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	m.boot()
	before := m.volume()
	for _, file := range []string{authDir + "/.one_auth.12.new", sshDir + "/.id_rsa.12.new", ownDir + "/.drivers.json.12.new", driverDir + "/im/.probe.rb.12.new"} {
		m.write(file, "half")
	}
	m.boot()
	if diff := cmp.Diff(before, m.volume()); diff != "" {
		t.Errorf("volume (-before +after):\n%s", diff)
	}
}

func TestFirstBootOfOnedCutOff(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(m *machine){
		"auth file only":     func(m *machine) { m.write(authDir+"/sunstone_auth", "") },
		"some tables":        func(m *machine) { m.sql("CREATE TABLE pool_control (a)") },
		"tables":             func(m *machine) { m.sql(createTables) },
		"tables, auth files": func(m *machine) { m.sql(createTables); m.write(authDir+"/onegate_auth", "serveradmin:x\n") },
		"oneadmin only": func(m *machine) {
			m.sql(createTables + "INSERT INTO db_versioning VALUES ('7.2.0');" + m.insertUser(0, "oneadmin", hash("first")))
			m.write(authDir+"/sunstone_auth", "serveradmin:x\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "7.2.0")
			if err := m.start(); err != nil {
				t.Fatal(err)
			}
			leave(m)
			m.boot()
			m.boot()
		})
	}
}

func TestFilledDatabaseWithoutUsersIsKept(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	m.sql("DELETE FROM user_pool; INSERT INTO host_pool VALUES (7)")
	err := m.start()
	if err == nil || !strings.Contains(err.Error(), "1 rows in host_pool") || !strings.Contains(err.Error(), "restore a backup") {
		t.Errorf("error %v, want one about host_pool", err)
	}
	if got := m.sql("SELECT oid FROM host_pool"); got != "7" {
		t.Errorf("hosts %q, want the one that was there", got)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.settings.OneadminPassword = ""
	m.boot()
	made := m.read(oneAuth)
	if password := strings.TrimPrefix(strings.TrimSpace(made), "oneadmin:"); len(password) < 32 {
		t.Errorf("the password that was made is %q", password)
	}
	if !m.logged(oneAuth) || m.logged(strings.TrimPrefix(strings.TrimSpace(made), "oneadmin:")) {
		t.Error("the log is to say where the password is, and not what it is")
	}
	m.boot()
	if again := m.read(oneAuth); again != made {
		t.Errorf("a restart made another password: %q, then %q", made, again)
	}
	m.settings.OneadminPassword = `it's "new"`
	m.boot()
	if got := m.read(oneAuth); got != "oneadmin:it's \"new\"\n" {
		t.Errorf("one_auth %q", got)
	}
	m.write(oneAuth, "")
	m.settings.OneadminPassword = ""
	m.boot()
	if m.read(oneAuth) == "" {
		t.Error("an empty one_auth was kept")
	}
}

func TestPasswordThatIsNotInTheDatabase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, conf, log string }{
		"other driver":     {sql: "UPDATE user_pool SET body = REPLACE(body, '[core]', '[ldap]')", log: "logs in by ldap"},
		"several servers":  {conf: "SERVER_ID = 1", log: "oneuser passwd 0 on the leader"},
		"removed by admin": {sql: "DELETE FROM user_pool WHERE oid = 0", log: "there is no user 0"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "7.2.0")
			m.boot()
			if c.sql != "" {
				m.sql(c.sql)
			}
			if c.conf != "" {
				m.write(onedConf, strings.Replace(m.read(onedConf), "SERVER_ID = -1", c.conf, 1))
			}
			before := m.sql("SELECT body FROM user_pool WHERE oid = 0")
			m.settings.OneadminPassword = "second"
			if err := m.start(); err != nil {
				t.Fatal(err)
			}
			if !m.logged(c.log) {
				t.Errorf("the log does not say %q", c.log)
			}
			if after := m.sql("SELECT body FROM user_pool WHERE oid = 0"); after != before {
				t.Errorf("the user was changed from %s to %s", before, after)
			}
		})
	}
}

// TestPasswordInTheDatabase changes the password in documents of all forms that may be there, and nothing else in them.
func TestPasswordInTheDatabase(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	recorded := m.sql("SELECT body FROM user_pool WHERE oid = 0")
	has, want := "<PASSWORD><![CDATA["+hash("first")+"]]></PASSWORD>", "<PASSWORD><![CDATA["+hash("second")+"]]></PASSWORD>"
	for name, change := range map[string]*strings.Replacer{
		"as oned writes it": strings.NewReplacer(),
		"text":              strings.NewReplacer(has, "<PASSWORD>"+hash("first")+"</PASSWORD>"),
		"another hash":      strings.NewReplacer(has, "<PASSWORD><![CDATA[da39a3ee5e6b4b0d3255bfef95601890afd80709]]></PASSWORD>"),
		"no text":           strings.NewReplacer(has, "<PASSWORD/>"),
		"indented":          strings.NewReplacer("><![", "><![", "]]></", "]]></", "><", ">\n  <"),
		"hostile":           strings.NewReplacer(has, `<PASSWORD a="'">\'; DROP TABLE user_pool; --</PASSWORD>`, "oneadmin</NAME>", "o'ne\\' ä中</NAME>"),
		// A user may have attributes of that name, and with that value.
		"twice": strings.NewReplacer("<TEMPLATE>", "<TEMPLATE>"+has),
	} {
		t.Run(name, func(t *testing.T) {
			before := change.Replace(recorded)
			c := m.copy(t)
			c.sql("UPDATE user_pool SET body = '" + strings.ReplaceAll(before, "'", "''") + "' WHERE oid = 0")
			c.settings.OneadminPassword = "second"
			for range 2 {
				c.boot()
				from := strings.Index(before, "<PASSWORD")
				to := from + strings.Index(before[from:], "<AUTH_DRIVER>")
				for before[to-1] != '>' {
					to--
				}
				if diff := cmp.Diff(before[:from]+want+before[to:], c.sql("SELECT body FROM user_pool WHERE oid = 0")); diff != "" {
					t.Errorf("document (-want +got):\n%s", diff)
				}
			}
			if others := c.sql("SELECT body FROM user_pool WHERE oid > 0"); others != m.sql("SELECT body FROM user_pool WHERE oid > 0") {
				t.Errorf("other users: %s", others)
			}
		})
	}
}

// TestUserThatCannotBeRead has documents of which nothing may be concluded.
func TestUserThatCannotBeRead(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	for name, change := range map[string]string{
		"cut off":     "substr(body, 1, 200)",
		"empty":       "''",
		"no password": "REPLACE(body, 'PASSWORD>', 'PASSWD>')",
		"no driver":   "REPLACE(body, 'AUTH_DRIVER', 'DRIVER')",
	} {
		t.Run(name, func(t *testing.T) {
			c := m.copy(t)
			c.sql("UPDATE user_pool SET body = " + change + " WHERE oid = 0")
			before := c.sql("SELECT body FROM user_pool")
			err := c.start()
			for _, want := range []string{"set up the accounts", "user 0 in the database", "restore a backup"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
			if after := c.sql("SELECT body FROM user_pool"); after != before {
				t.Errorf("the users were changed from %s to %s", before, after)
			}
		})
	}
}

func TestServiceFiles(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	t.Run("one lost", func(t *testing.T) {
		if err := os.Remove(m.host.Path(authDir + "/sunstone_auth")); err != nil {
			t.Fatal(err)
		}
		m.boot()
		if got := m.read(authDir + "/sunstone_auth"); got != "serveradmin:secret\n" {
			t.Errorf("sunstone_auth %q, want the secret of the others", got)
		}
	})
	t.Run("all lost", func(t *testing.T) {
		if err := os.RemoveAll(m.host.Path(authDir)); err != nil {
			t.Fatal(err)
		}
		m.boot()
		if got := m.read(authDir + "/onegate_auth"); got == "serveradmin:secret\n" || !strings.HasPrefix(got, "serveradmin:") {
			t.Errorf("onegate_auth %q, want a new secret", got)
		}
	})
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.0.1")
	m.boot()
	for _, version := range []string{"7.2.0", "7.4.0", "7.6.0"} {
		m.install(version)
		m.now = m.now.AddDate(0, 1, 0)
		m.boot()
		if got := m.read(driverDir + "/VERSION"); got != version+"\n" {
			t.Errorf("drivers of %q with OpenNebula %s", got, version)
		}
		m.boot()
	}
	backups, err := filepath.Glob(m.host.Path(databaseBackupDir + "/*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range backups {
		names = append(names, filepath.Base(path))
	}
	if diff := cmp.Diff([]string{"20260701T120000Z.backup", "20260801T120000Z.backup"}, names); diff != "" {
		t.Errorf("backups (-want +got):\n%s", diff)
	}
}

func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.0.1")
	m.boot()
	m.install("7.2.0")
	m.upgradeFails = "missing migration descriptors"
	for range 2 {
		err := m.start()
		for _, want := range []string{"missing migration descriptors", "status 255", "as it was before"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q in it", err, want)
			}
		}
		if got := m.sql("SELECT version FROM db_versioning"); got != "7.0.0" {
			t.Errorf("schema %s, want 7.0.0", got)
		}
		if got := m.sql("SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'old_%'"); got != "0" {
			t.Error("the upgrade's half-done work is still there")
		}
		if got := m.read(driverDir + "/VERSION"); got != "7.0.1\n" {
			t.Errorf("drivers of %q with a database of 7.0", got)
		}
	}
	m.install("7.0.1")
	m.boot()
}

// TestOnedbThatCannotTell has a onedb that ends with 1 as for a database without a schema: it must not be taken for that.
func TestOnedbThatCannotTell(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.0.1")
	m.rubyFails = func(string) bool { return true }
	// There is nothing to ask about an empty database.
	m.boot()
	for _, version := range []string{"7.0.1", "7.2.0"} {
		m.install(version)
		err := m.start()
		for _, want := range []string{noLibrary, "status 1", "has schema 7.0.0", "nothing was upgraded"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("OpenNebula %s: error %v, want %q in it", version, err, want)
			}
		}
		if got := m.sql("SELECT version FROM db_versioning"); got != "7.0.0" {
			t.Errorf("schema %s, want 7.0.0", got)
		}
	}
	m.rubyFails = nil
	m.boot()
	if got := m.sql("SELECT version FROM db_versioning"); got != "7.2.0" {
		t.Errorf("schema %s when onedb works again, want 7.2.0", got)
	}
}

func TestUpgradeThatCannotBeVerified(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fails func(m *machine) func(command string) bool
		want  string
	}{
		"onedb breaks": {func(*machine) func(string) bool {
			versions := 0
			return func(command string) bool {
				if command == "version" {
					versions++
				}
				return versions == 2
			}
		}, "after onedb upgrade: "},
		"fsck leaves another schema": {func(m *machine) func(string) bool {
			return func(command string) bool {
				if command == "fsck" {
					m.sql("UPDATE db_versioning SET version = '7.1.0'")
				}
				return command == "fsck"
			}
		}, "after onedb fsck: "},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "7.0.1")
			m.boot()
			m.install("7.2.0")
			m.rubyFails = c.fails(m)
			err := m.start()
			for _, want := range []string{c.want, "as it was before"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
			if got := m.sql("SELECT version FROM db_versioning"); got != "7.0.0" {
				t.Errorf("schema %s, want 7.0.0", got)
			}
		})
	}
}

func TestUpgradeWithoutCheck(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.0.1")
	m.boot()
	m.install("7.2.0")
	m.rubyFails = func(command string) bool { return command == "fsck" }
	m.boot()
	if got := m.sql("SELECT version FROM db_versioning"); got != "7.2.0" || !m.logged("the upgraded database is unchecked") || !m.logged(noLibrary) {
		t.Errorf("schema %s, want 7.2.0, and the log is to say that it is unchecked, and why", got)
	}
}

func TestDatabaseWithoutVersion(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	m.sql("DELETE FROM db_versioning")
	for _, want := range []string{"db_versioning does not tell", "restore a backup"} {
		if err := m.start(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestNewerDatabaseIsLeftAlone(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.4.0")
	m.boot()
	m.boot()
	m.install("7.2.0")
	before := m.volume()
	err := m.start()
	for _, want := range []string{"newer OpenNebula", "7.2.0", "nothing was changed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	if got := m.sql("SELECT version FROM db_versioning"); got != "7.4.0" {
		t.Errorf("schema %s, want 7.4.0", got)
	}
	for path, want := range before {
		if got := m.volume()[path]; strings.HasPrefix(path, stateDir) && got != want {
			t.Errorf("%s was changed from %q to %q", path, want, got)
		}
	}
}

func TestNewWantsVersion(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.write(sharedDir+"/VERSION", "none")
	if _, err := New(m.host, m.settings, nil); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("error %v, want one with what was found", err)
	}
}
