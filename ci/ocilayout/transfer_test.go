package ocilayout

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

// start serves a registry; it returns a repository in it and the options to talk to it.
func start(t *testing.T) (repository string, opts []registry.Option, faults *httpfault.Switch) {
	t.Helper()
	faults = httpfault.New(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	server := httptest.NewServer(faults)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/acme/opennebula", []registry.Option{
		registry.WithKeychain(authn.NewMultiKeychain()),
		registry.WithBackoff(remote.Backoff{Duration: time.Microsecond, Factor: 1, Steps: 2}),
	}, faults
}

func TestPushAndPull(t *testing.T) {
	for name, artifact := range map[string]registry.Artifact{"image": baseImage(t, "amd64"), "index": multiPlatform(t)} {
		t.Run(name, func(t *testing.T) {
			repository, opts, _ := start(t)
			want := digestOf(t, artifact)
			digest, err := Push(t.Context(), written(t, artifact), repository+":7.0.1-1", opts...)
			if err != nil || digest != want {
				t.Fatalf("pushed %s, %v; want %s", digest, err, want)
			}
			dir := filepath.Join(t.TempDir(), "pulled")
			if err := Pull(t.Context(), repository+"@"+digest, dir, opts...); err != nil {
				t.Fatal(err)
			}
			pulled := opened[registry.Artifact](t, dir)
			if got := digestOf(t, pulled); got != want {
				t.Errorf("pulled %s, want %s", got, want)
			}
			if index, ok := pulled.(v1.ImageIndex); ok {
				err = validate.Index(index)
			} else {
				err = validate.Image(pulled.(v1.Image))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPushFails(t *testing.T) {
	repository, opts, faults := start(t)
	hits := faults.Inject(httpfault.Fault{Effect: httpfault.Status(http.StatusTeapot)})
	dir, nothing := written(t, baseImage(t, "amd64")), t.TempDir()
	for name, test := range map[string]struct{ dir, ref, says string }{
		"no tag":      {dir, repository, "tag"},
		"a bad tag":   {dir, repository + ":a+b", "a+b"},
		"no registry": {dir, "acme/opennebula:7.0.1-1", "registry"},
		"a digest":    {dir, repository + "@sha256:" + strings.Repeat("0", 64), "sha256"},
		"an address":  {dir, "https://" + repository + ":7.0.1-1", "acme/opennebula"},
		"no layout":   {nothing, repository + ":7.0.1-1", nothing},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Push(t.Context(), test.dir, test.ref, opts...)
			wantError(t, err, test.says)
		})
	}
	if hits() > 0 {
		t.Error("the registry was asked")
	}
	_, err := Push(t.Context(), dir, repository+":7.0.1-1", opts...)
	wantError(t, err, repository+":7.0.1-1", "418")
}

func TestPushLeavesATakenTagAlone(t *testing.T) {
	repository, opts, _ := start(t)
	first, second := written(t, baseImage(t, "amd64")), written(t, baseImage(t, "arm64"))
	for range 2 {
		if _, err := Push(t.Context(), first, repository+":7.0.1-1", opts...); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Push(t.Context(), second, repository+":7.0.1-1", opts...)
	wantError(t, err, repository+":7.0.1-1")
	if !errors.Is(err, registry.ErrTagTaken) {
		t.Errorf("error %v, want that the tag is taken", err)
	}
}

// flip changes the last byte of the real answer.
func flip(w http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	body[len(body)-1] ^= 1
	_, _ = w.Write(body)
}

func TestPullFails(t *testing.T) {
	repository, opts, faults := start(t)
	digest, err := Push(t.Context(), written(t, baseImage(t, "amd64")), repository+":7.0.1-1", opts...)
	if err != nil {
		t.Fatal(err)
	}
	absent := "sha256:" + strings.Repeat("0", 64)
	const blobs = "/v2/acme/opennebula/blobs/*"
	for name, test := range map[string]struct {
		ref   string
		fault *httpfault.Fault
		says  []string
	}{
		"a tag":       {repository + ":7.0.1-1", nil, []string{repository + ":7.0.1-1", "not named by digest"}},
		"not there":   {repository + "@" + absent, nil, []string{repository, absent, "not in the registry"}},
		"cut layers":  {repository + "@" + digest, &httpfault.Fault{Path: blobs, Effect: httpfault.CutBody(10)}, []string{"unexpected EOF"}},
		"other bytes": {repository + "@" + digest, &httpfault.Fault{Path: blobs, Effect: flip}, []string{"sha256"}},
		"nowhere":     {repository + "@" + digest, &httpfault.Fault{Effect: httpfault.Drop()}, []string{repository, digest}},
	} {
		t.Run(name, func(t *testing.T) {
			faults.Clear()
			if test.fault != nil {
				faults.Inject(*test.fault)
			}
			dir := filepath.Join(t.TempDir(), "pulled")
			err := Pull(t.Context(), test.ref, dir, opts...)
			wantError(t, err, test.says...)
			if artifact, err := registry.FromLayout(dir); err == nil {
				t.Errorf("it left a whole layout of %T", artifact)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, ref := range []string{"ubuntu@" + digest, "ubuntu:24.04@" + digest, "harbor.acme.example:8443/one/opennebula@" + digest} {
		if got, err := Digest(ref); err != nil || got != digest {
			t.Errorf("%s: %s, %v", ref, got, err)
		}
	}
	for ref, says := range map[string]string{
		"":                           "",
		"ubuntu:24.04":               "ubuntu:24.04",
		"ubuntu@sha256:12":           "sha256:12",
		"ubuntu@24.04":               "24.04",
		"Ubuntu@" + digest:           "Ubuntu",
		"a@" + digest + "@" + digest: digest,
	} {
		_, err := Digest(ref)
		wantError(t, err, says, "not named by digest")
	}
}
