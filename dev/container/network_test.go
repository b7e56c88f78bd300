package container_test

import (
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"opennebula-kube/dev/toolchain"
)

// network is one that containers can have in common. It is there until the end of the test.
type network struct{ path string }

// newNetwork makes a network with an interface eth0, and runs commands of a shell in it first.
func newNetwork(t *testing.T, commands string) network {
	t.Helper()
	n := newNamespace(t)
	n.mustRun(t, "set -e; ip link add eth0 type veth peer name node; "+commands+"; ip link set node up; ip link set eth0 up")
	return n
}

func (n network) mustRun(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("nsenter", "--net="+n.path, "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// join puts a container into the network.
func (n network) join(spec *specs.Spec) {
	for i := range spec.Linux.Namespaces {
		if spec.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			spec.Linux.Namespaces[i].Path = n.path
		}
	}
}

var socket = regexp.MustCompile(`(?m)^(tcp|udp)\s+\S+\s+\d+\s+\d+\s+(\S+)`)

// sockets are what listens in the network, as ss has it: * is all addresses of both families.
func (n network) sockets(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, match := range socket.FindAllStringSubmatch(n.mustRun(t, "ss --no-header --numeric --listening --tcp --udp"), -1) {
		all = append(all, match[1]+" "+match[2])
	}
	slices.Sort(all)
	return all
}

// withoutIPv6 is a kernel that was booted with ipv6.disable=1.
func withoutIPv6(spec *specs.Spec) {
	errno := uint(unix.EAFNOSUPPORT)
	spec.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Syscalls: []specs.LinuxSyscall{{
			Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: &errno,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: unix.AF_INET6, Op: specs.OpEqualTo}},
		}},
	}
}

// testNetworks runs the image where there is one family of addresses only.
func testNetworks(t *testing.T, built *images) {
	if err := built.tools.OSPackages(t.Context(), toolchain.Need{Command: "ip", Package: "iproute2"}); err != nil {
		t.Skip(err)
	}
	const noIPv6 = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; " +
		"ip addr add 10.0.0.7/24 dev eth0"
	loopback := []string{"tcp 127.0.0.1:2101", "tcp 127.0.0.1:2102", "tcp 127.0.0.1:4822"}
	everywhere := func(address string) []string {
		return []string{
			"tcp " + address + ":2474", "tcp " + address + ":2616", "tcp " + address + ":2633", "tcp " + address + ":2634",
			"tcp " + address + ":4124", "tcp " + address + ":5030", "udp " + address + ":4124",
		}
	}
	for _, c := range []struct {
		name, setup, hosts string
		adjust             func(*specs.Spec)
		want               []string
		address            string
	}{
		{"IPv6 switched off", noIPv6, "", nil, append(everywhere("0.0.0.0"), "tcp 0.0.0.0:22", "tcp [::]:22"), "10.0.0.7"},
		{"a kernel without IPv6", noIPv6, "", withoutIPv6, append(everywhere("0.0.0.0"), "tcp 0.0.0.0:22"), "10.0.0.7"},
		{
			"IPv6 only", "ip addr add fd00::7/64 dev eth0 nodad",
			// As kubelet writes it: the loopback interface has IPv4 always.
			"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nfd00::7 one-0.one.svc.cluster.local one-0\n", nil,
			append(everywhere("*"), "tcp 0.0.0.0:22", "tcp [::]:22"), "[fd00::7]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t, c.setup)
			container := run(t, options{
				image: built.get(t, middle), volume: t.TempDir(), hosts: c.hosts,
				adjust: func(spec *specs.Spec) {
					n.join(spec)
					if c.adjust != nil {
						c.adjust(spec)
					}
				},
			})
			container.ready(startLimit)
			for _, probe := range []string{"live", "startup", "ready"} {
				container.mustExec(asRoot, "one-container", "healthcheck", probe)
			}
			want := slices.Sorted(slices.Values(slices.Concat(c.want, loopback)))
			container.wantEventually(t, "the last service to listen", func() bool { return len(n.sockets(t)) >= len(want) })
			if diff := cmp.Diff(want, n.sockets(t)); diff != "" {
				t.Errorf("sockets (-want +got):\n%s", diff)
			}
			// The page is there when FireEdge reaches guacd.
			for page, status := range map[string]string{":2616/fireedge/guacamole": "200", ":2474/": "401", ":5030/": "401", ":2633/RPC2": "405"} {
				url := "http://" + c.address + page
				if got := n.mustRun(t, "curl --globoff --silent --output /dev/null --write-out '%{http_code}' "+url); got != status {
					t.Errorf("%s answers with status %s, want %s", url, got, status)
				}
			}
			container.mustExec(asOneadmin, "oneuser", "show", "0")
		})
	}
	t.Run("no IPv4 at all", func(t *testing.T) {
		// The hook driver of OpenNebula cannot do with less: the container has to end, with that reason.
		n := newNetwork(t, "ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr add fd00::7/64 dev eth0 nodad")
		c := run(t, options{image: built.get(t, middle), volume: t.TempDir(), hosts: "::1 localhost\nfd00::7 one-0\n", adjust: n.join})
		if status := c.wait(startLimit); status != 1 {
			t.Errorf("status %d, want 1", status)
		}
		c.wantLog("service oned keeps failing", "Driver initialization failed, expected INIT SUCCESS message")
	})
}
