package supervise_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"opennebula-kube/image/internal/supervise"
	"opennebula-kube/image/internal/supervisord"
)

// TestMain makes the test binary a parent when it is asked for: it takes in all children of its process, which tests need themselves.
func TestMain(m *testing.M) {
	script := os.Getenv("PARENT_OF")
	if script == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	parent := supervise.Parent{
		Args: []string{"sh", "-c", script, "supervisor"}, Env: os.Environ(), Interval: 10 * time.Millisecond, StopLimit: time.Second, Stderr: os.Stderr,
		GivenUp: func(context.Context) (*supervisord.GivenUp, error) {
			service, err := os.ReadFile(os.Getenv("GIVEN_UP"))
			if err != nil {
				return nil, err
			}
			return &supervisord.GivenUp{Service: string(service), Reason: "exited too quickly"}, nil
		},
		BeforeStop: func() error { return os.WriteFile(os.Getenv("BEFORE_STOP"), nil, 0o600) },
	}
	err := parent.Run(ctx)
	stop()
	if err != nil {
		_, _ = os.Stderr.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func TestParent(t *testing.T) {
	const loop = `while :; do sleep 0.02; done`
	for _, c := range []struct {
		name, script string
		// stop asks the parent to stop once the script has printed "ready".
		stop   bool
		status int
		// last is what the last line of the standard error has, stdout what is printed.
		last, stdout string
	}{
		{"stopped", `trap '[ -e "$BEFORE_STOP" ] && echo stopped; exit 0' TERM; echo ready; ` + loop, true, 0, "", "ready\nstopped\n"},
		{"stopped before it can handle that", `echo ready; ` + loop, true, 0, "", "ready\n"},
		{"stopped in disorder", `trap 'exit 3' TERM; echo ready; ` + loop, true, 1, "sh ended with status 3", "ready\n"},
		{"does not stop", `trap '' TERM; echo ready; ` + loop, true, 1, "had not stopped all services within 1s", "ready\n"},
		{"ends by itself", `echo cause >&2; exit 4`, false, 1, "sh ended with status 4, and nobody had asked it to", ""},
		{"ends by itself, well", `exit 0`, false, 1, "sh ended with status 0", ""},
		{"is killed", `kill -KILL $$`, false, 1, "ended by signal 9", ""},
		{"a service keeps failing", `trap 'echo "x: no more" >&2; echo "oned: bye" >&2; exit 0' TERM
			echo "x: first" >&2; echo "x: no such host" >&2; printf x > "$GIVEN_UP.new"; mv "$GIVEN_UP.new" "$GIVEN_UP"; ` + loop, false, 1,
			"service x keeps failing, and sh has given it up (exited too quickly); its last error is: no ", ""},
		{"a service keeps failing and says nothing", `trap 'exit 0' TERM; printf x > "$GIVEN_UP.new"; mv "$GIVEN_UP.new" "$GIVEN_UP"; ` + loop,
			false, 1, "it printed no error, and its log has none", ""},
		{"a service keeps failing and tells its log alone", `trap 'exit 0' TERM
			echo "oned: Sat Nov 28 14:53:05 2026 [Z0][SCM][E]: no driver" >&2
			echo "onedx: Sat Nov 28 14:53:05 2026 [Z0][SCM][E]: other" >&2; printf oned > "$GIVEN_UP.new"; mv "$GIVEN_UP.new" "$GIVEN_UP"; ` + loop, false, 1,
			"; the last error in its log is: Sat Nov 28 14:53:05 2026 [Z0][SCM][E]: no driver; the log above", ""},
		{"a service keeps failing, prints and logs", `trap 'exit 0' TERM
			echo "oned: Sat Nov 28 14:53:05 2026 [Z0][SCM][E]: no driver" >&2
			echo "oned: cannot start" >&2; printf oned > "$GIVEN_UP.new"; mv "$GIVEN_UP.new" "$GIVEN_UP"; ` + loop, false, 1,
			"[Z0][SCM][E]: no driver; what it printed last is: cannot start; the log above", ""},
		{"a service keeps failing with a line of any form", `trap 'exit 0' TERM
			printf 'x: \033[31mbad\000%02000d\n' 0 >&2; printf 'y: %065533dx: no line of x\n' 0 >&2; printf x > "$GIVEN_UP.new"; mv "$GIVEN_UP.new" "$GIVEN_UP"; ` + loop,
			false, 1, "; its last error is: bad " + strings.Repeat("0", 496) + "...; the log above", ""},
		{"orphans hold the log open", `(trap '' TERM; sleep 20) & echo late >&2; exit 5`, false, 1, "sh ended with status 5", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, c.script)
			if c.stop {
				p.await(t, "the supervisor", func() bool { return strings.Contains(read(t, p.stdout), "ready\n") })
				p.signal(t)
			}
			_ = p.cmd.Wait()
			if got := p.cmd.ProcessState.ExitCode(); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
			if got := read(t, p.stdout); got != c.stdout {
				t.Errorf("stdout %q, want %q", got, c.stdout)
			}
			lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
			if last := lines[len(lines)-1]; !strings.Contains(last, c.last) || c.last == "" && last != "" {
				t.Errorf("last line %.1000q, want %q", last, c.last)
			}
		})
	}
}

// TestOrphans leaves processes behind that end, and wants none of them to stay a zombie.
func TestOrphans(t *testing.T) {
	t.Parallel()
	p := start(t, `trap 'exit 0' TERM; for i in 1 2 3 4 5; do sh -c 'sleep 0.05 & echo $!'; done; echo ready; while :; do sleep 0.02; done`)
	p.await(t, "the supervisor", func() bool { return strings.Contains(read(t, p.stdout), "ready\n") })
	orphans := strings.Fields(read(t, p.stdout))
	p.await(t, "the orphans to be gone", func() bool {
		for _, pid := range orphans[:len(orphans)-1] {
			if _, err := os.Stat("/proc/" + pid); err == nil {
				return false
			}
		}
		return true
	})
	p.signal(t)
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestNoSupervisor(t *testing.T) {
	parent := supervise.Parent{Args: []string{"/no/such"}}
	if err := parent.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "start /no/such") {
		t.Errorf("error %v, want one that names the program", err)
	}
}

type process struct {
	cmd    *exec.Cmd
	stdout string
	stderr *bytes.Buffer
}

func start(t *testing.T, script string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &process{cmd: exec.CommandContext(t.Context(), self), stdout: filepath.Join(dir, "stdout"), stderr: new(bytes.Buffer)}
	stdout, err := os.Create(p.stdout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdout.Close() })
	p.cmd.Stdout, p.cmd.Stderr = stdout, p.stderr
	p.cmd.Env = append(os.Environ(), "PARENT_OF="+script, "GIVEN_UP="+filepath.Join(dir, "given-up"), "BEFORE_STOP="+filepath.Join(dir, "before-stop"))
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) signal(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func (p *process) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
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
