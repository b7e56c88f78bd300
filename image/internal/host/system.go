package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// outputLimit is how much of what a failed program printed goes into its error.
const outputLimit = 2000

// System is the container that the process runs in.
func System(log func(format string, args ...any)) *Host {
	return &Host{
		Root:     "/",
		Now:      time.Now,
		Sleep:    sleep,
		Run:      run,
		Serve:    serve,
		Disk:     systemDisk{},
		Chown:    func(path string, o Owner) error { return os.Lchown(path, o.UID, o.GID) },
		OwnerOf:  ownerOf,
		Hostname: os.Hostname,
		Log:      log,
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func ownerOf(path string) (Owner, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Owner{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Owner{}, fmt.Errorf("%s: the system does not tell whom it belongs to", path)
	}
	return Owner{int(stat.Uid), int(stat.Gid)}, nil
}

func run(ctx context.Context, c Command) (string, error) {
	cmd := command(ctx, c)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return stdout.String(), exitError(c, exit.ExitCode(), stdout.String()+stderr.String())
	}
	if err != nil {
		return "", explain(c, err)
	}
	return stdout.String(), nil
}

func command(ctx context.Context, c Command) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	// Nothing of the container's environment: its secrets are nobody else's business.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/var/lib/one", "LANG=C.UTF-8"}, c.Env...)
	cmd.Dir = "/"
	cmd.Stdin = c.Stdin
	if c.As != (Owner{}) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
			Uid: uint32(c.As.UID), Gid: uint32(c.As.GID), //nolint:gosec // both are constants
		}}
	}
	return cmd
}

func exitError(c Command, status int, output string) *ExitError {
	said := strings.TrimSpace(output)
	return &ExitError{Args: c.Args, Status: status, Output: said[max(0, len(said)-outputLimit):]}
}

func explain(c Command, err error) error {
	if errors.Is(err, syscall.EPERM) && c.As != (Owner{}) {
		return fmt.Errorf("run %s as user %d: %w; give the container the capabilities SETUID and SETGID", c.Args[0], c.As.UID, err)
	}
	return fmt.Errorf("run %s: %w", c.Args[0], err)
}
