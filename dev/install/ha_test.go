//go:build linux

package install_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apps "k8s.io/api/autoscaling/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestHighAvailability takes three front-ends through what they are there for. It has a cluster of its own, which it restarts.
func TestHighAvailability(t *testing.T) {
	c := newCluster(t)
	r := newRelease(t, c, "ha", append(frugal(), "replicas=3")...)
	r.install(older)
	r.helm("test")
	leader := r.leader()
	before := r.commonIdentity()

	w := r.write()
	r.kill(leader)
	next := r.leaderOtherThan(leader)
	w.await("the leader is killed", 5)
	w.stop()
	r.wantAcknowledged("the leader is killed", w)
	r.ready(leader)
	// The databases need not be the same: a former leader that comes back applies what it alone had in its log, for oned does not look whose records it is told to
	// apply. Its log becomes that of the others.
	r.wantSame("the leader is killed", "logs", "SELECT log_index, term, sqlcmd FROM logdb ORDER BY log_index")

	// A follower may be gone without any effect. It loses its volumes later, and with them what it alone had.
	follower := leader
	w = r.write()
	w.await("there is a leader", 1)
	r.kill(follower)
	w.await("a follower is killed", 5)
	w.stop()
	if r.leader() != next {
		t.Errorf("a follower is killed, and %s leads no more", next)
	}
	r.ready(follower)
	r.wantAcknowledged("a follower is killed", w)

	r.loseVolumes(follower)
	r.wantSameDatabases("a follower has lost its volumes")

	// The front-ends are stopped in the middle of writing.
	w = r.write()
	w.await("an upgrade begins", 1)
	r.refuseRollingUpgrade()
	w.stop()
	r.upgrade(newer)
	r.helm("test")
	r.wantAcknowledged("the upgrade", w)
	r.wantSameDatabases("the upgrade")

	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, pod := range r.pods() {
		r.ready(pod)
	}
	r.leader()
	r.wantAcknowledged("a restart of the node", w)
	after := r.commonIdentity()
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			t.Errorf("what the front-ends have in common has changed: there was %sand is\n%s", line, after)
		}
	}
}

const roleLabel = "opennebula.io/role"

// pods are the front-ends.
func (r *release) pods() []string { return []string{name + "-0", name + "-1", name + "-2"} }

// leader is the only pod that is labelled as such.
func (r *release) leader() string {
	r.t.Helper()
	return r.leaderOtherThan("")
}

func (r *release) leaderOtherThan(former string) string {
	r.t.Helper()
	var leader string
	r.until("another front-end leads than "+former, func(ctx context.Context) error {
		pods, err := r.client.CoreV1().Pods(r.namespace).List(ctx, meta.ListOptions{LabelSelector: roleLabel + "=leader"})
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].Name == former {
			return fmt.Errorf("there are %d pods with the label, of %s", len(pods.Items), former)
		}
		leader = pods.Items[0].Name
		return nil
	})
	return leader
}

// kill takes a pod away at once, as a node that loses its power does. Deleting it without a grace period is not enough: for a second, oned would
// be there without its database and refuse the leader's login, which the leader's oned takes for a newer term, and it would lead no more.
func (r *release) kill(pod string) {
	r.t.Helper()
	// The container ends with its programs, so this call ends in an error.
	_, _ = r.tryExec(r.t.Context(), pod, "opennebula", "bash", "-c", "kill -KILL -1")
	if err := r.client.CoreV1().Pods(r.namespace).Delete(r.t.Context(), pod, meta.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		r.t.Fatal(err)
	}
}

// loseVolumes takes the volumes of a front-end away: it gets all from the others.
func (r *release) loseVolumes(pod string) {
	r.t.Helper()
	former := r.pod(pod).UID
	for _, claim := range []string{"data-" + pod, "mariadb-data-" + pod} {
		if err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).Delete(r.t.Context(), claim, meta.DeleteOptions{}); err != nil {
			r.t.Fatal(err)
		}
	}
	r.kill(pod)
	r.until("there is another pod "+pod, func(ctx context.Context) error {
		now, err := r.client.CoreV1().Pods(r.namespace).Get(ctx, pod, meta.GetOptions{})
		if err == nil && now.UID == former {
			err = errors.New("there is the former one")
		}
		return err
	})
	r.ready(pod)
	if log := r.log("statefulset.kubernetes.io/pod-name="+pod, "opennebula"); !strings.Contains(log, "copying the database of "+r.leader()) {
		r.t.Errorf("the front-end that has lost its volumes has not copied the leader's database:\n%s", log)
	}
}

// refuseRollingUpgrade begins an upgrade while the front-ends run, which has to wait, and stops them then.
func (r *release) refuseRollingUpgrade() {
	r.t.Helper()
	last := r.pods()[2]
	r.helm("upgrade", chart, "--set", "image.tag="+newer, "--wait=false")
	r.until("the newer front-end waits for the older ones to stop", func(ctx context.Context) error {
		log, err := r.client.CoreV1().Pods(r.namespace).GetLogs(last, &core.PodLogOptions{Container: "opennebula"}).DoRaw(ctx)
		if err == nil && !strings.Contains(string(log), "stop all of them, then start all anew") {
			err = fmt.Errorf("its log is %s", log)
		}
		return err
	})
	r.oned("oneuser", "show", "0")
	r.stopAll()
}

