package kube

import (
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/cap"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// spec describes the node: it has the machine's programs, to read, and directories of its own for all else; every privilege that the caller
// has; and namespaces of its own.
func spec(dir, root, data string, args []string) (*specs.Spec, error) {
	capabilities, err := cap.Current()
	if err != nil {
		return nil, err
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "bind", Source: "/dev", Options: []string{"rbind"}},
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755"}},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
		readOnly("/usr"), readOnly("/etc"),
	}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		mount, err := programs(root, name)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, mount...)
	}
	mounts = append(mounts,
		specs.Mount{Destination: "/var", Type: "bind", Source: data, Options: []string{"bind"}},
		// At the paths that they have outside, which the flags name; less the container's own root, which is in it.
		specs.Mount{Destination: dir, Type: "bind", Source: dir, Options: []string{"bind"}},
		readOnly(args[0]),
	)
	var namespaces []specs.LinuxNamespace
	for _, kind := range []specs.LinuxNamespaceType{
		specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace,
	} {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: kind})
	}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run"},
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		},
		Root:     &specs.Root{Path: root},
		Hostname: "node",
		Mounts:   mounts,
		Linux: &specs.Linux{
			Namespaces: namespaces,
			Resources:  &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
			Sysctl:     map[string]string{"net.ipv4.ip_forward": "1"},
		},
	}, nil
}

func readOnly(path string) specs.Mount {
	return specs.Mount{Destination: path, Type: "bind", Source: path, Options: []string{"rbind", "ro"}}
}

// programs gives the node a directory that is a link into /usr on most machines and a directory on others.
func programs(root, path string) ([]specs.Mount, error) {
	info, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return []specs.Mount{readOnly(path)}, nil
	}
	target, err := os.Readlink(path)
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(target, filepath.Join(root, path)); err != nil && !os.IsExist(err) {
		return nil, err
	}
	return nil, nil
}
