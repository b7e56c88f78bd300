package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// parentPipe is the file descriptor of a pipe that the caller holds the other end of: its end is the node's.
const parentPipe = 3

// A process is one that the supervisor starts. Its output goes to a file of its name in the directory log.
type process struct {
	name string
	args []string
	// once says that it is meant to end, with status 0.
	once bool
}

type exit struct {
	pid    int
	status unix.WaitStatus
}

// supervisor starts processes and waits for all of them.
type supervisor struct {
	logs    string
	running map[int]process
	exits   chan exit
}

// supervise runs the components until one of them ends, which is an error, or the caller does.
func supervise(ctx context.Context, args []string) error {
	// The kernel takes the thread that started a child for its parent.
	runtime.LockOSThread()
	var n node
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	flags.StringVar(&n.dir, "dir", "", "directory with certificates and kubeconfigs, and of all data")
	flags.StringVar(&n.address, "address", "127.0.0.1", "address of the node")
	flags.IntVar(&n.port, "port", 6443, "port of the API server")
	flags.BoolVar(&n.pods, "pods", false, "run pods: this is a container of its own")
	flags.StringVar(&n.bootID, "boot-id", "", "tells this start from others")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if n.pods {
		if err := n.setUp(); err != nil {
			return err
		}
	}
	if err := n.writeConfigs(); err != nil {
		return err
	}
	s := &supervisor{logs: filepath.Join(n.dir, "log"), running: make(map[int]process), exits: make(chan exit)}
	if err := os.MkdirAll(s.logs, 0o755); err != nil {
		return err
	}
	return s.run(ctx, n)
}

func (s *supervisor) run(ctx context.Context, n node) error {
	go s.wait()
	defer s.stop()
	if err := s.start(ctx, n.first()...); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() { ready <- n.ready(ctx) }()
	orphaned := make(chan struct{})
	go func() {
		_, _ = os.NewFile(parentPipe, "parent").Read(make([]byte, 1))
		close(orphaned)
	}()
	for {
		select {
		case <-orphaned:
			return nil
		case err := <-ready:
			if err != nil {
				return err
			}
			if err := s.start(ctx, n.second()...); err != nil {
				return err
			}
		case e := <-s.exits:
			p, ours := s.running[e.pid]
			if !ours {
				continue // an orphan, such as a container's shim, that was handed to process 1
			}
			delete(s.running, e.pid)
			if !p.once || e.status.ExitStatus() != 0 {
				return fmt.Errorf("%s ended (%s):\n%s", p.name, describe(e.status), s.lastLines(p.name))
			}
			// Pods need the image that it has imported.
			if err := s.start(ctx, n.third()...); err != nil {
				return err
			}
		}
	}
}

func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

func (s *supervisor) logFile(name string) string { return filepath.Join(s.logs, name+".log") }

// lastLines is the end of what a process has said.
func (s *supervisor) lastLines(name string) string {
	const kept = 5
	said, err := os.ReadFile(s.logFile(name))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return strings.Join(lines[max(0, len(lines)-kept):], "\n")
}

func (s *supervisor) start(ctx context.Context, processes ...process) error {
	for _, p := range processes {
		log, err := os.OpenFile(s.logFile(p.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err = cmd.Start()
		_ = log.Close()
		if err != nil {
			return fmt.Errorf("start %s: %w", p.name, err)
		}
		s.running[cmd.Process.Pid] = p
	}
	return nil
}

// stop kills what still runs, and returns when it is gone.
func (s *supervisor) stop() {
	for pid := range s.running {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for len(s.running) > 0 {
		delete(s.running, (<-s.exits).pid)
	}
}

// wait takes in every child that ends, those that it did not start included.
func (s *supervisor) wait() {
	for {
		var e exit
		var err error
		if e.pid, err = unix.Wait4(-1, &e.status, 0, nil); err == nil {
			s.exits <- e
		} else if errors.Is(err, unix.ECHILD) {
			time.Sleep(10 * time.Millisecond) // none has been started yet
		}
	}
}

// ready waits until the API server is, and containerd where there is one.
func (n node) ready(ctx context.Context) error {
	const limit = 3 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, check := range n.checks() {
		for {
			err := check(ctx)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("not ready after %s: %w", limit, err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

func (n node) checks() []func(context.Context) error {
	checks := []func(context.Context) error{n.checkServer}
	if n.pods {
		checks = append(checks, func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", containerdSocket)
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
	return checks
}

func (n node) checkServer(ctx context.Context) error {
	ca, err := os.ReadFile(n.pki("ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.server()+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the API server is not ready: %s", response.Status)
	}
	return nil
}
