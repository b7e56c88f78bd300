package startup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/supervisord"
)

// stale are files that tell of processes of an earlier container: none of them lives on.
func stale() []string {
	return []string{
		"/run/lock/one/one", "/run/one/oned.pid", "/run/one/ssh-agent.sock", "/run/one/ssh-agent.env", "/run/supervisor.sock", "/run/supervisord.pid",
	}
}

// directories makes what tmpfiles.d makes on a machine with systemd, and what an empty volume lacks.
func (s *Start) directories(context.Context) error {
	if err := s.takeVolume(); err != nil {
		return err
	}
	for _, d := range []struct {
		path  string
		mode  fs.FileMode
		owner host.Owner
	}{
		{"/run/lock/one", 0o755, host.Oneadmin()},
		{"/run/one", 0o750, host.Oneadmin()},
		{"/run/one/ssh-socks", 0o700, host.Oneadmin()},
		{"/run/sshd", 0o755, host.Owner{}},
		{"/var/log/one", 0o750, host.Oneadmin()},
		{stateDir, 0o750, host.Oneadmin()},
		{authDir, 0o700, host.Oneadmin()},
		{sshDir, 0o700, host.Oneadmin()},
		{ownDir, 0o700, host.Oneadmin()},
		{backupDir, 0o700, host.Oneadmin()},
		{stateDir + "/datastores", 0o750, host.Oneadmin()},
		{stateDir + "/vms", 0o750, host.Oneadmin()},
	} {
		if err := s.host.Directory(d.path, d.mode, d.owner); err != nil {
			return explainOwner(err)
		}
	}
	if !supervisord.HasOned(s.settings.Services) {
		// What looks like a leftover may be what the container of oned is writing.
		return s.removeStale()
	}
	for _, dir := range []string{stateDir, authDir, sshDir, ownDir} {
		if err := s.host.RemoveLeftovers(dir); err != nil {
			return err
		}
	}
	return s.removeStale()
}

func (s *Start) removeStale() error {
	for _, path := range stale() {
		if _, err := s.host.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// explainOwner adds what to do when somebody else's files may not be changed.
func explainOwner(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; have the volume belong to user and group 9869, or let the container change owners (capability CHOWN)", err)
	}
	return err
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
		return explainOwner(fmt.Errorf("give %s to oneadmin: %w", stateDir, err))
	}
	return nil
}

// exists tells whether there is something at a path.
func (s *Start) exists(path string) bool {
	_, err := os.Lstat(s.host.Path(path))
	return err == nil
}
