package container_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pod is several containers that share their network and the volume, and nothing else.
type pod struct {
	network network
	volume  string
	// services are those of each container, by its name.
	services map[string]string
	running  map[string]*container
}

func (p *pod) start(t *testing.T, of image, name string, env ...string) {
	t.Helper()
	p.running[name] = run(t, options{
		image: of, volume: p.volume, env: append(env, "OPENNEBULA_SERVICES="+p.services[name]), adjust: p.network.join,
	})
}

func (p *pod) startAll(t *testing.T, of image) {
	t.Helper()
	for name := range p.services {
		p.start(t, of, name)
	}
}

// wantReady waits for all containers, and tries what they do for each other.
func (p *pod) wantReady(t *testing.T) {
	t.Helper()
	for _, c := range p.running {
		c.ready(startLimit)
		for _, probe := range []string{"live", "startup"} {
			c.mustExec(asRoot, "one-container", "healthcheck", probe)
		}
	}
	for page, status := range map[string]string{":2616/fireedge/guacamole": "200", ":2474/": "401", ":5030/": "401"} {
		p.running["fireedge"].wantEventually(t, page, func() bool {
			return p.network.mustRun(t, "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1"+page) == status
		})
	}
	oned := p.running["oned"]
	// What runs on hypervisors is sent from beside oned: with the key of the agent there, and to the sshd of another container.
	oned.wantEventually(t, "sshd", func() bool {
		out, err := oned.exec(asOneadmin, "env", "SSH_AUTH_SOCK=/run/one/ssh-agent.sock", "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o",
			"UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "oneadmin@127.0.0.1", "id -u")
		return err == nil && strings.HasSuffix(out, "9869")
	})
	oned.mustExec(asOneadmin, "oneuser", "show", "0")
}

// wantRunning waits until all services have run for as long as it takes not to count as failing.
func (p *pod) wantRunning(t *testing.T) {
	t.Helper()
	for name, c := range p.running {
		c.wantEventually(t, "the services of "+name, func() bool {
			running := c.running()
			return !slices.ContainsFunc(strings.Split(p.services[name], ","), func(service string) bool { return !slices.Contains(running, service) })
		})
	}
}

// stop stops one container, as a pod does with all.
func (p *pod) stop(t *testing.T, name string) {
	t.Helper()
	c := p.running[name]
	c.signal("TERM")
	if status := c.wait(stopLimit); status != 0 {
		t.Errorf("stopped, the container of %s has status %d, want 0", name, status)
	}
	delete(p.running, name)
}

// secrets are the files that must stay what they are.
func (p *pod) secrets(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{".one/*_auth", ".ssh/id_*", ".one-container/ssh-host-keys/*"} {
		found, err := filepath.Glob(filepath.Join(p.volume, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			all[filepath.Base(file)] = read(t, file)
		}
	}
	return all
}

// testPod runs the services as five containers of one pod, all started at the same moment on an empty volume.
func testPod(t *testing.T, built *images) {
	p := &pod{
		network: newNetwork(t, "ip addr add 10.0.0.7/24 dev eth0"), volume: t.TempDir(), running: make(map[string]*container),
		services: map[string]string{
			"oned": "oned,hem,ssh-agent,ssh-socks-cleaner,showback", "fireedge": "fireedge,guacd", "oneflow": "oneflow", "onegate": "onegate", "sshd": "sshd",
		},
	}
	old := built.get(t, middle)
	p.startAll(t, old)
	p.wantReady(t)
	if files := p.secrets(t); len(files) != 11 {
		t.Errorf("%d files with credentials, want the auth files of 5 users, and a pair of keys for oneadmin and 2 for sshd", len(files))
	}
	for name := range p.services {
		t.Logf("restart of %s", name)
		before := p.secrets(t)
		p.stop(t, name)
		p.start(t, old, name)
		p.wantReady(t)
		if diff := cmp.Diff(before, p.secrets(t)); diff != "" {
			t.Errorf("credentials (-before +after):\n%s", diff)
		}
	}
	p.wantRunning(t)
	t.Log("upgrade")
	for name := range p.services {
		p.stop(t, name)
	}
	p.startAll(t, built.get(t, newest))
	p.wantReady(t)
	if out := p.running["oned"].mustExec(asOneadmin, "onedb", "version", "-v"); !strings.Contains(out, "Required version:        "+newest) {
		t.Errorf("onedb version prints %q", out)
	}
}
