package registry_test

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

func TestImages(t *testing.T) {
	single, index := platformImage(t, "linux", "arm64"), buildkitIndex(t)
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index})
	for name, test := range map[string]struct {
		artifact registry.Artifact
		want     []string
	}{
		"image":                  {single, []string{"linux/arm64"}},
		"index with attestation": {index, []string{"linux/amd64", "linux/arm64"}},
		"index in an index":      {nested, []string{"linux/amd64", "linux/arm64"}},
		"platform in the image alone": {
			mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: single}), []string{"linux/arm64"},
		},
		"no container image": {empty.Image, nil},
		"empty index":        {empty.Index, nil},
	} {
		t.Run(name, func(t *testing.T) {
			images, err := registry.Images(test.artifact)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(images))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for platform, image := range images {
				config, err := image.ConfigFile()
				if err != nil {
					t.Fatal(err)
				}
				if got := config.Platform().String(); got != platform {
					t.Errorf("%s has the image for %s", platform, got)
				}
			}
		})
	}
}

func TestImagesFails(t *testing.T) {
	_, err := registry.Images(struct{ registry.Artifact }{})
	mustFail(t, err, nil, "list the platforms", "neither an image nor an index")

	s := start(t)
	r := s.open(t)
	index, err := r.Artifact(t.Context(), push(t, r, buildkitIndex(t), "many"))
	if err != nil {
		t.Fatal(err)
	}
	s.Inject(httpfault.Fault{Path: manifest + "*", Effect: httpfault.Status(http.StatusForbidden)})
	_, err = registry.Images(index)
	mustFail(t, err, nil, "list the platforms", s.host, "403")
}

func TestFetch(t *testing.T) {
	s := start(t)
	r := s.open(t)
	image, index := randomImage(t), buildkitIndex(t)
	push(t, r, image, "one")
	digest := push(t, r, index, "many")
	repository := s.host + "/acme/opennebula"
	for ref, want := range map[string]registry.Artifact{
		repository + ":one":           image,
		repository + ":many":          index,
		repository + "@" + digest:     index,
		repository + ":one@" + digest: index, // the digest decides
	} {
		got, err := registry.Fetch(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := digestOf(t, got), digestOf(t, want); got != want {
			t.Errorf("%s is %s, want %s", ref, got, want)
		}
		switch got := got.(type) {
		case v1.Image:
			err = validate.Image(got)
		case v1.ImageIndex:
			err = validate.Index(got)
		}
		if err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestFetchFails(t *testing.T) {
	s := start(t)
	digest := push(t, s.open(t), randomImage(t), "24.04")
	repository := s.host + "/acme/opennebula"
	for _, absent := range []string{repository + ":26.04", repository + "@" + nowhere, s.host + "/acme/nothing:24.04"} {
		_, err := registry.Fetch(t.Context(), absent)
		mustFail(t, err, registry.ErrNotFound, absent[:len(s.host)+len("/acme/")], absent[len(absent)-len("24.04"):])
	}
	_, err := registry.Fetch(t.Context(), "not a reference")
	mustFail(t, err, nil, `"not a reference"`)

	s.Inject(httpfault.Fault{Path: manifest + "24.04", Effect: httpfault.Body("text/html", "<html>welcome</html>")})
	_, err = registry.Fetch(t.Context(), repository+":24.04")
	mustFail(t, err, nil, repository, "24.04", "neither an image nor an index")
	s.Inject(httpfault.Fault{Path: manifest + digest, Effect: httpfault.Status(http.StatusForbidden)})
	_, err = registry.Fetch(t.Context(), repository+"@"+digest)
	mustFail(t, err, nil, repository, digest, "`docker login "+s.host+"`")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFetchReadsReferencesAsDockerDoes(t *testing.T) {
	for ref, says := range map[string][]string{
		"ubuntu:24.04":       {"index.docker.io/library/ubuntu", "24.04"},
		"acme/ubuntu":        {"index.docker.io/acme/ubuntu", "latest"},
		"ghcr.io/acme/one:1": {"ghcr.io/acme/one", "1"},
	} {
		var asked string
		_, err := registry.Fetch(t.Context(), ref, registry.WithKeychain(authn.NewMultiKeychain()),
			registry.WithBackoff(remote.Backoff{Steps: 1}),
			registry.WithTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
				asked = r.URL.Host
				return nil, errors.New("no way there")
			})))
		mustFail(t, err, nil, append(says, "no way there")...)
		if want, _, _ := strings.Cut(says[0], "/"); asked != want {
			t.Errorf("%s: asked %q, want %s", ref, asked, want)
		}
	}
}
