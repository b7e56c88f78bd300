package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"
	"golang.org/x/sys/unix"
)

// CanRunPods returns an error, which says what is missing, on a machine or for a user that cannot run a node: that takes Linux, root with the
// capabilities of a machine's administrator, and control groups that can be written to.
func CanRunPods() error {
	if uid := os.Getuid(); uid != 0 {
		return fmt.Errorf("running pods needs root and the user is %d: run again as root", uid)
	}
	has, err := cap.Current()
	if err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	for _, capability := range []string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_MKNOD", "CAP_SYS_PTRACE"} {
		if !slices.Contains(has, capability) {
			return fmt.Errorf("running pods needs %s, which root does not have here: run outside of the container, or in a privileged one", capability)
		}
	}
	return controllers("/sys/fs/cgroup")
}

// controllers checks the control groups, of version 1 or 2, that are mounted at root.
func controllers(root string) error {
	need := []string{"cpu", "cpuset", "memory", "pids"}
	var writable []string
	content, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	switch {
	case err == nil:
		has := strings.Fields(string(content))
		for _, controller := range need {
			if !slices.Contains(has, controller) {
				return fmt.Errorf("running pods needs the control group controller %s; %s has %q", controller, root, has)
			}
		}
		writable = []string{root}
	case errors.Is(err, fs.ErrNotExist):
		for _, controller := range append(need, "cpuacct") {
			writable = append(writable, filepath.Join(root, controller))
		}
	default:
		return err
	}
	for _, dir := range writable {
		if err := unix.Access(dir, unix.W_OK); err != nil {
			return fmt.Errorf("running pods needs control groups, and %s cannot be written to: %w", dir, err)
		}
	}
	return nil
}
