package kube

import "opennebula-kube/dev/toolchain"

// needs are the programs that the node runs and that Kubernetes does not bring.
func needs() []toolchain.Need {
	return []toolchain.Need{
		{Command: "containerd", Package: "containerd"},
		{Command: "ctr", Package: "containerd"},
		{Command: "containerd-shim-runc-v2", Package: "containerd"},
		{Command: "runc", Package: "runc"},
		{Command: "iptables", Package: "iptables"},
		{Command: "mount", Package: "mount"},
		{File: "/usr/lib/cni/ptp", Package: "containernetworking-plugins"},
		{File: "/usr/lib/cni/host-local", Package: "containernetworking-plugins"},
		{File: "/usr/lib/cni/loopback", Package: "containernetworking-plugins"},
	}
}
