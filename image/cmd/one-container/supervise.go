package main

import (
	"context"
	"os"
	"time"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/supervise"
	"opennebula-kube/image/internal/supervisord"
)

// givenUpInterval is how often supervisord is asked whether it has given up a service.
const givenUpInterval = 2 * time.Second

// superviseServices runs the services under supervisord until ctx is done or one of them keeps failing.
func superviseServices(ctx context.Context) error {
	h := host.System(func(string, ...any) {})
	limit, err := supervisord.StopTime(h)
	if err != nil {
		return err
	}
	parent := supervise.Parent{
		Args:       []string{"supervisord", "--nodaemon", "--configuration", "/etc/supervisor/supervisord.conf"},
		Env:        os.Environ(),
		GivenUp:    func(ctx context.Context) (*supervisord.GivenUp, error) { return supervisord.FindGivenUp(ctx, h) },
		Interval:   givenUpInterval,
		StopLimit:  limit,
		BeforeStop: func() error { return supervisord.DeclareStop(h) },
		Stderr:     os.Stderr,
	}
	return parent.Run(ctx)
}
