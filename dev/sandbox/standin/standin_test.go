package standin_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/dev/sandbox/standin"
)

// machine is a root directory with the stand-in's packages installed, and what its programs have said.
type machine struct {
	t      *testing.T
	host   standin.Host
	env    map[string]string
	listen chan net.Addr

	stdout, stderr bytes.Buffer
}

func newMachine(t *testing.T, version string) *machine {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skipf("%v: apt-get install sqlite3", err)
	}
	m := &machine{t: t, env: map[string]string{}, listen: make(chan net.Addr, 1)}
	m.host = standin.Host{
		Root:       t.TempDir(),
		Stdout:     &m.stdout,
		Stderr:     &m.stderr,
		Getenv:     func(name string) string { return m.env[name] },
		Hostname:   func() (string, error) { return "frontend", nil },
		LookupHost: func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, nil },
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			l, err := new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
			if err == nil && slices.Contains([]string{"0.0.0.0:2633", "127.0.0.1:4822", "127.0.0.1:2616"}, address) {
				m.listen <- l.Addr()
			}
			return l, err
		},
		ListenPacket: func(ctx context.Context, network, _ string) (net.PacketConn, error) {
			return new(net.ListenConfig).ListenPacket(ctx, network, "127.0.0.1:0")
		},
		Now: func() time.Time { return time.Date(2026, 4, 3, 2, 1, 0, 0, time.UTC) },
	}
	for _, dir := range []string{
		"var/lock/one", "var/log/one", "usr/lib/one/ruby/onedb/shared", "usr/lib/one/ruby/onedb/local",
		"var/lib/one/remotes/scheduler/rank", "var/lib/one/remotes/scheduler/one_drs",
	} {
		if err := os.MkdirAll(filepath.Join(m.host.Root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.write("/usr/share/one/VERSION", version+"\n")
	m.write("/etc/one/oned.conf", `DB = [ BACKEND = "sqlite", TIMEOUT = 2500 ]`)
	m.write("/etc/one/monitord.conf", `NETWORK = [ ADDRESS = "::", PORT = 4124 ]`)
	m.write("/usr/lib/one/ruby/load_opennebula_paths.rb", "")
	m.write("/var/lib/one/.one/one_auth", "oneadmin:first secret\n")
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.host.Root, name) }

func (m *machine) write(name, content string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	m.t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

func (m *machine) remove(name string) {
	m.t.Helper()
	if err := os.Remove(m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) exists(name string) bool {
	_, err := os.Stat(m.path(name))
	return !errors.Is(err, fs.ErrNotExist)
}

// run runs a program that ends by itself and returns its status; what it said is in stdout and stderr.
func (m *machine) run(name string, args ...string) int {
	m.stdout.Reset()
	m.stderr.Reset()
	return m.host.Run(m.t.Context(), name, args...)
}

// wantFailure runs a program that must fail with a status and a message.
func (m *machine) wantFailure(status int, message, name string, args ...string) {
	m.t.Helper()
	got := m.run(name, args...)
	if got != status || !strings.Contains(m.stderr.String(), message) {
		m.t.Errorf("%s %q: status %d, says %q; want status %d and %q", name, args, got, m.stderr.String(), status, message)
	}
}

// wantEnd runs oned, which must end with a line in its log that says why, and say nothing on its standard error.
func (m *machine) wantEnd(message string) {
	m.t.Helper()
	status := m.run("oned", "-f")
	if log := m.read("/var/log/one/oned.log"); status != 255 || m.stderr.Len() > 0 || !strings.Contains(log, "[E]: "+message) {
		m.t.Errorf("oned: status %d, says %q, want status 255 and nothing; its log, which is to have the error %q:\n%s", status, &m.stderr, message, log)
	}
}

// wantSuccess runs a program that must succeed and returns what it printed.
func (m *machine) wantSuccess(name string, args ...string) string {
	m.t.Helper()
	if status := m.run(name, args...); status != 0 {
		m.t.Fatalf("%s %q: status %d: %s", name, args, status, m.stderr.String())
	}
	return m.stdout.String()
}

// start runs oned until stop is called, which returns its status.
func (m *machine) start() (stop func() int) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	status := make(chan int, 1)
	host, stderr := m.host, &bytes.Buffer{}
	host.Stdout, host.Stderr = &bytes.Buffer{}, stderr
	go func() { status <- host.Run(ctx, "oned", "-f") }()
	select {
	case address := <-m.listen:
		m.env["ONE_XMLRPC"] = "http://" + address.String() + "/RPC2"
	case s := <-status:
		cancel()
		m.t.Fatalf("oned ends with status %d: %s", s, stderr)
	}
	ended := false
	stop = func() int {
		if ended {
			return 0
		}
		ended = true
		cancel()
		return <-status
	}
	m.t.Cleanup(func() { stop() })
	return stop
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// sql runs statements on the database, past the stand-in.
func (m *machine) sql(statements string) string {
	m.t.Helper()
	if err := os.MkdirAll(m.path("/var/lib/one"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	out, err := exec.Command("sqlite3", "-cmd", ".timeout 10000", m.path("/var/lib/one/one.db"), statements).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v: %s", statements, err, out)
	}
	return string(out)
}

// schema makes a database of a schema, without users.
func (m *machine) schema(version string) {
	m.t.Helper()
	m.sql("CREATE TABLE db_versioning (oid INTEGER, version TEXT, timestamp INTEGER, comment TEXT);" +
		"CREATE TABLE user_pool (oid INTEGER, body TEXT);" +
		"INSERT INTO db_versioning VALUES (0, '" + version + "', 0, 'made by hand');" +
		"CREATE TABLE local_db_versioning AS SELECT *, 0 AS is_slave FROM db_versioning")
}

// passwords reads the users' stored passwords out of the database.
func (m *machine) passwords() map[string]string {
	m.t.Helper()
	passwords := map[string]string{}
	for row := range strings.Lines(m.sql("SELECT body FROM user_pool")) {
		var u struct {
			Name     string `xml:"NAME"`
			Password string `xml:"PASSWORD"`
		}
		if err := xml.Unmarshal([]byte(row), &u); err != nil {
			m.t.Fatal(err)
		}
		passwords[u.Name] = u.Password
	}
	return passwords
}

func TestFirstBoot(t *testing.T) {
	services := []string{"sunstone_auth", "oneflow_auth", "onegate_auth"}
	tests := []struct {
		version string
		files   []string
	}{
		{"7.0.0", services},
		{"7.0.2", services},
		{"7.2.0", append(services[:3:3], "oneform_auth")},
		{"7.4.0", append(services[:3:3], "oneform_auth", "oneks_auth")},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			m := newMachine(t, tt.version)
			stop := m.start()
			entries, err := os.ReadDir(m.path("/var/lib/one/.one"))
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]bool{}
			for _, e := range entries {
				found[e.Name()] = true
			}
			want := map[string]bool{"one_auth": true, "one_key": true}
			for _, f := range tt.files {
				want[f] = true
			}
			if diff := cmp.Diff(want, found); diff != "" {
				t.Errorf("auth files (-want +got):\n%s", diff)
			}
			first := m.read("/var/lib/one/.one/sunstone_auth")
			for _, f := range tt.files {
				if got := m.read("/var/lib/one/.one/" + f); got != first {
					t.Errorf("%s holds another secret than sunstone_auth", f)
				}
			}
			secret, found1 := strings.CutPrefix(strings.TrimSpace(first), "serveradmin:")
			if !found1 || len(secret) < 32 {
				t.Errorf("sunstone_auth: %q", first)
			}
			wantPasswords := map[string]string{"oneadmin": digest("first secret"), "serveradmin": digest(secret)}
			if diff := cmp.Diff(wantPasswords, m.passwords()); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
			if status := stop(); status != 0 {
				t.Errorf("told to end, oned has status %d", status)
			}
			if m.exists("/var/lock/one/one") {
				t.Error("the lock file is still there")
			}
		})
	}
}

func TestFirstBootNeedsOneAuth(t *testing.T) {
	for name, content := range map[string]string{"missing": "", "without password": "oneadmin\n", "empty password": "oneadmin:\n"} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "7.0.1")
			m.remove("/var/lib/one/.one/one_auth")
			if content != "" {
				m.write("/var/lib/one/.one/one_auth", content)
			}
			m.wantEnd("Error reading one_auth: ")
		})
	}
}

