package standin_test

import (
	"encoding/xml"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// objectsConfig is oned's configuration with the drivers that need no hypervisor.
const objectsConfig = `VM_MAD = [ NAME = "kvm", EXECUTABLE = "one_vmm_exec" ]
VM_MAD = [ NAME = "dummy", EXECUTABLE = "one_vmm_dummy", TYPE = "xml" ]
TM_MAD_CONF = [ NAME = "local" ]
TM_MAD_CONF = [ NAME = "dummy", SHARED = "YES" ]
DS_MAD_CONF = [ NAME = "fs" ]
DS_MAD_CONF = [ NAME = "dummy" ]
VN_MAD_CONF = [ NAME = "dummy" ]
ONEGATE_ENDPOINT = "http://frontend:5030"
`

const scheduler = "SCHED_MAD = [ EXECUTABLE = \"one_sched\", ARGUMENTS = \"-t 15 -p rank -o one_drs\" ]\n"

func newObjectsMachine(t *testing.T, config string) *machine {
	t.Helper()
	m := newMachine(t, "7.0.1")
	t.Cleanup(func() {
		if t.Failed() && m.exists("/var/log/one/oned.log") {
			for line := range strings.Lines(m.read("/var/log/one/oned.log")) {
				if strings.Contains(line, "[E]:") {
					t.Log(strings.TrimSpace(line))
				}
			}
		}
	})
	m.addDrivers(config)
	return m
}

// addDrivers adds to oned's configuration, and puts the dummy drivers where they have to be.
func (m *machine) addDrivers(config string) {
	m.t.Helper()
	m.write("/etc/one/oned.conf", m.read("/etc/one/oned.conf")+"\n"+config)
	m.write("/etc/one/monitord.conf", "NETWORK = [ ADDRESS = \"::\", PORT = 4124 ]\nIM_MAD = [ NAME = \"kvm\" ]\nIM_MAD = [ NAME = \"dummy\", ARGUMENTS = \"dummy\" ]\n")
	for _, driver := range []string{"one_vmm_exec", "one_vmm_dummy", "one_sched"} {
		m.write("/usr/lib/one/mads/"+driver, "")
	}
	for _, probes := range []string{"host/beacon", "host/monitor", "host/system", "vm/execution", "vm/monitor", "vm/snapshot", "vm/status"} {
		m.mkdir("/var/lib/one/remotes/im/dummy-probes.d/" + probes)
	}
}

func (m *machine) mkdir(name string) {
	m.t.Helper()
	if err := os.MkdirAll(m.path(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// ask makes a call as oneadmin, which has to succeed, and returns its result.
func (m *machine) ask(method string, params ...any) string {
	m.t.Helper()
	answer := m.askAs("oneadmin:first secret", method, params...)
	if answer[0] != "1" {
		m.t.Fatalf("%s%v: %q", method, params, answer)
	}
	return answer[1]
}

func (m *machine) askAs(session, method string, params ...any) []string {
	m.t.Helper()
	answer, err := xmlrpc(m.t.Context(), m.env["ONE_XMLRPC"], method, append([]any{session}, params...)...)
	if err != nil {
		m.t.Fatal(err)
	}
	return answer
}

// refused makes a call that has to fail, with a message and a code.
func (m *machine) refused(message, code, method string, params ...any) {
	m.t.Helper()
	answer := m.askAs("oneadmin:first secret", method, params...)
	if answer[0] != "0" || answer[1] != message || answer[2] != code {
		m.t.Errorf("%s%v answers %q, want %q and code %s", method, params, answer, message, code)
	}
}

// is waits until what a call answers with has a text in it.
func (m *machine) is(text, method string, id int) string {
	m.t.Helper()
	var shown string
	waitFor(m.t, text+" in "+method, func() bool {
		shown = m.ask(method, id)
		return strings.Contains(shown, text)
	})
	return shown
}

// shape is a document without its values: the elements, in order, and which values are CDATA.
func shape(document string) []string {
	document = regexp.MustCompile(`<(/?)([A-Z0-9_]+)/>`).ReplaceAllString(document, "<$2></$2>")
	document = regexp.MustCompile(`<!\[CDATA\[.*?\]\]>`).ReplaceAllString(document, "'")
	document = regexp.MustCompile(`>[^<']+<`).ReplaceAllString(document, "><")
	return strings.SplitAfter(document, ">")
}

const (
	running = "<STATE>3</STATE><LCM_STATE>3</LCM_STATE>"
	done    = "<STATE>6</STATE><LCM_STATE>0</LCM_STATE>"
)

// TestLifeOfVirtualMachine has a machine placed on a host of the dummy drivers, with an image and an address, and holds the documents against
// those of real OpenNebula.
func TestLifeOfVirtualMachine(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	m.start()
	for _, call := range [][]any{
		{"0", "one.host.allocate", "h1", "dummy", "dummy", -1},
		{"100", "one.datastore.allocate", "NAME = images\nDS_MAD = dummy\nTM_MAD = dummy", -1},
		{"101", "one.datastore.allocate", "NAME = vms\nTYPE = SYSTEM_DS\nTM_MAD = dummy", -1},
		{"0", "one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1},
		{"0", "one.image.allocate", "NAME = disk\nPATH = /etc/hostname", 100},
		{"0", "one.vn.allocate", "NAME = net1\nVN_MAD = dummy\nBRIDGE = br0\nAR = [ TYPE = IP4, IP = 10.1.1.10, SIZE = 2 ]", -1},
		{"0", "one.template.allocate", "NAME = small\nCPU = 0.1\nMEMORY = 64\nCPU_COST = 10\nMEMORY_COST = 0.01\n" +
			"CONTEXT = [ TOKEN = YES, NETWORK = YES ]\nNIC = [ NETWORK = net1 ]\nREADY = YES"},
	} {
		if got := m.ask(call[1].(string), call[2:]...); got != call[0] {
			t.Fatalf("%v answers %s", call[1:], got)
		}
	}
	m.is("<STATE>2</STATE>", "one.host.info", 0)
	m.is("<STATE>1</STATE>", "one.image.info", 0)
	if got := m.ask("one.template.instantiate", 0, "v0"); got != "0" {
		t.Fatalf("the first machine has id %s", got)
	}
	vm := m.is(running, "one.vm.info", 0)
	if diff := cmp.Diff(shape(strings.TrimSpace(recorded(t, "7.0.1", "vm.xml"))), shape(vm)); diff != "" {
		t.Errorf("the machine is unlike OpenNebula's (-theirs +ours):\n%s", diff)
	}
	for _, want := range []string{"<IP><![CDATA[10.1.1.10]]></IP>", "<MAC><![CDATA[02:00:0a:01:01:0a]]></MAC>", "<DEPLOY_ID>h1:v0:dummy</DEPLOY_ID>", "<DS_ID>0</DS_ID>"} {
		if !strings.Contains(vm, want) {
			t.Errorf("no %s in %s", want, vm)
		}
	}
	if diff := cmp.Diff(shape(strings.TrimSpace(recorded(t, "7.0.1", "short-vm.xml"))), shape(strings.TrimSpace(m.sql("SELECT short_body FROM vm_pool")))); diff != "" {
		t.Errorf("the machine in short is unlike OpenNebula's (-theirs +ours):\n%s", diff)
	}
	if diff := cmp.Diff(shape(strings.TrimSpace(recorded(t, "7.0.1", "host.xml"))), shape(m.ask("one.host.info", 0))); diff != "" {
		t.Errorf("the host is unlike OpenNebula's (-theirs +ours):\n%s", diff)
	}
	if got, want := m.sql("SELECT oid, name, uid, gid, state, lcm_state, resched, owner_u, group_u, other_u FROM vm_pool"), "0|v0|0|0|3|3|0|1|0|0\n"; got != want {
		t.Errorf("the row of the machine is %q, want %q", got, want)
	}
	if got, want := m.sql("SELECT oid, name, state, uid, gid, owner_u, group_u, other_u, cid FROM host_pool"), "0|h1|2|0|0|1|0|0|0\n"; got != want {
		t.Errorf("the row of the host is %q, want %q", got, want)
	}
	if got := m.sql("SELECT json_extract(body_json, '$.VM.NAME') FROM vm_pool"); got != "v0\n" {
		t.Errorf("the machine in JSON has the name %q", got)
	}

	m.ask("one.vm.action", "poweroff", 0)
	m.is("<STATE>8</STATE><LCM_STATE>0</LCM_STATE>", "one.vm.info", 0)
	m.refused(`[one.vm.action] Error performing action "poweroff": This action is not available for state POWEROFF`, "2048", "one.vm.action", "poweroff", 0)
	m.ask("one.vm.action", "resume", 0)
	m.is(running, "one.vm.info", 0)
	m.refused("[one.host.delete] Cannot delete host. Can not remove a host with running VMs", "2048", "one.host.delete", 0)
	m.ask("one.vm.action", "terminate", 0)
	m.is(done, "one.vm.info", 0)
	if got := m.sql("SELECT count(*) FROM history WHERE etime = 0"); got != "0\n" {
		t.Errorf("%s records of the history have no end", got)
	}
	if pool := m.ask("one.vmpool.info", -2, -1, -1, -1); pool != "<VM_POOL></VM_POOL>" {
		t.Errorf("machines are left: %s", pool)
	}
	if pool := m.ask("one.vmpool.info", -2, -1, -1, 6); !strings.Contains(pool, "<NAME>v0</NAME>") {
		t.Errorf("the machine is not among those that are done: %s", pool)
	}
	for _, want := range []string{"<RUNNING_VMS>0</RUNNING_VMS>", "<CPU_USAGE>0</CPU_USAGE>", "<MEM_USAGE>0</MEM_USAGE>", "<VMS></VMS>"} {
		if host := m.ask("one.host.info", 0); !strings.Contains(host, want) {
			t.Errorf("no %s in %s", want, host)
		}
	}
	states := regexp.MustCompile(`\[VM\]\[I\]: New (?:LCM )?state is (\w+)`).FindAllStringSubmatch(m.read("/var/log/one/0.log"), -1)
	var names []string
	for _, state := range states {
		names = append(names, state[1])
	}
	want := []string{"ACTIVE", "PROLOG", "BOOT", "RUNNING", "SHUTDOWN_POWEROFF", "POWEROFF", "ACTIVE", "BOOT_POWEROFF", "RUNNING", "SHUTDOWN", "EPILOG", "DONE"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("states in the machine's log (-want +got):\n%s", diff)
	}
	if line := strings.SplitN(m.read("/var/log/one/0.log"), "\n", 2)[0]; line != "Fri Apr  3 02:01:00 2026 [Z0][VM][I]: New state is ACTIVE" {
		t.Errorf("the first line of the machine's log is %q", line)
	}
	for _, call := range []string{"one.template.delete", "one.image.delete", "one.vn.delete", "one.host.delete"} {
		m.ask(call, 0)
	}
	m.ask("one.datastore.delete", 101)
	m.refused("[one.host.info] Error getting host [0].", "1024", "one.host.info", 0)
	if got := m.ask("one.host.allocate", "h2", "dummy", "dummy", -1); got != "1" {
		t.Errorf("the id of a removed host is given again: %s", got)
	}
}

// TestMachinesNeedAScheduler has no SCHED_MAD in the configuration.
func TestMachinesNeedAScheduler(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig)
	m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.is("<STATE>2</STATE>", "one.host.info", 0)
	m.ask("one.vm.allocate", "CPU = 1\nMEMORY = 64", 0)
	m.ask("one.host.allocate", "h2", "dummy", "dummy", -1)
	m.is("<STATE>2</STATE>", "one.host.info", 1)
	m.is("<STATE>1</STATE>", "one.vm.info", 0)
	if log := m.path("/var/log/one/0.log"); m.exists("/var/log/one/0.log") {
		t.Errorf("the machine has a log: %s", log)
	}
}

// TestHostsNeedDrivers has hosts whose drivers are not configured, or whose probes are not there.
func TestHostsNeedDrivers(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	if err := os.Remove(m.path("/var/lib/one/remotes/im/dummy-probes.d/vm/status")); err != nil {
		t.Fatal(err)
	}
	stop := m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.is("<STATE>3</STATE>", "one.host.info", 0)
	stop()
	m.mkdir("/var/lib/one/remotes/im/dummy-probes.d/vm/status")
	if err := os.RemoveAll(m.path("/var/tmp")); err != nil {
		t.Fatal(err)
	}
	m.write("/var/tmp", "not a directory, as nothing can be made there on a read-only file system")
	stop = m.start()
	waitFor(t, "a host to be logged whose monitoring has no place to write to", func() bool {
		return strings.Contains(m.read("/var/log/one/oned.log"), "/var/tmp: not a directory")
	})
	m.is("<STATE>3</STATE>", "one.host.info", 0)
	stop()
	m.remove("/var/tmp")
	m.start()
	m.is("<STATE>2</STATE>", "one.host.info", 0)
	m.write("/etc/one/monitord.conf", "NETWORK = [ ADDRESS = \"::\", PORT = 4124 ]\n")
	m.ask("one.host.allocate", "h2", "dummy", "dummy", -1)
	waitFor(t, "a host without a driver to be logged", func() bool {
		return strings.Contains(m.read("/var/log/one/oned.log"), "[HMM][E]: start_monitor: Cannot find driver dummy")
	})
	m.is("<STATE>0</STATE>", "one.host.info", 1)
}

// TestMachinesThatCannotStart has one on a datastore that does not reach the host, and one without the driver of its host.
func TestMachinesThatCannotStart(t *testing.T) {
	m := newObjectsMachine(t, strings.Replace(objectsConfig, `NAME = "dummy", EXECUTABLE`, `NAME = "another", EXECUTABLE`, 1)+scheduler)
	m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.vm.allocate", "CPU = 1\nMEMORY = 64", 0)
	m.is("<STATE>3</STATE><LCM_STATE>39</LCM_STATE>", "one.vm.info", 0)
	m.ask("one.vm.allocate", "CPU = 9\nMEMORY = 64", 0)
	m.is("<SCHED_MESSAGE><![CDATA[Fri Apr  3 02:01:00 2026: Cannot dispatch VM: 0 hosts and 1 system datastores meet its requirements]]></SCHED_MESSAGE>", "one.vm.info", 1)
	m.ask("one.vm.recover", 1, 3)
	m.ask("one.datastore.allocate", "NAME = vms\nTYPE = SYSTEM_DS\nTM_MAD = dummy", -1)
	m.ask("one.vm.allocate", "CPU = 1\nMEMORY = 64\nSCHED_DS_REQUIREMENTS = \"NAME=vms\"", 0)
	m.is("<STATE>3</STATE><LCM_STATE>36</LCM_STATE>", "one.vm.info", 2)
	m.ask("one.vm.action", "terminate-hard", 2)
	m.is(done, "one.vm.info", 2)
	m.ask("one.vm.recover", 0, 3)
	m.is(done, "one.vm.info", 0)
	m.refused("[one.vm.recover] This action is not available for state DONE", "2048", "one.vm.recover", 0, 3)
}

// TestNewDatabaseHasObjects has what oned makes itself.
func TestNewDatabaseHasObjects(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig)
	stop := m.start()
	for range 2 {
		if got, want := m.sql("SELECT oid, name, uid, gid, owner_u, group_u, other_u FROM datastore_pool"), "0|system|0|0|1|1|0\n1|default|0|0|1|1|0\n2|files|0|0|1|1|0\n"; got != want {
			t.Errorf("datastores: %q, want %q", got, want)
		}
		if got := m.sql("SELECT oid, name, owner_u, group_u, other_u FROM secgroup_pool"); got != "0|default|1|1|1\n" {
			t.Errorf("security groups: %q", got)
		}
		if got := m.sql("SELECT count(*) FROM acl"); got != "3\n" {
			t.Errorf("%s rules of access", got)
		}
		if diff := cmp.Diff(shape(strings.TrimSpace(recorded(t, "7.0.1", "cluster.xml"))), shape(strings.TrimSpace(m.sql("SELECT body FROM cluster_pool")))); diff != "" {
			t.Errorf("the cluster is unlike OpenNebula's (-theirs +ours):\n%s", diff)
		}
		stop()
		stop = m.start()
	}
}

// TestObjectsOfUsers has a user who may make some kinds of objects, and sees those of others only when they let him.
func TestObjectsOfUsers(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig)
	m.start()
	m.ask("one.user.allocate", "bob", "his", "")
	for _, call := range [][]any{
		{"[one.host.allocate] User [2] : Not authorized to perform CREATE HOST.", "512", "one.host.allocate", "h", "dummy", "dummy", -1},
		{"[one.vm.info] Error getting virtual machine [7].", "1024", "one.vm.info", 7},
	} {
		if answer := m.askAs("bob:his", call[2].(string), call[3:]...); answer[0] != "0" || answer[1] != call[0] || answer[2] != call[1] {
			t.Errorf("%v answers %q", call, answer)
		}
	}
	m.ask("one.vm.allocate", "NAME = oneadmins\nCPU = 1\nMEMORY = 64", 0)
	if answer := m.askAs("bob:his", "one.vm.info", 0); answer[1] != "[one.vm.info] User [2] : Not authorized to perform USE VM [0]." {
		t.Errorf("bob is told of another's machine: %q", answer)
	}
	if answer := m.askAs("bob:his", "one.vm.allocate", "NAME = bobs\nCPU = 1\nMEMORY = 64", 0); answer[0] != "1" {
		t.Fatalf("bob cannot make a machine: %q", answer)
	}
	if answer := m.askAs("bob:his", "one.vmpool.info", -2, -1, -1, -1); strings.Contains(answer[1], "oneadmins") || !strings.Contains(answer[1], "<NAME>bobs</NAME>") {
		t.Errorf("bob sees %q", answer)
	}
	if shown := m.ask("one.vm.info", 1); !strings.Contains(shown, "<UID>2</UID><GID>1</GID><UNAME>bob</UNAME><GNAME>users</GNAME>") {
		t.Errorf("bob's machine is not his: %s", shown)
	}
}

// TestDisks has machines with an image, which is in use for as long, and one whose address is the last.
func TestDisks(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.datastore.allocate", "NAME = images\nDS_MAD = dummy\nTM_MAD = dummy", -1)
	m.ask("one.image.allocate", "NAME = disk\nPATH = /etc/hostname", 100)
	m.ask("one.vn.allocate", "NAME = net1\nVN_MAD = dummy\nBRIDGE = br0\nAR = [ TYPE = IP4, IP = 10.1.1.255, SIZE = 2 ]", -1)
	m.is("<STATE>1</STATE>", "one.image.info", 0)
	const template = "CPU = 1\nMEMORY = 64\nDISK = [ IMAGE = disk ]\nNIC = [ NETWORK_ID = 0 ]"
	for i, address := range []string{"10.1.1.255", "10.1.2.0"} {
		m.ask("one.vm.allocate", template, 0)
		if vm := m.is(running, "one.vm.info", i); !strings.Contains(vm, "<IP><![CDATA["+address+"]]></IP>") || !strings.Contains(vm, "<IMAGE_ID><![CDATA[0]]></IMAGE_ID>") {
			t.Errorf("machine %d lacks %s or its image: %s", i, address, vm)
		}
	}
	m.refused("[one.image.allocate] Error allocating a new image. NAME is already taken by IMAGE 0.", "16384", "one.image.allocate", "NAME = disk\nPATH = /x", 100)
	m.refused("[one.vm.allocate] Cannot get IP/MAC lease from virtual network 0.", "8192", "one.vm.allocate", template, 0)
	m.is("<STATE>2</STATE>", "one.image.info", 0)
	m.refused("[one.image.delete] Cannot delete image. There are 2 VMs using it.", "2048", "one.image.delete", 0)
	m.refused("[one.vn.delete] Cannot delete virtual network. Can not remove a virtual network with leases in use", "2048", "one.vn.delete", 0)
	m.refused("[one.datastore.delete] Cannot delete datastore. Datastore 100 is not empty.", "2048", "one.datastore.delete", 100)
	for i := range 2 {
		m.ask("one.vm.action", "terminate", i)
		m.is(done, "one.vm.info", i)
	}
	m.ask("one.image.delete", 0)
	waitFor(t, "the image to be removed", func() bool { return m.askAs("oneadmin:first secret", "one.image.info", 0)[0] == "0" })
	m.ask("one.vn.delete", 0)
	m.ask("one.datastore.delete", 100)
	m.refused("[one.vm.allocate] User 0 does not own a image with name: disk. Set IMAGE_UNAME or IMAGE_UID of owner in DISK.", "8192", "one.vm.allocate",
		"CPU = 1\nMEMORY = 64\nDISK = [ IMAGE = disk ]", 0)
}

func TestObjectRefusals(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig)
	m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.template.allocate", "NAME = bare")
	for _, call := range [][]any{
		{"[one.host.allocate] NAME is already taken by HOST 0.", "8192", "one.host.allocate", "h1", "dummy", "dummy", -1},
		{"[one.host.allocate] VMM_MAD_NAME cannot be empty.", "8192", "one.host.allocate", "h2", "dummy", "", -1},
		{"[one.vm.allocate] MEMORY attribute must be a positive integer value.", "8192", "one.vm.allocate", "CPU = 1", 0},
		{"[one.vm.allocate] CPU attribute must be a positive float or integer value.", "8192", "one.vm.allocate", "MEMORY = 64\nCPU = none", 0},
		{`[one.datastore.allocate] TM_MAD named "nfs" is not defined in oned.conf`, "8192", "one.datastore.allocate", "NAME = x\nDS_MAD = fs\nTM_MAD = nfs", -1},
		{"[one.datastore.delete] Error getting datastore [5].", "1024", "one.datastore.delete", 5},
		{"[one.image.allocate] Error allocating a new image. New images can only be allocated in a files or image datastore.", "16384", "one.image.allocate", "NAME = i\nPATH = /x", 0},
		{"[one.template.instantiate] Error allocating a new virtual machine template. MEMORY attribute must be a positive integer value.", "16384", "one.template.instantiate", 0},
		{`[one.vm.action] Action "explode" is not supported`, "2048", "one.vm.action", "explode", 0},
	} {
		if call[2] == "one.vm.action" {
			m.ask("one.vm.allocate", "CPU = 1\nMEMORY = 64", 0)
		}
		m.refused(call[0].(string), call[1].(string), call[2].(string), call[3:]...)
	}
}

// TestTemplates has values that are hard to read, and has them back as they were.
func TestTemplates(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig)
	m.start()
	id := m.ask("one.template.allocate", "# a comment\nname = \"odd\"\ncpu = 1 # one\nSTART = \"a \\\"quoted\\\" \\n, with ]]> and 'x'\n2nd line\"\n"+
		"NIC = [\n  network = n,\n  # none\n  MODEL = \"virtio, or not\" ]\nNIC = [ NETWORK = m ]\nEMPTY =\nLAST = x")
	type attribute struct {
		XMLName xml.Name
		Text    string      `xml:",chardata"`
		Members []attribute `xml:",any"`
	}
	var shown struct {
		Name string `xml:"NAME"`
		All  struct {
			List []attribute `xml:",any"`
		} `xml:"TEMPLATE"`
	}
	if err := xml.Unmarshal([]byte(m.ask("one.template.info", 0)), &shown); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range shown.All.List {
		got = append(got, a.XMLName.Local+"="+a.Text)
		for _, member := range a.Members {
			got = append(got, a.XMLName.Local+"/"+member.XMLName.Local+"="+member.Text)
		}
	}
	want := []string{
		"CPU=1", "EMPTY=", "LAST=x", "NIC=", "NIC/MODEL=virtio, or not", "NIC/NETWORK=n", "NIC=", "NIC/NETWORK=m",
		"START=a \"quoted\" \\n, with ]]> and 'x'\n2nd line",
	}
	if diff := cmp.Diff(want, got); diff != "" || id != "0" || shown.Name != "odd" {
		t.Errorf("template %s %s (-want +got):\n%s", id, shown.Name, diff)
	}
	for _, bad := range []string{"no value", "A = [ B = 1", "A = \"open", "<A><B></A>"} {
		if answer := m.askAs("oneadmin:first secret", "one.template.allocate", bad); answer[0] != "0" || !strings.Contains(answer[1], "[one.template.allocate]") {
			t.Errorf("%q is taken for a template: %q", bad, answer)
		}
	}
}

