package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pollInterval is how often it is asked whether something has come true.
const pollInterval = 100 * time.Millisecond

// ready waits until the cluster that has been started at begin does all that it will do.
func (c *Cluster) ready(ctx context.Context, bootID string, begin time.Time) error {
	steps := []struct {
		what string
		is   func(context.Context) error
	}{
		{"the API server", c.serverReady},
		// Pods get its token.
		{"the service account default", c.accountReady},
	}
	if !c.serverOnly {
		steps = append(steps, []struct {
			what string
			is   func(context.Context) error
		}{
			{"the cluster's own objects", c.applyAddons},
			{"the node", func(ctx context.Context) error { return c.nodeReady(ctx, bootID) }},
			{"services and names", c.servicesReady},
			{"the pods from before", func(ctx context.Context) error { return c.podsSeen(ctx, begin) }},
		}...)
	}
	for _, step := range steps {
		if err := eventually(ctx, step.is); err != nil {
			return fmt.Errorf("wait for %s: %w", step.what, err)
		}
	}
	return nil
}

// eventually calls is until it returns no error. When ctx ends first, it returns why, and what is said last.
func eventually(ctx context.Context, is func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := is(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

func (c *Cluster) serverReady(ctx context.Context) error {
	return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (c *Cluster) accountReady(ctx context.Context) error {
	_, err := c.client.CoreV1().ServiceAccounts(meta.NamespaceDefault).Get(ctx, "default", meta.GetOptions{})
	return err
}

// nodeReady checks that the node is, since this start: what is said of it may be from before.
func (c *Cluster) nodeReady(ctx context.Context, bootID string) error {
	node, err := c.client.CoreV1().Nodes().Get(ctx, nodeName, meta.GetOptions{})
	if err != nil {
		return err
	}
	if node.Status.NodeInfo.BootID != bootID {
		return errors.New("it has not reported since its start")
	}
	if i := slices.IndexFunc(node.Status.Conditions, func(c core.NodeCondition) bool { return c.Type == core.NodeReady }); i < 0 {
		return errors.New("it does not say yet whether it is ready")
	} else if condition := node.Status.Conditions[i]; condition.Status != core.ConditionTrue {
		return fmt.Errorf("%s: %s", condition.Reason, condition.Message)
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("no pod may run on it for its taint %s", node.Spec.Taints[0].Key)
	}
	return nil
}

// servicesReady checks that the name server answers at its service's address.
func (c *Cluster) servicesReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := c.DialContext(ctx, "tcp", net.JoinHostPort(dnsAddress, "53"))
	if err != nil {
		return err
	}
	return conn.Close()
}

// podsSeen checks that no container is said to run that was started before begin.
func (c *Cluster) podsSeen(ctx context.Context, begin time.Time) error {
	pods, err := c.client.CoreV1().Pods(meta.NamespaceAll).List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		for _, container := range pod.Status.ContainerStatuses {
			// It is told to the second; no container of this start is as fast as that.
			if running := container.State.Running; running != nil && !running.StartedAt.After(begin) {
				return fmt.Errorf("container %s of %s/%s is still said to run as before", container.Name, pod.Namespace, pod.Name)
			}
		}
	}
	return nil
}
