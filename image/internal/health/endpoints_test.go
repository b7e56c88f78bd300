package health_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opennebula-kube/image/internal/health"
	"opennebula-kube/image/internal/host"
)

func TestLocate(t *testing.T) {
	for _, gate := range []string{":host: 192.0.2.7\n:port: 5030\n", ":server:\n  :bind: 192.0.2.7\n  :port: 5030\n"} {
		h := host.System(t.Logf)
		h.Root = t.TempDir()
		if _, err := health.Locate(h); err == nil || !strings.Contains(err.Error(), "oneflow-server.conf has no :port") {
			t.Errorf("error %v, want one about each file that has no port", err)
		}
		for name, content := range map[string]string{
			"oned.conf": "PORT = 12633\nLISTEN_ADDRESS = \"0.0.0.0\"\n", "fireedge-server.conf": "host: '::'\nport: 2616\n",
			"oneflow-server.conf": ":host: 127.0.0.1\n:port: 2474\n", "onegate-server.conf": gate,
		} {
			file := filepath.Join(h.Path("/etc/one"), name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := health.Locate(h)
		want := health.Endpoints{
			Oned: "http://127.0.0.1:12633/RPC2", FireEdge: "http://[::1]:2616", OneFlow: "http://127.0.0.1:2474", OneGate: "http://192.0.2.7:5030",
		}
		if err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
}
