package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
	"opennebula-kube/image/internal/startup"
)

// start prepares the container and is the parent of its services then, until ctx is done or one of them keeps failing. It is one process
// from the beginning to the end: the request to stop can come at any time.
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
	if err := forgetSettings(); err != nil {
		h.Log("the settings, with their secrets, stay in /proc/1/environ, where root can read them: %v", err)
	}
	return superviseServices(ctx)
}
