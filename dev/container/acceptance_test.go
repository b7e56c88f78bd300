package container_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/plugins/pkg/ns"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"opennebula-kube/image/exercise"
)

// acceptancePassword is oneadmin's at first.
const acceptancePassword = "acceptance"

// TestAcceptance takes the image, with the OpenNebula of whatever upstream the environment names, or of the sandbox, through the life of an
// installation: what users do with it, and what happens to it.
func TestAcceptance(t *testing.T) {
	built := newSubject(t)
	t.Run("SQLite", func(t *testing.T) { newLife(t, built, nil).run(t) })
	t.Run("MariaDB", func(t *testing.T) { newLife(t, built, newServer(t, built, "secret")).run(t) })
	t.Run("three front-ends", func(t *testing.T) { testFrontEnds(t, built) })
}

// life is an installation that grows older.
type life struct {
	// whole is the test of all steps: what it makes lasts as long.
	whole *testing.T
	built *images
	// volume and place are mounted: the installation's, and that for its backups.
	volume, place string
	// server has the database, unless that is SQLite's.
	server *server
	// version is that which is installed, password that of oneadmin.
	version, password string
	// machine is a virtual machine that runs.
	machine int
}

func newLife(t *testing.T, built *images, server *server) *life {
	t.Helper()
	return &life{
		whole: t, built: built, volume: t.TempDir(), place: t.TempDir(), server: server, version: built.Versions[0], password: acceptancePassword,
	}
}

func (l *life) run(t *testing.T) {
	steps := []step{
		{"killed in the first boot", l.killedInFirstBoot},
		{"first boot", l.firstBoot},
		{"restart", l.restart},
		{"credentials that are lost", l.lostCredentials},
		{"another password", l.otherPassword},
		{"backup and restore", l.backupAndRestore},
	}
	for _, version := range l.built.Versions[1:] {
		steps = append(steps,
			step{"killed in the upgrade to " + version, func(t *testing.T) { l.killedInUpgrade(t, version) }},
			step{"upgrade to " + version, l.upgrade})
	}
	inOrder(t, append(steps, step{"downgrade", l.refusedDowngrade}))
}

// step is a part of a test that builds on those before it.
type step struct {
	name string
	run  func(t *testing.T)
}

func inOrder(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if !t.Run(s.name, s.run) {
			t.Fatal("the steps after this one build on it")
		}
	}
}

// start starts the installation.
func (l *life) start(t *testing.T, more ...string) *container {
	t.Helper()
	env := append(forExercise(), "OPENNEBULA_ONEADMIN_PASSWORD="+l.password, "OPENNEBULA_BACKUP_TO=/backup")
	if l.server != nil {
		env = append(env, l.server.env()...)
	}
	c := run(t, options{
		image: l.built.get(t, l.version), volume: l.volume, env: append(env, more...),
		adjust: func(spec *specs.Spec) {
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/backup", Type: "bind", Source: l.place, Options: []string{"rbind", "rw"}})
		},
	})
	if l.server != nil {
		l.server.join(t, c)
	}
	return c
}

