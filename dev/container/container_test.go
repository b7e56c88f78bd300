package container_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/dev/sandbox/apt"
)

const (
	// startLimit is how long the services may take, on a machine that is busy; stopLimit is what Kubernetes is told to grant.
	startLimit = 2 * time.Minute
	stopLimit  = time.Minute
)

// services are all that run, in the order in which they are stopped.
func services() []string {
	return []string{
		"logrotate", "showback", "ssh-socks-cleaner", "sshd", "fireedge", "onegate", "oneflow", "guacd", "hem", "oned", "ssh-agent",
	}
}

// TestContainer takes one volume through the life of an installation.
func TestContainer(t *testing.T) {
	built := newImages(t)
	volume := t.TempDir()
	if err := os.Chmod(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	start := func(t *testing.T, version string, env ...string) *container {
		t.Helper()
		return run(t, options{image: built.get(t, version), volume: volume, env: env})
	}
	auth := func(file string) string {
		content, err := os.ReadFile(filepath.Join(volume, ".one", file))
		if err != nil {
			t.Error(err)
		}
		return string(content)
	}
	steps := []step{
		{"packages of several versions", func(t *testing.T) {
			mixed := apt.Version{Version: "7.2.9", Date: epoch(), Architectures: []string{runtime.GOARCH}, Libraries: "7.2.10"}
			if err := built.world.Packages.AddVersion(t.Context(), mixed); err != nil {
				t.Fatal(err)
			}
			_, err := built.engine.Build(t.Context(), built.spec(mixed.Version, "linux/"+runtime.GOARCH))
			if err == nil || !strings.Contains(err.Error(), "another version: opennebula-libs 7.2.10-1") {
				t.Errorf("error %v, want one that names the package", err)
			}
		}},
		{"wrong settings", func(t *testing.T) {
			c := start(t, middle, "OPENNEBULA_LOG_LEVEL=loud", "OPENNEBULA_DB_BACKEND=postgres")
			if status := c.wait(startLimit); status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			c.wantLog("nothing was started", `OPENNEBULA_LOG_LEVEL is "loud"`, `OPENNEBULA_DB_BACKEND is "postgres"`)
			if left, err := os.ReadDir(volume); len(left) > 0 || err != nil {
				t.Errorf("on the volume: %v, %v", left, err)
			}
		}},
		{"first boot", func(t *testing.T) {
			c := start(t, oldest)
			c.ready(startLimit)
			c.wantLog("made one; it is in /var/lib/one/.one/one_auth", "fireedge: Server listen in", "oneflow: listening on", "onegate: listening on")
			wantServices(t, c)
			for _, probe := range []string{"live", "startup", "ready"} {
				c.mustExec(asRoot, "one-container", "healthcheck", probe)
			}
			if out := c.mustExec(asOneadmin, "oneuser", "show", "0"); !strings.Contains(out, "oneadmin") {
				t.Errorf("oneuser show 0 prints %q", out)
			}
			if strings.Contains(c.log(), strings.TrimPrefix(strings.TrimSpace(auth("one_auth")), "oneadmin:")) {
				t.Error("the password is in the log")
			}
			wantSSH(t, c)
			if got := c.mustExec(asRoot, "grep", "^HOSTNAME", "/etc/one/oned.conf"); got != `HOSTNAME = "one-0.one.svc.cluster.local"` {
				t.Errorf("oned.conf has %s", got)
			}
			wantProbes(t, volume, oldest)
			wantStopped(t, c)
		}},
		{"tools without their libraries", func(t *testing.T) {
			testMissingLibrary(t, built, volume)
		}},
		{"upgrade that is cut off", func(t *testing.T) {
			for _, after := range []time.Duration{50, 100, 200, 300, 400, 600, 800} {
				c := start(t, middle)
				// Until it is there nothing can be cut off.
				c.pid(t)
				time.Sleep(after * time.Millisecond)
				c.signal("KILL")
				c.wait(stopLimit)
			}
		}},
		{"upgrade to 7.2", func(t *testing.T) {
			upgrade(t, start(t, middle), volume, middle)
		}},
		{"restart", func(t *testing.T) {
			before := auth("one_auth") + auth("sunstone_auth")
			hostKey := read(t, filepath.Join(volume, ".one-container/ssh-host-keys/ssh_host_ed25519_key.pub"))
			c := start(t, middle)
			c.wantOneProgram(t)
			if after := auth("one_auth") + auth("sunstone_auth"); after != before {
				t.Errorf("credentials were %q and are %q", before, after)
			}
			if after := read(t, filepath.Join(volume, ".one-container/ssh-host-keys/ssh_host_ed25519_key.pub")); after != hostKey {
				t.Error("sshd has another host key")
			}
			wantQuietProbes(t, c)
			wantCheapProbe(t, c)
			c.signal("KILL")
			c.wait(stopLimit)
		}},
		{"new password after a crash", func(t *testing.T) {
			c := start(t, middle, "OPENNEBULA_ONEADMIN_PASSWORD=it's-new")
			c.ready(startLimit)
			c.wantLog("changed the password of user 0 in the database")
			if got := auth("one_auth"); got != "oneadmin:it's-new\n" {
				t.Errorf("one_auth %q", got)
			}
			// The services read files; what else is in the environment is for all of them to see.
			c.mustExec(asRoot, "sh", "-c", "! grep -qa OPENNEBULA_ /proc/1/environ")
			wantStopped(t, c)
		}},
		{"lost credentials", func(t *testing.T) {
			for _, file := range []string{"sunstone_auth", "oneflow_auth", "onegate_auth", "oneform_auth"} {
				if err := os.Remove(filepath.Join(volume, ".one", file)); err != nil {
					t.Fatal(err)
				}
			}
			c := start(t, middle)
			c.ready(startLimit)
			c.wantLog("giving serveradmin a new secret", "changed the password of user 1")
			wantStopped(t, c)
		}},
		{"kill -9 of each service", func(t *testing.T) {
			c := start(t, middle)
			c.ready(startLimit)
			for _, service := range services() {
				if service == "logrotate" || service == "showback" || service == "ssh-socks-cleaner" {
					continue
				}
				pid := c.mustExec(asRoot, "supervisorctl", "pid", service)
				c.mustExec(asRoot, "sh", "-c", "kill -KILL "+pid)
				c.wantEventually(t, "the end of "+service, func() bool {
					now, _ := c.exec(asRoot, "supervisorctl", "pid", service)
					return now != pid && now != "0"
				})
			}
			c.ready(startLimit)
			wantServices(t, c)
			c.mustExec(asRoot, "sh", "-c", "sleep 0.1 &")
			c.wantEventually(t, "zombies to be taken in", func() bool {
				_, err := c.exec(asRoot, "sh", "-c", "grep -qs '^State:.Z' /proc/[0-9]*/status")
				return err != nil
			})
			wantStopped(t, c)
		}},
		{"a service that cannot start", func(t *testing.T) {
			// An address of another machine. oned says so in its log alone.
			for service, c := range map[string]struct {
				setting string
				want    string
			}{
				"fireedge": {"OPENNEBULA_FIREEDGE_LISTEN=192.0.2.1", "192.0.2.1"},
				"oned":     {"OPENNEBULA_CONFIG=oned.conf LISTEN_ADDRESS = 192.0.2.1", "the last error in its log is: "},
			} {
				container := start(t, middle, c.setting)
				if status := container.wait(startLimit + stopLimit); status != 1 {
					t.Errorf("status %d, want 1", status)
				}
				lines := strings.Split(strings.TrimSpace(container.log()), "\n")
				last := lines[len(lines)-1]
				for _, want := range []string{"error: service " + service + " keeps failing", c.want, "192.0.2.1"} {
					if !strings.Contains(last, want) {
						t.Errorf("last line %q, want %q in it", last, want)
					}
				}
				container.wantLog("stopped: guacd")
			}
		}},
		{"some of the services", func(t *testing.T) {
			c := start(t, middle, "OPENNEBULA_SERVICES=oned, hem")
			c.ready(startLimit)
			status, _ := c.exec(asRoot, "supervisorctl", "status")
			var names []string
			for line := range strings.Lines(status) {
				names = append(names, strings.Fields(line)[0])
			}
			if diff := cmp.Diff([]string{"hem", "logrotate", "oned"}, names); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
			c.signal("TERM")
			if status := c.wait(stopLimit); status != 0 {
				t.Errorf("stopped, the container has status %d, want 0", status)
			}
		}},
		{"stopped while it waits for the database", func(t *testing.T) {
			c := start(t, middle, "OPENNEBULA_DB_BACKEND=mysql", "OPENNEBULA_DB_HOST=192.0.2.1", "OPENNEBULA_DB_PASSWORD=x")
			c.wantEventually(t, "it to wait", func() bool { return strings.Contains(c.log(), "waiting for ") })
			c.signal("TERM")
			if status := c.wait(stopLimit); status != 0 {
				t.Errorf("stopped, the container has status %d, want 0", status)
			}
			c.wantLog("asked to stop before any service was started")
		}},
		{"read-only root file system", func(t *testing.T) {
			c := run(t, options{image: built.get(t, middle), volume: volume, readOnly: true})
			c.ready(startLimit)
			wantServices(t, c)
			wantRotation(t, c)
			wantStopped(t, c)
		}},
		{"upgrade to 7.4", func(t *testing.T) {
			upgrade(t, start(t, newest), volume, newest)
		}},
		{"downgrade is refused", func(t *testing.T) {
			c := start(t, middle)
			if status := c.wait(startLimit); status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			c.wantLog("is of a newer OpenNebula than this one, "+middle, "nothing was changed")
			if got := read(t, filepath.Join(volume, "remotes/VERSION")); got != newest+"\n" {
				t.Errorf("drivers of %q", got)
			}
		}},
	}
	inOrder(t, steps)
}

// upgrade checks a container that has been started with a newer OpenNebula than its volume has.
func upgrade(t *testing.T, c *container, volume, version string) {
	t.Helper()
	c.ready(startLimit)
	if got := read(t, filepath.Join(volume, "remotes/VERSION")); got != version+"\n" {
		t.Errorf("drivers of %q with OpenNebula %s", got, version)
	}
	wantProbes(t, volume, version)
	if out := c.mustExec(asOneadmin, "onedb", "version", "-v"); !strings.Contains(out, "Required version:        "+version) {
		t.Errorf("onedb version prints %q", out)
	}
	backups, err := filepath.Glob(filepath.Join(volume, "backups/database/*.backup"))
	if len(backups) == 0 || len(backups) > 3 || err != nil {
		t.Errorf("backups %v, %v, want one to three", backups, err)
	}
	secrets := make(map[string]bool)
	files, err := filepath.Glob(filepath.Join(volume, ".one/*_auth"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if filepath.Base(file) != "one_auth" {
			secrets[read(t, file)] = true
		}
	}
	if want := map[string]int{middle: 5, newest: 6}[version]; len(files) != want || len(secrets) != 1 {
		t.Errorf("%d auth files with %d secrets of services, want %d and 1", len(files), len(secrets), want)
	}
	wantStopped(t, c)
}

// wantServices checks that all services run, each as its user.
func wantServices(t testing.TB, c *container) {
	t.Helper()
	want := services()
	slices.Sort(want)
	c.wantEventually(t, "all services to run", func() bool {
		running := c.running()
		slices.Sort(running)
		return slices.Equal(running, want)
	})
	for _, service := range services() {
		user := "9869"
		if service == "sshd" {
			user = "0"
		}
		pid := c.mustExec(asRoot, "supervisorctl", "pid", service)
		if got := c.mustExec(asRoot, "stat", "-c", "%u", "/proc/"+pid); got != user {
			t.Errorf("%s runs as user %s, want %s", service, got, user)
		}
	}
}

// running are the services that have run for as long as it takes not to count as failing.
func (c *container) running() []string {
	var running []string
	// It has a status of its own when one does not run.
	status, _ := c.exec(asRoot, "supervisorctl", "status")
	for line := range strings.Lines(status) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "RUNNING" {
			running = append(running, fields[0])
		}
	}
	return running
}

// wantSSH logs in as hypervisors do, and tries what must not be possible.
func wantSSH(t *testing.T, c *container) {
	t.Helper()
	ssh := []string{"ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"}
	out := c.mustExec(asOneadmin, append(ssh, "oneadmin@127.0.0.1", "id -u")...)
	if !strings.HasSuffix(out, "9869") {
		t.Errorf("ssh as oneadmin prints %q", out)
	}
	if out, err := c.exec(asOneadmin, append(ssh, "root@127.0.0.1", "id -u")...); err == nil || !strings.Contains(out, "Permission denied (publickey)") {
		t.Errorf("ssh as root: %q, %v, want a refusal", out, err)
	}
	agent := c.mustExec(asOneadmin, "env", "SSH_AUTH_SOCK=/run/one/ssh-agent.sock", "ssh-add", "-l")
	if !strings.Contains(agent, "(RSA)") {
		t.Errorf("ssh-agent has %q", agent)
	}
}

var ended = regexp.MustCompile(`(?m)(stopped|exited): (\S+)`)

// wantStopped stops the container and checks that the services end in order, and in time. Those that still wait for oned, or that only do something
// from time to time, may end before it is their turn.
func wantStopped(t *testing.T, c *container) {
	t.Helper()
	before := len(c.log())
	c.signal("TERM")
	if status := c.wait(stopLimit); status != 0 {
		t.Errorf("stopped, the container has status %d, want 0", status)
	}
	var order, early []string
	for _, match := range ended.FindAllStringSubmatch(c.log()[before:], -1) {
		if match[1] == "stopped" {
			order = append(order, match[2])
		} else {
			early = append(early, match[2])
		}
	}
	for _, service := range []string{"oned", "ssh-agent", "sshd", "guacd"} {
		if slices.Contains(early, service) {
			t.Errorf("%s ends before it is told to", service)
		}
	}
	want := slices.DeleteFunc(services(), func(service string) bool { return slices.Contains(early, service) })
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order of the ends (-want +got):\n%s", diff)
	}
	if rest := c.log()[before:]; strings.Contains(rest, "SIGKILL") {
		t.Error("a service had to be killed")
	}
}

func (c *container) wantEventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(startLimit); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