// TestDocuments has the objects that OneFlow keeps its own in.
func TestDocuments(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig)
	m.start()
	body := `{"name":"a \"b\"","deployment":"straight"}`
	for i, kind := range []int{101, 100, 100} {
		if got := m.ask("one.document.allocate", fmt.Sprintf("<TEMPLATE><NAME>d%d</NAME><BODY><![CDATA[%s]]></BODY></TEMPLATE>", i, body), kind); got != fmt.Sprint(i) {
			t.Fatalf("document %d has id %s", i, got)
		}
	}
	if shown := m.ask("one.document.info", 1); !strings.Contains(shown, "<TYPE>100</TYPE><PERMISSIONS>") || !strings.Contains(shown, "<BODY><![CDATA["+body+"]]></BODY>") {
		t.Errorf("the document is %s", shown)
	}
	m.ask("one.document.update", 1, "<TEMPLATE><STATE>2</STATE></TEMPLATE>", 1)
	if shown := m.ask("one.document.info", 1); !strings.Contains(shown, "<TEMPLATE><BODY><![CDATA["+body+"]]></BODY><STATE><![CDATA[2]]></STATE></TEMPLATE>") {
		t.Errorf("the changed document is %s", shown)
	}
	m.ask("one.document.delete", 2)
	names := func(kind int) []string {
		found := regexp.MustCompile("<NAME>(.*?)</NAME>").FindAllStringSubmatch(m.ask("one.documentpool.info", -2, -1, -1, kind), -1)
		var names []string
		for _, name := range found {
			names = append(names, name[1])
		}
		return names
	}
	if got := [][]string{names(100), names(101), names(1)}; !slices.EqualFunc(got, [][]string{{"d1"}, {"d0"}, nil}, slices.Equal) {
		t.Errorf("documents by type: %q", got)
	}
	if got := m.sql("SELECT oid, name, type FROM document_pool"); got != "0|d0|101\n1|d1|100\n" {
		t.Errorf("rows of documents: %q", got)
	}
}

