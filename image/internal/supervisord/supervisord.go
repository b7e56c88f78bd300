// Package supervisord asks the supervisor of the container's services, and chooses which of them it has.
package supervisord

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/xmlrpc"
)

const socket = "/run/supervisor.sock"

// Services are all services that can be chosen.
func Services() []string {
	return []string{
		"fireedge", "guacd", "hem", "oned", "oneflow", "onegate", "showback", "ssh-agent", "ssh-socks-cleaner", "sshd",
	}
}

// Logrotate is the service that rotates the logs of the others. It runs wherever one of them writes a log, without being chosen.
const Logrotate = "logrotate"

// Oned is the service that all others work for. What is on the volume and in the database is its container's to prepare.
const Oned = "oned"

// HasOned tells whether oned is among services; none chosen are all.
func HasOned(services []string) bool { return len(services) == 0 || slices.Contains(services, Oned) }

// LeaderOnly are services that only the leader of several front-ends runs: each works by itself on what all front-ends have.
func LeaderOnly() []string { return []string{"hem", "oneflow", "onegate", "showback"} }

// Role is the service that tells the leader of several front-ends from the others. It runs beside oned, without being chosen.
const Role = "role"

// Call calls a method of supervisord.
func Call(ctx context.Context, h *host.Host, method string, params ...xmlrpc.Value) (xmlrpc.Value, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", h.Path(socket))
		},
	}}
	return xmlrpc.Call(ctx, client, "http://supervisord/RPC2", method, params...)
}

// Faults of supervisord that say that there is nothing to do.
const (
	alreadyStarted = "60"
	notRunning     = "70"
)

// Start starts a service. It is no error if it runs already, but one if it is still about to stop: supervisord does nothing then, and says that
// all is well.
func Start(ctx context.Context, h *host.Host, service string) error {
	if err := change(ctx, h, "supervisor.startProcess", service, alreadyStarted); err != nil {
		return err
	}
	info, err := Call(ctx, h, "supervisor.getProcessInfo", xmlrpc.Text(service))
	if state := info.Member("statename").Text(); err == nil && (state == "STOPPING" || state == "STOPPED") {
		err = fmt.Errorf("%s is %s", service, state)
	}
	return err
}

// Stop stops a service. It is no error if it does not run.
func Stop(ctx context.Context, h *host.Host, service string) error {
	return change(ctx, h, "supervisor.stopProcess", service, notRunning)
}

// change does not wait for the service.
func change(ctx context.Context, h *host.Host, method, service, done string) error {
	_, err := Call(ctx, h, method, xmlrpc.Text(service), xmlrpc.Bool(false))
	if fault, ok := errors.AsType[*xmlrpc.Fault](err); ok && fault.Code == done {
		return nil
	}
	return err
}

// Instance tells one run of a service from the next: it is another text after each start. One that does not run is an error.
func Instance(ctx context.Context, h *host.Host, service string) (string, error) {
	info, err := Call(ctx, h, "supervisor.getProcessInfo", xmlrpc.Text(service))
	if err != nil {
		return "", err
	}
	if state := info.Member("statename").Text(); state != "RUNNING" && state != "STARTING" {
		return "", fmt.Errorf("%s is %s", service, state)
	}
	return info.Member("pid").Text() + " since " + info.Member("start").Text(), nil
}

// GivenUp is a service that supervisord has tried to start as often as it is told to.
type GivenUp struct{ Service, Reason string }

// FindGivenUp returns the first service that is given up, nil when there is none.
func FindGivenUp(ctx context.Context, h *host.Host) (*GivenUp, error) {
	const fatal = "200"
	answer, err := Call(ctx, h, "supervisor.getAllProcessInfo")
	if err != nil {
		return nil, err
	}
	for _, process := range answer.Values() {
		if process.Member("state").Text() == fatal {
			return &GivenUp{process.Member("name").Text(), process.Member("spawnerr").Text()}, nil
		}
	}
	return nil, nil
}
