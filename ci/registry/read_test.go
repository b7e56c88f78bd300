package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

func TestRepositoryThatDoesNotExistYet(t *testing.T) {
	r := start(t).open(t)
	tags, err := r.Tags(t.Context())
	if err != nil || len(tags) > 0 {
		t.Errorf("tags %v, error %v; want none of both", tags, err)
	}
	for _, what := range []string{"7.0.1", nowhere} {
		_, err := r.Digest(t.Context(), what)
		mustFail(t, err, registry.ErrNotFound, what)
		_, err = r.Describe(t.Context(), what)
		mustFail(t, err, registry.ErrNotFound, what)
		_, err = r.Artifact(t.Context(), what)
		mustFail(t, err, registry.ErrNotFound, what)
	}
}

func TestNonsenseIsNeitherTagNorDigest(t *testing.T) {
	s := start(t)
	hits := s.Inject(httpfault.Fault{Effect: httpfault.Status(http.StatusTeapot)})
	r := s.open(t)
	for _, what := range []string{"", "a/b", "sha256:12", "md5:00", "../x"} {
		if _, err := r.Digest(t.Context(), what); err == nil || errors.Is(err, registry.ErrNotFound) {
			t.Errorf("digest of %q: error %v, want that it is malformed", what, err)
		}
	}
	if hits() > 0 {
		t.Error("malformed references were sent to the registry")
	}
}

// An answer that is not the registry's word on its tags must never read as "there are none": everything would be built anew.
func TestTagsFailClosed(t *testing.T) {
	const list = "/v2/acme/opennebula/tags/list"
	for name, fault := range map[string]httpfault.Fault{
		"no registry there":  {Path: "/v2/", Effect: httpfault.Status(http.StatusNotFound)},
		"web page":           {Path: list, Effect: httpfault.Body("text/html", "<html>welcome</html>")},
		"cut in the middle":  {Path: list, Effect: httpfault.CutBody(10)},
		"connection dropped": {Path: list, Effect: httpfault.Drop()},
		"server error":       {Path: list, Effect: httpfault.Status(http.StatusInternalServerError)},
		"denied":             {Path: list, Effect: httpfault.Status(http.StatusForbidden)},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			push(t, s.open(t), randomImage(t), "7.0.1-1")
			hits := s.Inject(fault)
			tags, err := s.open(t).Tags(t.Context())
			mustFail(t, err, nil, s.host)
			if errors.Is(err, registry.ErrNotFound) || tags != nil || hits() == 0 {
				t.Errorf("tags %v, error %v, fault met %d times", tags, err, hits())
			}
		})
	}
}

func TestTagsOverSeveralPages(t *testing.T) {
	s := start(t)
	const list = "/v2/acme/opennebula/tags/list"
	s.Inject(httpfault.Fault{Path: list, Effect: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", fmt.Sprintf(`<%s?last=7.0.1>; rel="next"`, list))
			_, _ = w.Write([]byte(`{"name":"acme/opennebula","tags":["latest","7.0.1"]}`))
			return
		}
		_, _ = w.Write([]byte(`{"name":"acme/opennebula","tags":["7.0"]}`))
	}})
	tags, err := s.open(t).Tags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"7.0", "7.0.1", "latest"}, tags); diff != "" {
		t.Error(diff)
	}
}

func TestDescribe(t *testing.T) {
	single, index := platformImage(t, "linux", "arm64"), buildkitIndex(t)
	for name, test := range map[string]struct {
		artifact registry.Artifact
		want     registry.Description
	}{
		"image": {single, registry.Description{
			Digest: digestOf(t, single), Platforms: []string{"linux/arm64"}, Labels: map[string]string{"of": "arm64"},
		}},
		"index with attestation": {index, registry.Description{
			Digest: digestOf(t, index), Platforms: []string{"linux/amd64", "linux/arm64"}, Labels: map[string]string{"of": "amd64"},
		}},
		"no container image": {empty.Image, registry.Description{Digest: digestOf(t, empty.Image)}},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t).open(t)
			digest := push(t, r, test.artifact, "7.0.1-1")
			for _, what := range []string{"7.0.1-1", digest} {
				got, err := r.Describe(t.Context(), what)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}
		})
	}
}

func TestImageReadsBackWhatWasPushed(t *testing.T) {
	r := start(t).open(t)
	image, err := r.Artifact(t.Context(), push(t, r, randomImage(t), "one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image.(v1.Image)); err != nil {
		t.Error(err)
	}
	index, err := r.Artifact(t.Context(), push(t, r, buildkitIndex(t), "many"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index.(v1.ImageIndex)); err != nil {
		t.Error(err)
	}
}

func TestResolve(t *testing.T) {
	s := start(t)
	digest := push(t, s.open(t), randomImage(t), "24.04")
	for ref, want := range map[string]string{
		s.host + "/acme/opennebula:24.04": digest,
		"ubuntu:24.04@" + nowhere:         nowhere, // pinned: nobody needs to be asked
	} {
		got, err := registry.Resolve(t.Context(), ref)
		if err != nil || got != want {
			t.Errorf("%s resolves to %s, %v; want %s", ref, got, err, want)
		}
	}
	_, err := registry.Resolve(t.Context(), s.host+"/acme/opennebula:26.04")
	mustFail(t, err, registry.ErrNotFound, "26.04")
	_, err = registry.Resolve(t.Context(), "not a reference")
	mustFail(t, err, nil, "not a reference")
}
