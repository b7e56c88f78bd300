// Package startup brings a container to where its services can be started: on an empty volume, on one that is in use, on one of an older
// OpenNebula, and on one that an earlier start has left half-way. It is a list of steps, each of which may be run again at any time.
package startup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/Masterminds/semver/v3"

	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
	"opennebula-kube/image/internal/supervisord"
)

// Where things are.
const (
	configDir = "/etc/one"
	stateDir  = "/var/lib/one"
	authDir   = stateDir + "/.one"
	sshDir    = stateDir + "/.ssh"
	driverDir = stateDir + "/remotes"
	// ownDir, on the volume, is for what start-up itself has to remember.
	ownDir    = stateDir + "/.one-container"
	backupDir = stateDir + "/backups"
	// sharedDir has what the image's build has put aside: the configuration and the drivers as they were installed, and the version.
	sharedDir = "/usr/share/one-container"
)

// Start is one start of the container.
type Start struct {
	host     *host.Host
	settings settings.Settings
	database database.Interface
	// databases are those of all front-ends, if there are several; transport is how their oneds are reached.
	databases []database.Interface
	transport http.RoundTripper
	// sole is whether this front-end may write to its database, since no other one has the same or uses it.
	sole    bool
	random  io.Reader
	version *semver.Version
}

// New reads what the image is and returns a Start. random is where passwords come from.
func New(h *host.Host, s settings.Settings, random io.Reader) (*Start, error) {
	version, err := Version(h)
	if err != nil {
		return nil, err
	}
	return &Start{
		host: h, settings: s, database: database.New(h, s.Database), databases: databases(h, s), transport: &http.Transport{DisableKeepAlives: true},
		random: random, version: version,
	}, nil
}

// stamp is a time as the names of what is kept on the volume have it: they sort by date.
func stamp(at time.Time) string { return at.UTC().Format("20060102T150405Z") }

// Version reads which OpenNebula the image has.
func Version(h *host.Host) (*semver.Version, error) {
	const file = sharedDir + "/VERSION"
	content, err := h.ReadFile(file)
	if err != nil {
		return nil, err
	}
	version, err := semver.StrictNewVersion(strings.TrimSpace(string(content)))
	if err != nil {
		return nil, fmt.Errorf("read OpenNebula's version from %s: found %q: %w; build the image anew", file, content, err)
	}
	return version, nil
}

type step struct {
	// doing completes the sentence "failed to".
	doing string
	run   func(context.Context) error
}

// steps are in the order that they depend on each other. Nothing on the volume is changed to another version before the schema step
// has found that the database can go with it.
func (s *Start) steps() []step {
	if !supervisord.HasOned(s.settings.Services) {
		return []step{
			{"prepare directories", s.directories},
			{"write the configuration", s.configuration},
			{"choose the services", s.services},
			{"find what the container of oned puts on the volume", s.awaitOned},
		}
	}
	return []step{
		{"prepare the volume", s.volume},
		{"prepare directories", s.directories},
		{"write the configuration", s.configuration},
		{"choose the services", s.services},
		{"restore a backup", s.restore},
		{"set up oneadmin's password", s.password},
		{"set up SSH keys", s.sshKeys},
		{"set up the keys that all front-ends share", s.sharedKeys},
		{"reach the database", s.reachDatabase},
		{"undo a copy of another front-end's database that was cut off", s.undoCopy},
		// First: in the middle of an upgrade a database may look like one of a first boot.
		{"undo an upgrade that was cut off", s.undoUpgrade},
		{"undo a first boot that was cut off", s.firstBoot},
		{"get the database from the other front-ends", s.join},
		{"bring the database to the version of the software", s.schema},
		// From here on the volume goes with this version. The drivers come before all that starts oned: it ends without them.
		{"refresh the drivers on the volume", s.drivers},
		{"write the configuration of the drivers", s.driverConfiguration},
		{"find its place in the zone", s.zone},
		{"set up the accounts in the database", s.accounts},
	}
}

// Run runs all steps.
func (s *Start) Run(ctx context.Context) error {
	for _, step := range s.steps() {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("failed to %s: %w", step.doing, explain(err))
		}
	}
	return nil
}

// explain adds what to do to errors of the file systems.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; mount it writable", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; make room on it", err)
	}
	if exit, ok := errors.AsType[*host.ExitError](err); ok && slices.ContainsFunc(fullSays(), func(s string) bool { return strings.Contains(exit.Output, s) }) {
		return fmt.Errorf("%w; make room on %s", err, stateDir)
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(failed, fs.ErrPermission) && failed.Op != "fork/exec" {
		return fmt.Errorf("%w; start-up has to see to files of any owner: give the container the capabilities CHOWN, DAC_OVERRIDE and FOWNER, "+
			"and on NFS export the volume with no_root_squash", err)
	}
	return err
}

// fullSays is what programs, SQLite's and all others, print when a file system is full.
func fullSays() []string { return []string{"database or disk is full", "No space left on device"} }

func (s *Start) services(context.Context) error {
	return supervisord.Choose(s.host, s.settings.Services, s.settings.HA.Enabled())
}

// awaitOned waits for the last that the container of oned makes before it needs the database, so that no two make the same.
func (s *Start) awaitOned(ctx context.Context) error {
	types := hostKeyTypes()
	last := hostKeyFile(types[len(types)-1])
	for begin := s.host.Now(); ; {
		hasKeys, err := s.exists(last)
		if err != nil {
			return err
		}
		if hasAuth, err := s.exists(oneAuth); err != nil || hasKeys && hasAuth {
			return err
		}
		if waited := s.host.Now().Sub(begin); waited >= s.settings.Database.Wait {
			return fmt.Errorf("waited %s in vain for %s and %s: start a container with oned that has the same volume", waited, oneAuth, last)
		}
		if err := s.host.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (s *Start) reachDatabase(ctx context.Context) error {
	return database.Wait(ctx, s.host, s.database, s.settings.Database.Wait)
}
