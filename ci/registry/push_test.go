package registry_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

func TestPushKeepsAnIndexWhole(t *testing.T) {
	r := start(t).open(t)
	index := buildkitIndex(t)
	digest := push(t, r, index, "7.0.1-1")
	if want := digestOf(t, index); digest != want || at(t, r, "7.0.1-1") != want {
		t.Fatalf("pushed %s, the tag stands for %s, want %s", digest, at(t, r, "7.0.1-1"), want)
	}
	pulled, err := r.Artifact(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pulled.(v1.ImageIndex).IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPushSendsNothingTwice(t *testing.T) {
	s := start(t)
	image := randomImage(t)
	push(t, s.open(t), image, "7.0.1-1")
	if n := count(s.take(), "PATCH"); n != 4 {
		t.Errorf("%d blobs were uploaded, want 3 layers and a configuration", n)
	}
	// Each repository is opened anew, as by another run.
	push(t, s.open(t), image, "7.0.1-1")
	if writes := s.take(); len(writes) > 0 {
		t.Errorf("the same push again sent %v", writes)
	}
	push(t, s.open(t), image, "7.0.1-2")
	if diff := cmp.Diff([]string{"PUT " + manifest + "7.0.1-2"}, s.take()); diff != "" {
		t.Error("another tag on the same image needs its manifest only:", diff)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	shared, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	push(t, s.open(t), shared, "7.0.1-3")
	if n := count(s.take(), "PATCH"); n != 1 {
		t.Errorf("%d blobs were uploaded for an image of known layers, want its configuration only", n)
	}
}

func TestPushLeavesATagThatIsTaken(t *testing.T) {
	s := start(t)
	r := s.open(t)
	first := push(t, r, randomImage(t), "7.0.1-1")
	s.take()
	_, err := r.Push(t.Context(), randomImage(t), "7.0.1-1")
	mustFail(t, err, registry.ErrTagTaken, "7.0.1-1", first)
	if writes := s.take(); at(t, r, "7.0.1-1") != first || len(writes) > 0 {
		t.Errorf("the tag stands for %s, want %s; sent %v", at(t, r, "7.0.1-1"), first, writes)
	}
}

func TestPushSeesATagTakenMeanwhile(t *testing.T) {
	s := start(t)
	r := s.open(t)
	rival, mine := randomImage(t), randomImage(t)
	own := manifest + digestOf(t, mine)
	s.Inject(httpfault.Fault{Method: http.MethodPut, Path: own, Times: 1, Effect: func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		push(t, s.open(t), rival, "7.0.1-1")
		next.ServeHTTP(w, req)
	}})
	_, err := r.Push(t.Context(), mine, "7.0.1-1")
	mustFail(t, err, registry.ErrTagTaken, digestOf(t, rival))
	if at(t, r, "7.0.1-1") != digestOf(t, rival) {
		t.Error("the rival's tag was overwritten")
	}
}

func TestPushRejectsABadTag(t *testing.T) {
	s := start(t)
	_, err := s.open(t).Push(t.Context(), randomImage(t), "7.0.1+1")
	mustFail(t, err, nil, "7.0.1+1")
	if writes := s.take(); len(writes) > 0 {
		t.Errorf("sent %v", writes)
	}
}

func TestPushOverFaults(t *testing.T) {
	for name, test := range map[string]struct {
		fault    httpfault.Fault
		recovers bool
	}{
		"busy twice":               {httpfault.Fault{Effect: httpfault.Status(http.StatusTooManyRequests), Times: tries - 1}, true},
		"bad gateway twice":        {httpfault.Fault{Effect: httpfault.Status(http.StatusBadGateway), Times: tries - 1}, true},
		"upload refused twice":     {httpfault.Fault{Method: http.MethodPatch, Effect: httpfault.Status(http.StatusInternalServerError), Times: tries - 1}, true},
		"upload cut once":          {httpfault.Fault{Method: http.MethodPatch, Effect: httpfault.CutUpload(1000), Times: 1}, true},
		"commit cut once":          {httpfault.Fault{Method: http.MethodPut, Path: uploads, Effect: httpfault.CutUpload(0), Times: 1}, true},
		"manifest cut once":        {httpfault.Fault{Method: http.MethodPut, Path: manifest + "*", Effect: httpfault.CutUpload(10), Times: 1}, true},
		"upload session lost once": {httpfault.Fault{Method: http.MethodPut, Path: uploads, Effect: lostUpload, Times: 1}, true},
		"busy":                     {httpfault.Fault{Effect: httpfault.Status(http.StatusTooManyRequests)}, false},
		"upload always fails":      {httpfault.Fault{Method: http.MethodPatch, Effect: httpfault.Status(http.StatusInternalServerError)}, false},
		"upload always cut":        {httpfault.Fault{Method: http.MethodPatch, Effect: httpfault.CutUpload(1000)}, false},
		"commit always cut":        {httpfault.Fault{Method: http.MethodPut, Path: uploads, Effect: httpfault.CutUpload(0)}, false},
		"manifest always cut":      {httpfault.Fault{Method: http.MethodPut, Path: manifest + "*", Effect: httpfault.CutUpload(10)}, false},
		"tag always cut":           {httpfault.Fault{Method: http.MethodPut, Path: manifest + "7.0.1-1", Effect: httpfault.CutUpload(10)}, false},
	} {
		for kind, artifact := range map[string]registry.Artifact{"image": randomImage(t), "index": buildkitIndex(t)} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				s := start(t)
				hits := s.Inject(test.fault)
				_, err := s.open(t).Push(t.Context(), artifact, "7.0.1-1")
				if hits() == 0 {
					t.Fatal("the fault was never met")
				}
				if (err == nil) != test.recovers {
					t.Fatalf("error %v, want success: %t", err, test.recovers)
				}
				s.Clear()
				r := s.open(t)
				if err != nil {
					mustFail(t, err, nil, s.host+"/acme/opennebula:7.0.1-1", digestOf(t, artifact))
					if tag := at(t, r, "7.0.1-1"); tag != "" {
						t.Errorf("the failed push left the tag at %s", tag)
					}
					push(t, r, artifact, "7.0.1-1")
				}
				wantWhole(t, r, "7.0.1-1", artifact)
			})
		}
	}
}

