package helmrepo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	helm "helm.sh/helm/v4/pkg/registry"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

// server is a real registry in memory behind switchable faults. It counts what changes it.
type server struct {
	*httpfault.Switch
	host   string
	writes int
}

func start(t testing.TB) *server {
	t.Helper()
	s := &server{}
	memory := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s.Switch = httpfault.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.writes++
		}
		memory.ServeHTTP(w, r)
	}))
	listener := httptest.NewUnstartedServer(s.Switch)
	listener.Config.ErrorLog = log.New(io.Discard, "", 0)
	listener.Start()
	t.Cleanup(listener.Close)
	s.host = strings.TrimPrefix(listener.URL, "http://")
	return s
}

func (s *server) open(t testing.TB, repository string) *registry.Repository {
	t.Helper()
	r, err := registry.Open(s.host+"/"+repository,
		registry.WithKeychain(authn.NewMultiKeychain()),
		registry.WithBackoff(remote.Backoff{Duration: time.Microsecond, Factor: 1, Steps: 3}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// client is Helm's own.
func client(t *testing.T) *helm.Client {
	t.Helper()
	c, err := helm.NewClient(helm.ClientOptPlainHTTP(), helm.ClientOptWriter(io.Discard),
		helm.ClientOptCredentialsFile(filepath.Join(t.TempDir(), "config.json")))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPublishOCI(t *testing.T) {
	s := start(t)
	repo := s.open(t, "acme/charts/opennebula")
	a := archive(t, "opennebula", "0.2.0+build.1")
	result, err := helmrepo.PublishOCI(t.Context(), repo, a)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := repo.Digest(t.Context(), "0.2.0_build.1")
	if err != nil {
		t.Fatal(err)
	}
	want := helmrepo.Result{Location: "oci://" + s.host + "/acme/charts/opennebula:0.2.0_build.1", Digest: digest, Published: true}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Error(diff)
	}

	pulled, err := client(t).Pull(s.host + "/acme/charts/opennebula:0.2.0+build.1")
	if err != nil {
		t.Fatalf("Helm cannot pull it: %v", err)
	}
	if !bytes.Equal(pulled.Chart.Data, a.Data) || pulled.Manifest.Digest != digest || pulled.Chart.Meta.AppVersion != "7.0.1" {
		t.Errorf("Helm pulled something else: %+v of %s", pulled.Chart.Meta, pulled.Manifest.Digest)
	}

	before := s.writes
	result, err = helmrepo.PublishOCI(t.Context(), repo, a)
	want.Published = false
	if diff := cmp.Diff(want, result); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if s.writes != before {
		t.Errorf("publishing again has sent %d requests that write", s.writes-before)
	}
}

// The artifact is the one that `helm push` makes, but for the media type that Helm leaves out of the manifest.
func TestPublishOCIAsHelm(t *testing.T) {
	s := start(t)
	a := archive(t, "opennebula", "0.2.0")
	if _, err := helmrepo.PublishOCI(t.Context(), s.open(t, "ours/opennebula"), a); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t).Push(a.Data, s.host+"/helms/opennebula:0.2.0", helm.PushOptCreationTime(epoch.Format(time.RFC3339))); err != nil {
		t.Fatal(err)
	}
	ours, theirs := manifest(t, s.host+"/ours/opennebula:0.2.0"), manifest(t, s.host+"/helms/opennebula:0.2.0")
	ours.MediaType = theirs.MediaType
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("Helm would push (-) another manifest than (+):\n%s", diff)
	}
	if ours.Config.MediaType != helm.ConfigMediaType || ours.Layers[0].MediaType != helm.ChartLayerMediaType {
		t.Errorf("media types %s and %s", ours.Config.MediaType, ours.Layers[0].MediaType)
	}
}

func manifest(t *testing.T, ref string) *v1.Manifest {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image, validate.Fast); err != nil {
		t.Error(err)
	}
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPublishOCIVersionTaken(t *testing.T) {
	s := start(t)
	repo := s.open(t, "charts/opennebula")
	first, err := helmrepo.PublishOCI(t.Context(), repo, archive(t, "opennebula", "0.2.0"))
	if err != nil {
		t.Fatal(err)
	}
	before := s.writes
	other := archiveFor(t, "opennebula", "0.2.0", "7.0.2")
	if _, err := helmrepo.PublishOCI(t.Context(), repo, other); !errors.Is(err, helmrepo.ErrVersionTaken) ||
		!strings.Contains(err.Error(), first.Digest) || !strings.Contains(err.Error(), "run again") {
		t.Errorf("error %v", err)
	}
	if digest, err := repo.Digest(t.Context(), "0.2.0"); err != nil || digest != first.Digest || s.writes != before {
		t.Errorf("the tag is at %s (%v), and %d requests have written", digest, err, s.writes-before)
	}

	// Somebody else takes the tag between the look and the push.
	late := hidden{repo}
	if _, err := helmrepo.PublishOCI(t.Context(), late, other); !errors.Is(err, helmrepo.ErrVersionTaken) {
		t.Errorf("error %v", err)
	}
	if digest, err := repo.Digest(t.Context(), "0.2.0"); err != nil || digest != first.Digest {
		t.Errorf("the tag is at %s (%v)", digest, err)
	}
}

// hidden is a repository whose tags show up only when something is pushed.
type hidden struct{ *registry.Repository }

func (hidden) Digest(context.Context, string) (string, error) { return "", registry.ErrNotFound }

func TestPublishOCIFaults(t *testing.T) {
	a := archive(t, "opennebula", "0.2.0")
	isManifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	isUpload := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/uploads/") }
	for name, fault := range map[string]httpfault.Fault{
		"not allowed":                 {Method: http.MethodPost, Effect: httpfault.Status(http.StatusUnauthorized)},
		"cannot look for the tag":     {Method: http.MethodHead, Match: isManifest, Effect: httpfault.Status(http.StatusForbidden)},
		"cut off in an upload":        {Method: http.MethodPatch, Match: isUpload, Effect: httpfault.CutUpload(100)},
		"cut off before the manifest": {Method: http.MethodPut, Match: isManifest, Effect: httpfault.Drop()},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			repo := s.open(t, "charts/opennebula")
			s.Inject(fault)
			result, err := helmrepo.PublishOCI(t.Context(), repo, a)
			if err == nil || errors.Is(err, helmrepo.ErrVersionTaken) || !strings.Contains(err.Error(), "charts/opennebula:0.2.0") {
				t.Errorf("error %v", err)
			}
			if result != (helmrepo.Result{}) {
				t.Errorf("result %+v", result)
			}
			s.Clear()
			if _, err := repo.Digest(t.Context(), "0.2.0"); !errors.Is(err, registry.ErrNotFound) {
				t.Errorf("something is visible under the tag: %v", err)
			}
			if result, err := helmrepo.PublishOCI(t.Context(), repo, a); err != nil || !result.Published {
				t.Errorf("running again: %+v, %v", result, err)
			}
			if pulled, err := client(t).Pull(s.host + "/charts/opennebula:0.2.0"); err != nil || !bytes.Equal(pulled.Chart.Data, a.Data) {
				t.Errorf("Helm cannot pull it: %v", err)
			}
		})
	}
}

func TestPublishOCIRepositoryName(t *testing.T) {
	s := start(t)
	_, err := helmrepo.PublishOCI(t.Context(), s.open(t, "acme/charts"), archive(t, "opennebula", "0.2.0"))
	if err == nil || !strings.Contains(err.Error(), "must end in the chart's") || s.writes != 0 {
		t.Errorf("error %v, %d writes", err, s.writes)
	}
}
