package kubeschema

import (
	"strings"
	"testing"
)

// needsModules skips a test that may have to download Kubernetes' module, where only what takes seconds is wanted.
func needsModules(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the modules with Kubernetes' OpenAPI documents, which may have to be downloaded")
	}
}

const pod = `apiVersion: v1
kind: Pod
metadata: {name: a, labels: {a: b}}
spec:
  containers:
    - name: a
      image: b
      resources: {requests: {cpu: 1, memory: 1Gi}}
      livenessProbe: {httpGet: {port: http}}
      readinessProbe: {httpGet: {port: 80}}
`

// Which manifests the schemas of both releases take, and why not.
func TestValidate(t *testing.T) {
	needsModules(t)
	for _, release := range []string{Oldest, Newest} {
		set, err := Write(t.Context(), release, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		v, err := NewValidator(set)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct{ manifest, want string }{
			"pod":                  {pod, ""},
			"two":                  {pod + "---\n" + pod, ""},
			"unknown field":        {strings.Replace(pod, "image: b", "image: b\n      imagePullpolicy: Always", 1), "imagePullpolicy"},
			"unknown field on top": {pod + "status: {fase: x}\n", "fase"},
			"wrong type":           {strings.Replace(pod, "{a: b}", "{a: 1}", 1), "labels/a"},
			"required":             {strings.Replace(pod, "name: a\n      image", "image", 1), "name"},
			"null":                 {strings.Replace(pod, "{a: b}", "", 1), "labels"},
			"twice":                {strings.Replace(pod, "image: b", "image: b\n      image: c", 1), "image"},
			"unknown kind":         {strings.Replace(pod, "kind: Pod", "kind: Pot", 1), "could not find schema for Pot"},
			"wrong version":        {strings.Replace(pod, "apiVersion: v1", "apiVersion: apps/v1", 1), "could not find schema for Pod"},
			"no kind":              {strings.Replace(pod, "kind: Pod", "", 1), "missing 'kind'"},
			"route": {"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n  parentRefs: [{name: a}]\n" +
				"  rules: [{backendRefs: [{name: a, port: 80}]}]\n", ""},
			"route with an unknown field": {"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {hosts: [a]}\n", "hosts"},
			"route with unknown metadata": {"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {nam: a}\nspec: {}\n", "nam"},
			"monitor": {"apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {a: b}}\n" +
				"  endpoints: [{port: a, interval: 30s}]\n", ""},
			"monitor of a bad interval": {"apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: a}\n" +
				"spec: {selector: {}, endpoints: [{interval: often}]}\n", "interval"},
		} {
			count, errs := v.Validate(t.Context(), c.manifest)
			switch {
			case count == 0:
				t.Errorf("%s, %s: nothing was validated", set.KubeVersion, name)
			case c.want == "" && len(errs) > 0:
				t.Errorf("%s, %s: %v", set.KubeVersion, name, errs)
			case c.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want)):
				t.Errorf("%s, %s: %v, want one error with %q", set.KubeVersion, name, errs, c.want)
			}
		}
	}
}

// A field that came after 1.29 tells the releases apart.
func TestReleasesDiffer(t *testing.T) {
	needsModules(t)
	manifest := strings.Replace(pod, "containers:", "resources: {requests: {cpu: 1}}\n  containers:", 1)
	for release, want := range map[string]int{Oldest: 1, Newest: 0} {
		set, err := Write(t.Context(), release, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		v, err := NewValidator(set)
		if err != nil {
			t.Fatal(err)
		}
		if _, errs := v.Validate(t.Context(), manifest); len(errs) != want {
			t.Errorf("%s: %v, want %d errors for resources of a pod", release, errs, want)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	needsModules(t)
	for release, want := range map[string]string{
		"k8s.io/kubernetes":               "is not module@version",
		"golang.org/x/mod@v0.41.0":        "swagger.json",
		"k8s.io/kubernetes@v1.29.14-none": "download module k8s.io/kubernetes@v1.29.14-none",
	} {
		if _, err := Write(t.Context(), release, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", release, err, want)
		}
	}
}
