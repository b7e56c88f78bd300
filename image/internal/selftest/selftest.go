// Package selftest starts a container's services, uses them as a user does first, and stops them.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"opennebula-kube/image/internal/health"
)

// probeLimit is how long a probe may take.
const probeLimit = 10 * time.Second

// Test is one test of a container by itself.
type Test struct {
	// Services prepares the container and runs its services until ctx is done; it returns nil when they have stopped then.
	Services func(ctx context.Context) error
	// Check carries out a probe.
	Check func(ctx context.Context, probe health.Probe) error
	// Exercise uses the services, and tells progress what each step does.
	Exercise func(ctx context.Context, progress func(step string)) error
	// Progress is told what is done next.
	Progress func(step string)
	// StartLimit is how long it may take until oned answers, which includes an upgrade of the database; ReadyLimit is for all else then.
	StartLimit, ReadyLimit time.Duration
	// Interval is how often a probe is carried out meanwhile.
	Interval time.Duration
}

// endedError is how the services ended that were not asked to.
type endedError struct{ err error }

func (e *endedError) Error() string { return e.err.Error() }
func (e *endedError) Unwrap() error { return e.err }

// Run carries out the test. Its error is one line. When ctx is done, it stops the services and returns an error.
func (t Test) Run(ctx context.Context) error {
	if err := t.run(ctx); err != nil {
		return &lineError{err}
	}
	return nil
}

// lineError is an error on one line: what reports several has one for each.
type lineError struct{ err error }

func (e *lineError) Error() string {
	return strings.Join(strings.FieldsFunc(e.err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}
func (e *lineError) Unwrap() error { return e.err }

func (t Test) run(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	using, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	ended := make(chan error, 1)
	go func() {
		err := t.Services(running)
		if running.Err() == nil {
			if err == nil {
				err = errors.New("they have stopped, and nobody had asked them to")
			}
			// Who uses them would only see that nobody answers.
			abort(&endedError{err})
		}
		ended <- err
	}()
	doing := ""
	useErr := t.use(using, func(step string) {
		doing = step
		t.Progress(step)
	})
	// Before they are asked to stop: after that it is no news.
	early, isEarly := errors.AsType[*endedError](context.Cause(using))
	if useErr == nil && !isEarly {
		doing = "stop the services"
		t.Progress(doing)
	}
	stop()
	endErr := <-ended
	switch {
	case isEarly:
		return fmt.Errorf("the services ended when the test was to %s: %w", doing, early.err)
	case ctx.Err() != nil:
		return fmt.Errorf("the test was asked to stop when it was to %s: %w", doing, context.Cause(ctx))
	case useErr != nil:
		return fmt.Errorf("failed to %s: %w", doing, useErr)
	case endErr != nil:
		return fmt.Errorf("failed to %s: %w", doing, endErr)
	}
	return nil
}

// use waits for the services and uses them.
func (t Test) use(ctx context.Context, progress func(step string)) error {
	progress("start the services")
	if err := t.await(ctx, health.Started, t.StartLimit); err != nil {
		return err
	}
	progress("wait until all services are ready")
	if err := t.await(ctx, health.Ready, t.ReadyLimit); err != nil {
		return err
	}
	return t.Exercise(ctx, progress)
}

// await carries out a probe until it passes.
func (t Test) await(ctx context.Context, probe health.Probe, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(t.Interval)
	defer ticker.Stop()
	for {
		err := t.check(limited, probe)
		if err == nil {
			return nil
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("the probe %s does not pass within %s: %w", probe, limit, err)
		case <-ticker.C:
		}
	}
}

func (t Test) check(ctx context.Context, probe health.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	return t.Check(ctx, probe)
}
