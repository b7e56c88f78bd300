// Package backup makes and reads backups of an installation: its database, and what is on its volume besides disk images.
package backup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/host"
)

// About is what a backup says of itself.
type About struct {
	// Format is that of the archive, 1.
	Format int `json:"format"`
	// Version is that of the OpenNebula which the backup is of, such as 7.2.0.
	Version string `json:"version"`
	// Backend is that of the database: a dump of one is of no use to the other.
	Backend string    `json:"backend"`
	Time    time.Time `json:"time"`
}

const format = 1

// Names sort by date.
const nameLayout = "opennebula-20060102T150405Z.tar.gz"

var namePattern = regexp.MustCompile(`^opennebula-[0-9]{8}T[0-9]{6}Z\.tar\.gz$`)

// Make puts a backup of a running installation into a store, removes the oldest ones beyond those to keep, and returns its name. version
// and backend are those of the installation.
func Make(ctx context.Context, h *host.Host, db database.Interface, store Store, version, backend string, keep int) (name string, err error) {
	if err := checkComplete(ctx, h, db); err != nil {
		return "", err
	}
	// A dump takes its time: a place that is not there shows before.
	if _, err := store.Names(ctx); err != nil {
		return "", fmt.Errorf("list the backups in %s, where the new one is to go: %w", store, err)
	}
	// The dump is made by oneadmin, as whom the database's clients run.
	dir, err := os.MkdirTemp(h.Path("/tmp"), "backup-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := h.Chown(dir, host.Oneadmin()); err != nil {
		return "", err
	}
	dump, err := filepath.Rel(h.Root, filepath.Join(dir, "database"))
	if err != nil {
		return "", err
	}
	now := h.Now().UTC().Truncate(time.Second)
	if err := db.Backup(ctx, "/"+dump); err != nil {
		return "", fmt.Errorf("dump %s: %w", db, err)
	}
	name = now.Format(nameLayout)
	archive := archive{host: h, about: About{Format: format, Version: version, Backend: backend, Time: now}, dump: filepath.Join(dir, "database")}
	if err := store.Save(ctx, name, archive.write); err != nil {
		return "", fmt.Errorf("write the backup %s to %s: %w", name, store, err)
	}
	return name, prune(ctx, store, keep)
}

// checkComplete refuses what is no installation, or not yet one again: its backups would take the place of good ones.
func checkComplete(ctx context.Context, h *host.Host, db database.Interface) error {
	for marker, doing := range map[string]string{RestoreMarker: "a backup is being restored", UpgradeMarker: "the database is being upgraded"} {
		path := volumeDir + "/" + marker
		switch content, err := h.ReadFile(path); {
		case err != nil:
			return err
		case content != nil:
			return fmt.Errorf("%s, says %s: make the backup when OpenNebula has started", doing, path)
		}
	}
	tables, err := db.Tables(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(tables, database.Own) {
		return fmt.Errorf("%s is empty: make the backup when OpenNebula has started", db)
	}
	return nil
}

func prune(ctx context.Context, store Store, keep int) error {
	names, err := store.Names(ctx)
	if err != nil {
		return fmt.Errorf("list the backups in %s: %w", store, err)
	}
	for _, name := range names[:max(0, len(names)-keep)] {
		if err := store.Remove(ctx, name); err != nil {
			return fmt.Errorf("remove the old backup %s from %s: %w", name, store, err)
		}
	}
	return nil
}
