//go:build linux

package install_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// instance selects all of the release, as the chart's README has it to delete what uninstall leaves.
const instance = "app.kubernetes.io/instance=one"

// uninstall uninstalls the release, which leaves claims and Secrets and nothing else.
func (r *release) uninstall() {
	r.t.Helper()
	before := r.kept()
	r.helm("uninstall", "--wait")
	if diff := cmp.Diff(before, r.kept()); diff != "" {
		r.t.Errorf("uninstall has not left all claims and Secrets (-before +after):\n%s", diff)
	}
	r.until("the pods are gone", func(ctx context.Context) error {
		pods, err := r.client.CoreV1().Pods(r.namespace).List(ctx, meta.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("there is %s", pods.Items[0].Name)
		}
		return err
	})
	ctx, list := r.t.Context(), meta.ListOptions{LabelSelector: instance}
	services, err := r.client.CoreV1().Services(r.namespace).List(ctx, list)
	if err != nil {
		r.t.Fatal(err)
	}
	sets, err := r.client.AppsV1().StatefulSets(r.namespace).List(ctx, list)
	if err != nil {
		r.t.Fatal(err)
	}
	jobs, err := r.client.BatchV1().CronJobs(r.namespace).List(ctx, list)
	if err != nil {
		r.t.Fatal(err)
	}
	if n := len(services.Items) + len(sets.Items) + len(jobs.Items); n > 0 {
		r.t.Errorf("uninstall has left %d Services, StatefulSets and CronJobs", n)
	}
}

// kept are the claims and Secrets that the README's command deletes. Helm's own Secrets, of releases, have another label.
func (r *release) kept() []string {
	r.t.Helper()
	var names []string
	claims, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).List(r.t.Context(), meta.ListOptions{LabelSelector: instance})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, claim := range claims.Items {
		names = append(names, "claim "+claim.Name)
	}
	secrets, err := r.client.CoreV1().Secrets(r.namespace).List(r.t.Context(), meta.ListOptions{LabelSelector: instance})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, secret := range secrets.Items {
		names = append(names, "Secret "+secret.Name)
	}
	slices.Sort(names)
	return names
}
