package startup

import (
	"context"
	"fmt"
	"slices"

	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/host"
)

const (
	// copyFile is there while the database is replaced by a copy of another front-end's: half of it counts for nothing.
	copyFile = ownDir + "/copying"
	// copiedDatabase is where the copy is in between.
	copiedDatabase = ownDir + "/copy" + backupSuffix
)

// copyDatabase replaces the own database by a copy of another. What was in it is backed up first.
func (s *Start) copyDatabase(ctx context.Context, decision frontends.Decision) error {
	source := s.databases[decision.Source]
	s.host.Log("copying the database of %s: %s", s.settings.HA.Servers[decision.Source], decision.Reason)
	if _, err := s.host.Remove(copiedDatabase); err != nil {
		return err
	}
	if err := source.Backup(ctx, copiedDatabase); err != nil {
		return fmt.Errorf("copy %s: %w", source, err)
	}
	// After what fails again and again while the other does not answer: each time would leave a backup.
	tables, err := s.database.Tables(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(tables, database.Own) {
		former, err := s.backup(ctx)
		if err != nil {
			return fmt.Errorf("back up %s before another takes its place: %w", s.database, err)
		}
		s.host.Log("the backup of the database as it was is %s", former)
	}
	if err := s.host.WriteFile(copyFile, []byte(source.String()+"\n"), 0o600, host.Oneadmin()); err != nil {
		return err
	}
	if err := s.database.Restore(ctx, copiedDatabase); err != nil {
		return fmt.Errorf("put the copy of %s into %s: %w", source, s.database, err)
	}
	for _, file := range []string{copiedDatabase, copyFile} {
		if _, err := s.host.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// undoCopy empties a database into which a copy was not put whole.
func (s *Start) undoCopy(ctx context.Context) error {
	if has, err := s.exists(copyFile); err != nil || !has {
		return err
	}
	s.host.Log("copying the database of another front-end was cut off: emptying %s, to begin again", s.database)
	if err := s.database.Clear(ctx); err != nil {
		return err
	}
	_, err := s.host.Remove(copyFile)
	return err
}
