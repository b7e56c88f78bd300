package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"opennebula-kube/image/internal/health"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/linelog"
	"opennebula-kube/image/internal/supervisord"
	"opennebula-kube/image/internal/tail"
)

const (
	// drainLimit is how long what a command leaves running may keep its output open.
	drainLimit = 2 * time.Second
	// followInterval is how often log files are looked at, onedInterval how often oned is asked.
	followInterval = 250 * time.Millisecond
	onedInterval   = time.Second
)

// service is a command whose output goes into the container's log.
type service struct {
	name string
	args []string
	// files are patterns of the paths of log files.
	files     []string
	afterOned bool
	every     time.Duration
	// stopping tells whether the services are to stop.
	stopping func() bool

	stdout, stderr *linelog.Writer
}

func parseService(args []string) (*service, error) {
	s := new(service)
	flags := flag.NewFlagSet("log", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Func("follow", "", func(pattern string) error { s.files = append(s.files, pattern); return nil })
	flags.BoolVar(&s.afterOned, "after-oned", false, "")
	flags.DurationVar(&s.every, "every", 0, "")
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if flags.NArg() < 2 {
		return nil, errors.New("log: give the name of a service and a command")
	}
	s.name, s.args = flags.Arg(0), flags.Args()[1:]
	h := host.System(func(string, ...any) {})
	s.stopping = func() bool { return supervisord.StopDeclared(h) }
	s.stdout, s.stderr = linelog.New(os.Stdout, s.name), linelog.New(os.Stderr, s.name)
	return s, nil
}

// run puts the name of the service before each line of its command's output and of its log files, and returns the command's exit
// status; 128 and the number of a signal for one that a signal ended. To stop it the whole process group has to be told, as supervisord
// does (stopasgroup): the command ends then, and this process when the last of the output is through.
func (s *service) run(ctx context.Context) (int, error) {
	if s.afterOned && !s.waitForOned(ctx) {
		return 0, nil
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	for _, pattern := range s.files {
		// Before the command writes to them.
		files, err := s.open(pattern)
		if err != nil {
			stop()
			return 1, err
		}
		group.Go(func() {
			if err := files.follow(following); err != nil {
				_, _ = fmt.Fprintln(s.stderr, err)
			}
		})
	}
	status, err := s.repeat(ctx)
	stop()
	group.Wait()
	return status, errors.Join(err, s.stdout.Flush(), s.stderr.Flush())
}

// logFiles are files that are followed, with what puts the name of the service before the lines of each: half a line of one must not
// become part of another's.
type logFiles struct {
	files   *tail.Files
	writers []*linelog.Writer
}

func (s *service) open(pattern string) (*logFiles, error) {
	l := new(logFiles)
	files, err := tail.Open(pattern, func() io.Writer {
		// Whoever reads the standard error learns what a service says last, which oned says in its log alone.
		w := linelog.NewSorted(os.Stdout, os.Stderr, s.name)
		l.writers = append(l.writers, w)
		return w
	})
	l.files = files
	return l, err
}

func (l *logFiles) follow(ctx context.Context) error {
	err := l.files.Follow(ctx, followInterval)
	for _, w := range l.writers {
		err = errors.Join(err, w.Flush())
	}
	return err
}

// repeat runs the command once, or again and again: then one that fails is told of, and tried again when it is due.
func (s *service) repeat(ctx context.Context) (int, error) {
	if s.every == 0 {
		return s.command()
	}
	for {
		status, err := s.command()
		if err != nil {
			return status, err
		}
		if status != 0 {
			_, _ = fmt.Fprintf(s.stderr, "%s ended with status %d\n", s.args[0], status)
		}
		if s.stopping() {
			return 0, nil
		}
		select {
		case <-ctx.Done():
			return 0, nil
		case <-time.After(s.every):
		}
	}
}

// command runs the command, unless the services are to stop: the signal may have come before there was a process to get it.
func (s *service) command() (int, error) {
	if s.stopping() {
		return 0, nil
	}
	cmd := exec.Command(s.args[0], s.args[1:]...) //nolint:noctx // it is to run what it is told, and to end by itself
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	cmd.WaitDelay = drainLimit
	// Killed, this process must not leave a service behind that nobody supervises. The kernel tells the command when the thread that
	// started it ends, so it has to be one that does not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return 127, fmt.Errorf("%s: %w", s.name, err)
	}
	if s.stopping() {
		// That it has ended meanwhile shows in its status.
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	err := cmd.Wait()
	if cmd.ProcessState == nil {
		return 127, fmt.Errorf("%s: %w", s.name, err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// waitForOned returns true when oned knows oneadmin, false when it is to stop before. Services that need its auth files, or call it when
// they start, would only fail and be started again.
func (s *service) waitForOned(ctx context.Context) bool {
	h := host.System(func(string, ...any) {})
	for told := false; ; told = true {
		if err := health.Check(ctx, h, health.Started); err == nil {
			return true
		} else if ctx.Err() != nil || s.stopping() {
			return false
		} else if !told {
			_, _ = fmt.Fprintln(s.stdout, "waiting for oned")
		}
		if h.Sleep(ctx, onedInterval) != nil {
			return false
		}
	}
}
