//go:build linux

package kube

import (
	"context"
	"fmt"
	"slices"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// probe asks the program in the pod probe-0, by way of the API server.
type probe struct {
	t      *testing.T
	client kubernetes.Interface
}

func (p probe) ready() {
	p.t.Helper()
	until(p.t, "the pod and its StatefulSet are ready", func(ctx context.Context) error {
		pod, err := p.client.CoreV1().Pods(meta.NamespaceDefault).Get(ctx, "probe-0", meta.GetOptions{})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(pod.Status.Conditions, func(c core.PodCondition) bool { return c.Type == core.PodReady && c.Status == core.ConditionTrue }) {
			return fmt.Errorf("the pod is not; %s", p.events(ctx))
		}
		set, err := p.client.AppsV1().StatefulSets(meta.NamespaceDefault).Get(ctx, "probe", meta.GetOptions{})
		if err != nil {
			return err
		}
		if set.Status.ReadyReplicas != 1 {
			return fmt.Errorf("the StatefulSet has %d ready pods", set.Status.ReadyReplicas)
		}
		return nil
	})
}

// events tells what went wrong with the pod.
func (p probe) events(ctx context.Context) string {
	list, err := p.client.CoreV1().Events(meta.NamespaceDefault).List(ctx, meta.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return err.Error()
	}
	text := "warnings:"
	for _, event := range list.Items {
		text += fmt.Sprintf("\n%s %s: %s: %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Reason, event.Message)
	}
	return text
}

func (p probe) pod() *core.Pod {
	p.t.Helper()
	pod, err := p.client.CoreV1().Pods(meta.NamespaceDefault).Get(p.t.Context(), "probe-0", meta.GetOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return pod
}

func (p probe) container() string {
	p.t.Helper()
	return p.pod().Status.ContainerStatuses[0].ContainerID
}

func (p probe) log() string {
	p.t.Helper()
	log, err := p.client.CoreV1().Pods(meta.NamespaceDefault).GetLogs("probe-0", &core.PodLogOptions{}).DoRaw(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return string(log)
}

func (p probe) put(value string) {
	p.t.Helper()
	answer, err := p.client.CoreV1().RESTClient().Put().Namespace(meta.NamespaceDefault).Resource("pods").SubResource("proxy").
		Name("probe-0:8080").Suffix("value").Body([]byte(value)).DoRaw(p.t.Context())
	if err != nil {
		p.t.Fatalf("put: %v: %s", err, answer)
	}
}

func (p probe) try(question, key, value string) (string, error) {
	p.t.Helper()
	params := make(map[string]string)
	if key != "" {
		params[key] = value
	}
	answer, err := p.client.CoreV1().Pods(meta.NamespaceDefault).ProxyGet("http", "probe-0", "8080", question, params).DoRaw(p.t.Context())
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, answer)
	}
	return string(answer), nil
}

func (p probe) get(question, key, value string) string {
	p.t.Helper()
	answer, err := p.try(question, key, value)
	if err != nil {
		p.t.Fatalf("%s %s: %v", question, value, err)
	}
	return answer
}