// A first boot that ends half way makes the next one refuse, until the left-over files are removed.
func TestHalfWayFirstBoot(t *testing.T) {
	m := newMachine(t, "7.0.1")
	refusal := func(file string) string {
		return "Password file /var/lib/one//.one/" + file + " already exists but OpenNebula is boostraping the database"
	}
	m.write("/var/lib/one/.one/onegate_auth", "serveradmin:mine\n")
	m.wantEnd(refusal("onegate_auth"))
	if m.exists("/var/lib/one/.one/oneflow_auth") {
		t.Error("oneflow_auth was written after the refusal")
	}
	m.remove("/var/lib/one/.one/onegate_auth")
	m.wantEnd(refusal("sunstone_auth"))
	m.remove("/var/lib/one/.one/sunstone_auth")
	m.start()
	m.wantSuccess("oneuser", "show", "0")
}

// Once user 0 exists the auth files are left alone, and are not written again either.
func TestLaterBoots(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.start()()
	oneflow := m.read("/var/lib/one/.one/oneflow_auth")
	m.remove("/var/lib/one/.one/sunstone_auth")
	m.write("/var/lib/one/.one/one_auth", "oneadmin:edited\n")
	m.start()
	if m.exists("/var/lib/one/.one/sunstone_auth") {
		t.Error("a deleted sunstone_auth came back")
	}
	if got := m.read("/var/lib/one/.one/oneflow_auth"); got != oneflow {
		t.Error("oneflow_auth was written again")
	}
	m.wantFailure(255, "[one.user.info] User couldn't be authenticated, aborting call.", "oneuser", "show", "0")
	m.write("/var/lib/one/.one/one_auth", "oneadmin:first secret\n")
	m.wantSuccess("oneuser", "show", "0")
}

