package standin

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// Exit statuses of onedb version, besides 0 for a schema that is current. Ruby ends with the first one too when it cannot load a file.
const (
	schemaMissing = 1
	schemaOlder   = 2
	schemaNewer   = 3
)

// rubyPaths is what every tool in Ruby loads before anything else.
const rubyPaths = "/usr/lib/one/ruby/load_opennebula_paths.rb"

// loadRuby fails as Ruby does when the libraries are not there.
func (h Host) loadRuby() error {
	if _, err := os.Stat(h.path(rubyPaths)); err != nil {
		return &exitError{1, "<internal:/usr/lib/ruby/vendor_ruby/rubygems/core_ext/kernel_require.rb>:136:in `require': cannot load such file -- " +
			"load_opennebula_paths (LoadError)"}
	}
	return nil
}

// onedb is the command line tool for the database: version, upgrade and fsck.
func (h Host) onedb(ctx context.Context, args []string) error {
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
		return h.onedbUpgrade(ctx, release, options)
	case "fsck":
		return h.onedbFsck(ctx, options)
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
	server, err := h.openServer()
	if err != nil {
		return "", err
	}
	kind, backup := "Sqlite database backup", o.backup
	if backup == "" {
		// onedb writes numbers without zeros before them.
		backup = databaseFile + h.Now().Format("_2006-1-2_") + fmt.Sprintf("%d:%d:%d.bck", h.Now().Hour(), h.Now().Minute(), h.Now().Second())
	}
	if server.file == "" {
		kind = "MySQL dump"
	}
	if _, err := os.Stat(h.path(backup)); err == nil && !o.force {
		return "", fmt.Errorf("File %s exists, backup aborted. Use -f to overwrite.", backup)
	}
	if err := server.dump(h.path(backup)); err != nil {
		return "", fmt.Errorf("back up the database: %w", err)
	}
	h.printf("%s stored in %s\nUse 'onedb restore' to restore the DB.\n", kind, backup)
	return backup, nil
}

func (h Host) putBack(backup string) error {
	h.printf("\nThe database will be restored\n")
	server, err := h.openServer()
	if err != nil {
		return err
	}
	if err := server.restore(h.path(backup)); err != nil {
		return err
	}
	h.printf("Sqlite database backup restored in %s\n", databaseFile)
	return nil
}

// schemaRow is what the database says of a schema.
type schemaRow struct {
	version          *semver.Version
	seconds          int64
	timestamp, about string
}

// schemas returns the schemas of the database, first that of the shared tables, and the one that the release wants. That there is none has
// status 1.
func (h Host) schemas(release *semver.Version) (shared, local schemaRow, want *semver.Version, err error) {
	if _, err := h.loadDatabase(); errors.Is(err, errNoSchema) {
		return shared, local, nil, &exitError{schemaMissing, err.Error()}
	} else if err != nil {
		return shared, local, nil, err
	}
	server, err := h.openServer()
	if err != nil {
		return shared, local, nil, err
	}
	for table, row := range map[string]*schemaRow{"db_versioning": &shared, "local_db_versioning": &local} {
		out, err := server.run("SELECT version, timestamp, comment FROM " + table + " ORDER BY oid DESC LIMIT 1;")
		if err != nil {
			return shared, local, nil, err
		}
		fields := append(strings.SplitN(out, "\t", 3), "", "", "")
		// Without a row it is taken for a very old one.
		if row.version, err = semver.NewVersion(cmp.Or(fields[0], "2.0")); err != nil {
			return shared, local, nil, fmt.Errorf("Malformed version number string %s", fields[0])
		}
		if row.seconds, err = strconv.ParseInt(cmp.Or(fields[1], "0"), 10, 64); err != nil {
			return shared, local, nil, fmt.Errorf("%s: a timestamp: %w", table, err)
		}
		row.timestamp, row.about = time.Unix(row.seconds, 0).Format("01/02 15:04:05"), fields[2]
	}
	return shared, local, schemaOf(release), nil
}

