//go:build linux

package install_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/ptr"

	helmchart "opennebula-kube/dev/chart"
	"opennebula-kube/dev/chart/kubeschema"
	"opennebula-kube/dev/kube"
)

// TestServer has an API server check all that the chart renders to, with each set of values. It takes no pods, and so neither root nor images.
func TestServer(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: compiles and starts Kubernetes")
	}
	tools, _ := newTools(t)
	helm := helmPath(t, tools)
	c, err := kube.Start(t.Context(), kube.Options{Dir: t.TempDir(), Root: root, Toolchain: tools, ServerOnly: true, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newServer(t, c.Config)
	files, err := filepath.Glob(filepath.Join(chart, "ci", "*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d sets of values, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), "-values.yaml"), func(t *testing.T) {
			manifests, err := helmchart.Template(t.Context(), helm, chart, file, s.describe)
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range decode(t, strings.NewReader(manifests)) {
				if err := s.apply(t.Context(), object, meta.DryRunAll); err != nil {
					t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
				}
				for _, warning := range s.warnings.take() {
					t.Errorf("%s %s: warning: %s", object.GetKind(), object.GetName(), warning)
				}
			}
		})
	}
	// What is found must have been looked for.
	for _, c := range []struct{ manifest, want string }{
		{"apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: cloud}\nspec: {ports: [{port: 99999}]}", "must be between 1 and 65535"},
		{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: cloud}\ncontent: {}", "field not declared in schema"},
		{"apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: cloud}\nspec: {hostNetwork: true, containers: [{name: a, image: a}]}", "violates PodSecurity"},
	} {
		if err := s.apply(t.Context(), decode(t, strings.NewReader(c.manifest))[0], meta.DryRunAll); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
	}
}

// server is an API server with the namespace that the chart is rendered for.
type server struct {
	dynamic  dynamic.Interface
	mapper   *restmapper.DeferredDiscoveryRESTMapper
	warnings *warnings
	describe helmchart.Cluster
}

// newServer gives the API server what a cluster for the chart has beside Kubernetes: HTTPRoute, ServiceMonitor, and a namespace that warns of what Pod Security's
// level baseline does not let in.
func newServer(t *testing.T, config *rest.Config) *server {
	t.Helper()
	s := &server{warnings: new(warnings)}
	config = rest.CopyConfig(config)
	config.WarningHandler = s.warnings
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	s.describe = helmchart.Cluster{KubeVersion: strings.TrimPrefix(version.GitVersion, "v"), Extensions: []string{"gateway.networking.k8s.io/v1/HTTPRoute"}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{
		Name: "cloud", Labels: map[string]string{"pod-security.kubernetes.io/warn": "baseline", "pod-security.kubernetes.io/enforce": "baseline"},
	}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.define(t, kubeschema.HTTPRoute, "gateway.networking.k8s.io/v1", "HTTPRoute", map[string]any{})
	s.define(t, kubeschema.ServiceMonitor, "monitoring.coreos.com/v1", "ServiceMonitor", map[string]any{"selector": map[string]any{}, "endpoints": []any{}})
	return s
}

// define gives the server a custom resource definition, and waits until it takes an object of that kind.
func (s *server) define(t *testing.T, find func(context.Context) (string, error), version, kind string, spec map[string]any) {
	t.Helper()
	file, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	definition, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer definition.Close()
	for _, object := range decode(t, definition) {
		if err := s.apply(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		object := &unstructured.Unstructured{}
		object.SetAPIVersion(version)
		object.SetKind(kind)
		object.SetNamespace("cloud")
		object.SetName("probe")
		object.Object["spec"] = spec
		err := s.apply(ctx, object, meta.DryRunAll)
		if err == nil {
			return
		}
		if !apimeta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		s.mapper.Reset()
		select {
		case <-ctx.Done():
			t.Fatalf("the server does not get to know %s: %v", kind, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// apply has the server check and default an object, and keep it unless it is told otherwise.
func (s *server) apply(ctx context.Context, object *unstructured.Unstructured, dryRun ...string) error {
	kind := object.GroupVersionKind()
	mapping, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	data, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = s.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == apimeta.RESTScopeNameNamespace {
		namespace := object.GetNamespace()
		if namespace == "" {
			namespace = "cloud"
		}
		resource = s.dynamic.Resource(mapping.Resource).Namespace(namespace)
	}
	_, err = resource.Patch(ctx, object.GetName(), types.ApplyPatchType, data, meta.PatchOptions{
		FieldManager: "test", DryRun: dryRun, FieldValidation: meta.FieldValidationStrict, Force: ptr.To(true),
	})
	return err
}

// decode reads manifests.
func decode(t *testing.T, manifests io.Reader) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	documents := yaml.NewYAMLOrJSONDecoder(manifests, 4096)
	for {
		object := &unstructured.Unstructured{}
		err := documents.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// warnings are those that the server sends with its answers.
type warnings struct {
	mu   sync.Mutex
	said []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := w.said
	w.said = nil
	return said
}
