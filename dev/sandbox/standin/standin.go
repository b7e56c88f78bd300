// Package standin is a small program that stands in for OpenNebula's control plane where the real packages cannot be had: it is
// installed by the sandbox's packages as oned, its tools, and the services around it, and behaves as those do in what an image depends
// on: the first boot, its refusals, the lock file, the XML-RPC calls behind a ready probe, passwords, the exit statuses of a schema
// check, what each service reads and where it listens, hooks, how the servers of a zone keep their databases the same, and what a user does first:
// hosts, images and virtual machines with the dummy drivers, services of OneFlow, what a guest asks OneGate. Those machines are rows of the
// database: nothing runs.
package standin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// Files that the stand-in reads and writes, where OpenNebula's packages have them.
const (
	versionFile   = "/usr/share/one/VERSION"
	configFile    = "/etc/one/oned.conf"
	lockFile      = "/var/lock/one/one"
	authDir       = "/var/lib/one/.one"
	databaseFile  = "/var/lib/one/one.db"
	migratorsDir  = "/usr/lib/one/ruby/onedb"
	defaultXMLRPC = "http://localhost:2633/RPC2"
)

// failed is the exit status that oned and the command line tools have for nearly every error (-1 in their sources).
const failed = 255

// Host is the machine that the stand-in runs on.
type Host struct {
	// Root is the directory that all paths are below, "/" on a real machine.
	Root string
	// Stdout and Stderr are the streams of the process.
	Stdout, Stderr io.Writer
	// Getenv reads the environment: ONE_AUTH and ONE_XMLRPC.
	Getenv func(string) string
	// Hostname is the machine's own name, LookupHost resolves it: oned ends when it cannot.
	Hostname   func() (string, error)
	LookupHost func(ctx context.Context, name string) ([]string, error)
	// Listen and ListenPacket open the sockets of the services.
	Listen       func(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)
	// Now dates the backups that onedb makes, and the records of the log of the database.
	Now func() time.Time
	// Raft is how the servers of a zone wait for each other.
	Raft RaftTimes
}

// System is the Host that the process really runs on.
func System() Host {
	var config net.ListenConfig
	return Host{
		Root:       "/",
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Getenv:     os.Getenv,
		Hostname:   os.Hostname,
		LookupHost: net.DefaultResolver.LookupHost,
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			return config.Listen(ctx, familyOf(network, address), address)
		},
		ListenPacket: func(ctx context.Context, network, address string) (net.PacketConn, error) {
			return config.ListenPacket(ctx, familyOf(network, address), address)
		},
		Now:  time.Now,
		Raft: onedTimes(),
	}
}

// familyOf keeps 0.0.0.0 to IPv4: Go takes it for all addresses of both families.
func familyOf(network, address string) string {
	if host, err := netip.ParseAddrPort(address); err == nil && host.Addr().Is4() {
		return network + "4"
	}
	return network
}

// Run is the program called name with its arguments. It returns the exit status. Services run until ctx is done, which stands for
// SIGTERM.
func (h Host) Run(ctx context.Context, name string, args ...string) int {
	var err error
	switch name {
	case "oned":
		err = h.oned(ctx, args)
	case "oneuser", "onehook", "onedb", "oneshowback":
		if err = h.loadRuby(); err == nil {
			err = h.tool(ctx, name, args)
		}
	case "ruby", "node":
		err = h.interpreter(ctx, args)
	case "guacd":
		err = h.guacd(ctx, args)
	default:
		err = fmt.Errorf("called as %q: it stands in for oned, oneuser, onehook, onedb, oneshowback, guacd, ruby and node only", name)
	}
	if err == nil {
		return 0
	}
	status := failed
	if s, ok := errors.AsType[*exitError](err); ok {
		status = s.status
	}
	if message := err.Error(); message != "" {
		_, _ = fmt.Fprintln(h.Stderr, message)
	}
	return status
}

// tool is one of the command line tools, which are in Ruby.
func (h Host) tool(ctx context.Context, name string, args []string) error {
	switch name {
	case "oneuser":
		return h.oneuser(ctx, args)
	case "onehook":
		return h.onehook(ctx, args)
	case "onedb":
		return h.onedb(ctx, args)
	}
	return h.oneshowback(ctx, args)
}

// printf prints to standard output. A reader that has gone away changes nothing about what was done.
func (h Host) printf(format string, args ...any) { _, _ = fmt.Fprintf(h.Stdout, format, args...) }

// exitError is an error with an exit status of its own. Without a message nothing is printed.
type exitError struct {
	status  int
	message string
}

func (e *exitError) Error() string { return e.message }

func (h Host) path(name string) string { return filepath.Join(h.Root, name) }

// version is the OpenNebula version that this machine has installed. It comes from a file of the packages and is not compiled
// in, so that one program serves all versions.
func (h Host) version() (*semver.Version, error) {
	data, err := os.ReadFile(h.path(versionFile))
	if err != nil {
		return nil, fmt.Errorf("read the installed version: %w", err)
	}
	v, err := semver.StrictNewVersion(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("read the installed version from %s: %q: %w", versionFile, data, err)
	}
	return v, nil
}

// serverSection tells whether a release has OneGate's address in a section of its configuration.
func serverSection(release *semver.Version) bool {
	return !release.LessThan(semver.New(7, 3, 80, "", ""))
}

// schemaOf is the version of the database schema that a release works with: maintenance releases keep that of their line.
func schemaOf(release *semver.Version) *semver.Version {
	return semver.New(release.Major(), release.Minor(), 0, "", "")
}
