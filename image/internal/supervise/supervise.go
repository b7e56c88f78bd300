// Package supervise is the first process of the container once all is prepared: it starts the supervisor of the services, takes in
// processes whose parents are gone, passes the request to stop on, and ends with a reason when a service cannot be kept running.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"opennebula-kube/image/internal/supervisord"
)

// drainLimit is how long what is left of the services may keep the standard error open.
const drainLimit = time.Second

// Parent is a supervisor to start and what to do with it.
type Parent struct {
	// Args is the supervisor's command line, Env its environment.
	Args, Env []string
	// GivenUp returns a service that the supervisor has given up; nil while there is none.
	GivenUp func(ctx context.Context) (*supervisord.GivenUp, error)
	// Interval is how often GivenUp is asked.
	Interval time.Duration
	// StopLimit is how long the supervisor may take to stop all services.
	StopLimit time.Duration
	// BeforeStop is called before the supervisor is told to stop.
	BeforeStop func() error
	// Stderr takes what the supervisor and its services print there.
	Stderr io.Writer
}

// Run returns when the supervisor has ended: nil when ctx was done before and it has stopped all services in time.
func (p *Parent) Run(ctx context.Context) error {
	// The first process of a container is given orphans anyway. An emulator may not know the call (EINVAL): then they go to the first process.
	if os.Getpid() != 1 {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("become the parent of orphaned processes: %w", err)
		}
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	said := newListener(p.Stderr)
	supervisor, err := p.start(said)
	if err != nil {
		return err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	givenUp := p.watch(watching)

	var failed *supervisord.GivenUp
	stop := ctx.Done()
	var limit <-chan time.Time
	terminate := func() {
		if err := p.BeforeStop(); err != nil {
			// It stops all the same, if later.
			_, _ = fmt.Fprintln(p.Stderr, "error: prepare to stop the services:", err)
		}
		// That it has ended meanwhile shows in its status.
		_ = supervisor.Signal(syscall.SIGTERM)
		stop, limit = nil, time.After(p.StopLimit)
	}
	for {
		select {
		case <-children:
			status, ended := reap(supervisor.Pid)
			if !ended {
				continue
			}
			said.wait(drainLimit)
			return p.verdict(status, stop == nil, failed, said)
		case <-stop:
			terminate()
		case failed = <-givenUp:
			givenUp = nil
			if stop != nil {
				terminate()
			}
		case <-limit:
			// The rest ends with this process.
			_ = supervisor.Signal(syscall.SIGKILL)
		}
	}
}

// start does not use exec.Cmd: waiting for all children leaves it none to wait for.
func (p *Parent) start(said *listener) (*os.Process, error) {
	path, err := exec.LookPath(p.Args[0])
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Args[0], err)
	}
	output, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	process, err := os.StartProcess(path, p.Args, &os.ProcAttr{Env: p.Env, Files: []*os.File{os.Stdin, os.Stdout, input}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", path, err), input.Close(), output.Close())
	}
	said.listen(output)
	return process, input.Close()
}

// watch asks for a service that is given up until there is one.
func (p *Parent) watch(ctx context.Context) <-chan *supervisord.GivenUp {
	found := make(chan *supervisord.GivenUp)
	go func() {
		ticker := time.NewTicker(p.Interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			asking, cancel := context.WithTimeout(ctx, 5*time.Second)
			// No answer is the live probe's business: the supervisor may be starting, or busy.
			givenUp, _ := p.GivenUp(asking)
			cancel()
			if givenUp == nil {
				continue
			}
			select {
			case <-ctx.Done():
			case found <- givenUp:
			}
			return
		}
	}()
	return found
}

// reap takes in all children that have ended, and tells how the supervisor did when it is among them.
func reap(supervisor int) (status syscall.WaitStatus, ended bool) {
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || pid <= 0:
			return status, ended
		case pid == supervisor:
			status, ended = s, true
		}
	}
}

// verdict is the error that the container ends with.
func (p *Parent) verdict(status syscall.WaitStatus, stopping bool, failed *supervisord.GivenUp, said *listener) error {
	switch {
	case failed != nil:
		return fmt.Errorf("service %s keeps failing, and %s has given it up (%s); %s; the log above has the rest: mend what it is about, and start the container again",
			failed.Service, p.Args[0], failed.Reason, said.last(failed.Service))
	case status.Signaled() && status.Signal() == syscall.SIGKILL && stopping:
		return fmt.Errorf("%s was killed: it had not stopped all services within %s; the log above tells which", p.Args[0], p.StopLimit)
	case stopping && (status.ExitStatus() == 0 || status.Signaled() && status.Signal() == syscall.SIGTERM):
		return nil
	case status.Signaled():
		return fmt.Errorf("%s was ended by signal %d (%s), and the services with it: start the container again", p.Args[0], status.Signal(), status.Signal())
	}
	return fmt.Errorf("%s ended with status %d, and nobody had asked it to: the log above tells why", p.Args[0], status.ExitStatus())
}
