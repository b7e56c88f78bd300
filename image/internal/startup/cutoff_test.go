package startup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
)

// situation is a machine to be started.
type situation struct {
	name    string
	version string
	// installed is whether the machine has been in use before it changes.
	installed bool
	change    func(m *machine)
}

func situations() []situation {
	return []situation{
		{"first boot", "7.2.0", false, func(*machine) {}},
		{"first boot of oned that was cut off", "7.2.0", false, func(m *machine) {
			if err := m.start(); err != nil {
				m.t.Fatal(err)
			}
			m.sql(createTables)
			m.write(authDir+"/sunstone_auth", "serveradmin:x\n")
		}},
		{"changed settings", "7.2.0", true, func(m *machine) {
			m.settings.OneadminPassword, m.settings.LogLevel, m.settings.Hostname = "second", 3, "one.example.org"
			m.settings.SSH.KnownHosts = "node-1 ssh-ed25519 AAAA\n"
			m.settings.TProxy = []settings.TProxy{{ServicePort: 5030, RemoteAddr: "gate.example.org", RemotePort: 5030}}
		}},
		{"lost auth files", "7.2.0", true, func(m *machine) { m.removeAll(authDir) }},
		{"lost configuration", "7.2.0", true, func(m *machine) { m.removeAll(configDir) }},
		{"lost drivers", "7.2.0", true, func(m *machine) { m.removeAll(driverDir + "/im") }},
		{"upgrade", "7.0.1", true, func(m *machine) { m.sql("INSERT INTO host_pool VALUES (3)"); m.install("7.2.0") }},
		{"restored backup", "7.2.0", false, func(m *machine) {
			saved, _ := backedUp(m.t, "7.2.0")
			file := saved.only("/backup/*")
			m.write("/backup/"+filepath.Base(file), saved.read("/backup/"+filepath.Base(file)))
			m.settings.RestoreFrom = "/backup"
		}},
		{"upgrade that was cut off", "7.0.1", true, func(m *machine) {
			m.sql("INSERT INTO host_pool VALUES (3)")
			m.install("7.2.0")
			m.cutBefore(func() bool { return m.sql("SELECT COUNT(*) FROM sqlite_master WHERE name = 'old_user_pool'") == "1" })
		}},
	}
}

// prepare returns the machine.
func (s situation) prepare(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t, s.version)
	if s.installed {
		m.boot()
		m.boot()
	}
	s.change(m)
	return m
}

// TestCutOff ends start-up before each single thing that it does to files, users and the database, and in the middle of each that has one:
// by a kill, and by power cuts that take along what is not on the disk yet. The next start has to complete, and what there is after
// that must be what an undisturbed one leaves.
func TestCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: some thousand starts")
	}
	t.Parallel()
	for _, c := range situations() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			prepared := c.prepare(t)
			undisturbed := prepared.copy(t)
			undisturbed.boot()
			want := undisturbed.settled(!c.installed)

			cut, tried := 0, 0
			for done := false; !done; cut++ {
				kinds := []loss{nothing}
				for i := 0; i < len(kinds); i++ {
					name := fmt.Sprintf("cut %d, losing %s", cut, kinds[i])
					m := prepared.copy(t)
					m.call, m.cut, m.idle = 0, cut, cut > 0
					err := m.start()
					m.cut = -1
					if done = err == nil; done || m.idle {
						break
					}
					if !errors.Is(err, errCut) {
						t.Fatalf("%s: %v", name, err)
					}
					if i == 0 {
						kinds = m.disk.losses()
					}
					tried++
					if err := m.disk.lose(kinds[i]); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					log := len(m.log)
					if err := m.recover(); err != nil {
						t.Errorf("%s: %v", name, err)
					} else if diff := cmp.Diff(want, m.settled(!c.installed)); diff != "" {
						t.Errorf("%s: what is left differs from what an undisturbed start leaves (-want +got):\n%s", name, diff)
					}
					if t.Failed() {
						t.Fatalf("%s; log after it:\n%s", name, strings.Join(m.log[log:], "\n"))
					}
				}
			}
			t.Logf("%d places to cut at, %d different cuts", cut, tried)
			if tried < 15 {
				t.Errorf("only %d cuts", tried)
			}
		})
	}
}

