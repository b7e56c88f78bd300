package startup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
)

const (
	withIPv6 = "fd000000000000000000000000000007 02 40 00 80     eth0\n"
	linkOnly = "fe800000000000000000000000000007 02 40 20 80     eth0\n"
	withIPv4 = "Iface\tDestination\tGateway\neth0\t00000000\t0100000A\n"
	// grpcListen is there from 7.2 on.
	grpcListen = `GRPC_LISTEN_ADDRESS = "0.0.0.0"`

	noIPv4 = "Iface\tDestination\tGateway\n"
)

func TestConfiguration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		set  func(s *settings.Settings)
		// files of the kernel's
		inet6, route string
		// want is what the files have, by file: old, new. Nothing else may differ from what is installed.
		want map[string][][2]string
	}{
		{
			name: "defaults", set: func(*settings.Settings) {}, inet6: withIPv6 + linkOnly, route: withIPv4,
			want: map[string][][2]string{
				"fireedge-server.conf": {{"debug_level: 2", "debug_level: 0"}},
				"oneflow-server.conf":  {{"127.0.0.1", `"0.0.0.0"`}},
				"onegate-server.conf":  {{"127.0.0.1", `"0.0.0.0"`}},
				"monitord.conf":        {{"debug_level = 3", "debug_level = 2"}},
				"oned.conf":            {{"DEBUG_LEVEL = 3", "DEBUG_LEVEL = 2"}, {"\"http://frontend:5030\"\n", "\"http://frontend:5030\"\nHOSTNAME = \"one-0.one.default.svc.cluster.local\"\n"}},
			},
		},
		{
			name: "all", inet6: withIPv6, route: withIPv4,
			set: func(s *settings.Settings) {
				s.Database = settings.Database{Backend: "mysql", Host: "db", Port: 3307, User: "one", Password: "p #]", Name: "onedb", Connections: 50}
				s.Hostname, s.MonitorAddress, s.OneGateEndpoint, s.LogLevel = "front.example.org", "192.0.2.9", "http://192.0.2.9:5030", 4
				s.FireEdge, s.OneFlow, s.OneGate = settings.Listen{Address: "::", Port: 80}, settings.Listen{Port: 2475}, settings.Listen{Address: "10.0.0.7", Port: 5031}
			},
			want: map[string][][2]string{
				"fireedge-server.conf": {{"'0.0.0.0'", `"::"`}, {"2616", "80"}, {"'http://localhost:2474'", `"http://localhost:2475"`}, {"debug_level: 2", "debug_level: 5"}},
				"oneflow-server.conf":  {{"127.0.0.1", `"0.0.0.0"`}, {"2474", "2475"}, {":level: 2", ":level: 3"}},
				"onegate-server.conf":  {{"127.0.0.1", `"10.0.0.7"`}, {"5030", "5031"}, {"http://localhost:2474", `"http://localhost:2475"`}, {":level: 2", ":level: 3"}},
				"monitord.conf":        {{"debug_level = 3", "debug_level = 4"}, {`"auto"`, `"192.0.2.9"`}},
				"oned.conf": {
					{"DEBUG_LEVEL = 3", "DEBUG_LEVEL = 4"},
					{"[ BACKEND = \"sqlite\",\n       TIMEOUT = 2500 ]", "[\n    BACKEND = \"mysql\",\n    SERVER = \"db\",\n    PORT = 3307,\n    USER = \"one\",\n" +
						"    PASSWD = \"p #]\",\n    DB_NAME = \"onedb\",\n    CONNECTIONS = 50,\n    COMPARE_BINARY = \"no\"\n]"},
					{"\"http://frontend:5030\"\n", "\"http://frontend:5030\"\nHOSTNAME = \"front.example.org\"\nONEGATE_ENDPOINT = \"http://192.0.2.9:5030\"\n"},
				},
			},
		},
		{
			name: "IPv4 only", set: func(s *settings.Settings) { s.LogLevel, s.Hostname = 3, "a" }, route: withIPv4,
			want: map[string][][2]string{
				"monitord.conf": {{`"::"`, `"0.0.0.0"`}}, "oneflow-server.conf": {{"127.0.0.1", `"0.0.0.0"`}, {":level: 2", ":level: 3"}},
			},
		},
		{
			name: "IPv6 only", set: func(s *settings.Settings) { s.LogLevel, s.Hostname = 3, "a" }, inet6: linkOnly + withIPv6, route: noIPv4,
			want: map[string][][2]string{
				"monitord.conf":        {},
				"oned.conf":            {{"\nLISTEN_ADDRESS = \"0.0.0.0\"", "\nLISTEN_ADDRESS = \"::\""}, {grpcListen, "GRPC_LISTEN_ADDRESS = \"[::]\""}, {"\"http://frontend:5030\"\n", "\"http://frontend:5030\"\nHOSTNAME = \"a\"\n"}},
				"fireedge-server.conf": {{"'0.0.0.0'", `"::"`}, {"debug_level: 2", "debug_level: 5"}},
				"oneflow-server.conf":  {{"127.0.0.1", `"::"`}, {":level: 2", ":level: 3"}},
			},
		},
		{
			name: "no network", set: func(s *settings.Settings) { s.LogLevel = 2 }, inet6: linkOnly, route: noIPv4,
			want: map[string][][2]string{"oneflow-server.conf": {{"127.0.0.1", `"0.0.0.0"`}}, "guacd": {}},
		},
		{
			name: "overrides", inet6: withIPv6, route: withIPv4,
			set: func(s *settings.Settings) {
				s.Overrides = []settings.Override{
					{File: "/etc/one/monitord.conf", Key: "PROBES_PERIOD/BEACON_HOST", Value: "60"},
					{File: "/etc/one/monitord.conf", Key: "LOG/DEBUG_LEVEL", Value: "5"},
					{File: "/etc/one/oneflow-server.conf", Key: ":log/:level", Value: "0"},
					{File: "/etc/one/oneflow-server.conf", Key: ":page_size", Value: "[1, a]"},
					{File: onedConf, Key: "VM_MAD[NAME=dummy]/EXECUTABLE", Value: "one_vmm_dummy"},
					{File: onedConf, Key: "VM_MAD[NAME=dummy]/TYPE", Value: "xml"},
					{File: onedConf, Key: "VM_RESTRICTED_ATTR[]", Value: "NIC/MAC"},
					{File: "/etc/one/guacd", Key: "OPTS", Value: `"-b ::1 -l 4822"`},
				}
			},
			want: map[string][][2]string{
				"monitord.conf":       {{"debug_level = 3", "debug_level = 5"}, {"4124\n]\n", "4124\n]\nPROBES_PERIOD = [\n    BEACON_HOST = 60\n]\n"}},
				"oneflow-server.conf": {{"127.0.0.1", `"0.0.0.0"`}, {":level: 2", ":level: 0"}, {"'file'\n", "'file'\n:page_size:\n  - 1\n  - \"a\"\n"}},
				"guacd":               {{"-b 127.0.0.1", "-b ::1"}},
				"oned.conf": {
					{"DEBUG_LEVEL = 3", "DEBUG_LEVEL = 2"},
					{"\"http://frontend:5030\"\n", "\"http://frontend:5030\"\nHOSTNAME = \"one-0.one.default.svc.cluster.local\"\n" +
						"VM_MAD = [\n    NAME = \"dummy\",\n    EXECUTABLE = \"one_vmm_dummy\",\n    TYPE = \"xml\"\n]\nVM_RESTRICTED_ATTR = \"NIC/MAC\"\n"},
				},
			},
		},
	} {
		for _, version := range []string{"7.0.1", "7.2.0", "7.3.80", "7.4.0"} {
			t.Run(c.name+" "+version, func(t *testing.T) {
				m := newMachine(t, version)
				c.set(&m.settings)
				if c.inet6 != "" {
					m.write("/proc/net/if_inet6", c.inet6)
				}
				m.write("/proc/net/route", c.route)
				s, err := New(m.host, m.settings, nil)
				if err != nil {
					t.Fatal(err)
				}
				// Twice: the second time there is nothing to change.
				for range 2 {
					if err := s.configuration(t.Context()); err != nil {
						t.Fatal(err)
					}
					for file, changes := range c.want {
						want := configFiles(version)[file]
						for _, change := range changes {
							if change[0] == grpcListen && strings.HasPrefix(version, "7.0") {
								continue
							}
							if !strings.Contains(want, change[0]) {
								t.Fatalf("%q is not in %s", change[0], file)
							}
							want = strings.Replace(want, change[0], change[1], 1)
						}
						if diff := cmp.Diff(want, m.read("/etc/one/"+file)); diff != "" {
							t.Errorf("%s (-want +got):\n%s", file, diff)
						}
					}
				}
				if info, err := os.Stat(m.host.Path(onedConf)); err != nil || info.Mode() != 0o640 || m.owner(m.host.Path(onedConf)) != (host.Owner{GID: 9869}) {
					t.Errorf("oned.conf: %v, %v, owner %v, want 0640 of root and oneadmin", info.Mode(), err, m.owner(m.host.Path(onedConf)))
				}
			})
		}
	}
}

