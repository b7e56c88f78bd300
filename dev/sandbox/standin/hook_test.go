package standin_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hookSockets are where the hook driver of a machine's oned listens, by the ports that it asks for.
type hookSockets struct {
	mu        sync.Mutex
	addresses map[string]string
}

// watch notes where the machine listens.
func (s *hookSockets) watch(m *machine) {
	s.addresses = map[string]string{}
	listen := m.host.Listen
	m.host.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.addresses[address] != "" {
			// A driver that starts again has the same ports.
			return new(net.ListenConfig).Listen(ctx, network, s.addresses[address])
		}
		l, err := listen(ctx, network, address)
		if err == nil && strings.HasPrefix(address, "127.0.0.1:210") {
			s.addresses[address] = l.Addr().String()
		}
		return l, err
	}
}

// startHem runs the hook manager of a machine whose oned has been started before, until stop is called, which returns its status.
func (s *hookSockets) startHem(m *machine) (stop func() int) {
	m.t.Helper()
	s.mu.Lock()
	m.write("/etc/one/onehem-server.conf", fmt.Sprintf(":subscriber_endpoint: 'tcp://%s'\n:replier_endpoint: 'tcp://%s'\n",
		s.addresses["127.0.0.1:2101"], s.addresses["127.0.0.1:2102"]))
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(m.t.Context())
	said := &lockedBuffer{}
	host := m.host
	host.Stdout, host.Stderr = said, said
	endpoint := m.env["ONE_XMLRPC"]
	host.Getenv = func(name string) string { return map[string]string{"ONE_XMLRPC": endpoint}[name] }
	status := make(chan int, 1)
	go func() { status <- host.Run(ctx, "ruby", hemScript) }()
	var once sync.Once
	stop = func() (ended int) {
		once.Do(func() {
			cancel()
			ended = <-status
			if m.t.Failed() {
				m.t.Logf("hem: %s\n%s", said, m.read("/var/log/one/onehem.log"))
			}
		})
		return ended
	}
	m.t.Cleanup(func() { stop() })
	return stop
}

const hemScript = "/usr/lib/one/onehem/onehem-server.rb"

func hookTemplate(name, command string) string {
	return fmt.Sprintf("NAME = %q\nTYPE = api\nCALL = \"one.hook.unlock\"\nCOMMAND = %q\n", name, command)
}

// createHook makes a hook and returns its id.
func (m *machine) createHook(template string) string {
	m.t.Helper()
	m.write("/hook", template)
	id, ok := strings.CutPrefix(m.wantSuccess("onehook", "create", m.path("/hook")), "ID: ")
	if !ok {
		m.t.Fatalf("onehook create prints %q", m.stdout.String())
	}
	return strings.TrimSpace(id)
}

// record is what oned tells of one execution of a hook.
type record struct {
	Hook    int    `xml:"HOOK_ID"`
	ID      int    `xml:"EXECUTION_ID"`
	Command string `xml:"EXECUTION_RESULT>COMMAND"`
	Stdout  string `xml:"EXECUTION_RESULT>STDOUT"`
	Stderr  string `xml:"EXECUTION_RESULT>STDERR"`
	Code    int    `xml:"EXECUTION_RESULT>CODE"`
}

func (m *machine) records(hook string) []record {
	m.t.Helper()
	var shown struct {
		Records []record `xml:"HOOKLOG>HOOK_EXECUTION_RECORD"`
	}
	if err := xml.Unmarshal([]byte(m.wantSuccess("onehook", "show", hook, "--xml")), &shown); err != nil {
		m.t.Fatal(err)
	}
	return shown.Records
}

// callUntilRun makes a hook's call until it has run.
func (m *machine) callUntilRun(hook string) []record {
	m.t.Helper()
	waitFor(m.t, "hook "+hook+" to run", func() bool {
		m.wantSuccess("onehook", "unlock", hook)
		return len(m.records(hook)) > 0
	})
	return m.records(hook)
}