// TestObjectsOnMySQL has values that MySQL reads otherwise than SQLite.
func TestObjectsOnMySQL(t *testing.T) {
	port := mysqlServer(t)
	m := newMachine(t, "7.0.1")
	m.write("/etc/one/oned.conf", fmt.Sprintf(`DB = [ BACKEND = "mysql", SERVER = "127.0.0.1", PORT = %d, USER = "oneadmin", PASSWD = "secret", DB_NAME = "one0" ]`, port))
	m.addDrivers(objectsConfig + scheduler)
	m.start()
	body := `{"name":"a \"b\" 'c' \\ \n"}` + "\n2nd line"
	m.ask("one.document.allocate", "<TEMPLATE><NAME>d</NAME><BODY><![CDATA["+body+"]]></BODY></TEMPLATE>", 100)
	if shown := m.ask("one.document.info", 0); !strings.Contains(shown, "<BODY><![CDATA["+body+"]]></BODY>") {
		t.Errorf("the document is %s", shown)
	}
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.vm.allocate", "CPU = 1\nMEMORY = 64", 0)
	m.is(running, "one.vm.info", 0)
	m.ask("one.vm.action", "terminate", 0)
	m.is(done, "one.vm.info", 0)
	m.ask("one.vmpool.calculateshowback", -1, -1, -1, -1)
	got, err := mysql(port, 0, "SELECT JSON_VALUE(body_json, '$.VM.NAME'), state FROM vm_pool; SELECT COUNT(*) FROM history; SELECT vmid FROM vm_showback")
	if err != nil || strings.TrimSpace(got) != "one-0\t6\n1\n0" {
		t.Errorf("rows %q, %v", got, err)
	}
}

