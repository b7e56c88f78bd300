package startup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"opennebula-kube/image/internal/backup"
	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/host"
)

// schemaState is how the schema of the database goes with the software.
type schemaState int

const (
	schemaMissing schemaState = iota
	schemaCurrent
	schemaOlder
	schemaNewer
)

const (
	databaseBackupDir = backupDir + "/database"
	// upgradeFile names the backup that was made before an upgrade. It is there for as long as the upgrade is not complete.
	upgradeFile = stateDir + "/" + backup.UpgradeMarker
	// Names of backups end so: whole ones, those that are being written, and those that onedb fsck makes.
	backupSuffix = ".backup"
	partSuffix   = ".part"
	checkSuffix  = ".fsck"
)

// schema upgrades a database of an older OpenNebula, and refuses one of a newer.
func (s *Start) schema(ctx context.Context) error {
	state, said, err := s.schemaState(ctx)
	if err != nil {
		return err
	}
	switch state {
	case schemaMissing:
		return nil
	case schemaOlder:
		return s.upgrade(ctx)
	case schemaNewer:
		advice := ""
		if s.settings.HA.Enabled() {
			advice = ", or, if the other front-ends have gone on with theirs, remove its volumes: it gets a copy then"
		}
		return fmt.Errorf("%s is of a newer OpenNebula than this one, %s: start an image of that version%s; nothing was changed\n%s",
			s.database, s.version, advice, said)
	}
	return s.finishUpgrade()
}

// schemaState asks the database whether it has a schema, and onedb how that goes with the software; said is what onedb printed. onedb alone
// does not do: it ends with 1 for a database without a schema, and when Ruby does not find a library. That onedb cannot tell is an error with an
// *host.ExitError in it.
func (s *Start) schemaState(ctx context.Context) (state schemaState, said string, err error) {
	tables, err := s.database.Tables(ctx)
	if err != nil || !slices.ContainsFunc(tables, database.Own) {
		return schemaMissing, "", err
	}
	version, err := s.databaseVersion(ctx, s.database, tables)
	if err != nil {
		return schemaMissing, "", err
	}
	if version == nil {
		return schemaMissing, "", fmt.Errorf("%s has OpenNebula's tables, but db_versioning does not tell of which version: it is damaged; restore a backup, "+
			"or give an empty database", s.database)
	}
	status, said, err := s.onedb(ctx, "version", "-v")
	if err != nil {
		return schemaMissing, "", err
	}
	// What onedb ends with.
	const current, older, newer = 0, 2, 3
	switch status {
	case current:
		return schemaCurrent, said, nil
	case older:
		return schemaOlder, said, nil
	case newer:
		return schemaNewer, said, nil
	}
	exit := &host.ExitError{Args: []string{"onedb version -v"}, Status: status, Output: said}
	return schemaMissing, "", fmt.Errorf("find out whether OpenNebula %s works with %s, which has schema %s: %w; mend what it says: nothing was upgraded",
		s.version, s.database, version, exit)
}

// onedb runs the tool and returns its exit status and what it printed.
func (s *Start) onedb(ctx context.Context, args ...string) (status int, said string, err error) {
	said, err = s.host.Run(ctx, host.Command{Args: append([]string{"onedb"}, args...), As: host.Oneadmin()})
	if exit, ok := errors.AsType[*host.ExitError](err); ok {
		return exit.Status, exit.Output, nil
	}
	return 0, strings.TrimSpace(said), err
}

func (s *Start) upgrade(ctx context.Context) error {
	backup, err := s.backup(ctx)
	if err != nil {
		return fmt.Errorf("back up %s before its upgrade: %w", s.database, err)
	}
	if err := s.host.WriteFile(upgradeFile, []byte(backup+"\n"), 0o600, host.Oneadmin()); err != nil {
		return err
	}
	s.host.Log("upgrading %s to OpenNebula %s; the backup is %s", s.database, s.version, backup)
	status, said, err := s.onedb(ctx, "upgrade", "-v", "--no-backup")
	if err != nil {
		return err
	}
	if status != 0 {
		return s.failedUpgrade(ctx, fmt.Sprintf("onedb upgrade ended with status %d:\n%s", status, said))
	}
	// The schema counts, not what the tool says of itself.
	if failed, err := s.failedSchema(ctx); err != nil {
		return err
	} else if failed != "" {
		return s.failedUpgrade(ctx, "after onedb upgrade: "+failed)
	}
	unchecked, err := s.check(ctx, backup)
	if err != nil {
		return err
	}
	if unchecked {
		// It may have ended while it put its own backup back.
		if failed, err := s.failedSchema(ctx); err != nil {
			return err
		} else if failed != "" {
			return s.failedUpgrade(ctx, "after onedb fsck: "+failed)
		}
	}
	s.host.Log("upgraded %s", s.database)
	return s.finishUpgrade()
}

