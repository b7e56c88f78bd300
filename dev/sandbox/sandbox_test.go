package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/sandbox/apt"
)

// dawn is the clock of the sandboxes here.
var dawn = time.Date(2026, 8, 1, 6, 0, 0, 0, time.UTC)

// options are those of a sandbox that needs neither root nor a compiler.
func options(t *testing.T) sandbox.Options {
	t.Helper()
	base, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "standin")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return sandbox.Options{
		Dir:     t.TempDir(),
		Base:    []v1.Image{base},
		Standin: func(context.Context, string) (string, error) { return program, nil },
		Versions: []apt.Version{
			{Version: "7.0.1", Date: dawn.AddDate(0, -9, 0), Architectures: []string{"amd64", "arm64"}},
			{Version: "7.4.1", Date: dawn, Content: apt.ListedOnly},
		},
		Now: func() time.Time { return dawn },
	}
}

func start(t *testing.T, o sandbox.Options) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// get reads the whole of an address, with a time limit for servers that never answer.
func get(t *testing.T, client *http.Client, url string) (*http.Response, []byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func digestOf(t *testing.T, ref string) string {
	t.Helper()
	descriptor, err := remote.Head(reference(t, ref))
	if err != nil {
		t.Fatal(err)
	}
	return descriptor.Digest.String()
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(4000, 1)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestStart(t *testing.T) {
	s := start(t, options(t))
	_, page, err := get(t, http.DefaultClient, s.Upstream+"/repo/")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{`href="7.0.1/"`, `href="7.4.1/"`, `href="repo2.key"`} {
		if !bytes.Contains(page, []byte(link)) {
			t.Errorf("the listing lacks %s:\n%s", link, page)
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		index := s.Upstream + "/repo/7.0.1/Ubuntu/24.04/dists/stable/opennebula/binary-" + arch + "/Packages"
		response, body, err := get(t, http.DefaultClient, index)
		if err != nil || response.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("Package: opennebula\n")) {
			t.Errorf("%s: %v %v\n%s", index, response, err, body)
		}
	}
	if want := s.Registry + "/base@" + digestOf(t, s.BaseTag); s.BaseImage != want {
		t.Errorf("base image is %s, its tag is at %s", s.BaseImage, want)
	}
	if _, err := remote.Image(reference(t, s.DatabaseRepository)); err != nil {
		t.Errorf("vulnerability database: %v", err)
	}
	if want := s.Registry + "/acme/opennebula"; s.Repository != want {
		t.Errorf("repository is %s, want %s", s.Repository, want)
	}
	if err := remote.Write(reference(t, s.Repository+":7.0.1-1"), randomImage(t)); err != nil {
		t.Errorf("push: %v", err)
	}
}

// TestBaseIndex starts a sandbox whose base image is for two architectures.
func TestBaseIndex(t *testing.T) {
	o := options(t)
	o.Base = nil
	for _, architecture := range []string{"amd64", "arm64"} {
		image, err := random.Image(1000, 1)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config.OS, config.Architecture = "linux", architecture
		if image, err = mutate.ConfigFile(image, config); err != nil {
			t.Fatal(err)
		}
		o.Base = append(o.Base, image)
	}
	s := start(t, o)
	updated, err := s.UpdateBase(t.Context(), "2")
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{s.BaseImage, updated} {
		index, err := remote.Index(reference(t, ref))
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		var platforms []string
		for _, image := range manifest.Manifests {
			platforms = append(platforms, image.Platform.String())
		}
		if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
			t.Errorf("platforms of %s (-want +got):\n%s", ref, diff)
		}
	}
	if updated == s.BaseImage {
		t.Errorf("the base image %s is the same after its update", updated)
	}
}

func TestRestartKeepsReleases(t *testing.T) {
	o := options(t)
	first, err := sandbox.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference(t, first.Repository+":7.0.1-1"), randomImage(t)); err != nil {
		t.Fatal(err)
	}
	released := digestOf(t, first.Repository+":7.0.1-1")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(first.Registry)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(port, &o.RegistryPort); err != nil {
		t.Fatal(err)
	}
	second := start(t, o)
	if got := digestOf(t, second.Repository+":7.0.1-1"); got != released {
		t.Errorf("release is %s after a restart, want %s", got, released)
	}
	if second.Registry != first.Registry {
		t.Errorf("registry is at %s, and was at %s: build caches miss", second.Registry, first.Registry)
	}
	// The port is taken now.
	o.Dir = t.TempDir()
	if third := start(t, o); third.Registry == second.Registry {
		t.Errorf("two registries at %s", third.Registry)
	}
}

