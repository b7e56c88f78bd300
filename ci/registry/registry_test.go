package registry_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

const (
	tries    = 3
	nowhere  = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	blobs    = "/v2/acme/opennebula/blobs/*"
	uploads  = "/v2/acme/opennebula/blobs/uploads/*"
	manifest = "/v2/acme/opennebula/manifests/"
)

// journal keeps what a registry was asked to change.
type journal struct {
	mu     sync.Mutex
	writes []string
}

func (j *journal) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			j.mu.Lock()
			j.writes = append(j.writes, r.Method+" "+r.URL.Path)
			j.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

// take returns what was changed since the last call.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	taken := j.writes
	j.writes = nil
	return taken
}

// server is a registry in memory behind faults that are switched on as needed.
type server struct {
	*httpfault.Switch
	*journal
	host string
}

func handler() (*httpfault.Switch, *journal) {
	j := &journal{}
	return httpfault.New(j.around(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))), j
}

func start(t *testing.T) server {
	t.Helper()
	faults, j := handler()
	s := httptest.NewUnstartedServer(faults)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return server{Switch: faults, journal: j, host: strings.TrimPrefix(s.URL, "http://")}
}

func (s server) open(t *testing.T, more ...registry.Option) *registry.Repository {
	t.Helper()
	opts := append([]registry.Option{
		registry.WithKeychain(authn.NewMultiKeychain()),
		registry.WithBackoff(remote.Backoff{Duration: time.Microsecond, Factor: 1, Steps: tries}),
	}, more...)
	r, err := registry.Open(s.host+"/acme/opennebula", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(20_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func platformImage(t *testing.T, os, architecture string) v1.Image {
	t.Helper()
	image := randomImage(t)
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = os, architecture
	config.Config.Labels = map[string]string{"of": architecture}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// buildkitIndex is an index as BuildKit makes it: an image for each platform and an attestation of one of them.
func buildkitIndex(t *testing.T) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range []string{"arm64", "amd64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        platformImage(t, "linux", architecture),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return mutate.AppendManifests(index, mutate.IndexAddendum{
		Add: platformImage(t, "unknown", "unknown"),
		Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
		},
	})
}

func digestOf(t *testing.T, a interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	digest, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func push(t *testing.T, r *registry.Repository, a registry.Artifact, tag string) string {
	t.Helper()
	digest, err := r.Push(t.Context(), a, tag)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// at returns the digest that a tag stands for; empty when there is no such tag.
func at(t *testing.T, r *registry.Repository, tag string) string {
	t.Helper()
	digest, err := r.Digest(t.Context(), tag)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		t.Fatal(err)
	}
	return digest
}

func count(writes []string, prefix string) (n int) {
	for _, write := range writes {
		if strings.HasPrefix(write, prefix) {
			n++
		}
	}
	return n
}

// mustFail checks that there is an error, that it is of the kind, if one is given, and that it says all of the words.
func mustFail(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if err == nil || kind != nil && !errors.Is(err, kind) {
		t.Fatalf("error %v, want %v", err, kind)
	}
	if i := slices.IndexFunc(words, func(word string) bool { return !strings.Contains(err.Error(), word) }); i >= 0 {
		t.Errorf("error %q does not say %q", err, words[i])
	}
}

func TestOpenWantsAWholeName(t *testing.T) {
	for _, bad := range []string{
		"", "opennebula", "acme/opennebula", "ghcr.io", "ghcr.io/acme/opennebula:7.0.1", "docker.io/acme/charts/opennebula",
		"index.docker.io/a/b/c", "https://ghcr.io/acme/opennebula", "ghcr.io/acme/opennebula@" + nowhere,
	} {
		_, err := registry.Open(bad)
		mustFail(t, err, nil, `"`+bad+`"`)
	}
	for good, want := range map[string]string{
		"docker.io/acme/opennebula":               "docker.io/acme/opennebula",
		"ghcr.io/acme/charts/opennebula":          "ghcr.io/acme/charts/opennebula",
		"harbor.acme.example:8443/one/opennebula": "harbor.acme.example:8443/one/opennebula",
		"ghcr.io/Acme-Inc/OpenNebula":             "ghcr.io/acme-inc/opennebula",
	} {
		r, err := registry.Open(good)
		if err != nil {
			t.Error(err)
		} else if r.Name() != want {
			t.Errorf("opened %s, its name is %s", good, r.Name())
		}
	}
}

func TestSame(t *testing.T) {
	open := func(name string) *registry.Repository {
		r, err := registry.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	one := open("docker.io/acme/opennebula")
	for name, want := range map[string]bool{
		"index.docker.io/Acme/opennebula": true, "ghcr.io/acme/opennebula": false, "docker.io/acme/charts": false,
	} {
		if one.Same(open(name)) != want {
			t.Errorf("%s is the same: %t", name, !want)
		}
	}
}
