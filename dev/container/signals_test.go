package container_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pid is the number that the container's first process has on this machine.
func (c *container) pid(t testing.TB) int {
	t.Helper()
	var state struct{ Pid int }
	c.wantEventually(t, "the container to be there", func() bool {
		out, err := exec.CommandContext(t.Context(), "runc", "--root", c.state, "state", c.id).Output()
		return err == nil && json.Unmarshal(out, &state) == nil && state.Pid > 0
	})
	return state.Pid
}

// program tells one run of a program from the next in the container's first process: each has its stack at an address of its own. It is
// empty until the program handles SIGTERM.
func (c *container) program(t *testing.T, pid int) string {
	t.Helper()
	status := read(t, fmt.Sprintf("/proc/%d/status", pid))
	// runc sets the container up in this process.
	if !strings.HasPrefix(status, "Name:\tone-container\n") {
		return ""
	}
	_, after, _ := strings.Cut(status, "\nSigCgt:\t")
	mask, _, _ := strings.Cut(after, "\n")
	caught, err := strconv.ParseUint(mask, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if caught&(1<<(unix.SIGTERM-1)) == 0 {
		return ""
	}
	const startOfStack = 28 - 3 // among the fields after the name of the program
	stat := read(t, fmt.Sprintf("/proc/%d/stat", pid))
	stack := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])[startOfStack]
	if stack == "0" {
		t.Fatal("the kernel does not tell where the stack is: run the tests as root")
	}
	return stack
}

// wantOneProgram checks that the program that has come to handle SIGTERM does so for good. One that becomes another is deaf meanwhile: the
// kernel drops a signal to the first process of a container that has no handler for it.
func (c *container) wantOneProgram(t *testing.T) {
	t.Helper()
	pid := c.pid(t)
	first := ""
	c.wantEventually(t, "SIGTERM to be handled", func() bool {
		first = c.program(t, pid)
		return first != ""
	})
	c.ready(startLimit)
	if last := c.program(t, pid); last != first {
		t.Errorf("the container's first process has become another program (stack at %s, then %q): a request to stop is lost meanwhile", first, last)
	}
}
