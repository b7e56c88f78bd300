package database

import (
	"context"
	"errors"
	"fmt"

	"opennebula-kube/image/internal/host"
)

// sqliteFile is where oned has its database.
const sqliteFile = "/var/lib/one/one.db"

// sqlite is a database in a file on the volume.
type sqlite struct{ host *host.Host }

func (s *sqlite) String() string { return "the database " + sqliteFile }

func (s *sqlite) Query(ctx context.Context, statements string) (string, error) {
	// A database without any table is what a missing file is to SQLite too; as oneadmin, so that what it makes is oneadmin's.
	return s.host.Run(ctx, host.Command{
		Args: []string{"sqlite3", "-batch", "-noheader", "-separator", "\t", s.host.Path(sqliteFile)}, As: host.Oneadmin(),
		Stdin: script(".bail on\n.timeout 10000\n" + statements + ";\n"),
	})
}

func (s *sqlite) Literal(text string) string { return fmt.Sprintf("CAST(X'%x' AS TEXT)", text) }

func (s *sqlite) Tables(ctx context.Context) ([]string, error) {
	out, err := s.Query(ctx, "SELECT name FROM sqlite_master WHERE type = 'table'")
	return lines(out), err
}

func (s *sqlite) Backup(ctx context.Context, path string) error {
	_, err := s.Query(ctx, "VACUUM INTO '"+s.host.Path(path)+"'")
	return err
}

// Restore removes the journal first: it belongs to the file that is replaced, and would be applied to the new one.
func (s *sqlite) Restore(_ context.Context, path string) error {
	if err := s.removeJournals(); err != nil {
		return err
	}
	return s.host.CopyContent(path, sqliteFile, 0o600, host.Oneadmin())
}

func (s *sqlite) Clear(context.Context) error {
	_, err := s.host.Remove(sqliteFile)
	return errors.Join(err, s.removeJournals())
}

func (s *sqlite) removeJournals() error {
	for _, suffix := range []string{"-journal", "-wal", "-shm"} {
		if _, err := s.host.Remove(sqliteFile + suffix); err != nil {
			return err
		}
	}
	return nil
}
