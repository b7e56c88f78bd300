// Package supervisord asks the supervisor of the container's services, and chooses which of them it has.
package supervisord

import (
	"context"
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

// Call calls a method of supervisord without parameters.
func Call(ctx context.Context, h *host.Host, method string) (xmlrpc.Value, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", h.Path(socket))
		},
	}}
	return xmlrpc.Call(ctx, client, "http://supervisord/RPC2", method)
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
