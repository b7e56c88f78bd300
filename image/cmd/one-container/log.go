package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"opennebula-kube/image/internal/linelog"
)

// drainLimit is how long what a command leaves running may keep its output open.
const drainLimit = 5 * time.Second

// logged runs a command, puts the name of the service before each line of its output, and returns its exit status; 128 and the number of
// a signal for one that a signal ended. To stop it the whole process group has to be told, as supervisord does (stopasgroup): the command
// ends then, and this process when the last of the output is through.
func logged(service string, args []string) (int, error) {
	stdout, stderr := linelog.New(os.Stdout, service), linelog.New(os.Stderr, service)
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it must see the signal before it is ended
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = drainLimit
	// Killed, this process must not leave a service behind that nobody supervises. The kernel tells the command when the thread that
	// started it ends, so it has to be one that does not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err := cmd.Run()
	if err := errors.Join(stdout.Flush(), stderr.Flush()); err != nil {
		return 1, err
	}
	if cmd.ProcessState == nil {
		return 127, fmt.Errorf("%s: %w", service, err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
