package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"golang.org/x/sys/unix"
)

// stopLimit is how long killed processes may take to be gone.
const stopLimit = time.Minute

// container is a node that runs pods.
type container struct {
	id, state string
	network   ns.NetNS
	// alive is a pipe whose end is the node's.
	alive *os.File
	// pid is a file descriptor of the node's first process; gone is closed when that has ended, and with it all others.
	pid     *os.File
	gone    chan struct{}
	servers []*forwarder
}

// startContainer starts the node's container with these arguments, once what an earlier one has left is removed.
func startContainer(ctx context.Context, dir, id string, servers []string, log *os.File, args []string) (_ *container, err error) {
	c := &container{id: id, state: filepath.Join(dir, "runc"), gone: make(chan struct{})}
	if err := c.runc(ctx, "delete", "--force", id); err != nil {
		return nil, err
	}
	//nolint:contextcheck // what has been started is to end when ctx has, too
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	bundle, err := writeBundle(dir, args)
	if err != nil {
		return nil, err
	}
	if err := c.create(ctx, bundle, log); err != nil {
		return nil, err
	}
	// The container waits for its start: a registry is there before the first pod asks for an image.
	for _, server := range servers {
		if err := c.offer(ctx, server); err != nil {
			return nil, fmt.Errorf("let the node reach %s: %w", server, err)
		}
	}
	return c, c.runc(ctx, "start", id)
}

func (c *container) create(ctx context.Context, bundle string, log *os.File) error {
	end, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = end.Close() }()
	c.alive = alive
	pidFile := filepath.Join(bundle, "pid")
	cmd := c.command(ctx, "create", "--bundle", bundle, "--pid-file", pidFile, "--preserve-fds", "1", c.id)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{end}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("watch process %d of the container: %w", pid, err)
	}
	c.pid = os.NewFile(uintptr(fd), "pidfd")
	go func() {
		defer close(c.gone)
		for {
			//nolint:gosec // file descriptors are small numbers
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	c.network, err = ns.GetNS(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err
}

// offer lets the node reach an address of the machine's loopback interface as one of its own, and others reach that port of the node.
func (c *container) offer(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errors.New("it is not an address of the loopback interface, such as 127.0.0.1:5000")
	}
	var listener net.Listener
	if err := c.network.Do(func(ns.NetNS) (err error) {
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort("", port))
		return err
	}); err != nil {
		return err
	}
	c.servers = append(c.servers, forward(ctx, listener, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}))
	return nil
}

func (c *container) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = c.network.Do(func(ns.NetNS) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (c *container) ended() <-chan struct{} { return c.gone }

// stop kills the first process, upon which the kernel ends all others, their mounts and their network.
func (c *container) stop() error {
	var err error
	if c.pid != nil {
		if kill := unix.PidfdSendSignal(int(c.pid.Fd()), unix.SIGKILL, nil, 0); !errors.Is(kill, unix.ESRCH) {
			err = kill
		}
		select {
		case <-c.gone:
			err = errors.Join(err, c.pid.Close())
		case <-time.After(stopLimit):
			return errors.Join(err, fmt.Errorf("the node's processes are still there %s after they were killed", stopLimit))
		}
	}
	if c.alive != nil {
		err = errors.Join(err, c.alive.Close())
	}
	for _, server := range c.servers {
		server.close()
	}
	if c.network != nil {
		err = errors.Join(err, c.network.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	return errors.Join(err, c.runc(ctx, "delete", "--force", c.id))
}

func (c *container) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "runc", append([]string{"--root", c.state}, args...)...)
}

func (c *container) runc(ctx context.Context, args ...string) error {
	cmd := c.command(ctx, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// writeBundle writes what runc makes the container of, and returns the directory.
func writeBundle(dir string, args []string) (string, error) {
	bundle := filepath.Join(dir, "bundle")
	root := filepath.Join(bundle, "rootfs")
	data := filepath.Join(dir, "var")
	for _, d := range []string{root, data} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	spec, err := spec(dir, root, data, args)
	if err != nil {
		return "", err
	}
	content, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	return bundle, os.WriteFile(filepath.Join(bundle, "config.json"), content, 0o600)
}