func TestLockFile(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.write("/var/lock/one/one", "")
	m.wantFailure(255, "Cannot start oned, opening lock file /var/lock/one/one", "oned", "-f")
	if !m.exists("/var/lock/one/one") {
		t.Error("the lock file of another oned was removed")
	}
	m.remove("/var/lock/one/one")
	stop := m.start()
	m.wantFailure(255, "opening lock file", "oned", "-f")
	m.wantFailure(255, "First stop OpenNebula", "onedb", "upgrade", "-v")
	m.wantFailure(255, "First stop OpenNebula", "onedb", "fsck")
	stop()
	m.wantSuccess("onedb", "fsck")
}

func TestOwnNameMustResolve(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.host.LookupHost = func(_ context.Context, name string) ([]string, error) {
		return nil, errors.New("lookup " + name + ": no such host")
	}
	m.wantFailure(255, "lookup frontend: no such host", "oned", "-f")
	m.write("/etc/one/oned.conf", "HOSTNAME = \"one.example.org\"\nDB = [ BACKEND = \"sqlite\" ]\n")
	m.start()
	m.wantSuccess("oneuser", "show", "0")
}

func TestConfiguration(t *testing.T) {
	tests := []struct {
		name, config, message string
	}{
		{"another back end", `DB = [ BACKEND = "postgresql" ]`, `BACKEND "postgresql"`},
		{"no server", `DB = [ BACKEND = "mysql", SERVER = "127.0.0.1", PORT = 1, USER = "a", PASSWD = "b", DB_NAME = "c" ]`, "Error connecting to DB"},
		{"open list", "PORT = 2633\nDB = [ BACKEND = \"sqlite\"", "/etc/one/oned.conf:2: DB: no ] at the end of the list"},
		{"open quote", `HOSTNAME = "one`, "/etc/one/oned.conf:1: HOSTNAME: no closing quote"},
		{"no value", "# first\nHOSTNAME", "/etc/one/oned.conf:2: HOSTNAME: = was expected"},
		{"no name", "= 3", "/etc/one/oned.conf:1: a name was expected"},
		{"list in a list", "A = [ B = [ C = 1 ] ]", "B: a list in a list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, "7.0.1")
			m.write("/etc/one/oned.conf", tt.config)
			m.wantFailure(255, tt.message, "oned", "-f")
			if m.exists("/var/lock/one/one") {
				t.Error("the lock file is still there")
			}
		})
	}
}