func newHookMachine(t *testing.T) (*machine, *hookSockets) {
	m, sockets := newMachine(t, "7.2.0"), &hookSockets{}
	sockets.watch(m)
	m.write(hemScript, "")
	if err := os.MkdirAll(m.path("/var/log/one"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m, sockets
}

// TestHooks has a hook that is there before the hook manager, and one that is made while that runs.
func TestHooks(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { testHooks(t, "") })
	t.Run("MySQL", func(t *testing.T) {
		testHooks(t, fmt.Sprintf(`DB = [ BACKEND = "mysql", SERVER = "127.0.0.1", PORT = %d, USER = "oneadmin", PASSWD = "secret", DB_NAME = "one0" ]`, mysqlServer(t)))
	})
}

// testHooks has another configuration of oned than the usual one, unless it is empty.
func testHooks(t *testing.T, config string) {
	m, sockets := newHookMachine(t)
	if config != "" {
		m.write("/etc/one/oned.conf", config)
	}
	stop := m.start()
	early := m.createHook(hookTemplate("early", "/bin/echo to be seen; echo 'it is wrong' >&2; exit 3"))
	want := "<HOOK><ID>0</ID><NAME>early</NAME><TYPE>api</TYPE><TEMPLATE><CALL><![CDATA[one.hook.unlock]]></CALL>" +
		"<COMMAND><![CDATA[/bin/echo to be seen; echo 'it is wrong' >&2; exit 3]]></COMMAND><REMOTE><![CDATA[NO]]></REMOTE></TEMPLATE><HOOKLOG></HOOKLOG></HOOK>\n"
	if diff := cmp.Diff(want, m.wantSuccess("onehook", "show", early, "--xml")); diff != "" {
		t.Errorf("onehook show (-want +got):\n%s", diff)
	}
	m.wantSuccess("onehook", "unlock", early)
	sockets.startHem(m)
	got := m.callUntilRun(early)[0]
	if diff := cmp.Diff(record{0, 0, "/bin/echo to be seen; echo 'it is wrong' >&2; exit 3", "dG8gYmUgc2Vlbgo=", "aXQgaXMgd3JvbmcK", 3}, got); diff != "" {
		t.Errorf("execution (-want +got):\n%s", diff)
	}

	// One that is made while the hook manager runs, by a path below the directory of hooks.
	m.write("/var/lib/one/remotes/hooks/late", "#!/bin/sh\nexit 0\n")
	if err := os.Chmod(m.path("/var/lib/one/remotes/hooks/late"), 0o755); err != nil {
		t.Fatal(err)
	}
	late := m.createHook(hookTemplate("late", "late"))
	if got := m.callUntilRun(late)[0]; late != "1" || got.Code != 0 {
		t.Errorf("hook %s: %+v", late, got)
	}

	// Both are there after a restart, and the hook manager finds the new oned.
	stop()
	m.start()
	had := len(m.records(early))
	if had == 0 {
		t.Error("the record is gone after a restart")
	}
	waitFor(t, "the hook to run after a restart", func() bool {
		m.wantSuccess("onehook", "unlock", early)
		return len(m.records(early)) > had
	})
	m.wantSuccess("onehook", "delete", late)
	m.wantFailure(255, "[one.hook.info] Error getting hook [1].", "onehook", "show", late, "--xml")
	if next := m.createHook(hookTemplate("late", "/bin/true")); next != "2" {
		t.Errorf("the next hook has the id %s, want 2: ids are not used again", next)
	}
}

// TestHooksWithoutManager makes calls while no hook manager runs: one that starts later does not run hooks for these.
func TestHooksWithoutManager(t *testing.T) {
	m, sockets := newHookMachine(t)
	m.start()
	stop := sockets.startHem(m)
	hook := m.createHook(hookTemplate("one", "/bin/true"))
	m.callUntilRun(hook)
	if status := stop(); status != 0 {
		t.Errorf("told to end, hem has status %d", status)
	}
	executions := func() int {
		records := m.records(hook)
		return records[len(records)-1].ID + 1
	}
	before, missed, heard := executions(), 10, 0
	for range missed {
		m.wantSuccess("onehook", "unlock", hook)
	}
	sockets.startHem(m)
	waitFor(t, "the hook to run again", func() bool {
		heard++
		m.wantSuccess("onehook", "unlock", hook)
		return executions() > before
	})
	if got := executions(); got > before+heard {
		t.Errorf("the hook ran %d times for %d calls, and %d from before the hook manager", got-before, heard, missed)
	}
}

func TestHookRecordsAreBounded(t *testing.T) {
	m, sockets := newHookMachine(t)
	m.write("/etc/one/oned.conf", "HOOK_LOG_CONF = [ LOG_RETENTION = none ]\n")
	m.wantEnd(`/etc/one/oned.conf: HOOK_LOG_CONF: LOG_RETENTION: a number from 1 on was expected, found "none"`)
	m.write("/etc/one/oned.conf", "HOOK_LOG_CONF = [ LOG_RETENTION = 2 ]\n")
	m.start()
	sockets.startHem(m)
	hook := m.createHook(hookTemplate("one", "/bin/true"))
	waitFor(t, "three executions", func() bool {
		m.wantSuccess("onehook", "unlock", hook)
		got := m.records(hook)
		if len(got) > 2 {
			t.Fatalf("%d records are kept, want 2", len(got))
		}
		return len(got) == 2 && got[0].ID >= 1
	})
}

func TestHookRefusals(t *testing.T) {
	m, _ := newHookMachine(t)
	m.wantFailure(1, "Error loading /etc/one/onehem-server.conf", "ruby", hemScript)
	m.start()
	m.createHook(hookTemplate("taken", "/bin/true"))
	for _, c := range []struct{ template, want string }{
		{hookTemplate("taken", "/bin/true"), "NAME is already taken by Hook 0."},
		{strings.Replace(hookTemplate("a", "/bin/true"), "api", "other", 1), "Invalid Hook type: other"},
		{strings.Replace(hookTemplate("a", "/bin/true"), "api", "state", 1), "for states of VM only"},
		{hookTemplate("", "/bin/true"), "Invalid name."},
		{hookTemplate("a", ""), "No COMMAND in template for Hook."},
		{strings.Replace(hookTemplate("a", "/bin/true"), "hook.unlock", "zone.info", 1), "API call does not exist or is not supported: one.zone.info"},
		{strings.Replace(hookTemplate("a", "/bin/true"), "hook.unlock", "nothing", 1), "API call does not exist or is not supported: one.nothing"},
		{hookTemplate("a", "/bin/true") + "TIMEOUT = 1\n", "not TIMEOUT"},
	} {
		m.write("/hook", c.template)
		m.wantFailure(255, "[one.hook.allocate] ", "onehook", "create", m.path("/hook"))
		m.wantFailure(255, c.want, "onehook", "create", m.path("/hook"))
	}
	for _, args := range [][]string{{}, {"create"}, {"show", "0"}, {"delete", "0", "--xml"}, {"list", "0"}} {
		m.wantFailure(255, "usage: onehook", "onehook", args...)
	}
	m.wantFailure(255, "the id of a hook", "onehook", "delete", "taken")
	m.wantFailure(255, "no such file", "onehook", "create", m.path("/none"))
	m.wantFailure(255, "[one.hook.delete] Error getting hook [7].", "onehook", "delete", "7")
	m.wantSuccess("oneuser", "create", "other", "secret")
	for method, params := range map[string][]any{
		"one.hook.allocate": {hookTemplate("b", "/bin/true")}, "one.hook.info": {0}, "one.hook.unlock": {0}, "one.hook.delete": {0}, "one.hookpool.info": nil,
	} {
		answer, err := xmlrpc(t.Context(), m.env["ONE_XMLRPC"], method, append([]any{"other:secret"}, params...)...)
		if err != nil || answer[0] != "0" || answer[2] != "512" {
			t.Errorf("%s as another user: %q, %v", method, answer, err)
		}
	}
}

// TestClusterReplicatesHooks makes a hook at a follower, has the leader's hook manager run it, and looks for both at all servers.
func TestClusterReplicatesHooks(t *testing.T) {
	c := newCluster(t, testTimes)
	sockets := map[*member]*hookSockets{}
	for _, m := range c.members {
		sockets[m] = &hookSockets{}
		sockets[m].watch(m.machine)
		m.write(hemScript, "")
		if err := os.MkdirAll(m.path("/var/log/one"), 0o755); err != nil {
			t.Fatal(err)
		}
		m.env["ONE_XMLRPC"] = m.front.endpoint()
	}
	c.start()
	follower := c.followers(c.leader())[0]
	tool := func(m *member, args ...string) string {
		var out, said bytes.Buffer
		host := m.host
		host.Stdout, host.Stderr = &out, &said
		if status := host.Run(t.Context(), "onehook", args...); status != 0 {
			t.Fatalf("onehook %q at server %d: %s", args, m.id, &said)
		}
		return out.String()
	}
	follower.write("/hook", hookTemplate("one", "/bin/true"))
	if out := tool(follower, "create", follower.path("/hook")); out != "ID: 0\n" {
		t.Fatalf("onehook create prints %q", out)
	}
	managed := map[*member]bool{}
	waitFor(t, "the hook to run", func() bool {
		leader := c.leader()
		if !managed[leader] {
			managed[leader] = true
			sockets[leader].startHem(leader.machine)
		}
		tool(follower, "unlock", "0")
		return strings.Contains(tool(leader, "show", "0", "--xml"), "<CODE>0</CODE>")
	})
	for _, m := range c.members {
		waitFor(t, fmt.Sprintf("the record at server %d", m.id), func() bool {
			return strings.Contains(m.sql("SELECT h.name, l.body FROM hook_pool h, hook_log l WHERE h.oid = l.hkid"), "<CODE>0</CODE>")
		})
	}
	tool(follower, "delete", "0")
	for _, m := range c.members {
		waitFor(t, fmt.Sprintf("the hook and its records to go at server %d", m.id), func() bool {
			return m.sql("SELECT COUNT(*) FROM hook_pool; SELECT COUNT(*) FROM hook_log") == "0\n0\n"
		})
	}
}

// TestStateHooks has hooks for the states of a virtual machine, which get its description.
func TestStateHooks(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	sockets := &hookSockets{}
	sockets.watch(m)
	m.write(hemScript, "")
	m.start()
	ids := map[string]string{}
	for name, on := range map[string]string{"runs": "ON = RUNNING", "waits": "ON = CUSTOM\nSTATE = PENDING\nLCM_STATE = LCM_INIT", "ends": "ON = done"} {
		ids[name] = m.createHook("NAME = " + name + "\nTYPE = state\nRESOURCE = VM\n" + on + "\nCOMMAND = \"/bin/echo\"\nARGUMENTS = \"vm $TEMPLATE\"\n")
	}
	sockets.startHem(m)
	waitFor(t, "the hook manager to know the hooks", func() bool {
		return m.exists("/var/log/one/onehem.log") && strings.Contains(m.read("/var/log/one/onehem.log"), "Hooks successfully loaded")
	})
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.vm.allocate", "NAME = v0\nCPU = 1\nMEMORY = 64", 0)
	m.is(running, "one.vm.info", 0)
	m.ask("one.vm.action", "terminate", 0)
	for name, state := range map[string]string{"waits": "<STATE>1</STATE>", "runs": running, "ends": done} {
		waitFor(t, "hook "+name+" to run", func() bool { return len(m.records(ids[name])) == 1 })
		record := m.records(ids[name])[0]
		said, err := base64.StdEncoding.DecodeString(record.Stdout)
		if err != nil {
			t.Fatal(err)
		}
		word, packed, _ := strings.Cut(strings.TrimSpace(string(said)), " ")
		vm, err := base64.StdEncoding.DecodeString(packed)
		if err != nil || word != "vm" || record.Code != 0 || !strings.HasPrefix(string(vm), "<VM><ID>0</ID>") || !strings.Contains(string(vm), state) {
			t.Errorf("hook %s has status %d and said %q of %q, %v", name, record.Code, word, vm, err)
		}
	}
	if got := m.sql("SELECT type, count(*) FROM hook_pool GROUP BY type"); got != "1|3\n" {
		t.Errorf("hooks by type: %q", got)
	}
	for _, template := range []string{
		"NAME = x\nTYPE = state\nRESOURCE = VM\nON = SOMETIMES\nCOMMAND = \"/bin/true\"\n", "NAME = x\nTYPE = state\nRESOURCE = VM\nON = CUSTOM\nSTATE = ODD\nCOMMAND = \"/bin/true\"\n",
	} {
		m.write("/hook", template)
		m.wantFailure(255, "[one.hook.allocate]", "onehook", "create", m.path("/hook"))
	}
}

// TestHookManagerGoesDeaf removes a hook that the hook manager has never heard of: OpenNebula's ends there as well, in all but name.
func TestHookManagerGoesDeaf(t *testing.T) {
	m, sockets := newHookMachine(t)
	m.start()
	sockets.startHem(m)
	id := m.createHook(hookTemplate("first", "/bin/true"))
	m.callUntilRun(id)
	m.sql("INSERT INTO hook_pool SELECT 7, 'unheard', replace(body, '<ID>0</ID>', '<ID>7</ID>'), uid, gid, owner_u, group_u, other_u, type FROM hook_pool")
	m.wantSuccess("onehook", "delete", "7")
	second := m.createHook(hookTemplate("second", "/bin/true"))
	sockets.startHem(m)
	m.callUntilRun(second)
	if log := m.read("/var/log/one/onehem.log"); !strings.Contains(log, "Hook ("+id+") successfully reloaded") ||
		strings.Contains(log, "Hook ("+second+") successfully reloaded") {
		t.Errorf("the hook manager that had to go deaf heard of a later hook, or of none:\n%s", log)
	}
}
