//go:build linux

package kube

import (
	"context"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
)

// TestServerOnly has objects checked by a server that runs nothing. It needs no root.
func TestServerOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: compiles and starts Kubernetes")
	}
	o := options(t, t.TempDir())
	o.ServerOnly = true
	start := func() *Cluster {
		t.Helper()
		c, err := Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := start()
	// As Helm and kubectl read it.
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}

	dryRun := meta.PatchOptions{FieldManager: "test", DryRun: []string{meta.DryRunAll}, FieldValidation: meta.FieldValidationStrict, Force: ptr.To(true)}
	services := client.CoreV1().Services(meta.NamespaceDefault)
	applied, err := services.Patch(t.Context(), "one", types.ApplyPatchType,
		[]byte(`{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "one"}}}`), dryRun)
	if err != nil {
		t.Fatal(err)
	}
	if applied.Spec.Type != core.ServiceTypeClusterIP || applied.Spec.Ports[0].Protocol != core.ProtocolTCP {
		t.Errorf("the server has set no defaults: %+v", applied.Spec)
	}
	if _, err := services.Get(t.Context(), "one", meta.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after a dry run the service is there: %v", err)
	}
	for _, c := range []struct{ name, object, want string }{
		{"invalid", `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "two"}, "spec": {"ports": [{"port": 99999}]}}`, "must be between 1 and 65535"},
		{"unknown field", `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "two"}, "spec": {"port": 80}}`, ".spec.port: field not declared in schema"},
	} {
		_, err := services.Patch(t.Context(), "two", types.ApplyPatchType, []byte(c.object), dryRun)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", c.name, err, c.want)
		}
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if want := pinnedVersion(t); version.GitVersion != want || !strings.HasPrefix(want, "v"+version.Major+"."+version.Minor+".") {
		t.Errorf("version %+v, want %s", version, want)
	}
	const namespace = "controlled"
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "a controller gives the namespace its service account", func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", meta.GetOptions{})
		return err
	})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for _, found := range processes(t, o.Dir) {
		t.Errorf("there is process %s", found)
	}

	c = start()
	client, err = kubernetes.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), namespace, meta.GetOptions{}); err != nil {
		t.Errorf("an object of the earlier cluster: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
