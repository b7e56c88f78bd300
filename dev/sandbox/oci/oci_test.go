package oci_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/sirupsen/logrus"

	"opennebula-kube/dev/sandbox/oci"
)

// serve starts a registry over dir and returns it with its address.
func serve(t *testing.T, dir string) (*oci.Registry, string) {
	t.Helper()
	r, err := oci.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	t.Cleanup(func() {
		server.Close()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, strings.TrimPrefix(server.URL, "http://")
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func randomIndex(t *testing.T) v1.ImageIndex {
	t.Helper()
	index, err := random.Index(2000, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// statusOf returns the HTTP status that a registry answered with.
func statusOf(err error) int {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

func TestTwoRegistriesKeepTheirOwn(t *testing.T) {
	dir := t.TempDir()
	_, first := serve(t, dir)
	_, second := serve(t, t.TempDir())
	index := randomIndex(t)
	if err := remote.WriteIndex(reference(t, first+"/acme/opennebula:7.0.1"), index); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(reference(t, second+"/acme/opennebula:7.0.1")); statusOf(err) != http.StatusNotFound {
		t.Errorf("the other registry answers %v, want 404", err)
	}
	_, reopened := serve(t, dir)
	for _, registry := range []string{first, reopened} {
		got, err := remote.Index(reference(t, registry+"/acme/opennebula:7.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		want, _ := index.Digest()
		if digest, err := got.Digest(); err != nil || digest != want {
			t.Errorf("got %s (%v), want %s", digest, err, want)
		}
		tags, err := remote.List(reference(t, registry+"/acme/opennebula").Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"7.0.1"}, tags); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	}
}

func TestSilence(t *testing.T) {
	var said bytes.Buffer
	standard := logrus.StandardLogger()
	output, level := standard.Out, standard.Level
	standard.SetOutput(&said)
	standard.SetLevel(logrus.TraceLevel)
	t.Cleanup(func() { standard.SetOutput(output); standard.SetLevel(level) })

	_, registry := serve(t, t.TempDir())
	if _, err := remote.Head(reference(t, registry+"/acme/none:1")); statusOf(err) != http.StatusNotFound {
		t.Fatalf("got %v, want 404", err)
	}
	if err := remote.WriteIndex(reference(t, registry+"/acme/opennebula:1"), randomIndex(t)); err != nil {
		t.Fatal(err)
	}
	if said.Len() != 0 {
		t.Errorf("the registry wrote to the standard logger:\n%s", said.String())
	}
}

func TestRequireLogin(t *testing.T) {
	r, registry := serve(t, t.TempDir())
	closed, open := reference(t, registry+"/acme/opennebula:1"), reference(t, registry+"/base:1")
	index := randomIndex(t)
	for _, ref := range []name.Reference{closed, open} {
		if err := remote.WriteIndex(ref, index); err != nil {
			t.Fatal(err)
		}
	}
	r.RequireLogin("acme/", "robot", "right")
	for _, test := range []struct {
		name     string
		ref      name.Reference
		username string
		password string
		want     int
	}{
		{name: "anonymous", ref: closed, want: http.StatusUnauthorized},
		{name: "wrong password", ref: closed, username: "robot", password: "wrong", want: http.StatusUnauthorized},
		{name: "wrong username", ref: closed, username: "human", password: "right", want: http.StatusUnauthorized},
		{name: "right", ref: closed, username: "robot", password: "right"},
		{name: "anonymous elsewhere", ref: open},
	} {
		t.Run(test.name, func(t *testing.T) {
			auth := authn.Anonymous
			if test.username != "" {
				auth = &authn.Basic{Username: test.username, Password: test.password}
			}
			_, err := remote.Get(test.ref, remote.WithAuth(auth))
			if statusOf(err) != test.want || (test.want == 0 && err != nil) {
				t.Errorf("got %v, want status %d", err, test.want)
			}
		})
	}
	r.AllowAnonymous()
	if _, err := remote.Get(closed); err != nil {
		t.Errorf("after AllowAnonymous: %v", err)
	}
}

func TestForget(t *testing.T) {
	r, registry := serve(t, t.TempDir())
	image, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref := reference(t, registry+"/acme/opennebula:1")
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	lost, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Forget(lost.String()); err != nil {
		t.Fatal(err)
	}
	stored, err := remote.Image(ref)
	if err != nil {
		t.Fatalf("the manifest went with the blob: %v", err)
	}
	layer, err := stored.LayerByDigest(lost)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Compressed(); statusOf(err) != http.StatusNotFound {
		t.Errorf("the lost blob answers %v, want 404", err)
	}
	// Another tag, for the client takes an existing tag with the same digest as complete.
	labelled, err := mutate.Config(image, v1.Config{Labels: map[string]string{"again": "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, labelled); err != nil {
		t.Fatalf("push of the lost blob: %v", err)
	}
	if _, err := layer.Compressed(); err != nil {
		t.Errorf("the blob is still lost after a push: %v", err)
	}
	if err := r.Forget("sha256:" + strings.Repeat("0", 64)); err == nil {
		t.Error("a blob that never was is forgotten without an error")
	}
	if err := r.Forget("latest"); err == nil {
		t.Error("a tag is taken for a digest")
	}
}
