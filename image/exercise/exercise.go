// Package exercise makes the calls that a user of OpenNebula makes first, on an installation that runs: log in, add a host, an image and
// a virtual machine, deploy a service, call OneGate as a guest, run a hook, calculate showback. Hosts, datastores and machines have
// OpenNebula's dummy drivers, which need no hypervisor: oned.conf (VM_MAD) and monitord.conf (IM_MAD) must have them switched on, and oned.conf
// must have an ONEGATE_ENDPOINT.
//
// The steps can be called one by one. Each makes what it needs and is not there yet, and Clean removes all of it.
package exercise

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Prefix begins the names of everything that the exercise makes. It is how Clean recognises what an earlier exercise left behind.
const Prefix = "one_exercise_"

// Target is an installation.
type Target struct {
	// HTTP makes all calls. It must follow no redirects to other hosts that are not to get the session.
	HTTP *http.Client
	// XMLRPC is the URL of oned's interface, such as http://localhost:2633/RPC2.
	XMLRPC string
	// OneFlow, OneGate and FireEdge are the URLs of the servers, such as http://localhost:2474; FireEdge's is without /fireedge.
	OneFlow, OneGate, FireEdge string
	// Session is <user>:<password> of oneadmin.
	Session string
	// Over, unless it is nil, is told of each virtual machine that the exercise has made and that is over.
	Over func(machine int)
	// Limit is how long each thing that is waited for may take; 0 is three minutes. The scheduler tries again after one.
	Limit time.Duration
	// Interval is how often the installation is asked whether it has happened; 0 is half a second.
	Interval time.Duration
}

func (t Target) over(machine int) {
	if t.Over != nil {
		t.Over(machine)
	}
}

func (t Target) limit() time.Duration {
	if t.Limit == 0 {
		return 3 * time.Minute
	}
	return t.Limit
}

func (t Target) interval() time.Duration {
	if t.Interval == 0 {
		return 500 * time.Millisecond
	}
	return t.Interval
}

// Run cleans up after an earlier exercise, takes all steps in order, and cleans up after itself, also when a step fails; but not once
// ctx is done: the next run does it then. progress is told what each step does before it begins. The error of a step that fails is one
// sentence: what was being done, to what, what was found, and what to do next.
func (t Target) Run(ctx context.Context, progress func(step string)) error {
	progress("remove what an earlier exercise left behind")
	if err := t.Clean(ctx); err != nil {
		return err
	}
	err := t.steps(ctx, progress)
	if ctx.Err() != nil {
		return err
	}
	if err == nil {
		progress("clean up")
		return t.Clean(ctx)
	}
	// What has failed may be what the removal needs too.
	ctx, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	if cleanErr := t.Clean(ctx); cleanErr != nil {
		return fmt.Errorf("%w; then the clean-up failed: %w", err, cleanErr)
	}
	return err
}

func (t Target) steps(ctx context.Context, progress func(step string)) error {
	var machine int
	for _, step := range []struct {
		doing string
		run   func(context.Context) error
	}{
		{"log in by XML-RPC and FireEdge", t.Login},
		{"monitor a host", ignoreID(t.Host)},
		{"register an image", ignoreID(t.Image)},
		{"place and start a virtual machine", func(ctx context.Context) (err error) { machine, err = t.Machine(ctx); return err }},
		{"call OneGate from the virtual machine", func(ctx context.Context) error { return t.Token(ctx, machine) }},
		{"calculate showback", func(ctx context.Context) error { return t.Showback(ctx, machine) }},
		{"deploy and undeploy a OneFlow service", t.Service},
		{"run a hook", t.Hook},
		{"terminate the virtual machine", func(ctx context.Context) error { return t.Terminate(ctx, machine) }},
	} {
		progress(step.doing)
		if err := step.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

func ignoreID(step func(context.Context) (int, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := step(ctx)
		return err
	}
}

// until asks again and again until the answer is that it is done, for as long as the limit. doing says what is waited for, next what to
// do when it does not happen. found is what the last answer was.
func (t Target) until(ctx context.Context, doing, next string, ask func(ctx context.Context) (found string, done bool, err error)) error {
	limited, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	last := "got no answer"
	ticker := time.NewTicker(t.interval())
	defer ticker.Stop()
	for {
		found, done, err := ask(limited)
		switch {
		case err != nil && limited.Err() == nil:
			return fmt.Errorf("%s: %w", doing, err)
		case err == nil && done:
			return nil
		case err == nil && limited.Err() == nil:
			last = found
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("%s: %w; %s until then", doing, context.Cause(ctx), last)
			}
			return fmt.Errorf("%s: %s after %s: %s", doing, last, t.limit(), next)
		case <-ticker.C:
		}
	}
}