// TestPowerCutLater cuts the power when a start is complete and somebody has worked with OpenNebula since.
func TestPowerCutLater(t *testing.T) {
	t.Parallel()
	for _, c := range situations() {
		t.Run(c.name, func(t *testing.T) {
			for _, what := range []loss{nothing, contents, names} {
				m := c.prepare(t)
				m.boot()
				m.sql("INSERT INTO host_pool VALUES (7)")
				want := m.settled(false)
				if err := m.disk.lose(what); err != nil {
					t.Fatal(err)
				}
				if err := m.recover(); err != nil {
					t.Errorf("losing %s: %v", what, err)
				}
				if diff := cmp.Diff(want, m.settled(false)); diff != "" {
					t.Errorf("losing %s: the next start changes what there was (-before +after):\n%s", what, diff)
				}
			}
		})
	}
}

// recover starts what was cut off.
func (m *machine) recover() error {
	m.t.Helper()
	m.now = m.now.Add(time.Minute)
	if err := m.start(); err != nil {
		return fmt.Errorf("the next start: %w", err)
	}
	if err := m.oned(); err != nil {
		return fmt.Errorf("oned at the next start: %w", err)
	}
	return nil
}

// cutBefore cuts a start off as soon as something is so.
func (m *machine) cutBefore(is func() bool) {
	m.t.Helper()
	for cut := range 1000 {
		m.call, m.cut = 0, cut
		err := m.start()
		m.cut = -1
		if !errors.Is(err, errCut) {
			m.t.Fatalf("the start completes before it is so: %v", err)
		}
		if is() {
			return
		}
	}
	m.t.Fatal("it is never so")
}

func (m *machine) removeAll(path string) {
	m.t.Helper()
	if err := os.RemoveAll(m.host.Path(path)); err != nil {
		m.t.Fatal(err)
	}
}

// settled is all that is on the volume, in the configuration and in the database, without what may differ: how many backups there are, and keys
// where they are new. Those have to be whole.
func (m *machine) settled(newKeys bool) map[string]string {
	m.t.Helper()
	all := m.volume()
	for path, what := range all {
		if strings.HasPrefix(path, backupDir+"/") && path != databaseBackupDir {
			delete(all, path)
		}
		if strings.HasPrefix(path, replacedDir) {
			delete(all, path)
		}
		isKey := strings.HasPrefix(path, sshDir+"/id_") || strings.HasPrefix(path, hostKeyDir+"/")
		if isKey && !strings.HasSuffix(path, ".pub") {
			m.wantKey(path, strings.HasPrefix(path, sshDir))
		}
		if newKeys && (isKey || path == sshDir+"/authorized_keys") {
			all[path] = strings.Join(strings.Fields(what)[:3], " ")
		}
	}
	// Its mode is that of whoever made it; restored, it is for its owner only.
	delete(all, "/var/lib/one/one.db")
	all["backups"] = strconv.FormatBool(m.wantBackups())
	all["database"] = m.sql(".dump")
	return all
}

// wantKey checks that a private key is whole and that its public one, which logs in here, is beside it.
func (m *machine) wantKey(path string, authorized bool) {
	m.t.Helper()
	public, err := m.host.Run(m.t.Context(), host.Command{Args: []string{"ssh-keygen", "-y", "-P", "", "-f", m.host.Path(path)}})
	if err != nil {
		m.t.Errorf("%s: %v", path, err)
		return
	}
	fields := strings.Fields(public)
	if beside := strings.Fields(m.read(path + ".pub")); len(beside) < 2 || !slices.Equal(beside[:2], fields[:2]) {
		m.t.Errorf("%s.pub has %q, want %q", path, beside, fields)
	}
	if authorized && m.read(sshDir+"/authorized_keys") != strings.TrimSpace(public)+"\n" {
		m.t.Errorf("authorized_keys has %q, want %q", m.read(sshDir+"/authorized_keys"), public)
	}
}

// wantBackups checks that all backups are whole, and that there is nothing else among them. It returns whether there are any.
func (m *machine) wantBackups() bool {
	m.t.Helper()
	found, err := filepath.Glob(m.host.Path(databaseBackupDir + "/*"))
	if err != nil {
		m.t.Fatal(err)
	}
	if len(found) > m.settings.Database.Backups {
		m.t.Errorf("backups %q, want %d at most", found, m.settings.Database.Backups)
	}
	for _, file := range found {
		if filepath.Ext(file) != backupSuffix {
			m.t.Errorf("%s is left", file)
			continue
		}
		if got := m.sqlOf(file, "SELECT version FROM db_versioning; SELECT COUNT(*) FROM user_pool; SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'old_%'"); got != "7.0.0\n2\n0" {
			m.t.Errorf("%s has %q, want the schema of 7.0.0, two users, and nothing half-done", file, got)
		}
	}
	return len(found) > 0
}