func TestListenAddress(t *testing.T) {
	const sockets = "127.0.0.1:2101 127.0.0.1:2102 udp/[::]:4124 [::]:4124 "
	for _, c := range []struct{ name, version, config, want, message string }{
		{"as installed", "7.0.1", "", sockets + "0.0.0.0:2633", ""},
		{"gRPC", "7.2.0", "", sockets + "0.0.0.0:2633 0.0.0.0:2634", ""},
		{
			"others", "7.2.0", "PORT = 2700 # not the usual one\nLISTEN_ADDRESS = \"::\"\nGRPC_LISTEN_ADDRESS = \"[::]\"\nGRPC_PORT = 2701\n",
			sockets + "[::]:2700 [::]:2701", "",
		},
		{"gRPC needs brackets", "7.2.0", "GRPC_LISTEN_ADDRESS = \"::\"\n", sockets + "0.0.0.0:2633 :::2634", "Request Manager (GRPC)"},
		{"no socket", "7.0.1", "LISTEN_ADDRESS = \"192.0.2.1\"", sockets + "192.0.2.1:2633", "[ReM][E]: Cannot bind to 192.0.2.1:2633 : "},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, c.version)
			m.write("/etc/one/oned.conf", c.config)
			var asked []string
			listen := m.host.Listen
			ctx, cancel := context.WithCancel(t.Context())
			m.host.Listen = func(_ context.Context, network, address string) (net.Listener, error) {
				if asked = append(asked, address); len(asked) == len(strings.Fields(c.want)) {
					cancel()
				}
				if _, _, err := net.SplitHostPort(address); err != nil || strings.HasPrefix(address, "192.0.2.1") {
					return nil, errors.New("no socket today")
				}
				return listen(t.Context(), network, "127.0.0.1:0")
			}
			packets := m.host.ListenPacket
			m.host.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
				asked = append(asked, network+"/"+address)
				return packets(ctx, network, address)
			}
			status := m.host.Run(ctx, "oned", "-f")
			if got := strings.Join(asked, " "); got != c.want {
				t.Errorf("listens on %s\nwant %s", got, c.want)
			}
			if log := m.read("/var/log/one/oned.log"); (status != 0) != (c.message != "") || !strings.Contains(log, c.message) {
				t.Errorf("status %d, its log has no %q:\n%s", status, c.message, log)
			}
		})
	}
}

// TestDrivers has something in the way of each driver that is more than a name: oned ends without any of them.
func TestDrivers(t *testing.T) {
	m := newMachine(t, "7.0.1")
	const failed = "Driver initialization failed, expected INIT SUCCESS message"
	listen, packets := m.host.Listen, m.host.ListenPacket
	m.host.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
		if address == "127.0.0.1:2101" {
			return nil, errors.New("no such address")
		}
		return listen(ctx, network, address)
	}
	m.wantEnd(failed)
	m.host.Listen = listen
	m.host.ListenPacket = func(context.Context, string, string) (net.PacketConn, error) { return nil, errors.New("no IPv6") }
	m.wantEnd("Error starting Information Manager: " + failed)
	m.host.ListenPacket = packets
	for _, part := range []string{"rank", "one_drs"} {
		m.remove("/var/lib/one/remotes/scheduler/" + part)
		m.wantEnd(failed)
		if log := m.read("/var/log/one/oned.log"); !strings.Contains(log, "[SCM][E]: "+failed) {
			t.Errorf("oned does not say that its scheduler failed:\n%s", log)
		}
		m.write("/var/lib/one/remotes/scheduler/"+part+"/place", "")
	}
	m.write("/etc/one/oned.conf", `SCHED_MAD = [ EXECUTABLE = "one_sched", ARGUMENTS = "-t 15 -p other -o one_drs" ]`)
	m.wantEnd("File not exists: /usr/lib/one/mads/one_sched")
	m.write("/usr/lib/one/mads/one_sched", "")
	m.wantEnd(failed)
	m.write("/var/lib/one/remotes/scheduler/other/place", "")
	m.start()
	m.wantSuccess("oneuser", "show")
}

func TestMissingProbes(t *testing.T) {
	m := newMachine(t, "7.0.1")
	const probes = "/var/lib/one/remotes/im/dummy-probes.d/"
	for _, directory := range []string{"host/beacon", "host/monitor", "host/system", "vm/monitor", "vm/snapshot"} {
		m.write(probes+directory+"/probe", "")
	}
	m.write(probes+"vm/status", "a file in the place of the directory")
	want := []string{probes + "vm/status"}
	if diff := cmp.Diff(want, standin.MissingProbes(m.host.Root, "dummy")); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	m.write("/usr/share/one/VERSION", "7.2.0\n")
	want = append(want, probes+"vm/execution")
	if diff := cmp.Diff(want, standin.MissingProbes(m.host.Root, "dummy")); diff != "" {
		t.Errorf("missing from 7.2 on (-want +got):\n%s", diff)
	}
}

// TestDatabaseGone takes the database away for a while: users are not known meanwhile, and oned goes on.
func TestDatabaseGone(t *testing.T) {
	m := newMachine(t, "7.2.0")
	m.start()
	m.wantSuccess("oneuser", "show")
	if err := errors.Join(os.Rename(m.path("/var/lib/one/one.db"), m.path("/aside")), os.Mkdir(m.path("/var/lib/one/one.db"), 0o755)); err != nil {
		t.Fatal(err)
	}
	m.wantFailure(255, "User couldn't be authenticated", "oneuser", "show")
	m.remove("/var/lib/one/one.db")
	if err := os.Rename(m.path("/aside"), m.path("/var/lib/one/one.db")); err != nil {
		t.Fatal(err)
	}
	m.wantSuccess("oneuser", "show")
}

