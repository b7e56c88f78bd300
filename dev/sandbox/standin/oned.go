package standin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"

	"github.com/Masterminds/semver/v3"
)

// shutdownGrace is how long oned lets the calls in progress finish when it is told to end.
const shutdownGrace = 2 * time.Second

// oned is the daemon. It returns nil when ctx ends it, an error when it cannot start.
func (h Host) oned(ctx context.Context, args []string) (err error) {
	release, err := h.version()
	if err != nil {
		return err
	}
	if slices.Equal(args, []string{"-v"}) || slices.Equal(args, []string{"--version"}) {
		h.printf("OpenNebula %s (stand-in)\n", release)
		return nil
	}
	if !slices.Equal(args, []string{"-f"}) {
		return fmt.Errorf("usage: oned -f: the stand-in runs in the foreground only, got %q", args)
	}

	unlock, err := h.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	text, err := os.ReadFile(h.path(configFile))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	config, err := parseConfig(configFile, string(text))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := h.resolveOwnName(ctx, config["HOSTNAME"]); err != nil {
		return err
	}
	db, err := h.openPool(release)
	if err != nil {
		return err
	}
	return h.serve(ctx, config, &daemon{host: h, version: release.String(), db: db})
}

// lock takes the lock file, which a crash leaves behind, and returns what gives it back.
func (h Host) lock() (unlock func() error, err error) {
	path := h.path(lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		// oned says the same whether the file exists or the directory is missing.
		return nil, fmt.Errorf("Error: Cannot start oned, opening lock file %s", lockFile)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("close lock file: %w", err)
	}
	return func() error { return os.Remove(path) }, nil
}

// resolveOwnName ends oned on a machine that cannot resolve its own name, unless the configuration names it.
func (h Host) resolveOwnName(ctx context.Context, configured string) error {
	if configured != "" {
		return nil
	}
	name, err := h.Hostname()
	if err != nil {
		return fmt.Errorf("read the name of this machine: %w", err)
	}
	if _, err := h.LookupHost(ctx, name); err != nil {
		return fmt.Errorf("resolve the name of this machine, for HOSTNAME is not set in %s: %w", configFile, err)
	}
	return nil
}

// openPool opens the database and, when it has no user 0, fills it.
func (h Host) openPool(release *semver.Version) (*database, error) {
	db, err := h.loadDatabase()
	if errors.Is(err, errNoSchema) {
		// The tables come before the users: a first boot that ends half way leaves a schema without user 0.
		db, err = h.createDatabase(schemaOf(release).String())
	}
	if err != nil {
		return nil, err
	}
	if want := schemaOf(release).String(); db.Schema != want {
		return nil, fmt.Errorf("Database version mismatch. Installed OpenNebula %s needs DB version '%s', and existing DB version is '%s'.",
			release, want, db.Schema)
	}
	if db.user(0) == nil {
		if err := h.bootstrap(release, db); err != nil {
			return nil, err
		}
	}
	return db, nil
}

// serve answers XML-RPC until ctx is done.
func (h Host) serve(ctx context.Context, config map[string]string, d *daemon) error {
	port, address := config["PORT"], config["LISTEN_ADDRESS"]
	if port == "" {
		port = "2633"
	}
	listener, err := h.Listen(ctx, "tcp", net.JoinHostPort(address, port))
	if err != nil {
		return fmt.Errorf("open the XML-RPC socket: %w", err)
	}
	if err := serveUntil(ctx, listener, d); err != nil {
		return fmt.Errorf("serve XML-RPC: %w", err)
	}
	return nil
}

// running tells whether there is a lock file: the tools that change the database refuse while oned has it.
func (h Host) running() (bool, error) {
	_, err := os.Stat(h.path(lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
