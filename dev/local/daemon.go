package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"

	"opennebula-kube/ci/pipeline"
)

const (
	// startLimit is how long the daemon may take to answer, stopLimit how long to end by itself.
	startLimit = time.Minute
	stopLimit  = 30 * time.Second
	// socketLimit is the longest path of a Unix socket that the kernel takes.
	socketLimit = 107
	// cacheLimit is how much disk space the build cache may use.
	cacheLimit = "10GB"
)

// daemon is a running buildkitd and a client to it.
type daemon struct {
	client *client.Client
	lock   *os.File
	dir    string
	cmd    *exec.Cmd
	// exited is closed when the process is gone; waitErr is how it ended.
	exited  chan struct{}
	waitErr error
}

// startDaemon starts program as the build daemon of a state directory, once no other one uses it, and waits until it answers.
func startDaemon(ctx context.Context, program, stateDir string, log io.Writer) (_ *daemon, err error) {
	lock, err := acquire(ctx, filepath.Join(stateDir, "buildkit.lock"), log)
	if err != nil {
		return nil, err
	}
	d := &daemon{lock: lock}
	defer func() {
		if err != nil {
			_ = d.stop()
		}
	}()
	// Not below the state directory, whose path may be too long for a socket.
	if d.dir, err = os.MkdirTemp("", "buildkit-"); err != nil {
		return nil, err
	}
	socket := filepath.Join(d.dir, "buildkitd.sock")
	if len(socket) > socketLimit {
		return nil, fmt.Errorf("%s is too long for a socket: set TMPDIR to a shorter path", socket)
	}
	config := filepath.Join(d.dir, "buildkitd.toml")
	if err := os.WriteFile(config, []byte(daemonConfig(filepath.Join(stateDir, "buildkit"), socket)), 0o600); err != nil {
		return nil, err
	}
	if err := d.run(ctx, program, "--config", config); err != nil {
		return nil, err
	}
	if err := d.ready(ctx, socket); err != nil {
		return nil, err
	}
	return d, nil
}

// daemonConfig is the daemon's configuration file. Steps run in the machine's network, because the upstream may be a server on the
// loopback interface. Registries on the loopback interface need no entry: BuildKit speaks plain HTTP to them by itself.
func daemonConfig(root, socket string) string {
	return strings.Join([]string{
		"root = " + strconv.Quote(root),
		"[grpc]",
		"address = [" + strconv.Quote("unix://"+socket) + "]",
		"[otel]",
		"socketPath = " + strconv.Quote(socket+".otel"),
		"[cdi]",
		"disabled = true",
		"[history]",
		"maxEntries = 10",
		"[worker.containerd]",
		"enabled = false",
		"[worker.oci]",
		"enabled = true",
		`networkMode = "host"`,
		"gc = true",
		"maxUsedSpace = " + strconv.Quote(cacheLimit),
		"",
	}, "\n")
}

// run starts the process. It outlives ctx, and ends with this process, however that ends.
func (d *daemon) run(ctx context.Context, program string, args ...string) error {
	output, err := os.Create(d.logFile())
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	d.cmd = exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	d.cmd.Stdout, d.cmd.Stderr = output, output
	// The lock is free again only when the daemon is gone too.
	d.cmd.ExtraFiles = []*os.File{d.lock}
	d.cmd.SysProcAttr = childAttributes()

	started := make(chan error)
	d.exited = make(chan struct{})
	go func() {
		// The kernel takes the thread that started the child for its parent, so the thread has to last as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := d.cmd.Start(); err != nil {
			close(d.exited)
			started <- err
			return
		}
		started <- nil
		d.waitErr = d.cmd.Wait()
		close(d.exited)
	}()
	return <-started
}

func (d *daemon) logFile() string { return filepath.Join(d.dir, "buildkitd.log") }

// ready waits until the daemon answers.
func (d *daemon) ready(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("it does not answer after %s", startLimit))
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		if d.client == nil {
			// The client would wait a second before it tries a second time.
			if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket); err == nil {
				_ = conn.Close()
				if d.client, err = client.New(ctx, "unix://"+socket); err != nil {
					return err
				}
			}
		}
		if d.client != nil {
			if _, err := d.client.Info(ctx); err == nil {
				return nil
			}
		}
		select {
		case <-d.exited:
			return d.failure(fmt.Errorf("it ended at once: %w", d.waitErr))
		case <-ctx.Done():
			return d.failure(context.Cause(ctx))
		case <-retry.C:
		}
	}
}

// failure adds to err what the daemon printed last.
func (d *daemon) failure(err error) error {
	if lines := lastLines(d.logFile()); lines != "" {
		return fmt.Errorf("%w:\n%s", err, lines)
	}
	return err
}

func (d *daemon) alive() bool {
	select {
	case <-d.exited:
		return false
	default:
		return true
	}
}

// stop ends the daemon and removes what it left outside of the state directory. It can stop one that did not start.
func (d *daemon) stop() error {
	var err error
	if d.client != nil {
		err = d.client.Close()
	}
	if d.exited != nil && d.alive() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.exited:
		case <-time.After(stopLimit):
			_ = d.cmd.Process.Kill()
			<-d.exited
			err = errors.Join(err, fmt.Errorf("the build daemon did not end within %s and was killed", stopLimit))
		}
	}
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return errors.Join(err, d.lock.Close())
}

// lastLines returns the end of a file that a program's output went to; "" when there is none.
func lastLines(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > keptOutput {
		if _, err := file.Seek(-keptOutput, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(file, keptOutput))
	if err != nil {
		return ""
	}
	return pipeline.LastLines(string(data))
}