func TestStartFails(t *testing.T) {
	o := options(t)
	o.Standin = func(context.Context, string) (string, error) { return "", errors.New("no compiler") }
	if _, err := sandbox.Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no compiler") {
		t.Errorf("error %v does not name the cause", err)
	}
	o = options(t)
	o.Advisories = []sandbox.Advisory{{ID: "CVE-2099-0001", SourcePackage: "zlib", Severity: "SEVERE"}}
	if _, err := sandbox.Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "SEVERE") {
		t.Errorf("error %v does not name the cause", err)
	}
}

// TestWorldMovesOn has what changes outside happen while the sandbox runs, with the registry's faults switched on: they are for
// the pipeline.
func TestWorldMovesOn(t *testing.T) {
	s := start(t, options(t))
	database := digestOf(t, s.DatabaseRepository)
	s.RegistryFaults.Inject(httpfault.Fault{Effect: httpfault.Status(http.StatusServiceUnavailable)})
	if err := s.SetAdvisories(t.Context(), dawn.AddDate(0, 0, -30)); err != nil {
		t.Fatal(err)
	}
	updated, err := s.UpdateBase(t.Context(), "2")
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.UpdateBase(t.Context(), "2")
	if err != nil {
		t.Fatal(err)
	}
	s.RegistryFaults.Clear()
	if updated != again {
		t.Errorf("the same revision of the base image gave %s and %s", updated, again)
	}
	if updated == s.BaseImage || !strings.HasSuffix(updated, "@"+digestOf(t, s.BaseTag)) {
		t.Errorf("updated base image is %s, before %s, tag at %s", updated, s.BaseImage, digestOf(t, s.BaseTag))
	}
	if _, err := remote.Image(reference(t, s.BaseImage)); err != nil {
		t.Errorf("the old base image is gone: %v", err)
	}
	if digestOf(t, s.DatabaseRepository) == database {
		t.Error("the vulnerability database has not changed")
	}

	appeared := apt.Version{Version: "7.4.1", Date: dawn, Architectures: []string{"amd64"}}
	if err := s.Packages.AddVersion(t.Context(), appeared); err != nil {
		t.Fatal(err)
	}
	index := s.Upstream + "/repo/7.4.1/Ubuntu/24.04/dists/stable/opennebula/binary-amd64/Packages"
	if response, _, err := get(t, http.DefaultClient, index); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("%s: %v %v after the version appeared", index, response, err)
	}
}