func TestPasswords(t *testing.T) {
	m := newMachine(t, "7.2.0")
	m.start()

	m.wantSuccess("oneuser", "passwd", "0", "second secret")
	m.wantFailure(255, "couldn't be authenticated", "oneuser", "show", "0")
	m.write("/var/lib/one/.one/one_auth", "oneadmin:second secret\n")
	m.wantSuccess("oneuser", "show", "0")

	m.write("/tmp/secret", "from a file\n")
	m.wantSuccess("oneuser", "passwd", "1", "--sha256", "-r", m.path("/tmp/secret"))
	want := map[string]string{"oneadmin": digest("second secret"), "serveradmin": digest("from a file")}
	if diff := cmp.Diff(want, m.passwords()); diff != "" {
		t.Errorf("stored passwords (-want +got):\n%s", diff)
	}

	m.wantFailure(255, "[one.user.passwd] Error getting user [7].", "oneuser", "passwd", "7", "x")
	m.wantFailure(255, "the password is empty", "oneuser", "passwd", "0", "")
}

func TestCreate(t *testing.T) {
	m := newMachine(t, "7.2.0")
	stop := m.start()
	for id, name := range []string{"first's", "second"} {
		if out, want := m.wantSuccess("oneuser", "create", name, "secret"), fmt.Sprintf("ID: %d\n", id+2); out != want {
			t.Errorf("oneuser create prints %q, want %q", out, want)
		}
	}
	m.wantFailure(255, "[one.user.allocate] NAME is already taken by USER 3.", "oneuser", "create", "second", "x")
	m.wantFailure(255, "[one.user.allocate] Invalid password, it cannot be empty.", "oneuser", "create", "third", "")
	m.write("/var/lib/one/.one/one_auth", "second:secret\n")
	m.wantSuccess("oneuser", "show")
	m.wantFailure(255, "Not authorized to perform CREATE USER", "oneuser", "create", "third", "x")
	stop()
	m.start()
	if got := m.passwords(); got["first's"] != digest("secret") || got["second"] != digest("secret") || len(got) != 4 {
		t.Errorf("users %v", got)
	}
	m.wantSuccess("oneuser", "show")
}

func TestShow(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.env["ONE_XMLRPC"] = "http://127.0.0.1:1/RPC2"
	m.wantFailure(255, "127.0.0.1:1", "oneuser", "show", "0")
	m.start()
	for args, want := range map[string]string{"0": "oneadmin", "1": "serveradmin", "-1": "oneadmin"} {
		if out := m.wantSuccess("oneuser", "show", args); !strings.Contains(out, ": "+want+" ") {
			t.Errorf("oneuser show %s prints %q, want user %s", args, out, want)
		}
	}
	m.wantFailure(255, "[one.user.info] Error getting user [7].", "oneuser", "show", "7")
}

// XML-RPC as a client in another language writes it: strings without a type, and int instead of i4.
func TestXMLRPC(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.start()
	call := func(method, params string) string {
		t.Helper()
		body := "<?xml version=\"1.0\"?><methodCall><methodName>" + method + "</methodName><params>" + params + "</params></methodCall>"
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.env["ONE_XMLRPC"], strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		var answer bytes.Buffer
		if _, err := answer.ReadFrom(response.Body); err != nil {
			t.Fatal(err)
		}
		return answer.String()
	}
	const session = "<param><value>oneadmin:first secret</value></param>"
	tests := []struct {
		name, method, params string
		want                 []string
	}{
		{"version", "one.system.version", session,
			[]string{"<boolean>1</boolean>", "<string>7.0.1</string>"}},
		{"user", "one.user.info", session + "<param><value><int>0</int></value></param>",
			[]string{"<boolean>1</boolean>", "&lt;NAME&gt;oneadmin&lt;/NAME&gt;"}},
		{"wrong session", "one.user.info", "<param><value><string>oneadmin:no</string></value></param><param><value><int>0</int></value></param>",
			[]string{"<boolean>0</boolean>", "[one.user.info] User couldn't be authenticated", "<i4>256</i4>"}},
		{"no session", "one.system.version", "", []string{"<fault>", "-501", "Not enough parameters"}},
		{"serveradmin has no plain session", "one.system.version",
			"<param><value>" + strings.TrimSpace(m.read("/var/lib/one/.one/sunstone_auth")) + "</value></param>",
			[]string{"<boolean>0</boolean>", "<i4>256</i4>"}},
		{"no such user", "one.user.info", session + "<param><value><i4>9</i4></value></param>",
			[]string{"<boolean>0</boolean>", "<i4>1024</i4>"}},
		{"no id", "one.user.info", session, []string{"<fault>", "-501", "Not enough parameters"}},
		{"no number", "one.user.info", session + "<param><value>0</value></param>",
			[]string{"<fault>", "-501", "Parameter that is supposed to be integer is not"}},
		{"no such method", "one.nothing.info", session, []string{"<fault>", "-506", "Method 'one.nothing.info' not defined"}},
		{"no XML-RPC", "</methodName", "", []string{"<fault>", "-503", "XML syntax error"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := call(tt.method, tt.params)
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in the answer:\n%s", want, got)
				}
			}
		})
	}
}

