package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
	"opennebula-kube/image/internal/startup"
)

// start prepares the container and becomes the parent of its services. It returns only when that fails, or when it is to stop before.
func start(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("start: the user is %d: run the container as root; sshd needs it, and the services run as oneadmin all the same", os.Geteuid())
	}
	loaded, err := settings.Load(os.Environ(), os.ReadFile)
	if err != nil {
		return fmt.Errorf("the settings are wrong; nothing was started:\n%w", err)
	}
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
	// As a new program: the environment that a process was started with can be read for as long as it runs.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return become(self, "supervise")
}

// become replaces this process, which is the first of the container, by a program.
func become(args ...string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return errors.Join(errors.New("start "+path), syscall.Exec(path, args, withoutSettings(os.Environ())))
}

// withoutSettings removes the settings: there are secrets among them, and the services read files.
func withoutSettings(environ []string) []string {
	var rest []string
	for _, entry := range environ {
		if !strings.HasPrefix(entry, "OPENNEBULA_") {
			rest = append(rest, entry)
		}
	}
	return rest
}
