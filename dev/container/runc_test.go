package container_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// capabilities are what sshd and the change of users need, and what makes a volume oneadmin's.
func capabilities() []string {
	return []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"}
}

// only are these capabilities and no others.
func only(names []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
}

// options are how a container is run.
type options struct {
	image image
	// volume is mounted at /var/lib/one.
	volume string
	env    []string
	// readOnly makes the root file system so, with empty mounts where the image has to write; readOnlyVolume the volume.
	readOnly, readOnlyVolume bool
	// hosts is /etc/hosts; adjust changes what the container is otherwise.
	hosts  string
	adjust func(*specs.Spec)
	// files are programs that are in the root file system besides the image's, by path.
	files map[string]string
}

// container is one that runs, or has run.
type container struct {
	t       testing.TB
	id      string
	state   string // runc's own directory
	upper   string // has what it has written to its root file system
	logFile string
	cmd     *exec.Cmd
	// ended gets how runc ended, which is how the container did; whenEnded is called then.
	ended     chan error
	waited    bool
	whenEnded func()
}

// run starts a container with a writable layer of its own over the image.
func run(t testing.TB, o options) *container {
	t.Helper()
	dir := t.TempDir()
	bundle := filepath.Join(dir, "bundle")
	rootfs := filepath.Join(bundle, "rootfs")
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{rootfs, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range o.files {
		at := filepath.Join(upper, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("overlay", rootfs, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", o.image.rootfs, upper, work)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(rootfs, 0); err != nil {
			t.Errorf("unmount %s: %v", rootfs, err)
		}
	})
	// Every runtime brings this file.
	hosts := filepath.Join(dir, "hosts")
	if o.hosts == "" {
		o.hosts = "127.0.0.1 localhost\n::1 localhost\n10.0.0.7 one-0.one.svc.cluster.local one-0\n"
	}
	if err := os.WriteFile(hosts, []byte(o.hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	config := o.spec(hosts)
	if o.adjust != nil {
		o.adjust(config)
	}
	spec, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &container{
		t: t, id: "one-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir), state: filepath.Join(dir, "state"),
		upper: upper, logFile: filepath.Join(dir, "log"), ended: make(chan error, 1),
	}
	log, err := os.Create(c.logFile)
	if err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command("runc", "--root", c.state, "run", "--bundle", bundle, c.id)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.ended <- c.cmd.Wait()
		_ = log.Close()
	}()
	t.Cleanup(func() {
		if !c.waited {
			c.signal("KILL")
			c.wait(time.Minute)
		}
		if t.Failed() {
			t.Logf("log of the container:\n%s", c.log())
		}
	})
	return c
}

func (o options) spec(hosts string) *specs.Spec {
	tmpfs := func(path, mode string) specs.Mount {
		return specs.Mount{Destination: path, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=" + mode}}
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "nodev", "mode=1777"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "nodev", "ro"}},
		{Destination: "/etc/hosts", Type: "bind", Source: hosts, Options: []string{"bind", "ro"}},
		{Destination: "/var/lib/one", Type: "bind", Source: o.volume, Options: []string{"rbind", "rw"}},
	}
	if o.readOnlyVolume {
		mounts[len(mounts)-1].Options = []string{"rbind", "ro"}
	}
	if o.readOnly {
		mounts = append(mounts, tmpfs("/run", "755"), tmpfs("/tmp", "1777"), tmpfs("/etc/one", "755"), tmpfs("/var/log/one", "755"))
	}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: slices.Concat(o.image.config.Entrypoint, o.image.config.Cmd), Env: slices.Concat(o.image.config.Env, o.env), Cwd: "/",
			Capabilities:    only(capabilities()),
			NoNewPrivileges: true,
		},
		Root: &specs.Root{Path: "rootfs", Readonly: o.readOnly}, Hostname: "one-0", Mounts: mounts,
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
		}},
	}
}

func (c *container) log() string {
	c.t.Helper()
	content, err := os.ReadFile(c.logFile)
	if err != nil {
		c.t.Error(err)
	}
	return string(content)
}

// exec runs a program in the container, as a user, and returns what it printed.
func (c *container) exec(user string, args ...string) (string, error) {
	cmd := exec.Command("runc", append([]string{"--root", c.state, "exec", "--user", user, "--env", "HOME=/var/lib/one", c.id}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// Users, as runc wants them.
const (
	asRoot     = "0:0"
	asOneadmin = "9869:9869"
)

func (c *container) mustExec(user string, args ...string) string {
	c.t.Helper()
	out, err := c.exec(user, args...)
	if err != nil {
		c.t.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

func (c *container) signal(name string) {
	c.t.Helper()
	if out, err := exec.Command("runc", "--root", c.state, "kill", c.id, name).CombinedOutput(); err != nil {
		c.t.Logf("send %s: %v: %s", name, err, out)
	}
}

// wait returns the exit status of the container.
func (c *container) wait(limit time.Duration) int {
	c.t.Helper()
	select {
	case err := <-c.ended:
		c.waited = true
		if c.whenEnded != nil {
			c.whenEnded()
		}
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			c.t.Fatal(err)
		}
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		c.t.Fatalf("the container does not end within %s", limit)
		return -1
	}
}

// ready waits until a probe says so.
func (c *container) ready(limit time.Duration) {
	c.t.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		out, err := c.exec(asRoot, "one-container", "healthcheck", "ready")
		if err == nil {
			c.t.Logf("ready after %s", time.Since(begin).Round(100*time.Millisecond))
			return
		}
		select {
		case end := <-c.ended:
			c.ended <- end
			c.t.Fatalf("the container ended before it was ready: %v", end)
		default:
		}
		if time.Since(begin) > limit {
			c.t.Fatalf("not ready within %s: %s", limit, out)
		}
	}
}

func (c *container) wantLog(lines ...string) {
	c.t.Helper()
	log := c.log()
	for _, want := range lines {
		if !strings.Contains(log, want) {
			c.t.Errorf("the log has no %q", want)
		}
	}
}