// failedSchema tells why the schema is not that of the software, "" when it is.
func (s *Start) failedSchema(ctx context.Context) (string, error) {
	state, said, err := s.schemaState(ctx)
	if _, unclear := errors.AsType[*host.ExitError](err); unclear {
		return err.Error(), nil
	}
	if err == nil && state != schemaCurrent {
		return fmt.Sprintf("the schema is not that of OpenNebula %s:\n%s", s.version, said), nil
	}
	return "", err
}

// check has onedb look for inconsistencies and repair them. It ends with 0 also when it cannot repair all; what it prints then is about what has
// been there before. That it did not do its work is logged, for an unchecked database is better than none.
func (s *Start) check(ctx context.Context, backup string) (unchecked bool, err error) {
	own := backup + checkSuffix
	status, said, err := s.onedb(ctx, "fsck", "--force", "--backup", s.host.Path(own))
	if err != nil {
		return true, err
	}
	if status != 0 {
		s.host.Log("onedb fsck ended with status %d, so the upgraded database is unchecked: run it when oned does not run, to see whether there is "+
			"anything to repair:\n%s", status, said)
	}
	_, err = s.host.Remove(own)
	return status != 0, err
}

// backup writes a backup of the database, in a file that has its name only when it is whole.
func (s *Start) backup(ctx context.Context) (string, error) {
	if err := s.host.Directory(databaseBackupDir, 0o700, host.Oneadmin()); err != nil {
		return "", err
	}
	path, err := s.newBackup()
	if err != nil {
		return "", err
	}
	part := path + partSuffix
	if _, err := s.host.Remove(part); err != nil {
		return "", err
	}
	if err := s.database.Backup(ctx, part); err != nil {
		// It would take the room that the next try needs.
		_, removeErr := s.host.Remove(part)
		return "", errors.Join(err, removeErr)
	}
	return path, s.host.Rename(part, path)
}

// newBackup is a name that no other backup has: a clock may have been set back to where it was when one was made.
func (s *Start) newBackup() (string, error) {
	for at := s.host.Now(); ; at = at.Add(time.Second) {
		path := databaseBackupDir + "/" + backupName(at)
		if has, err := s.exists(path); err != nil || !has {
			return path, err
		}
	}
}

func backupName(at time.Time) string { return stamp(at) + backupSuffix }

// failedUpgrade puts the database back and returns the reason.
func (s *Start) failedUpgrade(ctx context.Context, reason string) error {
	if err := s.undoUpgrade(ctx); err != nil {
		return fmt.Errorf("%s\nand the backup could not be restored: %w", reason, err)
	}
	return fmt.Errorf("%s\n%s is as it was before: start the image of its version, or mend what the message is about", reason, s.database)
}

// undoUpgrade restores the backup of an upgrade that did not come to its end, so that the next one begins with what the migrators expect.
func (s *Start) undoUpgrade(ctx context.Context) error {
	content, err := s.host.ReadFile(upgradeFile)
	if err != nil || content == nil {
		return err
	}
	backup := strings.TrimSpace(string(content))
	s.host.Log("an upgrade of %s was cut off or failed: restoring %s", s.database, backup)
	if err := s.database.Restore(ctx, backup); err != nil {
		return fmt.Errorf("restore %s, as it was before an upgrade that was cut off: %w", backup, err)
	}
	_, err = s.host.Remove(upgradeFile)
	return err
}

// finishUpgrade declares the upgrade complete, for good: its backup, restored once more, would undo what was done since. It removes
// backups that are older than those to be kept, and what is left of those that were cut off.
func (s *Start) finishUpgrade() error {
	if _, err := s.host.Remove(upgradeFile); err != nil {
		return err
	}
	found, err := filepath.Glob(s.host.Path(databaseBackupDir + "/*"))
	if err != nil {
		return err
	}
	var whole []string
	for _, file := range found {
		switch name := filepath.Base(file); {
		case strings.HasSuffix(name, backupSuffix):
			whole = append(whole, name)
		case strings.HasSuffix(name, partSuffix), strings.HasSuffix(name, checkSuffix):
			if _, err := s.host.Remove(path.Join(databaseBackupDir, name)); err != nil {
				return err
			}
		}
	}
	// Their names sort by date. Those of the future come first: they are of a clock that was wrong, or this one is, and what it has dated
	// last is the newest all the same.
	now := backupName(s.host.Now())
	slices.SortFunc(whole, func(a, b string) int {
		return cmp.Or(compareBool(b > now, a > now), strings.Compare(a, b))
	})
	for _, name := range whole[:max(0, len(whole)-s.settings.Database.Backups)] {
		if _, err := s.host.Remove(path.Join(databaseBackupDir, name)); err != nil {
			return err
		}
	}
	return nil
}

// compareBool has false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