func TestSchemaVersion(t *testing.T) {
	tests := []struct {
		name, installed, schema string
		status                  int
		message, printed        string
	}{
		{"no database", "7.0.1", "", 1, "Database is not correctly bootstraped.", ""},
		{"current", "7.0.1", "7.0.0", 0, "", "Shared tables version:   7.0.0\nRequired version:        7.0.0\n"},
		{"older", "7.2.0", "7.0.0", 2, "", "Update required. Expected DB version is:\nLocal:  7.2.0\nShared: 7.2.0\n"},
		{"newer", "7.0.2", "7.2.0", 3, "", "WARNING: Source version is lower than DB version\n"},
		{"nonsense", "7.0.2", "seven", 255, "Malformed version number string seven", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.installed)
			if tt.schema != "" {
				m.schema(tt.schema)
			}
			m.wantFailure(tt.status, tt.message, "onedb", "version", "-v")
			if !strings.Contains(m.stdout.String(), tt.printed) {
				t.Errorf("prints\n%s, which has no\n%s", &m.stdout, tt.printed)
			}
		})
	}
	t.Run("no library", func(t *testing.T) {
		m := newMachine(t, "7.0.1")
		m.schema("7.0.0")
		m.remove("/usr/lib/one/ruby/load_opennebula_paths.rb")
		m.wantFailure(1, "cannot load such file -- load_opennebula_paths (LoadError)", "onedb", "version", "-v")
	})
	t.Run("empty file", func(t *testing.T) {
		m := newMachine(t, "7.0.1")
		m.write("/var/lib/one/one.db", "")
		m.wantFailure(1, "Database is not correctly bootstraped.", "onedb", "version", "-v")
	})
}

// content is all that the database has, as statements.
func (m *machine) content() string { return m.sql(".dump") }

func TestUpgrade(t *testing.T) {
	m := newMachine(t, "7.0.2")
	m.start()()
	old := m.content()
	const backup = "/var/lib/one/one.db_2026-4-3_2:1:0.bck"
	migrators := func(step string) {
		for _, tables := range []string{"shared", "local"} {
			m.write("/usr/lib/one/ruby/onedb/"+tables+"/"+step+".rb", "")
		}
	}

	m.write("/usr/share/one/VERSION", "7.4.0\n")
	m.wantFailure(255, "Database version mismatch. Check oned.log.", "oned", "-f")
	migrators("7.0.0_to_7.2.0")
	m.wantFailure(255, "missing migration descriptors", "onedb", "upgrade", "-v")
	if diff := cmp.Diff(old, m.content()); diff != "" {
		t.Errorf("the database was not restored (-before +after):\n%s", diff)
	}

	m.wantFailure(255, "missing migration descriptors", "onedb", "upgrade", "-v", "--no-backup")
	if !strings.Contains(m.stdout.String(), "No backup has been restored") {
		t.Errorf("onedb upgrade prints %q", &m.stdout)
	}
	m.sql("DELETE FROM db_versioning WHERE oid > 0; DELETE FROM local_db_versioning WHERE oid > 0")
	m.remove(backup)
	migrators("7.2.0_to_7.4.0")
	if out := m.wantSuccess("onedb", "upgrade", "-v"); !strings.Contains(out, "migrated from 7.0.0 to 7.4.0") {
		t.Errorf("onedb upgrade prints %q", out)
	}
	secret := m.read("/var/lib/one/.one/sunstone_auth")
	for _, service := range []string{"oneform_auth", "oneks_auth"} {
		if got := m.read("/var/lib/one/.one/" + service); got != secret {
			t.Errorf("%s has %q, want the secret of the other services", service, got)
		}
	}
	m.wantSuccess("onedb", "version", "-v")
	m.wantFailure(255, "exists, backup aborted", "onedb", "fsck", "--backup", backup)
	m.wantSuccess("onedb", "fsck", "--force", "--backup", backup)
	if out := m.wantSuccess("onedb", "upgrade", "-v"); out != "Database schema is up to date.\n" {
		t.Errorf("a second onedb upgrade prints %q", out)
	}
	m.start()
	m.wantSuccess("oneuser", "show", "0")
}

