package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary the program when it is asked for.
func TestMain(m *testing.M) {
	if os.Getenv("BE_ONE_CONTAINER") != "" {
		main()
	}
	if os.Getenv("FORGET") != "" {
		err := forgetSettings()
		kernel, readErr := os.ReadFile("/proc/self/environ")
		if err := errors.Join(err, readErr); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Printf("%s\n%s", kernel, strings.Join(os.Environ(), " "))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), "BE_ONE_CONTAINER=yes")
	return cmd
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		status int
		stdout string
		stderr string
	}{
		{"nothing", nil, 2, "", "usage:"},
		{"unknown", []string{"stop"}, 2, "", `["stop"] is no command`},
		{"unknown probe", []string{"healthcheck", "well"}, 1, "", "healthcheck well: there is no probe"},
		{"log", []string{"log", "x", "sh", "-c", "echo out; echo err >&2; printf end; exit 7"}, 7, "x: out\nx: end\n", "x: err\n"},
		{"log of what a signal ends", []string{"log", "x", "sh", "-c", "kill -KILL $$"}, 137, "", ""},
		{"log without a command", []string{"log", "x"}, 2, "", "name of a service and a command"},
		{"log with a bad flag", []string{"log", "-often", "x", "true"}, 2, "", "-often"},
		{"log of no program", []string{"log", "x", "/no/such"}, 127, "", "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := program(t, c.args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if status := cmd.ProcessState.ExitCode(); status != c.status {
				t.Errorf("status %d, %v, want %d", status, err, c.status)
			}
			if stdout.String() != c.stdout || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("stdout %q, stderr %q, want %q, %q", stdout.String(), stderr.String(), c.stdout, c.stderr)
			}
		})
	}
}

func TestLogFollowsFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.log")
	out, err := program(t, "log", "-follow", file, "x", "sh", "-c", `echo printed; sleep 0.1; printf 'logged\nlast' > "$0"`, file).CombinedOutput()
	if string(out) != "x: printed\nx: logged\nx: last\n" || err != nil {
		t.Errorf("log %q, %v", out, err)
	}
}

// TestLogSortsFiles wants the errors in a log on the standard error.
func TestLogSortsFiles(t *testing.T) {
	const info, failure = "Sat Nov 28 14:53:05 2026 [Z0][ONE][I]: well\n", "Sat Nov 28 14:53:06 2026 [Z0][ONE][E]: Could not load driver\n"
	file := filepath.Join(t.TempDir(), "oned.log")
	cmd := program(t, "log", "-follow", file, "oned", "sh", "-c", `printf '%s%s' "$1" "$2" > "$0"; exit 255`, file, info, failure)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	if status := cmd.ProcessState.ExitCode(); status != 255 || stdout.String() != "oned: "+info || stderr.String() != "oned: "+failure {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout.String(), stderr.String())
	}
}

func TestLogRepeats(t *testing.T) {
	file := filepath.Join(t.TempDir(), "count")
	cmd := program(t, "log", "-every", "10ms", "x", "sh", "-c", `echo run >> "$0"; exit 3`, file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, "three runs", func() bool { _, err := os.Stat(file); return err == nil && strings.Count(read(t, file), "run") >= 3 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(stderr.String(), "x: sh ended with status 3\n") {
		t.Errorf("stderr %q", stderr.String())
	}
}

func TestStartWithWrongSettings(t *testing.T) {
	cmd := program(t, "start")
	cmd.Env = append(cmd.Env, "OPENNEBULA_LOG_LEVEL=loud")
	out, err := cmd.CombinedOutput()
	want := "OPENNEBULA_LOG_LEVEL"
	if os.Getuid() != 0 {
		want = "run the container as root"
	}
	if _, failed := errors.AsType[*exec.ExitError](err); !failed || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s, want an error with %q", err, out, want)
	}
}

// TestForgetSettings has a process forget them and show what is left, as the kernel has it and as it has itself.
func TestForgetSettings(t *testing.T) {
	cmd := program(t)
	cmd.Env = []string{"FORGET=yes", "PATH=/bin", "OPENNEBULA_DB_PASSWORD=hush", "HOME=/", "OPENNEBULA_X=OPENNEBULA_Y"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	kernel, own, _ := strings.Cut(string(out), "\n")
	if got, want := strings.TrimRight(kernel, "\x00"), "FORGET=yes\x00PATH=/bin\x00HOME=/"; got != want {
		t.Errorf("/proc/self/environ is %q, want %q", got, want)
	}
	if want := "FORGET=yes PATH=/bin HOME=/"; own != want {
		t.Errorf("the environment is %q, want %q", own, want)
	}
}

// TestLogStops stops the group, as supervisord does, and wants the last words of the service in the log; and kills the process itself,
// and wants the service gone.
func TestLogStops(t *testing.T) {
	for name, c := range map[string]struct {
		signal syscall.Signal
		group  bool
		want   string
	}{
		"group": {syscall.SIGTERM, true, "x: ready\nx: last words\n"},
		"kill":  {syscall.SIGKILL, false, "x: ready\n"},
	} {
		t.Run(name, func(t *testing.T) {
			gone := filepath.Join(t.TempDir(), "gone")
			cmd := program(t, "log", "x", "sh", "-c", `trap 'sleep 0.2; touch "$0"; echo last words; exit 0' TERM; echo ready; while :; do sleep 0.05; done`, gone)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			output, err := os.Create(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout = output
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			wait(t, "the service to be ready", func() bool { return read(t, output.Name()) != "" })
			pid := cmd.Process.Pid
			if c.group {
				pid = -pid
			}
			if err := syscall.Kill(pid, c.signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			wait(t, "the service to end", func() bool { _, err := os.Stat(gone); return err == nil })
			if got := read(t, output.Name()); got != c.want {
				t.Errorf("log %q, want %q", got, c.want)
			}
		})
	}
}

// TestLogOfWhatIsToStop has the services stop before it starts its command, and while it does: the signal is lost then.
func TestLogOfWhatIsToStop(t *testing.T) {
	const ended = 128 + int(syscall.SIGTERM)
	for _, c := range []struct {
		name string
		args []string
		// asked is how many times it asks until the answer is yes.
		asked, want int
	}{
		{"before", []string{"x", "sleep", "60"}, 1, 0},
		{"while it starts", []string{"x", "sleep", "60"}, 2, ended},
		{"before, repeated", []string{"-every", "1m", "x", "true"}, 1, 0},
		{"while it waits for oned", []string{"-after-oned", "x", "sleep", "60"}, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := parseService(c.args)
			if err != nil {
				t.Fatal(err)
			}
			times := 0
			s.stopping = func() bool { times++; return times >= c.asked }
			type result struct {
				status int
				err    error
			}
			done := make(chan result, 1)
			go func() {
				status, err := s.run(t.Context())
				done <- result{status, err}
			}()
			select {
			case got := <-done:
				if got.status != c.want || got.err != nil {
					t.Errorf("status %d, %v, want %d", got.status, got.err, c.want)
				}
			case <-time.After(20 * time.Second):
				t.Error("it does not end")
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
