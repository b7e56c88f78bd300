package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"opennebula-kube/image/internal/backup"
	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
	"opennebula-kube/image/internal/startup"
)

// makeBackup makes a backup, in the container itself or in another one with the same settings, volume, and database.
func makeBackup(ctx context.Context) error {
	loaded, err := settings.Load(os.Environ(), os.ReadFile)
	if err != nil {
		return fmt.Errorf("backup: the settings are wrong:\n%w", err)
	}
	if loaded.Backup.To == "" {
		return errors.New("backup: OPENNEBULA_BACKUP_TO is not set: give a directory, such as /backup, or a place in object storage, such as s3://bucket/opennebula")
	}
	h := host.System(func(format string, args ...any) { fmt.Printf("backup: "+format+"\n", args...) })
	version, err := startup.Version(h)
	if err != nil {
		return err
	}
	store, name, err := backup.Locate(h, strings.TrimSuffix(loaded.Backup.To, "/"), loaded.S3)
	if err != nil {
		return err
	}
	if name != "" {
		return fmt.Errorf("backup: OPENNEBULA_BACKUP_TO is %s: name the place only, each backup gets a name of its own", loaded.Backup.To)
	}
	db := database.New(h, loaded.Database)
	if err := database.Wait(ctx, h, db, loaded.Database.Wait); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	name, err = backup.Make(ctx, h, db, store, version.String(), loaded.Database.Backend, loaded.Backup.Keep)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	h.Log("made %s in %s", name, store)
	return nil
}
