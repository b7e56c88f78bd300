package startup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"opennebula-kube/image/internal/backup"
	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/host"
)

const (
	// restoreFile names the backup that is being put back. It is there for as long as that is not complete.
	restoreFile = stateDir + "/" + backup.RestoreMarker
	// extractDir is what a backup is unpacked into: only one that is whole is put back.
	extractDir = ownDir + "/restore.new"
)

// restore puts a backup back when the database is empty. An installation that there is stays as it is, so that the setting may stay too.
func (s *Start) restore(ctx context.Context) error {
	// Nobody needs what an earlier start has unpacked: it is unpacked again.
	if err := os.RemoveAll(s.host.Path(extractDir)); err != nil {
		return err
	}
	pending, err := s.host.ReadFile(restoreFile)
	if err != nil {
		return err
	}
	if s.settings.RestoreFrom == "" {
		if pending != nil {
			return fmt.Errorf("putting back %s was cut off, and OPENNEBULA_RESTORE_FROM is no longer set: set it again", strings.TrimSpace(string(pending)))
		}
		return nil
	}
	if pending == nil {
		if empty, err := s.databaseIsEmpty(ctx); err != nil || !empty {
			return err
		}
		// Of several front-ends one restores the backup, and the others get it from there.
		if begins, err := s.begins(ctx); err != nil || !begins {
			return err
		}
	} else if err := s.reachDatabase(ctx); err != nil {
		return err
	}
	store, name, err := s.findBackup(ctx, strings.TrimSpace(string(pending)))
	if err != nil {
		return err
	}
	about, err := s.extract(ctx, store, name)
	if err != nil {
		return fmt.Errorf("read the backup %s from %s: %w; nothing was changed", name, store, err)
	}
	if err := s.host.WriteFile(restoreFile, []byte(name+"\n"), 0o600, host.Oneadmin()); err != nil {
		return err
	}
	s.host.Log("restoring %s from %s: OpenNebula %s of %s", name, store, about.Version, about.Time.Format("2006-01-02 15:04:05 MST"))
	if err := s.putBack(); err != nil {
		return err
	}
	if err := s.database.Restore(ctx, extractDir+"/database"); err != nil {
		return fmt.Errorf("restore %s: %w", s.database, err)
	}
	if err := s.host.Flush(stateDir); err != nil {
		return err
	}
	if _, err := s.host.Remove(restoreFile); err != nil {
		return err
	}
	s.host.Log("restored %s", name)
	return os.RemoveAll(s.host.Path(extractDir))
}

// databaseIsEmpty tells whether there is no installation in the database. What a first boot that was cut off has left is none.
func (s *Start) databaseIsEmpty(ctx context.Context) (bool, error) {
	if err := s.reachDatabase(ctx); err != nil {
		return false, err
	}
	// As later on, where it is said why in this order.
	if err := s.undoCopy(ctx); err != nil {
		return false, err
	}
	if err := s.undoUpgrade(ctx); err != nil {
		return false, err
	}
	if err := s.firstBoot(ctx); err != nil {
		return false, err
	}
	tables, err := s.database.Tables(ctx)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(tables, database.Own) {
		s.host.Log("OPENNEBULA_RESTORE_FROM is set, and %s has an installation: leaving it as it is", s.database)
		return false, nil
	}
	return true, nil
}

// findBackup returns the backup that the setting names. If the setting names a place it is, in that place, the one with which a restore has
// begun already, or the newest.
func (s *Start) findBackup(ctx context.Context, begun string) (backup.Store, string, error) {
	store, name, err := backup.Locate(s.host, s.settings.RestoreFrom, s.settings.S3)
	if name = cmp.Or(name, begun); err != nil || name != "" {
		return store, name, err
	}
	names, err := store.Names(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list the backups in %s: %w", store, err)
	}
	if len(names) == 0 {
		return nil, "", fmt.Errorf("there is no backup in %s: correct OPENNEBULA_RESTORE_FROM, or remove it to begin with an empty installation", store)
	}
	return store, names[len(names)-1], nil
}

// extract unpacks a backup and checks that it can be put back here.
func (s *Start) extract(ctx context.Context, store backup.Store, name string) (about backup.About, err error) {
	if err := s.host.Directory(extractDir, 0o700, host.Oneadmin()); err != nil {
		return about, err
	}
	content, err := store.Open(ctx, name)
	if err != nil {
		return about, err
	}
	about, err = backup.Extract(s.host, content, extractDir)
	if err := errors.Join(err, content.Close()); err != nil {
		return about, err
	}
	version, err := semver.NewVersion(about.Version)
	switch {
	case err != nil:
		return about, fmt.Errorf("its version is %q: %w", about.Version, err)
	case version.GreaterThan(s.version):
		return about, fmt.Errorf("it is of OpenNebula %s, and this is %s: start an image of that version", version, s.version)
	case about.Backend != s.settings.Database.Backend:
		return about, fmt.Errorf("its database is of backend %s, and OPENNEBULA_DB_BACKEND is %s: give the installation a database of that backend",
			about.Backend, s.settings.Database.Backend)
	}
	return about, nil
}

// putBack moves what was on the volume to its place. Other files that are there are kept in the backups.
func (s *Start) putBack() error {
	root := s.host.Path(extractDir + "/volume")
	aside := backupDir + "/restore/" + stamp(s.host.Now())
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		from, target, aside := filepath.Join(extractDir, "volume", name), filepath.Join(stateDir, name), filepath.Join(aside, name)
		if err := s.keepOther(from, target, aside); err != nil {
			return err
		}
		owner, err := s.host.OwnerOf(path)
		if err != nil {
			return err
		}
		// All is on the disk before the restore counts as complete.
		if err := s.host.CopyLazily(from, target, owner); err != nil || !entry.IsDir() {
			return err
		}
		// Of a restore that was cut off.
		return s.host.RemoveLeftovers(target)
	})
}

// keepOther keeps a copy of what a file, link or directory is to replace, and makes room where the two are not of one kind.
func (s *Start) keepOther(from, target, aside string) error {
	want, err := s.sum(from)
	if err != nil {
		return err
	}
	has, err := s.sum(target)
	if err != nil || has == "" || has == want || isDirectory(has) && isDirectory(want) {
		return err
	}
	if err := s.keepCopy(target, aside); err != nil || isDirectory(has) == isDirectory(want) {
		return err
	}
	return s.makeRoom(target)
}
