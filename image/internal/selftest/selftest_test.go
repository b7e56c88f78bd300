package selftest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"opennebula-kube/image/internal/health"
	"opennebula-kube/image/internal/selftest"
)

// TestMain makes the test binary one that captures its output when it is asked for.
func TestMain(m *testing.M) {
	if os.Getenv("CAPTURE") != "" {
		if err := capture(); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// services run until they are told to stop, and then end as they should.
func services(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func pass(context.Context, health.Probe) error                 { return nil }
func exercised(_ context.Context, progress func(string)) error { progress("use them"); return nil }
func ready(err error) func(context.Context, health.Probe) error {
	return func(_ context.Context, probe health.Probe) error {
		if probe == health.Ready {
			return err
		}
		return nil
	}
}

func TestRun(t *testing.T) {
	cause := errors.New("service oned keeps failing")
	asked := errors.New("terminated")
	for _, c := range []struct {
		name     string
		services func(context.Context) error
		check    func(context.Context, health.Probe) error
		exercise func(context.Context, func(string)) error
		// stop asks the test to stop when it is to do this.
		stop  string
		steps string
		want  string
	}{
		{"all is well", services, pass, exercised, "", "start the services|wait until all services are ready|use them|stop the services", ""},
		{
			"it takes some time", services, after(3), exercised, "", "start the services|wait until all services are ready|use them|stop the services", "",
		},
		{
			"the services do not start", func(context.Context) error { return cause }, ready(cause), exercised, "", "start the services|wait until all services are ready",
			"the services ended when the test was to wait until all services are ready: service oned keeps failing",
		},
		{
			"the services stop by themselves", func(context.Context) error { return nil }, ready(cause), exercised, "",
			"start the services|wait until all services are ready", "they have stopped, and nobody had asked them to",
		},
		{
			"a probe does not pass", services, ready(errors.Join(errors.New("FireEdge does not answer"), errors.New("OneGate does not answer"))), exercised, "",
			"start the services|wait until all services are ready",
			"failed to wait until all services are ready: the probe ready does not pass within 100ms: FireEdge does not answer; OneGate does not answer",
		},
		{
			"a step fails", services, pass, func(_ context.Context, progress func(string)) error { progress("use them"); return cause }, "",
			"start the services|wait until all services are ready|use them", "failed to use them: service oned keeps failing",
		},
		{
			"the services end while they are used", endsWhenUsed(cause), pass,
			func(ctx context.Context, progress func(string)) error {
				progress("use them")
				<-ctx.Done()
				return errors.New("nobody answers")
			}, "",
			"start the services|wait until all services are ready|use them", "the services ended when the test was to use them: service oned keeps failing",
		},
		{
			"the services do not stop well", func(ctx context.Context) error { <-ctx.Done(); return cause }, pass, exercised, "",
			"start the services|wait until all services are ready|use them|stop the services", "failed to stop the services: service oned keeps failing",
		},
		{
			"it is asked to stop", services, pass,
			func(ctx context.Context, progress func(string)) error {
				progress("use them")
				<-ctx.Done()
				return ctx.Err()
			}, "use them",
			"start the services|wait until all services are ready|use them", "the test was asked to stop when it was to use them: terminated",
		},
		{
			"it is asked to stop early", services, ready(cause), exercised, "wait until all services are ready",
			"start the services|wait until all services are ready", "the test was asked to stop when it was to wait until all services are ready: terminated",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancelCause(t.Context())
			defer stop(nil)
			var steps []string
			ended := false
			test := selftest.Test{
				Services: func(ctx context.Context) error {
					err := c.services(ctx)
					ended = true
					return err
				},
				Check: c.check, Exercise: c.exercise, StartLimit: time.Minute, ReadyLimit: 100 * time.Millisecond, Interval: time.Millisecond,
				Progress: func(step string) {
					steps = append(steps, step)
					if step == c.stop {
						stop(asked)
					}
				},
			}
			err := test.Run(ctx)
			if (err != nil) != (c.want != "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error %q, want %q in it, on one line", err, c.want)
			}
			if got := strings.Join(steps, "|"); got != c.steps {
				t.Errorf("steps %q, want %q", got, c.steps)
			}
			if !ended {
				t.Error("the services run on")
			}
		})
	}
}

// after is a probe that passes after some that do not.
func after(n int) func(context.Context, health.Probe) error {
	return func(_ context.Context, probe health.Probe) error {
		if n--; n > 0 && probe == health.Started {
			return errors.New("not yet")
		}
		return nil
	}
}

// endsWhenUsed has services that end after they have been ready.
func endsWhenUsed(err error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
			return err
		}
	}
}

// capture prints before, while and after its output is kept back, as the programs do that it starts.
func capture() error {
	fmt.Println("before")
	c, err := selftest.NewCapture()
	if err != nil {
		return err
	}
	for n := range 40 {
		fmt.Println("kept", n)
	}
	fmt.Println(strings.Repeat("long", 1<<16))
	fmt.Println("2026-11-28 15:52:33,349 INFO stopped: logrotate (exit status 0)")
	fmt.Println("2026-11-28 15:52:31,177 WARN exited: oned (exit status 127; not expected)")
	fmt.Println("2026-11-28 16:18:56,655 WARN received SIGTERM indicating exit request")
	for n := range 20 {
		fmt.Println("stopping", n)
	}
	child := exec.Command("sh", "-c", "echo child >/dev/stdout; echo error >&2")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Run(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c.Stdout, "meanwhile"); err != nil {
		return err
	}
	lines, err := c.End()
	if err != nil {
		return err
	}
	fmt.Printf("%d lines, from %q to %q, then %q to %q; of %d bytes before\n", len(lines), lines[0], lines[29], lines[30], lines[38:], len(lines[28]))
	_, err = fmt.Fprintln(os.Stderr, "after")
	return err
}

func TestCapture(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "CAPTURE=yes")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	want := []string{"before", "meanwhile", `40 lines, from "kept 12" to "2026-11-28 15:52:31,177 WARN exited: oned (exit status 127; not expected)", ` +
		`then "stopping 12" to ["child" "error"]; of 500 bytes before`, ""}
	if got := strings.Split(string(out), "\n"); !slices.Equal(got, want) {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if stderr.String() != "after\n" {
		t.Errorf("stderr %q", stderr.String())
	}
}