// TestCutUpgrade has an upgrade that was cut off, which fails the next time, until the database is restored.
func TestCutUpgrade(t *testing.T) {
	m := newMachine(t, "7.0.2")
	m.start()()
	m.write("/usr/share/one/VERSION", "7.2.0\n")
	for _, tables := range []string{"shared", "local"} {
		m.write("/usr/lib/one/ruby/onedb/"+tables+"/7.0.0_to_7.2.0.rb", "")
	}
	m.sql("CREATE TABLE old_user_pool (oid INTEGER)")
	m.wantFailure(255, "old_user_pool", "onedb", "upgrade", "-v", "--no-backup")
	m.sql("DROP TABLE old_user_pool")
	m.wantSuccess("onedb", "upgrade", "-v", "--no-backup")
}

func TestDowngradeChangesNothing(t *testing.T) {
	m := newMachine(t, "7.2.0")
	m.start()()
	m.write("/usr/share/one/VERSION", "7.0.2\n")
	before := m.content()
	m.wantFailure(255, "missing migration descriptors", "onedb", "upgrade", "-v")
	m.wantFailure(255, "Database version mismatch", "oned", "-f")
	if diff := cmp.Diff(before, m.content()); diff != "" {
		t.Errorf("the database changed (-before +after):\n%s", diff)
	}
}

func TestFsckFindsMissingUsers(t *testing.T) {
	m := newMachine(t, "7.0.1")
	m.wantFailure(1, "not correctly bootstraped", "onedb", "fsck")
	m.schema("7.0.0")
	m.sql("INSERT INTO user_pool VALUES (0, '<USER><ID>0</ID></USER>')")
	m.wantFailure(1, "cannot be repaired", "onedb", "fsck")
	if !strings.Contains(m.stdout.String(), "User 1 is missing") {
		t.Errorf("onedb fsck prints %q", m.stdout.String())
	}
}

