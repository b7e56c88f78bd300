package frontends

import (
	"context"
	"fmt"
	"slices"
	"time"

	"opennebula-kube/image/internal/oned"
)

const (
	leader   = "leader"
	follower = "follower"
	// keepInterval is how often oned is asked what it is.
	keepInterval = 500 * time.Millisecond
	// repeatTime is how often a leader makes sure of its pod's label, and that no other front-end was elected after it.
	repeatTime = 10 * time.Second
	// silenceLimit is how often in a row a leader may not answer before it counts as one no more.
	silenceLimit = 4
)

// Keeper does what the leader of the front-ends has to do besides leading: it lets the services run that work for all front-ends, and has
// its pod found. It looks again and again, so that nothing is missed that happens while it does not run, or while a call fails.
type Keeper struct {
	Zone Zone
	// Status asks the own oned.
	Status func(ctx context.Context) (oned.Status, error)
	// Others asks the other front-ends: how many of them answer, and what the latest term is of which one is the leader, 0 if none is.
	Others func(ctx context.Context) (answer, term int)
	// Services starts the leader's services, or stops them.
	Services func(ctx context.Context, run bool) error
	// Label gives the pod of a front-end its role; nil when there is no label.
	Label func(ctx context.Context, server int, role string) error
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	Log   func(format string, args ...any)

	role   string
	silent int
	// sure is when the leader has last made sure.
	sure time.Time
	// open are the things that are still to be done for the role.
	open []task
}

type task struct {
	what string
	run  func(ctx context.Context) error
	// failed is why it did not work the last time.
	failed string
}

// Run returns when ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		k.look(ctx)
		if k.Sleep(ctx, keepInterval) != nil {
			return
		}
	}
}

func (k *Keeper) look(ctx context.Context) {
	if role := k.ask(ctx); role != k.role {
		k.Log("this front-end is %s now", role)
		k.role, k.open = role, k.tasks(role)
	}
	var open []task
	for _, task := range k.open {
		err := task.run(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if reason := err.Error(); reason != task.failed {
			task.failed = reason
			k.Log("failed to %s, trying again: %s", task.what, reason)
		}
		open = append(open, task)
	}
	k.open = open
}

// ask returns the role. A leader that does not answer once may be busy; one that does not for longer is none. One that the others do not hear
// does not know that they have elected another.
func (k *Keeper) ask(ctx context.Context) string {
	status, err := k.Status(ctx)
	if err != nil {
		k.silent++
		if k.role == leader && k.silent < silenceLimit {
			return leader
		}
		return follower
	}
	k.silent = 0
	if status.State != oned.Leader {
		return follower
	}
	if k.role == leader && k.Now().Sub(k.sure) < repeatTime {
		return leader
	}
	k.sure = k.Now()
	answer, term := k.Others(ctx)
	if term > status.Term {
		return follower
	}
	if most := answer+1 > len(k.Zone.Endpoints)/2; k.role == leader && most && len(k.open) == 0 {
		// Somebody may have taken the label away. Who is cut off from most of the others does not know whether rightly so.
		k.open = k.labels(leader)
	}
	return leader
}

// tasks are in the order of their urgency.
func (k *Keeper) tasks(role string) []task {
	labels := k.labels(role)
	services := task{what: "start or stop the leader's services", run: func(ctx context.Context) error { return k.Services(ctx, role == leader) }}
	return slices.Insert(labels, min(1, len(labels)), services)
}

// labels begin with the own one. The leader takes the role from all others: one that has lost its node cannot do so itself, and would be called in
// vain.
func (k *Keeper) labels(role string) []task {
	if k.Label == nil {
		return nil
	}
	all := []task{k.label(k.Zone.Self, role)}
	for i := range k.Zone.Endpoints {
		if role == leader && i != k.Zone.Self {
			all = append(all, k.label(i, follower))
		}
	}
	return all
}

func (k *Keeper) label(server int, role string) task {
	return task{
		what: fmt.Sprintf("label the pod of %s as %s", k.Zone.Endpoints[server], role),
		run:  func(ctx context.Context) error { return k.Label(ctx, server, role) },
	}
}
