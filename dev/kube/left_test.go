//go:build linux

package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/mod/modfile"
)

// namespaces are those that the node of a directory has to itself; its network, mounts and processes are in them and nowhere else.
func namespaces(t *testing.T, dir string) []string {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(dir, "bundle/pid"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, kind := range []string{"net", "mnt", "pid", "cgroup"} {
		name, err := os.Readlink(filepath.Join("/proc", strings.TrimSpace(string(pid)), "ns", kind))
		if err != nil {
			t.Fatal(err)
		}
		own, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if name == own {
			t.Errorf("the node is in the machine's %s", name)
		}
		found = append(found, name)
	}
	return found
}

// inhabitants lists what keeps namespaces in being: the processes in them, and the files and mounts that stand for them.
func inhabitants(t *testing.T, spaces []string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/proc/[0-9]*/ns/*", "/proc/[0-9]*/task/*/ns/*", "/proc/[0-9]*/fd/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			// Processes come and go.
			if target, err := os.Readlink(link); err == nil && slices.Contains(spaces, target) {
				found = append(found, link+" is "+target)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, space := range spaces {
		if strings.Contains(string(mounts), space) {
			found = append(found, "there is a mount of "+space)
		}
	}
	return found
}

// wantNothingLeft checks that a cluster that has ended, by whatever means, has left nothing but files in its directory.
func wantNothingLeft(t *testing.T, dir, id string, spaces []string) {
	t.Helper()
	wantUninhabited(t, spaces)
	for _, found := range processes(t, dir) {
		t.Errorf("there is process %s", found)
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if strings.Contains(lines.Text(), dir) {
			t.Errorf("there is mount %s", lines.Text())
		}
	}
	if found := controlGroups(t, id); len(found) > 0 {
		t.Errorf("there are control groups %q", found)
	}
	for _, link := range []string{"cni0", "nowhere"} {
		if _, err := os.Stat("/sys/class/net/" + link); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is interface %s: %v", link, err)
		}
	}
	rules, err := exec.Command("iptables-save").CombinedOutput()
	if err != nil {
		t.Fatalf("iptables-save: %v: %s", err, rules)
	}
	if strings.Contains(string(rules), "KUBE-") {
		t.Errorf("there are rules for packets:\n%s", rules)
	}
}

// processes are those whose arguments name a directory.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		if args, err := os.ReadFile(file); err == nil && strings.Contains(string(args), dir) {
			found = append(found, fmt.Sprintf("%s: %q", filepath.Dir(file), args))
		}
	}
	return found
}

func controlGroups(t *testing.T, id string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another's, which came and went
		}
		if err == nil && entry.IsDir() && entry.Name() == id {
			found = append(found, path)
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// sysctls are the settings of the whole machine that a kubelet changes.
func sysctls(t *testing.T) string {
	t.Helper()
	var values []string
	for _, path := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", path))
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, path+"="+strings.TrimSpace(string(value)))
	}
	return strings.Join(values, " ")
}

func pinnedVersion(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("node/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse("node/go.mod", content, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, require := range file.Require {
		if require.Mod.Path == "k8s.io/kubernetes" {
			return require.Mod.Version
		}
	}
	t.Fatal("node/go.mod does not require k8s.io/kubernetes")
	return ""
}

// Another process starts a cluster where this variable says, with the servers of the other.
const (
	startVariable   = "KUBE_TEST_START"
	serversVariable = "KUBE_TEST_SERVERS"
)

// startAndKill starts a cluster in another process, which is then killed: the node ends with it, and what it leaves is removed by the next start.
func startAndKill(t *testing.T, o Options) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestStartedToBeKilled$", "-test.v")
	cmd.Env = append(os.Environ(), startVariable+"="+o.Dir, serversVariable+"="+strings.Join(o.Servers, ","))
	var output strings.Builder
	cmd.Stderr = &output
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := false
	for lines := bufio.NewScanner(pipe); !started && lines.Scan(); {
		started = strings.Contains(lines.Text(), startVariable+" done")
		output.WriteString(lines.Text() + "\n")
	}
	var spaces []string
	if started {
		spaces = namespaces(t, o.Dir)
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	if !started {
		t.Fatalf("the cluster did not start:\n%s", output.String())
	}
	wantUninhabited(t, spaces)
}

// wantUninhabited waits for the machine's first process, which takes in the node's.
func wantUninhabited(t *testing.T, spaces []string) {
	t.Helper()
	until(t, "nothing is left in the node's namespaces", func(context.Context) error {
		if left := inhabitants(t, spaces); len(left) > 0 {
			return fmt.Errorf("there is %q", left)
		}
		return nil
	})
}

// TestStartedToBeKilled is what startAndKill runs in another process.
func TestStartedToBeKilled(t *testing.T) {
	dir := os.Getenv(startVariable)
	if dir == "" {
		t.Skip("the other tests run it in a process of its own")
	}
	o := options(t, dir)
	o.Servers = strings.Split(os.Getenv(serversVariable), ",")
	if _, err := Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	fmt.Println(startVariable, "done")
	select {}
}
