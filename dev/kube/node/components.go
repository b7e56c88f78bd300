package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// The networks are the node's own; nobody else sees them.
	podNetwork     = "10.244.0.0/24"
	serviceNetwork = "10.96.0.0/16"
	// serviceNetwork6 is for Services that no pod has to reach: pods have no IPv6.
	serviceNetwork6 = "fd00:10:96::/112"
	dnsAddress      = "10.96.0.10"

	containerdSocket = "/run/containerd/containerd.sock"
	pauseImage       = "localhost/pause:1"
)

// node is what the flags say.
type node struct {
	dir     string
	address string
	port    int
	pods    bool
	bootID  string
}

func (n node) server() string { return "https://" + net.JoinHostPort(n.address, strconv.Itoa(n.port)) }

func (n node) pki(name string) string { return filepath.Join(n.dir, "pki", name) }

func (n node) config(name string) string { return filepath.Join(n.dir, "config", name) }

func (n node) kubeconfig(user string) string { return n.config(user + ".kubeconfig") }

// etcd is a socket, for the ports may be the machine's.
func (n node) etcd() string {
	if n.pods {
		return "unix:///run/etcd.sock"
	}
	return "unix://" + filepath.Join(n.dir, "etcd.sock")
}

// self is this program as one of its components.
func self(name string, args ...string) process {
	return process{name: name, args: append([]string{"/proc/self/exe", name}, args...)}
}

// first are the processes that wait for no other.
func (n node) first() []process {
	started := []process{
		// What it advertises is for others, of which there are none.
		self("etcd",
			"--name=node", "--data-dir="+filepath.Join(n.dir, "etcd"), "--listen-client-urls="+n.etcd(), "--listen-peer-urls="+n.etcd()+".peer",
			"--advertise-client-urls=http://localhost:2379", "--initial-cluster=node=http://localhost:2380", "--log-level=warn"),
		n.apiserver(),
	}
	if n.pods {
		started = append(started, process{name: "containerd", args: []string{"containerd", "--config", n.config("containerd.toml")}})
	}
	return started
}

func (n node) apiserver() process {
	services := serviceNetwork
	if !n.pods {
		services += "," + serviceNetwork6
	}
	args := []string{
		"--etcd-servers=" + n.etcd(), "--bind-address=" + n.address, "--advertise-address=" + n.address, "--secure-port=" + strconv.Itoa(n.port),
		"--tls-cert-file=" + n.pki("apiserver.crt"), "--tls-private-key-file=" + n.pki("apiserver.key"), "--client-ca-file=" + n.pki("ca.crt"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
		"--service-cluster-ip-range=" + services, "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + n.pki("serviceaccounts.key"), "--service-account-signing-key-file=" + n.pki("serviceaccounts.key"),
		"--kubelet-client-certificate=" + n.pki("apiserver-kubelet.crt"), "--kubelet-client-key=" + n.pki("apiserver-kubelet.key"),
		"--kubelet-preferred-address-types=InternalIP",
	}
	if !n.pods {
		// Loopback is no address for an endpoint.
		args = append(args, "--endpoint-reconciler-type=none")
	}
	return self("kube-apiserver", args...)
}

// second are those that the API server has to be ready for.
func (n node) second() []process {
	controllers := []string{
		"--kubeconfig=" + n.kubeconfig("kube-controller-manager"), "--root-ca-file=" + n.pki("ca.crt"), "--leader-elect=false",
		"--service-account-private-key-file=" + n.pki("serviceaccounts.key"), "--use-service-account-credentials",
	}
	if !n.pods {
		return []process{self("kube-controller-manager", append(controllers, "--secure-port=0")...)}
	}
	return []process{
		self("kube-controller-manager", append(controllers, "--bind-address=127.0.0.1")...),
		self("kube-scheduler", "--kubeconfig="+n.kubeconfig("kube-scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1"),
		self("kube-proxy", "--config="+n.config("kube-proxy.yaml")),
		self("coredns", n.address, n.kubeconfig("admin")),
		self("provisioner", "/var/lib/volumes", n.kubeconfig("admin")),
		{name: "pause", once: true, args: []string{"ctr", "--address", containerdSocket, "--namespace", "k8s.io", "images", "import",
			"--snapshotter", snapshotter("/var"), filepath.Join(n.dir, "pause.tar")}},
	}
}

// third is what runs pods.
func (n node) third() []process {
	return []process{self("kubelet", "--config="+n.config("kubelet.yaml"), "--kubeconfig="+n.kubeconfig("kubelet"), "--hostname-override=node",
		"--node-ip="+n.address)}
}

func (n node) writeConfigs() error {
	if err := os.MkdirAll(n.config("cni"), 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"containerd.toml":   n.containerdConfig(),
		"kubelet.yaml":      n.kubeletConfig(),
		"kube-proxy.yaml":   n.proxyConfig(),
		"resolv.conf":       "nameserver " + dnsAddress + "\n",
		"cni/node.conflist": cniConfig(),
	} {
		if err := os.WriteFile(n.config(name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// containerdConfig is of version 2, which containerd 1.6 to 2.x read. Without CAP_SYS_RESOURCE no process can be made less likely to be killed
// when memory runs out, which containerd would take for an error.
func (n node) containerdConfig() string {
	return fmt.Sprintf(`version = 2
[grpc]
address = %q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = %q
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = %q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
`, containerdSocket, pauseImage, snapshotter("/var"), n.config("cni"))
}

// snapshotter is what keeps containers' files in a directory. In a container, whose own files are on an overlay, there cannot be another.
func snapshotter(dir string) string {
	var system unix.Statfs_t
	if err := unix.Statfs(dir, &system); err == nil && system.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

// cniConfig gives each pod a link of its own to the node, so that every packet passes the node's rules for services.
func cniConfig() string {
	return fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "node", "plugins": [
	{"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}
]}
`, podNetwork)
}

// kubeletConfig leaves the machine's disk out: how full that is, is not the node's business.
func (n node) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %s
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: %q}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix://%s
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
localStorageCapacityIsolation: false
evictionHard: {memory.available: 100Mi}
imageGCHighThresholdPercent: 100
clusterDNS: [%s]
clusterDomain: cluster.local
resolvConf: %q
volumePluginDir: /var/lib/kubelet/volume-plugins
`, n.address, n.pki("ca.crt"), containerdSocket, dnsAddress, n.config("resolv.conf"))
}

// proxyConfig leaves the table of connections alone, whose size is the whole machine's.
func (n node) proxyConfig() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %q}
bindAddress: %s
healthzBindAddress: 127.0.0.1:10256
clusterCIDR: %s
hostnameOverride: node
mode: iptables
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, n.kubeconfig("kube-proxy"), n.address, podNetwork)
}
