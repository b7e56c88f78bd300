package frontends_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/host"
)

func TestZone(t *testing.T) {
	h := host.System(t.Logf)
	h.Root = t.TempDir()
	h.Chown = func(string, host.Owner) error { return nil }
	path := h.Path("/run/one-container/front-ends.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, want := range []frontends.Zone{{}, {Endpoints: []string{"one-0", "one-1", "one-2"}, Self: 2, PodLabel: "role"}, {}} {
		if err := frontends.Write(h, want); err != nil {
			t.Fatal(err)
		}
		if got, err := frontends.Read(h); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := frontends.Read(h); err == nil || !strings.Contains(err.Error(), "front-ends.json") {
		t.Errorf("error %v", err)
	}
}
