package container_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"opennebula-kube/dev/toolchain"
)

// electionLimit is how long front-ends may take to copy a database, or to elect a leader and find that older ones are gone.
const electionLimit = 5 * time.Minute

// frontEnds are three front-ends.
type frontEnds struct {
	// whole is the test of all steps: what it makes lasts as long.
	whole   *testing.T
	built   *images
	version string
	key     string
	all     []*frontEnd
}

// frontEnd is one of several. Its network and its database are there while its container is not, and so is its volume.
type frontEnd struct {
	name, address, volume string
	network               network
	server                *server
	stopServer            func()
	// container is nil while it does not run.
	container *container
}

// newFrontEnds makes the networks and starts the databases. It skips the test where there is no MariaDB.
func newFrontEnds(t *testing.T, built *images) *frontEnds {
	t.Helper()
	if err := built.tools.OSPackages(t.Context(), toolchain.Need{Command: "ip", Package: "iproute2"}); err != nil {
		t.Skip(err)
	}
	f := &frontEnds{whole: t, built: built, key: newKey(t)}
	bridge := newNamespace(t)
	bridge.mustRun(t, "ip link add bridge type bridge; ip link set bridge up")
	for i := range 3 {
		one := &frontEnd{name: fmt.Sprintf("front-%d.example.org", i), address: fmt.Sprintf("10.9.0.%d", i+1), network: newNamespace(t)}
		one.network.plugIn(t, bridge, fmt.Sprintf("port%d", i), one.address+"/24")
		f.all = append(f.all, one)
		f.renew(one)
	}
	t.Cleanup(func() {
		for _, one := range f.all {
			one.stopServer()
		}
	})
	return f
}

// renew gives a front-end an empty volume and an empty database.
func (f *frontEnds) renew(one *frontEnd) {
	if one.stopServer != nil {
		one.stopServer()
	}
	one.volume, one.server = f.whole.TempDir(), newServer(f.whole, f.built, "secret")
	one.stopServer = one.server.start(f.whole, one.network, "0.0.0.0")
}

// newNamespace makes a network with nothing but loopback, which is there until the end of the test.
func newNamespace(t *testing.T) network {
	t.Helper()
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	n := network{fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)}
	n.mustRun(t, "ip link set lo up")
	return n
}

// plugIn connects the network's eth0, which gets an address, with a port of the bridge in another network.
func (n network) plugIn(t *testing.T, bridge network, port, address string) {
	t.Helper()
	pid := strings.Split(bridge.path, "/")[2]
	n.mustRun(t, fmt.Sprintf("set -e; ip link add eth0 type veth peer name %s netns %s; ip addr add %s dev eth0; ip link set eth0 up", port, pid, address))
	bridge.mustRun(t, fmt.Sprintf("ip link set %s master bridge up", port))
}

// newKey makes an SSH key for all front-ends.
func newKey(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	return read(t, file)
}

// start starts a front-end that does not run.
func (f *frontEnds) start(self int) {
	hosts := "127.0.0.1 localhost\n"
	var names []string
	for _, one := range f.all {
		hosts += one.address + " " + one.name + "\n"
		names = append(names, one.name)
	}
	list := strings.Join(names, ",")
	one := f.all[self]
	one.container = run(f.whole, options{
		image: f.built.get(f.whole, f.version), volume: one.volume, hosts: hosts,
		env: append(forExercise(),
			"OPENNEBULA_HOSTNAME="+one.name, "OPENNEBULA_DB_BACKEND=mysql", "OPENNEBULA_DB_PASSWORD="+one.server.password,
			"OPENNEBULA_DB_NAME=one", "OPENNEBULA_DB_WAIT=10m", "OPENNEBULA_HA_SERVERS="+list, "OPENNEBULA_HA_DB_HOSTS="+list,
			fmt.Sprintf("OPENNEBULA_HA_SELF=%d", self), "OPENNEBULA_HA_SERVERADMIN_PASSWORD=serveradmin", "OPENNEBULA_HA_ONE_KEY=one-key",
			"OPENNEBULA_HA_FIREEDGE_KEY=0123456789abcdef0123456789abcdef", "OPENNEBULA_ONEADMIN_PASSWORD="+acceptancePassword,
			"OPENNEBULA_SSH_PRIVATE_KEY="+f.key),
		adjust: func(spec *specs.Spec) {
			one.network.join(spec)
			spec.Hostname, _, _ = strings.Cut(one.name, ".")
		},
	})
}

