package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setUp makes a node of the container that this process is the first of.
func (n node) setUp() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("let mounts of the node reach its pods: %w", err)
	}
	if err := n.disguise(); err != nil {
		return err
	}
	if err := delegate("/sys/fs/cgroup"); err != nil {
		return fmt.Errorf("prepare the control group: %w", err)
	}
	if err := n.network(); err != nil {
		return fmt.Errorf("set up the node's network: %w", err)
	}
	return nil
}

// disguise shows the node what the kubelet would have the whole machine set to, so that it does not do it; and a boot of its own.
func (n node) disguise() error {
	dir := filepath.Join(n.dir, "config", "sysctl")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for path, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
		"kernel/random/boot_id":     n.bootID,
	} {
		file := filepath.Join(dir, strings.ReplaceAll(path, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", path), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide the machine's %s: %w", path, err)
		}
	}
	return nil
}

// delegate makes room for the kubelet's groups: of control groups of version 2, one that has processes cannot have groups with controllers.
func delegate(root string) error {
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // version 1
	} else if err != nil {
		return err
	}
	own := filepath.Join(root, "supervisor")
	if err := os.Mkdir(own, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return err
	}
	var enable []string
	for _, controller := range strings.Fields(string(controllers)) {
		enable = append(enable, "+"+controller)
	}
	//nolint:gosec // the directory is the one that setUp names
	return os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte(strings.Join(enable, " ")), 0o644)
}

// network gives the node an address, on a link that leads nowhere. The default route is there for the addresses of services, which the kernel
// looks up before it exchanges them for a pod's.
func (n node) network() error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "nowhere"}); err != nil {
		return err
	}
	for _, name := range []string{"lo", "nowhere", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(n.address + "/32")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		return err
	}
	everything, err := netlink.ParseIPNet("0.0.0.0/0")
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: everything, Scope: netlink.SCOPE_LINK, Src: address.IP})
}