// use makes a user's first calls, and leaves a virtual machine.
func (l *life) use(t *testing.T, c *container) {
	t.Helper()
	target := c.target(t, l.password)
	if err := target.Run(t.Context(), func(step string) { t.Log(step) }); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.machine, err = target.Machine(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantGRPC(t, l.version, l.password)
}

// wantMachine waits until the virtual machine runs, or is said to.
func (l *life) wantMachine(t *testing.T, c *container) {
	t.Helper()
	if err := c.target(t, l.password).Running(t.Context(), l.machine); err != nil {
		t.Fatal(err)
	}
}

func stopped(t *testing.T, c *container) {
	t.Helper()
	c.signal("TERM")
	if status := c.wait(stopLimit); status != 0 {
		t.Errorf("stopped, the container has status %d, want 0", status)
	}
}

func killed(c *container) {
	c.signal("KILL")
	c.wait(stopLimit)
}

// killedInFirstBoot kills a first boot at one moment after the other, each with a volume and a database of its own, and has the next start
// complete it.
func (l *life) killedInFirstBoot(t *testing.T) {
	onVolume := func(path string) func(*container) bool {
		return func(*container) bool { return exists(filepath.Join(l.volume, path)) }
	}
	logged := func(text string) func(*container) bool {
		return func(c *container) bool { return strings.Contains(c.log(), text) }
	}
	for _, moment := range []struct {
		name    string
		reached func(*container) bool
	}{
		{"one_auth is written", onVolume(".one/one_auth")},
		{"the drivers are put on the volume", onVolume("remotes")},
		{"supervisord runs", logged("supervisord started")},
		{"oned is started", logged("spawned: 'oned'")},
		{"oned writes the first auth file", onVolume(".one/sunstone_auth")},
		{"oned writes the next auth file", onVolume(".one/onegate_auth")},
		{"sshd is started", logged("spawned: 'sshd'")},
	} {
		t.Run(moment.name, func(t *testing.T) {
			l.renew()
			c := l.start(t)
			c.poll(moment.name, func() bool { return moment.reached(c) })
			killed(c)
			c = l.start(t)
			c.ready(startLimit)
			if err := c.target(t, l.password).Login(t.Context()); err != nil {
				t.Error(err)
			}
			killed(c)
		})
	}
	l.renew()
}

// renew gives the installation an empty volume and an empty database.
func (l *life) renew() {
	l.volume = l.whole.TempDir()
	if l.server != nil {
		l.server = newServer(l.whole, l.built, "secret")
	}
}

func (l *life) firstBoot(t *testing.T) {
	c := l.start(t)
	c.ready(startLimit)
	wantServices(t, c)
	wantSSH(t, c)
	l.use(t, c)
	stopped(t, c)
}

// restart starts what was stopped, and what was killed.
func (l *life) restart(t *testing.T) {
	before := identityOf(t, l.volume)
	for _, end := range []func(*container){killed, func(c *container) { stopped(t, c) }} {
		c := l.start(t)
		c.ready(startLimit)
		wantServices(t, c)
		l.wantMachine(t, c)
		end(c)
	}
	l.wantIdentity(t, before)
}

// wantIdentity compares credentials and keys with what they were.
func (l *life) wantIdentity(t *testing.T, before map[string]string) {
	t.Helper()
	after := identityOf(t, l.volume)
	for path, want := range before {
		if strings.HasPrefix(path, "/.one/") || strings.HasPrefix(path, "/.ssh/") {
			if after[path] != want {
				t.Errorf("%s was %q and is %q", path, want, after[path])
			}
		}
	}
}

func (l *life) lostCredentials(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(l.volume, ".one/*_auth"))
	if err != nil || len(files) < 4 {
		t.Fatalf("auth files %q, %v", files, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	c := l.start(t)
	c.ready(startLimit)
	l.wantMachine(t, c)
	l.use(t, c)
	for _, file := range files {
		if !exists(file) {
			t.Errorf("%s has not come back", file)
		}
	}
	stopped(t, c)
}

func (l *life) otherPassword(t *testing.T) {
	former := l.password
	l.password = "it's-another"
	c := l.start(t)
	c.ready(startLimit)
	if err := c.target(t, former).Login(t.Context()); err == nil || !strings.Contains(err.Error(), "log in to oned") {
		t.Errorf("with the former password: error %v, want a refusal", err)
	}
	l.use(t, c)
	stopped(t, c)
}

// backupAndRestore goes on with what it has restored.
func (l *life) backupAndRestore(t *testing.T) {
	c := l.start(t)
	c.ready(startLimit)
	c.mustExec(asRoot, "one-container", "backup")
	before := identityOf(t, l.volume)
	killed(c)

	l.renew()
	c = l.start(t, "OPENNEBULA_RESTORE_FROM=/backup")
	c.ready(startLimit)
	l.wantIdentity(t, before)
	l.wantMachine(t, c)
	l.use(t, c)
	stopped(t, c)
}

// killedInUpgrade begins the upgrade to a version, and kills it in the middle, if the schema has to be upgraded.
func (l *life) killedInUpgrade(t *testing.T, version string) {
	upgrades := lineOf(version) != lineOf(l.version)
	l.version = version
	if !upgrades {
		t.Skip("the schema is that of the line")
	}
	for _, text := range []string{"upgrading ", "spawned: 'oned'"} {
		c := l.start(t)
		c.poll(text, func() bool { return strings.Contains(c.log(), text) })
		killed(c)
	}
}

func (l *life) upgrade(t *testing.T) {
	c := l.start(t)
	c.ready(startLimit)
	wantServices(t, c)
	if out := c.mustExec(asOneadmin, "onedb", "version", "-v"); !strings.Contains(out, lineOf(l.version)) {
		t.Errorf("onedb version prints %q, want a schema of %s", out, l.version)
	}
	l.wantMachine(t, c)
	l.use(t, c)
	stopped(t, c)
}

// refusedDowngrade starts the oldest version with the database of the newest.
func (l *life) refusedDowngrade(t *testing.T) {
	if lineOf(l.version) == lineOf(l.built.Versions[0]) {
		t.Skip("all versions have one schema")
	}
	newest := l.version
	before, database := identityOf(t, l.volume), l.contents(t)
	l.version = l.built.Versions[0]
	c := l.start(t)
	if status := c.wait(startLimit); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	c.wantLog("is of a newer OpenNebula than this one")
	if l.contents(t) != database {
		t.Error("the database has changed")
	}
	l.wantIdentity(t, before)
	l.version = newest
	c = l.start(t)
	c.ready(startLimit)
	l.wantMachine(t, c)
	stopped(t, c)
}

// contents are those of the database while nothing uses it; of one on a server the files tell nothing.
func (l *life) contents(t *testing.T) string {
	t.Helper()
	if l.server != nil {
		return ""
	}
	out, err := exec.CommandContext(t.Context(), "sqlite3", filepath.Join(l.volume, "one.db"), ".dump").CombinedOutput()
	if err != nil {
		t.Fatalf("read the database: %v: %s", err, out)
	}
	return string(out)
}

// lineOf is the release line of a version.
func lineOf(version string) string { return version[:strings.LastIndex(version, ".")] }

// target is the installation in a container, as the machine itself sees it.
func (c *container) target(t *testing.T, password string) exercise.Target {
	t.Helper()
	return exercise.Target{
		HTTP:   &http.Client{Transport: &http.Transport{DialContext: network{c.networkPath(t)}.dial, DisableKeepAlives: true}},
		XMLRPC: "http://127.0.0.1:2633/RPC2", OneFlow: "http://127.0.0.1:2474", OneGate: "http://127.0.0.1:5030", FireEdge: "http://127.0.0.1:2616",
		Session: "oneadmin:" + password, Limit: startLimit,
	}
}

// networkPath is where the kernel has the container's network.
func (c *container) networkPath(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("/proc/%d/ns/net", c.pid(t))
}

// dial connects from within the network.
func (n network) dial(ctx context.Context, kind, address string) (connection net.Conn, err error) {
	nsErr := ns.WithNetNSPath(n.path, func(ns.NetNS) error {
		connection, err = new(net.Dialer).DialContext(ctx, kind, address)
		return nil
	})
	if nsErr != nil {
		return nil, nsErr
	}
	return connection, err
}

// forExercise are the settings with which a user's first calls need no hypervisor. OneGate's tokens need its address, which no guest calls.
func forExercise() []string {
	return []string{"OPENNEBULA_CONFIG=" + exercise.Configuration, "OPENNEBULA_ONEGATE_ENDPOINT=http://localhost:5030"}
}