// startAll starts all that do not run, and waits until all are ready.
func (f *frontEnds) startAll(t *testing.T) {
	t.Helper()
	for i, one := range f.all {
		if one.container == nil {
			f.start(i)
		}
	}
	for _, one := range f.all {
		one.container.ready(electionLimit)
	}
}

func (f *frontEnds) kill(self int) {
	killed(f.all[self].container)
	f.all[self].container = nil
}

func (f *frontEnds) stopAll(t *testing.T) {
	t.Helper()
	for _, one := range f.all {
		stopped(t, one.container)
		one.container = nil
	}
}

// leader is the front-end that runs what only the leader runs.
func (f *frontEnds) leader(t *testing.T) int {
	t.Helper()
	var leaders []int
	for deadline := time.Now().Add(electionLimit); ; time.Sleep(200 * time.Millisecond) {
		leaders = nil
		for i, one := range f.all {
			if one.container != nil && slices.Contains(one.container.running(), "hem") {
				leaders = append(leaders, i)
			}
		}
		if len(leaders) == 1 {
			return leaders[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s the front-ends %v lead, want one", electionLimit, leaders)
		}
	}
}

// users are those in a front-end's database.
func (one *frontEnd) users(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "mariadb", "--no-defaults", "--user=root", "--socket="+one.server.dir+"/socket", "--batch",
		"--skip-column-names", "--execute=SELECT name FROM user_pool ORDER BY oid", "one").CombinedOutput()
	if err != nil {
		t.Fatalf("ask the database of %s: %v: %s", one.name, err, out)
	}
	return strings.Fields(string(out))
}

// wantUsers wants users in the database of the front-end that leads.
func (f *frontEnds) wantUsers(t *testing.T, acknowledged []string) {
	t.Helper()
	has := f.all[f.leader(t)].users(t)
	for _, name := range acknowledged {
		if !slices.Contains(has, name) {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
}

// wantSameUsers waits until all databases have the same users.
func (f *frontEnds) wantSameUsers(t *testing.T) {
	t.Helper()
	f.all[0].container.wantEventually(t, "all databases to have the same users", func() bool {
		first := f.all[0].users(t)
		return slices.Equal(first, f.all[1].users(t)) && slices.Equal(first, f.all[2].users(t))
	})
}

// testFrontEnds takes three front-ends through what they are there for.
func testFrontEnds(t *testing.T, built *images) {
	t.Helper()
	f := newFrontEnds(t, built)
	// One upgrade is enough: the other schemas are those of one front-end.
	versions := built.Versions[max(0, len(built.Versions)-2):]
	f.version = versions[0]
	names := &namer{}
	var acknowledged []string
	var former int
	// write makes users on the leader until that is gone, or all is stopped.
	write := func(t *testing.T) *writer {
		t.Helper()
		w := &writer{}
		w.start(t, f.all[f.leader(t)].container, names)
		return w
	}
	use := func(t *testing.T) {
		t.Helper()
		leader := f.all[f.leader(t)].container
		if err := leader.target(t, acceptancePassword).Run(t.Context(), func(step string) { t.Log(step) }); err != nil {
			t.Fatal(err)
		}
		for _, one := range f.all {
			one.container.wantGRPC(t, f.version, acceptancePassword)
		}
	}
	steps := []step{
		{"first boot", func(t *testing.T) {
			f.startAll(t)
			use(t)
		}},
		{"the leader is killed", func(t *testing.T) {
			former = f.leader(t)
			w := write(t)
			f.kill(former)
			acknowledged = append(acknowledged, w.wait()...)
			// A leader sends what a follower lacks when it has something new to send.
			name := names.next()
			f.all[f.leader(t)].container.mustExec(asOneadmin, "oneuser", "create", name, "secret")
			acknowledged = append(acknowledged, name)
			f.startAll(t)
			f.wantUsers(t, acknowledged)
		}},
		// It is the former leader: oned may leave that with records that nobody else has.
		{"a follower loses all it has", func(t *testing.T) {
			f.kill(former)
			f.renew(f.all[former])
			f.startAll(t)
			f.wantUsers(t, acknowledged)
			f.wantSameUsers(t)
			use(t)
		}},
	}
	for _, version := range versions[1:] {
		steps = append(steps, step{"upgrade to " + version, func(t *testing.T) {
			f.stopAll(t)
			f.version = version
			f.startAll(t)
			f.wantUsers(t, acknowledged)
			f.wantSameUsers(t)
			use(t)
		}})
	}
	inOrder(t, steps)
}