func lostUpload(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(`{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"upload session unknown"}]}`))
}

// wantWhole pulls what a tag stands for and checks all of it.
func wantWhole(t *testing.T, r *registry.Repository, tag string, a registry.Artifact) {
	t.Helper()
	if got, want := at(t, r, tag), digestOf(t, a); got != want {
		t.Fatalf("tag %s stands for %q, want %s", tag, got, want)
	}
	pulled, err := r.Artifact(t.Context(), digestOf(t, a))
	if err != nil {
		t.Fatal(err)
	}
	switch pulled := pulled.(type) {
	case v1.Image:
		err = validate.Image(pulled)
	case v1.ImageIndex:
		err = validate.Index(pulled)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestPushGoesOnWhereItWasCut(t *testing.T) {
	s := start(t)
	image := randomImage(t)
	s.Inject(httpfault.Fault{Method: http.MethodPut, Path: manifest + "*", Effect: httpfault.Drop()})
	if _, err := s.open(t).Push(t.Context(), image, "7.0.1-1"); err == nil {
		t.Fatal("the push succeeded without a manifest")
	}
	s.Clear()
	s.take()
	push(t, s.open(t), image, "7.0.1-1")
	if n := count(s.take(), "PATCH"); n > 0 {
		t.Errorf("%d blobs were uploaded again", n)
	}
}

func TestPushStopsWhenItIsCancelled(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Inject(httpfault.Fault{Method: http.MethodPatch, Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		cancel()
		httpfault.Hang()(w, r, next)
	}})
	_, err := s.open(t).Push(ctx, randomImage(t), "7.0.1-1")
	mustFail(t, err, context.Canceled)
	s.Clear()
	if tag := at(t, s.open(t), "7.0.1-1"); tag != "" {
		t.Errorf("the tag stands for %s", tag)
	}
}

// forgets answers that a blob or manifest is not there although it was sent.
func forgets(digest string, times int) httpfault.Fault {
	return httpfault.Fault{
		Method: http.MethodHead,
		Match:  func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/"+digest) },
		Times:  times,
		Effect: httpfault.Status(http.StatusNotFound),
	}
}

// dropping takes an upload without keeping it: the answer is right, the content is gone.
func dropping(digest string, times int) httpfault.Fault {
	return httpfault.Fault{
		Method: http.MethodPut,
		Match: func(r *http.Request) bool {
			return r.URL.Query().Get("digest") == digest || strings.HasSuffix(r.URL.Path, "/"+digest)
		},
		Times: times,
		Effect: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Docker-Content-Digest", digest)
			w.WriteHeader(http.StatusCreated)
		},
	}
}

func TestPushToARegistryThatForgets(t *testing.T) {
	image := randomImage(t)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	index := buildkitIndex(t)
	children, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		artifact registry.Artifact
		digest   string
	}{
		"a blob":             {image, digestOf(t, layers[1])},
		"an image's own":     {image, digestOf(t, image)},
		"a manifest inside":  {index, children.Manifests[1].Digest.String()},
		"the attestation":    {index, children.Manifests[2].Digest.String()},
		"the index manifest": {index, digestOf(t, index)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("once", func(t *testing.T) {
				s := start(t)
				hits := s.Inject(dropping(test.digest, 1))
				push(t, s.open(t), test.artifact, "7.0.1-1")
				if hits() != 1 {
					t.Fatalf("the fault was met %d times", hits())
				}
				wantWhole(t, s.open(t), "7.0.1-1", test.artifact)
			})
			t.Run("for good", func(t *testing.T) {
				s := start(t)
				s.Inject(forgets(test.digest, 0))
				_, err := s.open(t).Push(t.Context(), test.artifact, "7.0.1-1")
				mustFail(t, err, nil, test.digest, "run again")
				if sent := count(s.take(), "PUT "+manifest+"7.0.1-1"); sent > 0 {
					t.Error("the tag was put")
				}
				s.Clear()
				push(t, s.open(t), test.artifact, "7.0.1-1")
			})
		})
	}
}

func TestPushRepairsWhatARegistryLost(t *testing.T) {
	s := start(t)
	image := randomImage(t)
	push(t, s.open(t), image, "7.0.1-1")
	s.take()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	// Looked for by the push, and again by the upload.
	s.Inject(forgets(digestOf(t, layers[0]), 2))
	push(t, s.open(t), image, "7.0.1-1")
	if writes := s.take(); count(writes, "PATCH") != 1 || count(writes, "PUT "+manifest) != 0 {
		t.Errorf("sent %v, want the lost blob alone", writes)
	}
}
