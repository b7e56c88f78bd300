package standin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
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

	content, err := os.ReadFile(h.path(configFile))
	if err != nil {
		return fmt.Errorf("Could not load nebula configuration file: %w", err)
	}
	config, err := parseConfig(configFile, string(content))
	if err != nil {
		return fmt.Errorf("Could not load nebula configuration file: %w", err)
	}
	// oned writes what it has read for its drivers, and goes on without.
	_ = os.WriteFile(h.path(configCopy), content, 0o644)
	if err := h.resolveOwnName(ctx, config["HOSTNAME"]); err != nil {
		return err
	}
	log, err := h.openLogger(config)
	if err != nil {
		return err
	}
	log.logf(levelInfo, "ONE", "Starting OpenNebula %s ()", release)
	if err := h.loadKey(); err != nil {
		return fmt.Errorf("Could not load nebula master key file: %w", err)
	}
	settings, err := readRaftSettings(config)
	if err != nil {
		return err
	}
	db, err := h.openDatabase(release, settings.serverID == alone, log)
	if err != nil {
		return err
	}
	// From here on oned's standard error is closed: what is wrong is in its log, and nowhere else.
	if err := h.serveDatabase(ctx, release, db, config, settings, log); errors.Is(err, errLogged) {
		return &exitError{status: failed}
	} else if err != nil {
		log.logf(levelError, "ONE", "%v", err)
		return &exitError{status: failed}
	}
	return nil
}

// errLogged is what a part of oned's has logged by itself.
var errLogged = errors.New("see oned.log")

