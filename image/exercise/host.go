package exercise

import (
	"context"
	"fmt"
	"time"

	"opennebula-kube/image/internal/xmlrpc"
)

// The driver of everything that is made, and names.
const (
	driver   = "dummy"
	hostName = Prefix + "host"
)

const (
	monitored = 2
	hostError = 3
)

// hostPatience is how long a host may be in error: it is tried again, also after a restart of oned.
const hostPatience = time.Minute

func hostStates() map[int]string {
	return map[int]string{0: "INIT", monitored: "MONITORED", hostError: "ERROR", 4: "DISABLED", 8: "OFFLINE"}
}

func (t Target) hosts(ctx context.Context) ([]object, error) { return t.pool(ctx, "one.hostpool.info") }

// Host adds a host, unless it is there, returns when it is monitored, and returns its number.
func (t Target) Host(ctx context.Context) (int, error) {
	id, err := t.ensure(ctx, hostName, t.hosts, func(ctx context.Context) (int, error) {
		return t.allocate(ctx, "one.host.allocate", xmlrpc.Text(hostName), xmlrpc.Text(driver), xmlrpc.Text(driver), xmlrpc.Number(-1))
	})
	if err != nil {
		return 0, fmt.Errorf("add the host %s with the dummy drivers: %w; look whether oned.conf and monitord.conf have them", hostName, err)
	}
	failing := time.Time{}
	return id, t.until(ctx, fmt.Sprintf("wait until host %d (%s) is monitored", id, hostName), "look into monitor.log for the reason",
		func(ctx context.Context) (string, bool, error) {
			var host struct {
				State int    `xml:"STATE"`
				Error string `xml:"TEMPLATE>ERROR"`
			}
			if err := t.document(ctx, &host, "one.host.info", xmlrpc.Number(id), xmlrpc.Bool(false)); err != nil {
				return "", false, err
			}
			found := "it is " + stateName(hostStates(), host.State)
			if host.Error != "" {
				found += fmt.Sprintf(" (%s)", clip(host.Error))
			}
			switch {
			case host.State != hostError:
				failing = time.Time{}
			case failing.IsZero():
				failing = time.Now()
			case time.Since(failing) > hostPatience:
				return "", false, fmt.Errorf("%s and stays so: look into monitor.log for the reason", found)
			}
			return found, host.State == monitored, nil
		})
}
