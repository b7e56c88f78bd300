package startup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"opennebula-kube/image/internal/host"
)

// stale are files that tell of processes of an earlier container: none of them lives on.
func stale() []string {
	return []string{
		"/run/lock/one/one", "/run/one/oned.pid", "/run/one/ssh-agent.sock", "/run/one/ssh-agent.env", "/run/supervisor.sock", "/run/supervisord.pid",
	}
}

type directory struct {
	path  string
	mode  fs.FileMode
	owner host.Owner
}

// directories makes what tmpfiles.d makes on a machine with systemd, and removes what an earlier container has left there.
func (s *Start) directories(context.Context) error {
	err := s.makeAll([]directory{
		{"/run/lock/one", 0o755, host.Oneadmin()},
		{"/run/one", 0o750, host.Oneadmin()},
		{"/run/one/ssh-socks", 0o700, host.Oneadmin()},
		{"/run/sshd", 0o755, host.Owner{}},
		{"/var/log/one", 0o750, host.Oneadmin()},
	})
	if err != nil {
		return err
	}
	for _, path := range stale() {
		if _, err := s.host.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// volume makes what an empty volume lacks, and oneadmin's what it has to be.
func (s *Start) volume(context.Context) error {
	if err := s.takeVolume(); err != nil {
		return err
	}
	err := s.makeAll([]directory{
		{stateDir, 0o750, host.Oneadmin()},
		{authDir, 0o700, host.Oneadmin()},
		{sshDir, 0o700, host.Oneadmin()},
		{ownDir, 0o700, host.Oneadmin()},
		{backupDir, 0o700, host.Oneadmin()},
		{stateDir + "/datastores", 0o750, host.Oneadmin()},
		{stateDir + "/vms", 0o750, host.Oneadmin()},
	})
	if err != nil {
		return err
	}
	for _, dir := range []string{stateDir, authDir, sshDir, ownDir} {
		if err := s.host.RemoveLeftovers(dir); err != nil {
			return err
		}
	}
	return s.takeDatabase()
}

func (s *Start) makeAll(directories []directory) error {
	for _, d := range directories {
		if err := s.host.Directory(d.path, d.mode, d.owner); err != nil {
			return err
		}
	}
	return nil
}

// takeDatabase lets oned open the files of SQLite: who puts a backup back does so as root.
func (s *Start) takeDatabase() error {
	found, err := filepath.Glob(s.host.Path(stateDir + "/one.db*"))
	if err != nil {
		return err
	}
	const needed = 0o600
	for _, file := range found {
		path := filepath.Join(stateDir, filepath.Base(file))
		info, err := os.Lstat(file)
		if err != nil {
			return err
		}
		owner, err := s.host.OwnerOf(file)
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()
		if !info.Mode().IsRegular() || owner == host.Oneadmin() && mode&needed == needed {
			continue
		}
		s.host.Log("%s belongs to user %d and has mode %o: making it oneadmin's", path, owner.UID, mode)
		if err := s.host.Attributes(path, mode|needed, host.Oneadmin()); err != nil {
			return err
		}
	}
	return nil
}

// private makes sure that a file with a secret is its owner's alone: ssh and sshd refuse one that others may read, which is what a volume
// that Kubernetes gives to a group (fsGroup) makes of all files.
func (s *Start) private(path string, owner host.Owner) error {
	at := s.host.Path(path)
	info, err := os.Lstat(at)
	if err != nil {
		return err
	}
	has, err := s.host.OwnerOf(at)
	if err != nil {
		return err
	}
	const others, read = 0o077, 0o400
	// A link is one into a mount, which is somebody else's.
	if mode := info.Mode(); !mode.IsRegular() || has == owner && mode&others == 0 && mode&read != 0 {
		return nil
	}
	return s.host.Attributes(path, 0o600, owner)
}

// takeVolume gives a volume that belongs to somebody else, such as one that was restored from a backup or has just been made, to
// oneadmin, with all that is on it.
func (s *Start) takeVolume() error {
	owner, err := s.host.OwnerOf(s.host.Path(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if owner == host.Oneadmin() {
		return nil
	}
	s.host.Log("%s belongs to user %d, group %d: giving it, with all that is in it, to oneadmin", stateDir, owner.UID, owner.GID)
	root := s.host.Path(stateDir)
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// The top comes last: its owner tells that the work is done.
		if path == root {
			return nil
		}
		if has, err := s.host.OwnerOf(path); err != nil || has == host.Oneadmin() {
			return err
		}
		return s.host.Chown(path, host.Oneadmin())
	})
	if err == nil {
		err = s.host.Chown(root, host.Oneadmin())
	}
	if err != nil {
		return fmt.Errorf("give %s to oneadmin: %w", stateDir, err)
	}
	return nil
}

// exists tells whether there is something at a path. What cannot be looked at must not be taken for missing.
func (s *Start) exists(path string) (bool, error) {
	_, err := os.Lstat(s.host.Path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