// TestClusterReplicatesObjects makes objects at a follower, and looks for them at all servers and after a change of the leader.
func TestClusterReplicatesObjects(t *testing.T) {
	c := newCluster(t, testTimes)
	for _, m := range c.members {
		m.addDrivers(objectsConfig + scheduler)
	}
	c.start()
	leader := c.leader()
	ask := func(m *member, method string, params ...any) string {
		t.Helper()
		answer, err := m.call(method, params...)
		if err != nil || answer[0] != "1" {
			t.Fatalf("%s%v at server %d: %q, %v", method, params, m.id, answer, err)
		}
		return answer[1]
	}
	follower := c.followers(leader)[0]
	ask(follower, "one.host.allocate", "h1", "dummy", "dummy", -1)
	ask(follower, "one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	ask(follower, "one.vm.allocate", "NAME = v0\nCPU = 1\nMEMORY = 64", 0)
	for _, m := range c.members {
		waitFor(t, fmt.Sprintf("the machine to run, as server %d sees it", m.id), func() bool {
			answer, err := m.call("one.vm.info", 0)
			return err == nil && strings.Contains(answer[1], running)
		})
	}
	c.converge()
	leader.kill()
	leader = c.leader()
	ask(leader, "one.vm.action", "terminate", 0)
	waitFor(t, "the machine to end", func() bool { return strings.Contains(ask(leader, "one.vm.info", 0), done) })
	ask(leader, "one.vm.allocate", "NAME = v1\nCPU = 1\nMEMORY = 64", 0)
	waitFor(t, "another machine to run", func() bool { return strings.Contains(ask(leader, "one.vm.info", 1), running) })
}

// TestUpgradeKeepsObjects has a machine that runs through an upgrade of the schema and a restart, and ends after them.
func TestUpgradeKeepsObjects(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	stop := m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.vm.allocate", "NAME = v0\nCPU = 1\nMEMORY = 64", 0)
	before := m.is(running, "one.vm.info", 0)
	stop()
	m.write("/usr/share/one/VERSION", "7.2.0\n")
	for _, tables := range []string{"shared", "local"} {
		m.write("/usr/lib/one/ruby/onedb/"+tables+"/7.0.0_to_7.2.0.rb", "")
	}
	m.wantSuccess("onedb", "upgrade", "-v")
	m.start()
	if after := m.ask("one.vm.info", 0); after != before {
		t.Errorf("the machine was %s, and is %s", before, after)
	}
	m.is("<STATE>2</STATE>", "one.host.info", 0)
	m.ask("one.vm.action", "terminate", 0)
	m.is(done, "one.vm.info", 0)
}

// TestMachinesThatWereCutOff has one that was on its way when oned ended: it stays where it was, as with OpenNebula, until somebody removes it.
func TestMachinesThatWereCutOff(t *testing.T) {
	m := newObjectsMachine(t, objectsConfig+scheduler)
	stop := m.start()
	m.ask("one.host.allocate", "h1", "dummy", "dummy", -1)
	m.ask("one.datastore.update", 0, "TYPE = SYSTEM_DS\nTM_MAD = dummy", 1)
	m.ask("one.vm.allocate", "NAME = v0\nCPU = 1\nMEMORY = 64", 0)
	m.is(running, "one.vm.info", 0)
	stop()
	m.sql("UPDATE vm_pool SET lcm_state = 2, body = replace(body, '<LCM_STATE>3<', '<LCM_STATE>2<')")
	m.start()
	m.ask("one.vm.allocate", "NAME = v1\nCPU = 1\nMEMORY = 64", 0)
	m.is(running, "one.vm.info", 1)
	m.is("<STATE>3</STATE><LCM_STATE>2</LCM_STATE>", "one.vm.info", 0)
	m.refused(`[one.vm.action] Error performing action "terminate": Could not terminate VM 0, wrong state BOOT.`, "2048", "one.vm.action", "terminate", 0)
	m.ask("one.vm.recover", 0, 3)
	m.is(done, "one.vm.info", 0)
}
