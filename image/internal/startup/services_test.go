package startup

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/supervisord"
)

// TestContainerWithoutOned starts one beside that of oned: it must change nothing on the volume, which the other is at work on.
func TestContainerWithoutOned(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	m.write(authDir+"/.one_auth.123.tmp", "half of what the other writes")
	before := m.volume()
	m.settings.Services = []string{"fireedge", "guacd"}
	m.settings.OneadminPassword = "another"
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, m.volume()); diff != "" {
		t.Errorf("the start changed (-before +after):\n%s", diff)
	}
	if chosen, err := supervisord.Chosen(m.host); !slices.Equal(chosen, m.settings.Services) || err != nil {
		t.Errorf("services %q, %v, want %q", chosen, err, m.settings.Services)
	}
}

func TestContainerWithoutOnedWaits(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.settings.Services = []string{"sshd"}
	err := m.start()
	if err == nil || !strings.Contains(err.Error(), "waited 1m0s in vain") || !strings.Contains(err.Error(), "start a container with oned") {
		t.Errorf("error %v, want one that says what was waited for", err)
	}
	if left, err := os.ReadDir(m.host.Path(stateDir)); len(left) > 0 {
		t.Errorf("it has made %v on the volume itself (%v)", left, err)
	}
	// The container of oned comes while this one waits.
	m.host.Sleep = func(ctx context.Context, d time.Duration) error {
		m.now = m.now.Add(d)
		return errors.Join(
			m.host.Directory(hostKeyDir, 0o700, host.Owner{}), m.host.Directory(authDir, 0o700, host.Oneadmin()), os.WriteFile(m.host.Path(hostKeyFile("rsa")), nil, 0o600),
			os.WriteFile(m.host.Path(oneAuth), nil, 0o600), ctx.Err())
	}
	if err := m.start(); err != nil {
		t.Error(err)
	}
}