func (h Host) onedbVersion(release *semver.Version, verbose bool) error {
	shared, local, want, err := h.schemas(release)
	if err != nil {
		return err
	}
	if verbose {
		for _, tables := range []struct {
			name string
			schemaRow
		}{{"Shared", shared}, {"Local", local}} {
			h.printf("%-25s%s\nRequired version:        %s\nTimestamp: %s\nComment:   %s\n\n", tables.name+" tables version:", tables.version, want,
				tables.timestamp, tables.about)
		}
	} else {
		h.printf("Shared: %s\nLocal:  %s\nRequired shared version: %s\nRequired local version:  %[3]s\n", shared.version, local.version, want)
	}
	switch {
	case shared.version.LessThan(want) || local.version.LessThan(want):
		h.printf("\nUpdate required. Expected DB version is:\nLocal:  %s\nShared: %[1]s\n", want)
		return &exitError{status: schemaOlder}
	case shared.version.GreaterThan(want) || local.version.GreaterThan(want):
		h.printf("\nWARNING: Source version is lower than DB version\n")
		return &exitError{status: schemaNewer}
	}
	return nil
}

// onedbUpgrade runs the migrators from the schema of the database to that of the release. They are in a package of their own:
// where one is missing the database is put back as it was, and so is one that is newer, for which there are none.
func (h Host) onedbUpgrade(ctx context.Context, release *semver.Version, o onedbOptions) error {
	if err := h.refuseWhileRunning(ctx); err != nil {
		return err
	}
	shared, local, want, err := h.schemas(release)
	if err != nil {
		h.printf("\n%v\n\n\nThere was a failure retrieving the DB version.\n", err)
		return &exitError{status: failed - 1}
	}
	if shared.version.Equal(want) && local.version.Equal(want) {
		h.printf("Database schema is up to date.\n")
		return nil
	}
	var backup string
	if !o.noBackup {
		if backup, err = h.backUp(o); err != nil {
			return err
		}
	}
	err = h.migrateAll(release, shared, local, o)
	if err == nil {
		return nil
	}
	_, _ = fmt.Fprintln(h.Stderr, err)
	if o.noBackup {
		h.printf("WARNING: No backup has been restored as --no-backup flag was set. Note that DB state migh be inconsistent.\n")
		return &exitError{status: failed}
	}
	return &exitError{status: failed, message: errorText(h.putBack(backup))}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// migrateAll brings the shared tables to the schema of the release, then those of the zone.
func (h Host) migrateAll(release *semver.Version, shared, local schemaRow, o onedbOptions) error {
	server, err := h.openServer()
	if err != nil {
		return err
	}
	for _, part := range []struct {
		directory, table, more string
		from                   *semver.Version
	}{{"shared", "db_versioning", "", shared.version}, {"local", "local_db_versioning", ", 0", local.version}} {
		h.printf("\n>>> Running migrators for %s tables\n", part.directory)
		reached := part.from.String()
		for {
			next, found, err := h.migrator(part.directory, reached)
			if err != nil {
				return err
			}
			if !found {
				break
			}
			if o.verbose {
				h.printf("  > Running migrator %s/%s/%s_to_%s.rb\n", migratorsDir, part.directory, reached, next)
			}
			if part.directory == "local" {
				if err := h.migrate(server, next); err != nil {
					return fmt.Errorf("Error while upgrading from %s to %s: %w", reached, next, err)
				}
			}
			reached = next
		}
		if reached == part.from.String() {
			h.printf("Database already uses version %s\n", reached)
			continue
		}
		comment := fmt.Sprintf("Database migrated from %s to %s (OpenNebula %[2]s) by onedb command.", part.from, reached)
		if _, err := server.run(fmt.Sprintf("INSERT INTO %s SELECT MAX(oid) + 1, %s, %d, %s%s FROM %[1]s;", part.table, text(reached), h.Now().Unix(),
			text(comment), part.more)); err != nil {
			return err
		}
		h.printf("%s\n", comment)
	}
	shared, local, want, err := h.schemas(release)
	if err != nil {
		return err
	}
	if !shared.version.Equal(want) || !local.version.Equal(want) {
		return fmt.Errorf("ERROR: Database upgrade to the latest versions (local %s, shared %s)\nwasn't successful due to missing migration descriptors.",
			local.version, shared.version)
	}
	return nil
}

// migrate does as migrators of a zone's tables do: it puts a table aside, fills a new one, and removes the old one, each for itself. One that was
// cut off fails the next time, for the old table is there already.
func (h Host) migrate(server server, to string) error {
	if _, err := server.run("ALTER TABLE user_pool RENAME TO old_user_pool;" + strings.Join(create([]table{userTable()}), "") + ";"); err != nil {
		return err
	}
	if _, err := server.run("INSERT INTO user_pool SELECT * FROM old_user_pool;"); err != nil {
		return err
	}
	switch to {
	case "7.2.0":
		// It parses the quotas and writes them in its own way.
		for _, quotas := range []string{"DEFAULT_USER_QUOTAS", "DEFAULT_GROUP_QUOTAS"} {
			body := "<" + quotas + ">\n  <DATASTORE_QUOTA/>\n  <NETWORK_QUOTA/>\n  <VM_QUOTA/>\n  <IMAGE_QUOTA/>\n</" + quotas + ">"
			if _, err := server.run("UPDATE system_attributes SET body = " + text(body) + " WHERE name = " + text(quotas) + ";"); err != nil {
				return err
			}
		}
	case "7.4.0":
		if _, err := server.run(strings.Join(create([]table{groupVLANs()}), "") + ";"); err != nil {
			return err
		}
		if err := h.copyAuthFiles(); err != nil {
			return err
		}
	}
	_, err := server.run("DROP TABLE old_user_pool;")
	return err
}

// copyAuthFiles gives the services that are new in an installation the secret of the others.
func (h Host) copyAuthFiles() error {
	at := func(name string) string { return h.path(filepath.Join(authDir, name)) }
	for _, source := range []string{"sunstone_auth", "onegate_auth", "oneflow_auth"} {
		content, err := os.ReadFile(at(source))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, name := range []string{"oneform_auth", "oneks_auth"} {
			if _, err := os.Stat(at(name)); errors.Is(err, fs.ErrNotExist) {
				if err := os.WriteFile(at(name), content, 0o600); err != nil {
					return err
				}
			}
		}
		return nil
	}
	h.printf("Could not find an existing server auth file in %s, skipping.\n", authDir)
	return nil
}

// migrator returns the schema that the installed migrator for a schema leads to.
func (h Host) migrator(directory, from string) (to string, found bool, err error) {
	programs, err := filepath.Glob(filepath.Join(h.path(migratorsDir), directory, from+"_to_*.rb"))
	if err != nil || len(programs) == 0 {
		return "", false, err
	}
	if len(programs) > 1 {
		return "", false, fmt.Errorf("There are more than one file that match %q", programs)
	}
	_, to, _ = strings.Cut(strings.TrimSuffix(filepath.Base(programs[0]), ".rb"), "_to_")
	return to, true, nil
}

// onedbFsck checks what there is to check: that the users which everything depends on are there.
func (h Host) onedbFsck(ctx context.Context, o onedbOptions) error {
	if err := h.refuseWhileRunning(ctx); err != nil {
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

// refuseWhileRunning refuses to change a database that oned has: when there is its lock file, or one answers.
func (h Host) refuseWhileRunning(ctx context.Context) error {
	running, err := h.running()
	if err != nil {
		return err
	}
	if running {
		return fmt.Errorf("First stop OpenNebula. Lock file found: %s", lockFile)
	}
	if _, err := h.callAsUser(ctx, "one.system.version"); err == nil {
		return fmt.Errorf("OpenNebula found listening on '%s'", cmp.Or(h.Getenv("ONE_XMLRPC"), defaultXMLRPC))
	}
	return nil
}
