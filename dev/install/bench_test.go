//go:build linux

package install_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkInstall measures the chart with its own values, on a node that has the images: from `helm install` to ready, an upgrade of OpenNebula
// with the time for which its API does not answer, and, with three front-ends, the time from the leader's death to the next answer to a write.
func BenchmarkInstall(b *testing.B) {
	c := newCluster(b)
	var names int
	fresh := func(b *testing.B) *release {
		b.Helper()
		names++
		return newRelease(b, c, fmt.Sprintf("bench-%d", names))
	}
	first := fresh(b)
	first.install(older)
	first.upgrade(newer)
	first.remove()
	b.Run("Ready", func(b *testing.B) {
		for b.Loop() {
			r := fresh(b)
			r.install(older)
			b.StopTimer()
			r.remove()
			b.StartTimer()
		}
		inSeconds(b)
	})
	b.Run("Upgrade", func(b *testing.B) {
		var down time.Duration
		for b.Loop() {
			b.StopTimer()
			r := fresh(b)
			r.install(older)
			ctx, stop := context.WithCancel(b.Context())
			watched := r.watch(ctx)
			b.StartTimer()
			r.upgrade(newer)
			b.StopTimer()
			stop()
			gap := <-watched
			if gap.last == nil || !gap.ended {
				b.Fatalf("the API has not been away and come back: %+v", gap)
			}
			down += gap.longest
			r.remove()
			b.StartTimer()
		}
		inSeconds(b)
		b.ReportMetric(down.Seconds()/float64(b.N), "s-down")
	})
	b.Run("Leader", func(b *testing.B) {
		r := fresh(b)
		r.values = append(r.values, append(frugal(), "replicas=3")...)
		r.install(older)
		var down time.Duration
		for b.Loop() {
			leader := r.leader()
			w := r.write()
			w.await("there is a leader", 1)
			r.kill(leader)
			r.leaderOtherThan(leader)
			w.await("the leader is killed", 1)
			w.stop()
			down += w.longest
			r.ready(leader)
		}
		b.ReportMetric(down.Seconds()/float64(b.N), "s-down")
		b.ReportMetric(0, "ns/op")
		r.remove()
	})
}

// inSeconds reports the time of an operation in seconds alone.
func inSeconds(b *testing.B) {
	b.Helper()
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/op")
	b.ReportMetric(0, "ns/op")
}

// remove removes the release with all that it leaves.
func (r *release) remove() {
	r.t.Helper()
	r.helm("uninstall", "--wait")
	if err := r.client.CoreV1().Namespaces().Delete(r.t.Context(), r.namespace, meta.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.until("the namespace is gone", func(ctx context.Context) error {
		left, err := r.client.CoreV1().Pods(r.namespace).List(ctx, meta.ListOptions{})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("there is %s", left.Items[0].Name)
		}
		return err
	})
}

// availability is how an API has answered: how many times, the longest time between two of them, what the last call that failed has said, and whether
// it answered at the end.
type availability struct {
	answers int
	longest time.Duration
	last    error
	ended   bool
}

// watch calls the API through its Service until ctx has ended and it answers.
func (r *release) watch(ctx context.Context) <-chan availability {
	r.t.Helper()
	one := r.api(time.Second)
	result := make(chan availability, 1)
	until, cancel := context.WithTimeout(r.t.Context(), limit)
	go func() {
		defer cancel()
		var a availability
		var before time.Time
		every := time.NewTicker(20 * time.Millisecond)
		defer every.Stop()
		for ; !a.ended && until.Err() == nil; <-every.C {
			// A Service leads to a pod some time after that is ready.
			last := ctx.Err() != nil
			if err := one.call(until, "one.user.info", "<i4>-1</i4>"); err != nil {
				a.last = err
				continue
			}
			now := time.Now()
			if a.answers > 0 {
				a.longest = max(a.longest, now.Sub(before))
			}
			a.answers, before, a.ended = a.answers+1, now, last
		}
		result <- a
	}()
	return result
}