// TestUpstreamFaults switches each fault of an upstream on and sees it as a client does.
func TestUpstreamFaults(t *testing.T) {
	const listing, index = "/repo/", "/repo/7.0.1/Ubuntu/24.04/dists/stable/opennebula/binary-amd64/Packages"
	s := start(t, options(t))
	_, whole, err := get(t, http.DefaultClient, s.Upstream+index)
	if err != nil {
		t.Fatal(err)
	}
	status := func(want int) func(*http.Response, []byte, error) bool {
		return func(r *http.Response, _ []byte, err error) bool { return err == nil && r.StatusCode == want }
	}
	for _, test := range []struct {
		name   string
		path   string
		effect httpfault.Effect
		seen   func(*http.Response, []byte, error) bool
	}{
		{"time-out", listing, httpfault.Hang(), func(_ *http.Response, _ []byte, err error) bool {
			var timeout net.Error
			return errors.As(err, &timeout) && timeout.Timeout()
		}},
		{"500", listing, httpfault.Status(500), status(500)},
		{"503 with Retry-After", listing, httpfault.RetryAfter(503, 7*time.Second), func(r *http.Response, _ []byte, err error) bool {
			return err == nil && r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") == "7"
		}},
		{"404", index, httpfault.Status(404), status(404)},
		{"HTML that is no listing", listing, httpfault.Body("text/html", "<html><body>Maintenance</body></html>"),
			func(r *http.Response, body []byte, err error) bool {
				return err == nil && r.StatusCode == http.StatusOK && !bytes.Contains(body, []byte("href"))
			}},
		{"empty listing", listing, httpfault.Body("text/html", ""), func(r *http.Response, body []byte, err error) bool {
			return err == nil && r.StatusCode == http.StatusOK && len(body) == 0
		}},
		{"truncated index", index, httpfault.Body("text/plain", string(whole[:len(whole)/2])),
			func(r *http.Response, body []byte, err error) bool { return err == nil && len(body) == len(whole)/2 }},
		{"index cut on the way", index, httpfault.CutBody(100), func(_ *http.Response, body []byte, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && len(body) == 100
		}},
		{"gzipped index", index, gzipped, func(r *http.Response, body []byte, err error) bool {
			return err == nil && bytes.HasPrefix(body, []byte{0x1f, 0x8b})
		}},
		{"redirect to another host", listing, httpfault.Redirect("http://elsewhere.example.org/repo/"),
			func(r *http.Response, _ []byte, err error) bool {
				return err == nil && r.StatusCode == http.StatusFound && r.Header.Get("Location") == "http://elsewhere.example.org/repo/"
			}},
		{"garbage", listing, httpfault.Garbage(100 << 20), func(r *http.Response, body []byte, err error) bool {
			return err == nil && len(body) == 100<<20
		}},
		{"connection dropped", listing, httpfault.Drop(), func(r *http.Response, _ []byte, err error) bool {
			return r == nil && err != nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer s.UpstreamFaults.Clear()
			hits := s.UpstreamFaults.Inject(httpfault.Fault{Path: test.path, Effect: test.effect})
			client := &http.Client{
				Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}
			if test.name == "time-out" {
				client.Timeout = 20 * time.Millisecond
			}
			response, body, err := get(t, client, s.Upstream+test.path)
			if !test.seen(response, body, err) || hits() == 0 {
				t.Errorf("fault not seen: %d hits, error %v, response %+v, %d bytes", hits(), err, response, len(body))
			}
			s.UpstreamFaults.Clear()
			if response, _, err := get(t, http.DefaultClient, s.Upstream+listing); err != nil || response.StatusCode != http.StatusOK {
				t.Errorf("the fault does not end when it is switched off: %v %v", response, err)
			}
		})
	}
}

// gzipped answers with the compressed index under the name of the plain one.
func gzipped(w http.ResponseWriter, r *http.Request, next http.Handler) {
	compressed := r.Clone(r.Context())
	compressed.URL.Path += ".gz"
	next.ServeHTTP(w, compressed)
}

