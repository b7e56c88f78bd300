package standin

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Exit statuses of onedb version -v, besides 0 for a schema that is current.
const (
	schemaMissing = 1
	schemaOlder   = 2
	schemaNewer   = 3
)

// onedb is the command line tool for the database: version, upgrade and fsck.
func (h Host) onedb(args []string) error {
	release, err := h.version()
	if err != nil {
		return err
	}
	var command string
	if len(args) > 0 {
		command = args[0]
	}
	options, err := parseOptions(command, args[min(1, len(args)):])
	if err != nil {
		return err
	}
	switch command {
	case "version":
		return h.onedbVersion(release, options.verbose)
	case "upgrade":
		return h.onedbUpgrade(release, options)
	case "fsck":
		return h.onedbFsck(options)
	}
	return errors.New("usage: onedb version|upgrade|fsck [-v] [--backup <file>|--no-backup] [--force]")
}

// onedbOptions are those that all commands take.
type onedbOptions struct {
	verbose, noBackup, force bool
	backup                   string
}

func parseOptions(command string, args []string) (onedbOptions, error) {
	var o onedbOptions
	flags := flag.NewFlagSet("onedb "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.verbose, "v", false, "")
	flags.BoolVar(&o.verbose, "verbose", false, "")
	flags.BoolVar(&o.noBackup, "no-backup", false, "")
	flags.BoolVar(&o.force, "force", false, "")
	flags.StringVar(&o.backup, "backup", "", "")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("onedb %s: %w", command, err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("onedb %s: the stand-in knows options only, got %q", command, flags.Args())
	}
	return o, nil
}

// backUp writes the database to where the options say, or beside where SQLite's is.
func (h Host) backUp(o onedbOptions) (string, error) {
	backup := o.backup
	if backup == "" {
		backup = fmt.Sprintf("%s_%s.bck", databaseFile, h.Now().UTC().Format("2006-01-02_15:04:05"))
	}
	if _, err := os.Stat(h.path(backup)); err == nil && !o.force {
		return "", fmt.Errorf("File %s exists, backup aborted. Use -f to overwrite.", backup)
	}
	server, err := h.openServer()
	if err == nil {
		err = server.dump(h.path(backup))
	}
	if err != nil {
		return "", fmt.Errorf("back up the database: %w", err)
	}
	h.printf("Database backup stored in %s\n", backup)
	return backup, nil
}

func (h Host) putBack(backup string) error {
	server, err := h.openServer()
	if err != nil {
		return err
	}
	return server.restore(h.path(backup))
}

// schemas returns the schema of the database and the one that the release wants. That there is none has status 1.
func (h Host) schemas(release *semver.Version) (db *database, have, want *semver.Version, err error) {
	if db, err = h.loadDatabase(); err != nil {
		if errors.Is(err, errNoSchema) {
			err = &exitError{schemaMissing, err.Error()}
		}
		return nil, nil, nil, err
	}
	if have, err = semver.StrictNewVersion(db.Schema); err != nil {
		return nil, nil, nil, &exitError{schemaMissing, fmt.Sprintf("schema version %q: %v", db.Schema, err)}
	}
	return db, have, schemaOf(release), nil
}

func (h Host) onedbVersion(release *semver.Version, verbose bool) error {
	_, have, want, err := h.schemas(release)
	if err != nil {
		return err
	}
	if !verbose {
		h.printf("%s\n", have)
		return nil
	}
	h.printf("Database version: %s\nRequired version: %s\n", have, want)
	switch have.Compare(want) {
	case -1:
		return &exitError{schemaOlder, "The database has to be upgraded: onedb upgrade."}
	case 1:
		return &exitError{schemaNewer, "The database is newer than the software."}
	}
	return nil
}

// onedbUpgrade runs the migrators from the schema of the database to that of the release. They are in a package of their own:
// where one is missing the database is put back as it was.
func (h Host) onedbUpgrade(release *semver.Version, o onedbOptions) error {
	if err := h.refuseWhileRunning(); err != nil {
		return err
	}
	db, have, want, err := h.schemas(release)
	if err != nil {
		return err
	}
	if have.GreaterThan(want) {
		return &exitError{schemaNewer, fmt.Sprintf("The database is newer (%s) than the software (%s).", have, want)}
	}
	if have.Equal(want) {
		h.printf("Database already uses version %s\n", want)
		return nil
	}
	var backup string
	if !o.noBackup {
		if backup, err = h.backUp(o); err != nil {
			return err
		}
	}
	for db.Schema != want.String() {
		next, err := h.migrator(db.Schema)
		if err != nil && o.noBackup {
			return &exitError{failed, err.Error() + "\nWARNING: No backup has been restored as --no-backup flag was set."}
		}
		if err != nil {
			if restore := h.putBack(backup); restore != nil {
				return &exitError{1, errors.Join(err, restore).Error()}
			}
			return &exitError{1, err.Error() + "\nThe database was restored from " + backup}
		}
		if o.verbose {
			h.printf("  > Running migrators from %s to %s\n", db.Schema, next)
		}
		db.Schema = next
		if err := h.migrate(db); err != nil {
			return fmt.Errorf("upgrade the database: %w", err)
		}
	}
	h.printf("Database migrated from %s to %s\n", have, want)
	return nil
}

// migrate does as migrators do: it puts a table aside, fills a new one, and removes the old one, each for itself. One that was cut off fails
// the next time, for the old table is there already.
func (h Host) migrate(db *database) error {
	if err := h.sql("ALTER TABLE user_pool RENAME TO old_user_pool;" + createUsers); err != nil {
		return err
	}
	if err := h.saveDatabase(db); err != nil {
		return err
	}
	return h.sql("DROP TABLE old_user_pool;")
}

// migrator returns the schema that the installed migrator for a schema leads to.
func (h Host) migrator(from string) (to string, err error) {
	found, err := filepath.Glob(filepath.Join(h.path(migratorsDir), from+"_to_*.rb"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("missing migration descriptors: %d from version %s in %s", len(found), from, migratorsDir)
	}
	_, to, _ = strings.Cut(strings.TrimSuffix(filepath.Base(found[0]), ".rb"), "_to_")
	if _, err := semver.StrictNewVersion(to); err != nil {
		return "", fmt.Errorf("migration descriptor %s: %w", found[0], err)
	}
	return to, nil
}

// onedbFsck checks what there is to check: that the users which everything depends on are there.
func (h Host) onedbFsck(o onedbOptions) error {
	if err := h.refuseWhileRunning(); err != nil {
		return err
	}
	db, err := h.loadDatabase()
	if err != nil {
		return &exitError{1, err.Error()}
	}
	if _, err := h.backUp(o); err != nil {
		return err
	}
	missing := 0
	for _, id := range []int{0, 1} {
		if db.user(id) == nil {
			h.printf("[UNREPAIRED] User %d is missing\n", id)
			missing++
		}
	}
	h.printf("Total errors found: %d\n", missing)
	if missing > 0 {
		return &exitError{1, "The database has errors that cannot be repaired."}
	}
	return nil
}

func (h Host) refuseWhileRunning() error {
	running, err := h.running()
	if err != nil {
		return err
	}
	if running {
		return fmt.Errorf("First stop OpenNebula. Lock file found: %s", lockFile)
	}
	return nil
}