// serveDatabase is oned with its database: it fills it, starts its drivers, and answers until ctx is done.
func (h Host) serveDatabase(ctx context.Context, release *semver.Version, db *database, config map[string]string, settings raftSettings,
	log *onedLogger) error {
	if err := h.fillDatabase(release, db, settings.serverID == alone, config); err != nil {
		return err
	}
	server, err := h.openServer()
	if err != nil {
		return err
	}
	logdb, err := openLog(server, h.Now)
	if err != nil {
		return err
	}
	raft, err := newRaft(settings, h.Raft, logdb, h.session, log)
	if err != nil {
		return err
	}
	d := &daemon{host: h, version: release.String(), slots: make(chan struct{}, maxConnections), server: server, raft: raft, log: log}
	if d.hookRecords, err = hookRecords(config); err != nil {
		return err
	}
	if d.worker, err = h.newWorker(); err != nil {
		return err
	}
	if raft.id == alone {
		if err := d.bootstrapObjects(); err != nil {
			return err
		}
	}
	d.hooks = &hookDriver{record: d.recordExecution, log: log, subscribers: map[chan string]struct{}{}}
	closeDrivers, err := h.startDrivers(ctx, config, d.hooks, log)
	if err != nil {
		return err
	}
	defer closeDrivers()
	var member sync.WaitGroup
	ctx, leave := context.WithCancel(ctx)
	defer member.Wait()
	defer leave()
	member.Go(func() { raft.run(ctx) })
	member.Go(func() { d.work(ctx) })
	return h.serve(ctx, release, config, d)
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

// configCopy is where oned leaves its configuration for others.
const configCopy = "/var/lib/one/config"

// resolveOwnName ends oned on a machine that cannot resolve its own name, unless the configuration names it.
func (h Host) resolveOwnName(ctx context.Context, configured string) error {
	if configured != "" {
		return nil
	}
	name, err := h.Hostname()
	if err != nil {
		return fmt.Errorf("Error getting hostname: %w", err)
	}
	if _, err := h.LookupHost(ctx, name); err != nil {
		return fmt.Errorf("Unable to resolve hostname '%s': %w", name, err)
	}
	return nil
}

// openDatabase opens the database and makes its tables when there are none. A server of several does not: what it has is to come from one
// that was alone.
func (h Host) openDatabase(release *semver.Version, alone bool, log *onedLogger) (*database, error) {
	log.logf(levelInfo, "ONE", "Checking database version.")
	db, err := h.loadDatabase()
	if errors.Is(err, errNoSchema) && !alone {
		return nil, errors.New("Database has to be bootstraped to start oned in HA")
	}
	if errors.Is(err, errNoSchema) {
		// The tables come before the users: a first boot that ends half way leaves a schema without user 0.
		log.logf(levelInfo, "ONE", "Bootstrapping OpenNebula database, stage 1.")
		if db, err = h.createDatabase(release); err != nil {
			log.logf(levelError, "ONE", "%v", err)
			return nil, fmt.Errorf("Error bootstrapping database: %w", err)
		}
		return db, nil
	}
	if err != nil {
		return nil, err
	}
	for _, table := range []struct{ name, version string }{{"local_db_versioning", db.Local}, {"db_versioning", db.Schema}} {
		if want := schemaOf(release).String(); table.version != want {
			log.logf(levelError, "ONE", "Database version mismatch ( %s). Installed OpenNebula %s () needs DB version '%s', and existing DB version is '%s'.",
				table.name, release, want, table.version)
			log.logf(levelError, "ONE", "Use onedb to upgrade DB.")
			return nil, errors.New("Database version mismatch. Check oned.log.")
		}
		log.logf(levelInfo, "ONE", "oned is using version %s for %s", table.version, table.name)
	}
	return db, nil
}

// fillDatabase makes what a database has to have: a cluster, the groups, users 0 and 1 and zone 0.
func (h Host) fillDatabase(release *semver.Version, db *database, alone bool, config map[string]string) error {
	if !alone {
		if db.user(0) == nil {
			return fmt.Errorf("Error creating oneadmin user: %w", errFollower)
		}
		return nil
	}
	server, err := h.openServer()
	if err != nil {
		return err
	}
	out, err := server.run("SELECT tablename FROM pool_control;")
	if err != nil {
		return err
	}
	made := strings.Fields(out)
	if !slices.Contains(made, "cluster_pool") {
		if err := server.bootstrapCluster(); err != nil {
			return fmt.Errorf("Error trying to create default cluster: %w", err)
		}
	}
	if !slices.Contains(made, "group_pool") {
		if err := server.bootstrapGroups(); err != nil {
			return fmt.Errorf("Error trying to create default group: %w", err)
		}
	}
	if db.user(0) == nil {
		if err := h.bootstrapUsers(release, server); err != nil {
			return err
		}
	}
	if err := server.createZone(config, hasGRPC(release)); err != nil {
		return fmt.Errorf("Error trying to create local zone: %w", err)
	}
	return nil
}

// hasGRPC tells whether oned of a release answers gRPC.
func hasGRPC(release *semver.Version) bool { return !release.LessThan(semver.New(7, 2, 0, "", "")) }

// serve answers XML-RPC, and from 7.2 on takes the connections of gRPC, until ctx is done.
func (h Host) serve(ctx context.Context, release *semver.Version, config map[string]string, d *daemon) error {
	setting := func(name, fallback string) string {
		if value := config[name]; value != "" {
			return value
		}
		return fallback
	}
	listener, err := h.Listen(ctx, "tcp", net.JoinHostPort(setting("LISTEN_ADDRESS", "0.0.0.0"), setting("PORT", "2633")))
	if err != nil {
		d.log.logf(levelError, "ReM", "Cannot bind to %s:%s : %v", setting("LISTEN_ADDRESS", "0.0.0.0"), setting("PORT", "2633"), err)
		return errLogged
	}
	if hasGRPC(release) {
		// oned puts a colon between the two; what has more than one colon outside of brackets is a host without a port to gRPC.
		grpc, err := h.Listen(ctx, "tcp", setting("GRPC_LISTEN_ADDRESS", "0.0.0.0")+":"+setting("GRPC_PORT", "2634"))
		if err != nil {
			d.log.logf(levelError, "ReM", "Could not start the Request Manager (GRPC): %v", err)
			return errors.Join(errLogged, listener.Close())
		}
		defer d.serveGRPC(grpc)()
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