// stopAll stops all front-ends.
func (r *release) stopAll() {
	r.t.Helper()
	scale := &apps.Scale{ObjectMeta: meta.ObjectMeta{Name: name, Namespace: r.namespace}, Spec: apps.ScaleSpec{Replicas: 0}}
	if _, err := r.client.AppsV1().StatefulSets(r.namespace).UpdateScale(r.t.Context(), name, scale, meta.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.until("all front-ends are stopped", func(ctx context.Context) error {
		pods, err := r.client.CoreV1().Pods(r.namespace).List(ctx, meta.ListOptions{LabelSelector: "app.kubernetes.io/name=opennebula"})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d are there", len(pods.Items))
		}
		return err
	})
}

// commonIdentity is what all front-ends must have in common, and keep.
func (r *release) commonIdentity() string {
	r.t.Helper()
	var first string
	for i, pod := range r.pods() {
		got := r.exec(pod, "opennebula", asOneadmin("sh", "-c", "cd /var/lib/one && sha256sum .one/*auth .one/*key .ssh/id_rsa")...)
		if i == 0 {
			first = got
		} else if diff := cmp.Diff(first, got); diff != "" {
			r.t.Errorf("%s has others than the first (-first +other):\n%s", pod, diff)
		}
	}
	for _, file := range []string{"sunstone_auth", "oneflow_auth", "one_key", "fireedge_key", "id_rsa"} {
		if !strings.Contains(first, file) {
			r.t.Errorf("there is no %s in %s", file, first)
		}
	}
	return first
}

// wantSameDatabases waits until all have what the leader has, besides what each remembers of elections.
func (r *release) wantSameDatabases(after string) {
	r.t.Helper()
	r.wantSame(after, "databases", "SELECT body FROM user_pool ORDER BY oid; SELECT body FROM zone_pool; SELECT MAX(log_index) FROM logdb")
}

// wantSame waits until statements have the same answer in the databases of all front-ends.
func (r *release) wantSame(after, what, statements string) {
	r.t.Helper()
	r.until("after "+after+" all "+what+" are the same", func(ctx context.Context) error {
		var first string
		for i, pod := range r.pods() {
			dump, err := r.query(ctx, pod, statements)
			if err != nil {
				return err
			}
			if i == 0 {
				first = dump
			} else if diff := cmp.Diff(first, dump); diff != "" {
				return fmt.Errorf("%s has another (-first +other):\n%s", pod, diff)
			}
		}
		return nil
	})
}

// query asks the database in a front-end's pod.
func (r *release) query(ctx context.Context, pod, statements string) (string, error) {
	return r.tryExec(ctx, pod, "mariadb", "bash", "-euc", `export MYSQL_PWD=$(cat /run/secrets/mariadb/mariadb-root-password)
		mariadb --user=root --batch --skip-column-names --execute="$0" opennebula`, statements)
}

// writer makes users, one after the other, through the API's Service.
type writer struct {
	r            *release
	cancel       context.CancelFunc
	done         chan struct{}
	acknowledged chan string
	// names are those of users that the API has acknowledged, longest is the longest time between two of them.
	names   []string
	longest time.Duration
	failed  error
}

func (r *release) write() *writer {
	r.t.Helper()
	one, begin := r.api(2*time.Second), time.Now()
	ctx, cancel := context.WithCancel(r.t.Context())
	w := &writer{r: r, cancel: cancel, done: make(chan struct{}), acknowledged: make(chan string, 10000)}
	go func() {
		defer close(w.done)
		before := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			user := fmt.Sprintf("user-%d-%d", begin.UnixNano(), i)
			if err := one.call(ctx, "one.user.allocate", "<string>"+user+"</string>", "<string>secret</string>", "<string>core</string>"); err != nil {
				w.failed = err
				// Nothing listens for some seconds.
				time.Sleep(20 * time.Millisecond)
				continue
			}
			now := time.Now()
			w.longest, before = max(w.longest, now.Sub(before)), now
			w.names = append(w.names, user)
			w.acknowledged <- user
		}
	}()
	return w
}

// await waits until n more users are acknowledged.
func (w *writer) await(after string, n int) {
	w.r.t.Helper()
	for len(w.acknowledged) > 0 {
		<-w.acknowledged
	}
	for range n {
		select {
		case <-w.acknowledged:
		case <-time.After(limit):
			w.stop()
			w.r.t.Fatalf("%s: nothing is acknowledged within %s: %v", after, limit, w.failed)
		}
	}
}

func (w *writer) stop() {
	w.cancel()
	<-w.done
}

// wantAcknowledged wants all users in the leader's database that the API has acknowledged.
func (r *release) wantAcknowledged(after string, w *writer) {
	r.t.Helper()
	if len(w.names) == 0 {
		r.t.Errorf("%s: nothing was acknowledged at all: %v", after, w.failed)
	}
	found, err := r.query(r.t.Context(), r.leader(), "SELECT name FROM user_pool")
	if err != nil {
		r.t.Fatal(err)
	}
	has := strings.Fields(found)
	for _, user := range w.names {
		if !slices.Contains(has, user) {
			r.t.Errorf("after %s: %s was acknowledged, and is not in the leader's database", after, user)
		}
	}
	r.t.Logf("after %s: %d users acknowledged, %s at most between two", after, len(w.names), w.longest.Round(10*time.Millisecond))
}
