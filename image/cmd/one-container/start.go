package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
	"opennebula-kube/image/internal/startup"
)

// start prepares the container and is the parent of its services then, until ctx is done or one of them keeps failing. It is one process
// from the beginning to the end: the request to stop can come at any time.
func start(ctx context.Context) error {
	loaded, err := load("start")
	if err != nil {
		return err
	}
	unlock, err := lock(lockFile)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer unlock()
	return runServices(ctx, loaded)
}

// load checks what a command needs that starts the services.
func load(command string) (settings.Settings, error) {
	if os.Geteuid() != 0 {
		return settings.Settings{}, fmt.Errorf("%s: the user is %d: run the container as root; sshd needs it, and the services run as oneadmin all the same",
			command, os.Geteuid())
	}
	loaded, err := settings.Load(os.Environ(), os.ReadFile)
	if err != nil {
		return settings.Settings{}, fmt.Errorf("the settings are wrong; nothing was started:\n%w", err)
	}
	return loaded, nil
}

// lockFile is locked by the process that runs the services; /run is each container's own.
const lockFile = "/run/one-container.lock"

// lock makes sure that this process alone runs services in the container. The lock ends with the process, if not before.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w; mount its directory writable", path, err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another process runs OpenNebula's services in this container: use a container of its own")
		}
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// runServices prepares the container and runs its services.
func runServices(ctx context.Context, loaded settings.Settings) error {
	h := host.System(func(format string, args ...any) { fmt.Printf("start: "+format+"\n", args...) })
	s, err := startup.New(h, loaded, rand.Reader)
	if err != nil {
		return err
	}
	if err := s.Run(ctx); ctx.Err() == nil && err != nil {
		return err
	}
	if ctx.Err() != nil {
		h.Log("asked to stop before any service was started: %v", context.Cause(ctx))
		return nil //nolint:nilerr // a step that was cut off is what was asked for
	}
	if err := forgetSettings(); err != nil {
		h.Log("the settings, with their secrets, stay in /proc/1/environ, where root can read them: %v", err)
	}
	return superviseServices(ctx)
}
