package kube

import (
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// TestPodsSeen has a container said to run since some time, after a start in the middle of a second.
func TestPodsSeen(t *testing.T) {
	start := time.Date(2026, 4, 3, 12, 0, 0, 500_000_000, time.UTC)
	running := func(at time.Time) core.ContainerState {
		return core.ContainerState{Running: &core.ContainerStateRunning{StartedAt: meta.NewTime(at.Truncate(time.Second))}}
	}
	for _, c := range []struct {
		name  string
		state core.ContainerState
		seen  bool
	}{
		{"long before", running(start.Add(-time.Hour)), false},
		{"right before", running(start.Add(-400 * time.Millisecond)), false},
		{"since", running(start.Add(3 * time.Second)), true},
		{"not", core.ContainerState{Waiting: &core.ContainerStateWaiting{}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := &Cluster{client: fake.NewClientset(&core.Pod{
				ObjectMeta: meta.ObjectMeta{Name: "one-0", Namespace: "default"},
				Status:     core.PodStatus{ContainerStatuses: []core.ContainerStatus{{Name: "one", State: c.state}}},
			})}
			if err := cluster.podsSeen(t.Context(), start); (err == nil) != c.seen {
				t.Errorf("error %v, want none: %v", err, c.seen)
			}
		})
	}
}

func TestNodeReady(t *testing.T) {
	ready := core.NodeStatus{
		NodeInfo:   core.NodeSystemInfo{BootID: "second"},
		Conditions: []core.NodeCondition{{Type: core.NodeMemoryPressure, Status: core.ConditionFalse}, {Type: core.NodeReady, Status: core.ConditionTrue}},
	}
	for _, c := range []struct {
		name   string
		change func(*core.Node)
		want   string
	}{
		{"ready", func(*core.Node) {}, ""},
		{"before the restart", func(n *core.Node) { n.Status.NodeInfo.BootID = "first" }, "has not reported since its start"},
		{"without a word", func(n *core.Node) { n.Status.Conditions = nil }, "does not say yet whether it is ready"},
		{"not ready", func(n *core.Node) {
			n.Status.Conditions[1] = core.NodeCondition{Type: core.NodeReady, Status: core.ConditionFalse, Reason: "KubeletNotReady", Message: "no network"}
		}, "KubeletNotReady: no network"},
		{"tainted", func(n *core.Node) { n.Spec.Taints = []core.Taint{{Key: core.TaintNodeNotReady}} }, core.TaintNodeNotReady},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := &core.Node{ObjectMeta: meta.ObjectMeta{Name: nodeName}, Status: *ready.DeepCopy()}
			c.change(node)
			err := (&Cluster{client: fake.NewClientset(node)}).nodeReady(t.Context(), "second")
			if got := err == nil; got != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