// A selector that fits nothing may be misspelt, so the log names the list that is added.
func TestConfigurationLogsNewLists(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.settings.Overrides = []settings.Override{
		{File: onedConf, Key: "VM_MAD[NAME=kmv]/ARGUMENTS", Value: "-t 30"},
		{File: onedConf, Key: "VM_MAD[NAME=lxc]/ARGUMENTS", Value: "-t 30"},
	}
	m.boot()
	if !m.logged(onedConf+" has no VM_MAD with NAME = kmv: adding one") || m.logged("NAME = lxc") {
		t.Error("the log must name the list that was added, and no other")
	}
}

func TestConfigurationOfDrivers(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.settings.TProxy = []settings.TProxy{{ServicePort: 5030, RemoteAddr: "gate.example.org", RemotePort: 5031}}
	m.settings.Overrides = []settings.Override{{File: networkConf, Key: ":keep_empty_bridge", Value: "true"}}
	want := strings.Replace(networkConfText, "false", "true", 1) +
		":tproxy:\n  - :service_port: 5030\n    :remote_addr: \"gate.example.org\"\n    :remote_port: 5031\n"
	for range 2 {
		m.boot()
		if diff := cmp.Diff(want, m.read(networkConf)); diff != "" {
			t.Errorf("file (-want +got):\n%s", diff)
		}
	}
}

func TestConfigurationRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(m *machine)
		want   []string
	}{
		"override of no file": {func(m *machine) {
			m.settings.Overrides = []settings.Override{{File: "/etc/one/none.conf", Key: "A", Value: "1"}}
		}, []string{"OPENNEBULA_CONFIG", "/etc/one/none.conf", "no such file"}},
		"override of many": {func(m *machine) {
			m.settings.Overrides = []settings.Override{{File: onedConf, Key: "VM_MAD/ARGUMENTS", Value: "1"}}
		}, []string{"OPENNEBULA_CONFIG", "VM_MAD[NAME=value]"}},
		"override with a bad key": {func(m *machine) {
			m.settings.Overrides = []settings.Override{{File: onedConf, Key: "A/B/C", Value: "1"}}
		}, []string{"OPENNEBULA_CONFIG", `"A/B/C" is not a key`}},
		"OneGate's file of an unknown form": {func(m *machine) {
			m.write(onegateConf, ":port: 5030\n")
		}, []string{onegateConf, ":server", ":host", "7.2.0"}},
		"broken file": {func(m *machine) { m.write(onedConf, "DB = [\n") }, []string{onedConf + ":1", "closing ]"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "7.2.0")
			c.change(m)
			err := m.start()
			for _, want := range append(c.want, "failed to write the configuration") {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestSSHKeys(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.write("/usr/share/one/ssh/config", "Host *\n")
	kinds := make(map[string]string)
	run := m.host.Run
	m.host.Run = func(ctx context.Context, c host.Command) (string, error) {
		if i := slices.Index(c.Args, "-t"); c.Args[0] == "ssh-keygen" && i >= 0 {
			kinds[strings.TrimPrefix(outputOf(c), m.host.Root)] = c.Args[i+1]
		}
		return run(ctx, c)
	}
	m.boot()
	// What oneuser and onezone look for, and of the only kind that Ruby reads.
	if got := kinds[sshDir+"/id_rsa.new"]; got != "rsa" {
		t.Errorf("keys %v, want an RSA key for oneadmin", kinds)
	}
	public := m.read(sshDir + "/id_rsa.pub")
	if got := m.read(sshDir + "/authorized_keys"); got != public || !strings.HasPrefix(got, "ssh-ed25519 ") {
		t.Errorf("authorized_keys %q, want the public key %q", got, public)
	}
	if got := m.read(sshDir + "/config"); got != "Host *\n" {
		t.Errorf("config %q, want the one installed", got)
	}
	hostKey := m.read(hostKeyDir + "/ssh_host_ed25519_key")

	m.write(sshDir+"/authorized_keys", "ssh-rsa AAAA somebody")
	m.write(sshDir+"/config", "Host mine\n")
	m.boot()
	if got := m.read(sshDir + "/authorized_keys"); got != "ssh-rsa AAAA somebody\n"+public {
		t.Errorf("authorized_keys %q, want somebody's key and %q", got, public)
	}
	if got := m.read(sshDir + "/config"); got != "Host mine\n" {
		t.Errorf("config %q, want what somebody wrote", got)
	}
	if got := m.read(hostKeyDir + "/ssh_host_ed25519_key"); got != hostKey {
		t.Error("a restart changed the host key")
	}

	t.Run("from the settings", func(t *testing.T) {
		other := newMachine(t, "7.2.0")
		other.settings.SSH = settings.SSH{PrivateKey: strings.TrimSpace(m.read(sshDir + "/id_rsa")), KnownHosts: "kvm1 ssh-ed25519 x\n"}
		other.boot()
		if got := strings.Fields(other.read(sshDir + "/authorized_keys")); got[1] != strings.Fields(public)[1] {
			t.Errorf("authorized_keys %q, want the key %q", got, public)
		}
		if got := other.read(sshDir + "/known_hosts"); got != "kvm1 ssh-ed25519 x\n" {
			t.Errorf("known_hosts %q", got)
		}
	})
	t.Run("no key", func(t *testing.T) {
		other := newMachine(t, "7.2.0")
		other.settings.SSH.PrivateKey = "-----BEGIN NOTHING-----"
		if err := other.start(); err == nil || !strings.Contains(err.Error(), "without a passphrase") {
			t.Errorf("error %v, want one about the key", err)
		}
	})
}

func TestDrivers(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.0.1")
	m.boot()
	const changedConfig = "# changed\n:keep_empty_bridge: true\n"
	m.write(networkConf, changedConfig)
	m.write(driverDir+"/im/local.rb", "local")
	m.write(driverDir+"/im/same.rb", "changed")
	m.write(driverDir+"/im/probe.rb", "changed too")
	m.boot()
	if got := m.read(driverDir + "/im/probe.rb"); got != "changed too" || !m.logged("kept: im/probe.rb, im/same.rb") {
		t.Errorf("im/probe.rb %q, want the local change, for the image has no other", got)
	}
	m.install("7.2.0")
	m.boot()
	for file, want := range map[string]string{
		"im/probe.rb": "probe of 7.2.0", "im/same.rb": "changed", "im/local.rb": "local", "only-7.2.0": "x", "etc/vnm/OpenNebulaNetwork.conf": changedConfig,
	} {
		if got := m.read(driverDir + "/" + file); got != want {
			t.Errorf("%s %q, want %q", file, got, want)
		}
	}
	if _, err := os.Stat(m.host.Path(driverDir + "/only-7.0.1")); err == nil {
		t.Error("a driver that 7.2.0 does not have is still there")
	}
	if got := m.read(replacedDir + "/20260501T120000Z/im/probe.rb"); got != "changed too" {
		t.Errorf("the copy of the driver that was changed and replaced: %q", got)
	}
	for _, want := range []string{"kept: im/local.rb", replacedDir + "/20260501T120000Z): im/probe.rb"} {
		if !m.logged(want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	m.boot()
	if got := m.read(driverDir + "/im/same.rb"); got != "changed" {
		t.Errorf("im/same.rb %q after a restart, want the local change", got)
	}
}

func TestDriversOfUnknownOrigin(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.write(driverDir+"/im/probe.rb", "of another installation")
	m.boot()
	if got := m.read(driverDir + "/im/probe.rb"); got != "probe of 7.2.0" {
		t.Errorf("im/probe.rb %q", got)
	}
	if got := m.read(replacedDir + "/20260501T120000Z/im/probe.rb"); got != "of another installation" {
		t.Errorf("the copy: %q", got)
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	for hosts, want := range map[string]string{
		"":                              "one-0",
		"127.0.1.1 one-0.local one-0\n": "one-0",
		"10.0.0.7 one-0 one-0.x\n":      "one-0",
		"fd00::7 one-0.x one-0 # pod\n": "one-0.x",
		"# 10.0.0.7 one-0.x one-0\n":    "one-0",
		"10.0.0.1 one-1.x one-1\n10.0.0.7 a.b one-0": "a.b",
	} {
		m := newMachine(t, "7.2.0")
		m.write("/etc/hosts", hosts)
		s, err := New(m.host, m.settings, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.hostname(); got != want || err != nil {
			t.Errorf("hostname with /etc/hosts %q = %q, %v, want %q", hosts, got, err, want)
		}
	}
}

// TestConfigurationIsATree wants a mount at /etc/one that is empty to become what the image has there, with modes and owners, and what
// somebody has put there to stay.
func TestConfigurationIsATree(t *testing.T) {
	t.Parallel()
	group := host.Owner{GID: host.Oneadmin().GID}
	for _, c := range []struct {
		name   string
		change func(m *machine)
		// want are the modes that are not those of the image.
		want texts
	}{
		{"no mount", func(*machine) {}, nil},
		{"empty mount", func(m *machine) { m.mkdir(configDir, 0o777) }, nil},
		{"cut off", func(m *machine) {
			m.write(configDir+"/.guacd.12.new", "")
			m.mkdir(configDir+"/auth/.certificates.new", 0o755)
		}, texts{".": "drwxr-xr-x"}},
		{"directory of somebody's", func(m *machine) { m.mkdir(configDir+"/auth", 0o711) }, texts{".": "drwxr-xr-x", "auth": "drwx--x--x"}},
		{"link of somebody's", func(m *machine) { m.link("monitord.conf", configDir+"/guacd") }, texts{".": "drwxr-xr-x", "guacd": "Lrwxrwxrwx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "7.2.0")
			m.link("../guacd", installedConfig+"/auth/link")
			for _, name := range []string{"", "/auth/certificates", "/auth/link", "/guacd", "/oned.conf"} {
				inode, err := inodeOf(m.host.Path(installedConfig + name))
				if err != nil {
					t.Fatal(err)
				}
				m.owners[inode] = group
			}
			c.change(m)
			before := m.shape(configDir)
			m.boot()
			want := m.shape(installedConfig)
			// Settings go into it, secrets among them.
			want["oned.conf"] = "-rw-r----- " + fmt.Sprint(group) + " "
			for name := range c.want {
				want[name] = before[name]
			}
			if diff := cmp.Diff(want, m.shape(configDir)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", configDir, diff)
			}
			for name, mode := range c.want {
				if !strings.HasPrefix(want[name], mode) {
					t.Errorf("%s is %s, want %s: nothing is tested", name, want[name], mode)
				}
			}
		})
	}
}

// shape is the mode and the owner of a directory and all that is below it, and where links lead to.
func (m *machine) shape(dir string) texts {
	m.t.Helper()
	all := make(texts)
	root := m.host.Path(dir)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		target, _ := os.Readlink(path)
		name, err := filepath.Rel(root, path)
		all[name] = fmt.Sprintf("%v %v %s", info.Mode(), m.owner(path), target)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}
