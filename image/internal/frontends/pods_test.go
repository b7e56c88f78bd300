package frontends_test

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/host"
)

// account puts what Kubernetes gives a pod in its place.
func account(t *testing.T, server *httptest.Server) (*host.Host, func(string) string) {
	t.Helper()
	h := &host.Host{Root: t.TempDir()}
	dir := h.Path("/var/run/secrets/kubernetes.io/serviceaccount")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, content := range map[string]string{"namespace": "cloud", "token": "first\n", "ca.crt": string(ca)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"KUBERNETES_SERVICE_HOST": at.Hostname(), "KUBERNETES_SERVICE_PORT": at.Port()}
	return h, func(name string) string { return env[name] }
}

func TestPods(t *testing.T) {
	var asked []string
	status := http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		asked = append(asked, strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)}, " "))
		http.Error(w, `{"message": "not allowed"}`, status)
	}))
	t.Cleanup(server.Close)
	h, getenv := account(t, server)
	pods, err := frontends.NewPods(h, "opennebula.io/role", getenv)
	if err != nil {
		t.Fatal(err)
	}
	if err := pods.Label(t.Context(), "one-0", "leader"); err != nil {
		t.Error(err)
	}
	want := `PATCH /api/v1/namespaces/cloud/pods/one-0 Bearer first application/merge-patch+json {"metadata":{"labels":{"opennebula.io/role":"leader"}}}`
	if len(asked) != 1 || asked[0] != want {
		t.Errorf("asked %q, want %q", asked, want)
	}

	// Kubernetes exchanges the token of a pod that runs for long.
	if err := os.WriteFile(h.Path("/var/run/secrets/kubernetes.io/serviceaccount/token"), []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	status = http.StatusNotFound
	if err := pods.Label(t.Context(), "one-2", "follower"); err != nil || !strings.Contains(asked[1], "Bearer second") {
		t.Errorf("a pod that is not there: %v, asked %q", err, asked[1])
	}
	status = http.StatusForbidden
	if err := pods.Label(t.Context(), "one-2", "follower"); err == nil || !strings.Contains(err.Error(), `label pod one-2: Kubernetes answers 403 Forbidden: {"message": "not allowed"}`) {
		t.Errorf("error %v", err)
	}
}

func TestNewPodsWantsAnAccount(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	for _, c := range []struct {
		name   string
		change func(dir string) error
		want   string
	}{
		{"no token mounted", os.RemoveAll, "namespace is missing or empty: let the pod have the token"},
		{"no certificate", func(dir string) error { return os.WriteFile(dir+"/ca.crt", []byte("nonsense"), 0o600) }, "ca.crt has no certificate in it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, getenv := account(t, server)
			if err := c.change(h.Path("/var/run/secrets/kubernetes.io/serviceaccount")); err != nil {
				t.Fatal(err)
			}
			if _, err := frontends.NewPods(h, "role", getenv); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	h, _ := account(t, server)
	if _, err := frontends.NewPods(h, "role", func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "this is no pod") {
		t.Errorf("outside of Kubernetes: %v", err)
	}
}