func TestServices(t *testing.T) {
	for _, c := range []struct {
		name, version, program, script, auth, file, config string
		address, page                                      string
		status                                             int
		// log is what the request leaves in the log.
		log string
	}{
		{"FireEdge", "7.2.0", "node", "/usr/lib/one/fireedge/dist/index.js", "sunstone_auth", "fireedge-server.conf",
			"host: '0.0.0.0'\nport: 2616\ndebug_level: 2\n", "0.0.0.0:2616", "/fireedge/", 200, ""},
		{"FireEdge that is to log errors", "7.2.0", "node", "/usr/lib/one/fireedge/dist/index.js", "sunstone_auth", "fireedge-server.conf",
			"host: '0.0.0.0'\nport: 2616\nguacd: {host: 127.0.0.1, port: 1}\n", "0.0.0.0:2616", "/fireedge/guacamole", 502,
			`[2026-04-03T02:01:00.000Z] - [error] 127.0.0.1 - - [03/Apr/2026:02:01:00 +0000] "GET /fireedge/guacamole HTTP/1.1" 502 50` + "\n"},
		{"FireEdge that is to log warnings", "7.2.0", "node", "/usr/lib/one/fireedge/dist/index.js", "sunstone_auth", "fireedge-server.conf",
			"host: '0.0.0.0'\nport: 2616\ndebug_level: 1\nguacd: {host: 127.0.0.1, port: 1}\n", "0.0.0.0:2616", "/fireedge/guacamole", 502, ""},
		{"OneFlow", "7.2.0", "ruby", "/usr/lib/one/oneflow/oneflow-server.rb", "oneflow_auth", "oneflow-server.conf",
			":host: 127.0.0.1\n:port: 2474\n", "127.0.0.1:2474", "/", 401,
			`Fri Apr  3 02:01:00 2026 [I]: 127.0.0.1 - - [03/Apr/2026:02:01:00 +0000] "GET / HTTP/1.1" 401 40` + "\n"},
		{"OneFlow that is to log errors", "7.2.0", "ruby", "/usr/lib/one/oneflow/oneflow-server.rb", "oneflow_auth", "oneflow-server.conf",
			":host: 127.0.0.1\n:port: 2474\n:log:\n  :level: 0\n", "127.0.0.1:2474", "/", 401, ""},
		{"OneGate", "7.2.0", "ruby", "/usr/lib/one/onegate/onegate-server.rb", "onegate_auth", "onegate-server.conf",
			":host: '::'\n:port: 5030\n", "[::]:5030", "/", 401,
			"Fri Apr  3 02:01:00 2026 [E]: X_ONEGATE_TOKEN header not preset\nFri Apr  3 02:01:00 2026 [I]: Unauthorized login attempt\n" +
				`Fri Apr  3 02:01:00 2026 [I]: 127.0.0.1 - - [03/Apr/2026:02:01:00 +0000] "GET / HTTP/1.1" 401 14` + "\n"},
		{"OneGate from 7.3.80 on", "7.4.0", "ruby", "/usr/lib/one/onegate/onegate-server.rb", "onegate_auth", "onegate-server.conf",
			":host: 10.0.0.1\n:server:\n  :bind: 127.0.0.1\n  :port: 5031\n:log:\n  :level: 0\n", "127.0.0.1:5031", "/", 401,
			"Fri Apr  3 02:01:00 2026 [E]: X_ONEGATE_TOKEN header not preset\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, c.version)
			m.write("/etc/one/"+c.file, c.config)
			m.wantFailure(255, "no such file", c.program, c.script)
			m.write(c.script, "")
			m.wantFailure(255, c.auth, c.program, c.script)
			m.write("/var/lib/one/.one/"+c.auth, "serveradmin:x\n")
			asked, opened := make(chan string, 1), make(chan net.Addr, 1)
			m.host.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
				asked <- address
				l, err := new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
				opened <- l.Addr()
				return l, err
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan int, 1)
			go func() { ended <- m.host.Run(ctx, c.program, c.script) }()
			if got := <-asked; got != c.address {
				t.Errorf("listens on %s, want %s", got, c.address)
			}
			url := "http://" + (<-opened).String() + c.page
			log := "/var/log/one/" + strings.TrimSuffix(c.file, "-server.conf") + ".log"
			m.write(log, "")
			goAway(t, url)
			response, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != c.status {
				t.Errorf("status %d, want %d", response.StatusCode, c.status)
			}
			cancel()
			if status := <-ended; status != 0 {
				t.Errorf("told to end, it has status %d", status)
			}
			if got := m.read(log); got != c.log {
				t.Errorf("log %q, want %q", got, c.log)
			}
		})
	}
}

// goAway announces a request and does not make it: nothing of it is logged.
func goAway(t *testing.T, url string) {
	t.Helper()
	address := strings.Split(strings.TrimPrefix(url, "http://"), "/")[0]
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	_, _ = io.WriteString(connection, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
	if line, err := bufio.NewReader(connection).ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Errorf("%s answers the announcement of a request with %q, %v", url, line, err)
	}
}

func TestServicesThatCallOned(t *testing.T) {
	m := newMachine(t, "7.2.0")
	m.env["ONE_XMLRPC"] = "http://127.0.0.1:1/RPC2"
	m.wantFailure(255, "127.0.0.1:1", "oneshowback", "calculate")
	m.start()
	m.wantSuccess("oneshowback", "calculate")
	m.wantFailure(255, "usage", "oneshowback")
	m.wantFailure(255, "not [\"x.rb\"]", "ruby", "x.rb")
}

func TestGuacd(t *testing.T) {
	m := newMachine(t, "7.2.0")
	m.wantFailure(255, "foreground", "guacd")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- m.host.Run(ctx, "guacd", "-f", "-b", "127.0.0.1", "-l", "4822") }()
	connection, err := net.Dial("tcp", (<-m.listen).String())
	if err != nil {
		t.Fatal(err)
	}
	_ = connection.Close()
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("told to end, it has status %d", status)
	}
}

func TestUsage(t *testing.T) {
	m := newMachine(t, "7.0.1")
	if out := m.wantSuccess("oned", "--version"); !strings.Contains(out, "7.0.1") {
		t.Errorf("oned --version prints %q", out)
	}
	m.wantFailure(255, "oned -f", "oned")
	m.wantFailure(255, "usage: onedb", "onedb")
	m.wantFailure(255, "usage: oneuser", "oneuser")
	m.wantFailure(255, "create, show and passwd only", "oneuser", "list")
	m.wantFailure(255, "usage: oneuser create", "oneuser", "create", "name")
	m.wantFailure(255, "onevm", "onevm", "list")
	m.remove("/usr/share/one/VERSION")
	m.wantFailure(255, "VERSION", "oned", "-f")
}
