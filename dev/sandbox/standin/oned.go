package standin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
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
	settings, err := readRaftSettings(config)
	if err != nil {
		return err
	}
	if err := h.openPool(release, settings.serverID == alone, config); err != nil {
		return err
	}
	server, err := h.openServer()
	if err != nil {
		return err
	}
	log, err := openLog(server, h.Now)
	if err != nil {
		return err
	}
	raft, err := newRaft(settings, h.Raft, log, h.session, h.Stdout)
	if err != nil {
		return err
	}
	d := &daemon{host: h, version: release.String(), slots: make(chan struct{}, maxConnections), server: server, raft: raft}
	if d.hookRecords, err = hookRecords(config); err != nil {
		return err
	}
	d.hooks = &hookDriver{record: d.recordExecution, errors: h.Stderr, subscribers: map[chan string]struct{}{}}
	closeDrivers, err := h.startDrivers(ctx, d.hooks)
	if err != nil {
		return err
	}
	defer closeDrivers()
	var member sync.WaitGroup
	ctx, leave := context.WithCancel(ctx)
	defer member.Wait()
	defer leave()
	member.Go(func() { raft.run(ctx) })
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

// openPool opens the database and fills it when it has no user 0 or no zone 0. A server of several does not: what it has is to come from
// one that was alone.
func (h Host) openPool(release *semver.Version, alone bool, config map[string]string) error {
	db, err := h.loadDatabase()
	if errors.Is(err, errNoSchema) && !alone {
		return errors.New("Database has to be bootstraped to start oned in HA")
	}
	if errors.Is(err, errNoSchema) {
		// The tables come before the users: a first boot that ends half way leaves a schema without user 0.
		db, err = h.createDatabase(schemaOf(release).String())
	}
	if err != nil {
		return err
	}
	if want := schemaOf(release).String(); db.Schema != want {
		return fmt.Errorf("Database version mismatch. Installed OpenNebula %s needs DB version '%s', and existing DB version is '%s'.",
			release, want, db.Schema)
	}
	if !alone && db.user(0) == nil {
		return fmt.Errorf("Error creating oneadmin user: %w", errFollower)
	}
	if db.user(0) == nil {
		if err := h.bootstrap(release, db); err != nil {
			return err
		}
	}
	if !alone {
		return nil
	}
	server, err := h.openServer()
	if err == nil {
		err = server.createZone(config, hasGRPC(release))
	}
	if err != nil {
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
		return fmt.Errorf("Could not start the Request Manager (XML-RPC): %w", err)
	}
	if hasGRPC(release) {
		// oned puts a colon between the two; what has more than one colon outside of brackets is a host without a port to gRPC.
		grpc, err := h.Listen(ctx, "tcp", setting("GRPC_LISTEN_ADDRESS", "0.0.0.0")+":"+setting("GRPC_PORT", "2634"))
		if err != nil {
			return errors.Join(fmt.Errorf("Could not start the Request Manager (GRPC): %w", err), listener.Close())
		}
		defer closeOnAccept(grpc)()
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