// TestRegistryFaults switches each fault of a registry on during a push and sees that the push fails, or what has become of it.
func TestRegistryFaults(t *testing.T) {
	s := start(t, options(t))
	tag := reference(t, s.Repository+":7.0.1-1")
	isManifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	isBlob := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/uploads/") }
	status := func(want int) func(*testing.T, v1.Image, error) {
		return func(t *testing.T, _ v1.Image, err error) {
			var answer *transport.Error
			if !errors.As(err, &answer) || answer.StatusCode != want {
				t.Errorf("push got %v, want status %d", err, want)
			}
		}
	}
	failed := func(t *testing.T, _ v1.Image, err error) {
		if err == nil {
			t.Error("push through a broken line succeeded")
		}
		if _, err := remote.Head(tag); err == nil {
			t.Error("something is visible under the tag")
		}
	}
	intruder := randomImage(t)
	for _, test := range []struct {
		name string
		// prepare switches the fault on, for a push of image.
		prepare func(t *testing.T, image v1.Image)
		check   func(t *testing.T, image v1.Image, err error)
	}{
		{"429", func(*testing.T, v1.Image) {
			s.RegistryFaults.Inject(httpfault.Fault{Match: isManifest, Effect: httpfault.RetryAfter(429, time.Second)})
		}, status(429)},
		{"500", func(*testing.T, v1.Image) {
			s.RegistryFaults.Inject(httpfault.Fault{Match: isManifest, Effect: httpfault.Status(500)})
		}, status(500)},
		{"connection cut in a blob", func(*testing.T, v1.Image) {
			s.RegistryFaults.Inject(httpfault.Fault{Method: http.MethodPatch, Match: isBlob, Effect: httpfault.CutUpload(1000)})
		}, failed},
		{"connection cut in a manifest", func(*testing.T, v1.Image) {
			s.RegistryFaults.Inject(httpfault.Fault{Method: http.MethodPut, Match: isManifest, Effect: httpfault.CutUpload(10)})
		}, failed},
		{"blob forgotten before the manifest", func(t *testing.T, image v1.Image) {
			s.RegistryFaults.Inject(httpfault.Fault{Method: http.MethodPut, Match: isManifest, Times: 1,
				Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if err := s.Store.Forget(layerOf(t, image)); err != nil {
						t.Error(err)
					}
					next.ServeHTTP(w, r)
				}})
		}, status(400)},
		{"blob forgotten after the push", func(t *testing.T, image v1.Image) {
			s.RegistryFaults.Inject(httpfault.Fault{Method: http.MethodPut, Match: isManifest, Times: 1,
				Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					next.ServeHTTP(w, r)
					if err := s.Store.Forget(layerOf(t, image)); err != nil {
						t.Error(err)
					}
				}})
		}, func(t *testing.T, image v1.Image, err error) {
			if err != nil {
				t.Errorf("push: %v", err)
			}
			layer, err := remote.Layer(tag.Context().Digest(layerOf(t, image)))
			if err != nil {
				t.Fatal(err)
			}
			var answer *transport.Error
			if _, err := layer.Compressed(); !errors.As(err, &answer) || answer.StatusCode != http.StatusNotFound {
				t.Errorf("the forgotten blob answers %v, want 404", err)
			}
		}},
		{"401", func(t *testing.T, _ v1.Image) {
			s.Store.RequireLogin(sandbox.Owner+"/", "robot", "secret")
		}, func(t *testing.T, image v1.Image, err error) {
			status(401)(t, image, err)
			if err := remote.Write(tag, image, remote.WithAuth(&authn.Basic{Username: "robot", Password: "secret"})); err != nil {
				t.Errorf("push with the login: %v", err)
			}
			if _, err := remote.Head(reference(t, s.BaseTag)); err != nil {
				t.Errorf("the base image is locked as well: %v", err)
			}
		}},
		{"tag moved by somebody else", func(t *testing.T, _ v1.Image) {
			s.RegistryFaults.Inject(httpfault.Fault{Method: http.MethodHead, Match: isManifest, Times: 1,
				Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					next.ServeHTTP(w, r)
					if err := remote.Write(tag, intruder); err != nil {
						t.Error(err)
					}
				}})
			if _, err := remote.Head(tag); err == nil {
				t.Error("the tag was taken before")
			}
		}, func(t *testing.T, image v1.Image, err error) {
			if err != nil {
				t.Errorf("push: %v", err)
			}
			digest, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			// A client that does not look again, as this one, takes the tag from whoever has it.
			if diff := cmp.Diff(digest.String(), digestOf(t, tag.String())); diff != "" {
				t.Errorf("tag (-want +got):\n%s", diff)
			}
			moved, err := intruder.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := remote.Head(tag.Context().Digest(moved.String())); err != nil {
				t.Errorf("nobody else had the tag in between: %v", err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tag = reference(t, s.Repository+":"+strings.ReplaceAll(test.name, " ", "-"))
			image := randomImage(t)
			defer s.RegistryFaults.Clear()
			defer s.Store.AllowAnonymous()
			test.prepare(t, image)
			err := remote.Write(tag, image, remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes())
			test.check(t, image, err)
		})
	}
}

func layerOf(t *testing.T, image v1.Image) string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}
