package frontends_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/oned"
)

// kept is what a keeper does, told step by step.
type kept struct {
	states []any
	// fails is how often each thing fails before it works.
	fails map[string]int
	// answer is how many others do, newest is the term of another leader.
	answer, newest int
	done           []string
	log            []string
}

func (k *kept) try(what string) error {
	if k.fails[what] > 0 {
		k.fails[what]--
		return errors.New(what + " failed")
	}
	k.done = append(k.done, what)
	return nil
}

// run looks once for each state.
func (k *kept) run(t *testing.T, label bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	keeper := frontends.Keeper{
		Zone: frontends.Zone{Endpoints: []string{"one-0.x", "one-1.x", "one-2.x"}, Self: 1},
		Status: func(context.Context) (oned.Status, error) {
			state := k.states[0]
			if k.states = k.states[1:]; len(k.states) == 0 {
				cancel()
			}
			now = now.Add(time.Second)
			if err, ok := state.(error); ok {
				return oned.Status{}, err
			}
			return oned.Status{State: state.(oned.State), Term: 5}, nil
		},
		Others:   func(context.Context) (int, int) { return k.answer, k.newest },
		Now:      func() time.Time { return now },
		Services: func(_ context.Context, run bool) error { return k.try(fmt.Sprintf("run %t", run)) },
		Sleep:    func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Log:      func(format string, args ...any) { k.log = append(k.log, fmt.Sprintf(format, args...)) },
	}
	if label {
		keeper.Label = func(_ context.Context, server int, role string) error {
			return k.try(fmt.Sprintf("%d %s", server, role))
		}
	}
	keeper.Run(ctx)
}

func TestKeeper(t *testing.T) {
	silent := errors.New("connection refused")
	lead := []string{"1 leader", "run true", "0 follower", "2 follower"}
	follow := []string{"1 follower", "run false"}
	for _, c := range []struct {
		name   string
		label  bool
		states []any
		fails  map[string]int
		want   []string
	}{
		{"starts as a follower", true, []any{oned.Follower, oned.Follower}, nil, follow},
		{"starts while oned does not answer", true, []any{silent, oned.Follower}, nil, follow},
		{"becomes the leader", true, []any{oned.Follower, oned.Candidate, oned.Leader, oned.Leader}, nil, slices.Concat(follow, lead)},
		{"loses the lead", true, []any{oned.Leader, oned.Follower}, nil, slices.Concat(lead, follow)},
		{"leads and is silent for a moment", true, []any{oned.Leader, silent, silent, silent, oned.Leader}, nil, lead},
		{"leads and is silent for long", true, []any{oned.Leader, silent, silent, silent, silent}, nil, slices.Concat(lead, follow)},
		{"silent now and then", true, []any{oned.Leader, silent, silent, silent, oned.Leader, silent, silent, silent, oned.Leader}, nil, lead},
		{"what fails is tried again", true, []any{oned.Leader, oned.Leader, oned.Leader, oned.Leader}, map[string]int{"1 leader": 2, "2 follower": 1},
			[]string{"run true", "0 follower", "2 follower", "1 leader"}},
		{"what failed is no longer wanted", true, []any{oned.Leader, oned.Follower, oned.Follower}, map[string]int{"1 leader": 9},
			slices.Concat(lead[1:], follow)},
		{"without a label", false, []any{oned.Leader, oned.Follower}, nil, []string{"run true", "run false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := kept{states: c.states, fails: c.fails}
			// What the last look finds is to be done too.
			k.states = append(k.states, c.states[len(c.states)-1])
			k.run(t, c.label)
			if !slices.Equal(k.done, c.want) {
				t.Errorf("done %q, want %q; log %q", k.done, c.want, k.log)
			}
		})
	}
}

// TestKeeperMakesSure has the leader repeat its labels, and give way to one that was elected after it.
func TestKeeperMakesSure(t *testing.T) {
	long := slices.Repeat([]any{oned.Leader}, 15)
	k := kept{states: long, answer: 1, newest: 4}
	k.run(t, true)
	labels := []string{"1 leader", "0 follower", "2 follower"}
	if want := slices.Concat(labels[:1], []string{"run true"}, labels[1:], labels); !slices.Equal(k.done, want) {
		t.Errorf("done %q, want %q", k.done, want)
	}
	alone := kept{states: long}
	alone.run(t, true)
	if want := slices.Concat(labels[:1], []string{"run true"}, labels[1:]); !slices.Equal(alone.done, want) {
		t.Errorf("cut off from the others: done %q, want %q", alone.done, want)
	}
	stale := kept{states: []any{oned.Leader, oned.Leader}, newest: 6}
	stale.run(t, true)
	if want := []string{"1 follower", "run false"}; !slices.Equal(stale.done, want) {
		t.Errorf("beside a later leader: done %q, want %q", stale.done, want)
	}
}

func TestKeeperTellsOfAFailureOnce(t *testing.T) {
	k := kept{states: []any{oned.Leader, oned.Leader, oned.Leader, oned.Leader, oned.Leader}, fails: map[string]int{"2 follower": 3}}
	k.run(t, true)
	told := slices.DeleteFunc(k.log, func(line string) bool {
		return !strings.Contains(line, "failed to label the pod of one-2.x as follower")
	})
	if len(told) != 1 {
		t.Errorf("told %q", told)
	}
}
