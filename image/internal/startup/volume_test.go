package startup

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"opennebula-kube/image/internal/host"
)

// giveToGroup does to the volume what kubelet does at each start of a pod with an fsGroup.
func (m *machine) giveToGroup() {
	m.t.Helper()
	err := filepath.WalkDir(m.host.Path(stateDir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		inode, err := inodeOf(path)
		if err != nil {
			return err
		}
		m.owners[inode] = host.Owner{UID: m.owners[inode].UID, GID: host.Oneadmin().GID}
		mode := info.Mode() | 0o660
		if entry.IsDir() {
			mode |= 0o770 | fs.ModeSetgid
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestVolumeOfAGroup(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	m.giveToGroup()
	m.boot()
	for path, want := range map[string]struct {
		mode  fs.FileMode
		owner host.Owner
	}{
		stateDir:                  {0o750 | fs.ModeDir, host.Oneadmin()},
		sshDir:                    {0o700 | fs.ModeDir, host.Oneadmin()},
		oneAuth:                   {0o600, host.Oneadmin()},
		authDir + "/oneflow_auth": {0o600, host.Oneadmin()},
		sshDir + "/id_rsa":        {0o600, host.Oneadmin()},
		hostKeyFile("rsa"):        {0o600, host.Owner{}},
	} {
		info, err := os.Stat(m.host.Path(path))
		if err != nil {
			t.Fatal(err)
		}
		if owner := m.owner(m.host.Path(path)); info.Mode() != want.mode || owner != want.owner {
			t.Errorf("%s has mode %v and owner %v, want %v and %v", path, info.Mode(), owner, want.mode, want.owner)
		}
	}
	m.install("7.4.0")
	m.giveToGroup()
	m.boot()
	if m.logged("somebody") {
		t.Error("modes that the group has are taken for changes to the drivers")
	}
}

// TestDatabaseOfRoot has the database put back from a backup as root does it.
func TestDatabaseOfRoot(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	file := m.host.Path(stateDir + "/one.db")
	inode, err := inodeOf(file)
	if err != nil {
		t.Fatal(err)
	}
	m.owners[inode] = host.Owner{}
	if err := os.Chmod(file, 0o040); err != nil {
		t.Fatal(err)
	}
	m.boot()
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o640 || m.owner(file) != host.Oneadmin() {
		t.Errorf("%v, %v, owner %v, want mode 640 and oneadmin", info.Mode(), err, m.owner(file))
	}
	if !m.logged("one.db belongs to user 0 and has mode 40") {
		t.Error("the log does not say so")
	}
}

// TestCredentialsByHand starts with auth files that somebody has written to: files and database agree after it.
func TestCredentialsByHand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, file, content, want string }{
		{"another password", oneAuth, "oneadmin:by-hand\n", "oneadmin:by-hand\n"},
		{"no line end", oneAuth, "oneadmin:by-hand", "oneadmin:by-hand\n"},
		{"a line too many", oneAuth, "oneadmin:by-hand\n# since May\n", "oneadmin:by-hand\n"},
		{"Windows", oneAuth, "oneadmin:by-hand\r\n", "oneadmin:by-hand\n"},
		{"empty", oneAuth, "", ""},
		{"only a password", oneAuth, "by-hand\n", ""},
		{"another user", oneAuth, "root:by-hand\n", ""},
		{"first file of serveradmin", authDir + "/sunstone_auth", "serveradmin:wrong\n", "serveradmin:wrong\n"},
		{"last file of serveradmin", authDir + "/oneflow_auth", "serveradmin:wrong\n", ""},
		{"no line of serveradmin", authDir + "/sunstone_auth", "wrong\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "7.2.0")
			m.boot()
			m.settings.OneadminPassword = ""
			m.write(c.file, c.content)
			// oned starts only with files that agree with the database.
			m.boot()
			if got := m.read(c.file); c.want != "" && got != c.want {
				t.Errorf("%s is %q, want %q", c.file, got, c.want)
			}
		})
	}
}
