package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// testRegistry has the registry misbehave in the middle of a release: nothing half done may be visible under a tag, and running
// again completes it.
func testRegistry(t *testing.T, w *world) {
	engine := scanOnce(w.engine(t, w.cache))
	push := func(t *testing.T, ctx context.Context, repository string) (*pipeline.Report, error) {
		t.Helper()
		defer w.RegistryFaults.Clear()
		return only(w.direct(t, engine, repository).Push(ctx, w.options()))
	}
	// completes runs without faults and checks that all is as after a release that nothing has disturbed.
	completes := func(t *testing.T, repository string, action release.Action) {
		t.Helper()
		report, err := push(t, t.Context(), repository)
		if err != nil {
			t.Fatalf("running again: %v", err)
		}
		wantPlan(t, *report.Plan, action)
		wantReleased(t, repository, report)
		again, err := push(t, t.Context(), repository)
		if err != nil {
			t.Fatalf("running a third time: %v", err)
		}
		wantPlan(t, *again.Plan, release.Nothing)
	}

	t.Run("upload cut once", func(t *testing.T) {
		image, _ := w.repository("cut-once")
		hits := w.RegistryFaults.Inject(httpfault.Fault{Match: uploads(image), Method: http.MethodPatch, Times: 1, Effect: httpfault.CutUpload(1000)})
		report, err := push(t, t.Context(), image)
		if err != nil || hits() != 1 {
			t.Fatalf("the push did not survive a cut connection (met %d times): %v", hits(), err)
		}
		wantReleased(t, image, report)
	})

	t.Run("upload cut until somebody gives up", func(t *testing.T) {
		image, _ := w.repository("cut")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.RegistryFaults.Inject(httpfault.Fault{Match: uploads(image), Method: http.MethodPatch,
			Effect: func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
				cancel()
				httpfault.CutUpload(1000)(rw, r, next)
			}})
		report, err := push(t, ctx, image)
		wantError(t, report, err, w.Registry)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v is not context.Canceled", err)
		}
		wantTags(t, image, nil)
		completes(t, image, release.Build)
	})

	t.Run("manifest refused", func(t *testing.T) {
		image, _ := w.repository("refused")
		w.RegistryFaults.Inject(httpfault.Fault{Match: manifests(image), Method: http.MethodPut, Effect: httpfault.Status(http.StatusForbidden)})
		report, err := push(t, t.Context(), image)
		wantError(t, report, err, "403", "docker login "+w.Registry)
		wantTags(t, image, nil)
		completes(t, image, release.Build)
	})

	t.Run("cut between tags", func(t *testing.T) {
		image, _ := w.repository("between-tags")
		w.RegistryFaults.Inject(httpfault.Fault{Method: http.MethodPut, Match: func(r *http.Request) bool {
			return manifests(image)(r) && strings.HasSuffix(r.URL.Path, "/7")
		}, Effect: httpfault.Status(http.StatusForbidden)})
		report, err := push(t, t.Context(), image)
		wantError(t, report, err, "moved already: 7.2.0, 7.2)")
		digest := tagsOf(t, image)["7.2.0-1"]
		wantTags(t, image, at(digest, "7.2.0-1", "7.2.0", "7.2"))
		wantBlobs(t, image, digest)
		completes(t, image, release.Promote)
	})

	t.Run("blob forgotten", func(t *testing.T) {
		image, _ := w.repository("forgetful")
		var forgotten string
		w.RegistryFaults.Inject(httpfault.Fault{Match: manifests(image), Method: http.MethodPut, Times: 1,
			Effect: func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
				manifest, err := readManifest(r)
				next.ServeHTTP(rw, r)
				if err != nil {
					t.Error(err)
					return
				}
				forgotten = manifest.Layers[len(manifest.Layers)-1].Digest.String()
				if err := w.Store.Forget(forgotten); err != nil {
					t.Error(err)
				}
			}})
		report, err := push(t, t.Context(), image)
		wantError(t, report, err, forgotten)
		wantTags(t, image, nil)
		completes(t, image, release.Build)
	})

	t.Run("tag moved by somebody else", func(t *testing.T) {
		image, _ := w.repository("moved")
		var theirs string
		hits := w.RegistryFaults.Inject(httpfault.Fault{Match: manifests(image), Method: http.MethodPut, Times: 1,
			Effect: func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
				next.ServeHTTP(rw, r)
				theirs = publish(t, image+":latest")
			}})
		report, err := push(t, t.Context(), image)
		wantError(t, report, err, "latest", theirs, "again")
		if !errors.Is(err, registry.ErrTagMoved) || hits() != 1 {
			t.Errorf("error %v is not ErrTagMoved", err)
		}
		tags := tagsOf(t, image)
		if tags["latest"] != theirs || tags["7.2.0"] != "" || tags["7"] != "" {
			t.Errorf("tags have moved although one of them was not where it was planned: %v", tags)
		}
		completes(t, image, release.Promote)
	})
}

// wantReleased checks that a repository has 7.2.0 and nothing else, whole.
func wantReleased(t *testing.T, repository string, report *pipeline.Report) {
	t.Helper()
	wantTags(t, repository, at(report.Image.Digest, "7.2.0-1", "7.2.0", "7.2", "7", "latest"))
	wantBlobs(t, repository, report.Image.Digest)
}

// uploads and manifests match the requests that send parts of an image to a repository.
func uploads(repository string) func(*http.Request) bool { return below(repository, "/blobs/uploads/") }

func manifests(repository string) func(*http.Request) bool { return below(repository, "/manifests/") }

func below(repository, part string) func(*http.Request) bool {
	_, path, _ := strings.Cut(repository, "/")
	return func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v2/"+path+part) }
}

// readManifest reads the manifest that a request brings, and puts it back for the registry.
func readManifest(r *http.Request) (v1.Manifest, error) {
	var manifest v1.Manifest
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return manifest, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return manifest, json.Unmarshal(body, &manifest)
}
