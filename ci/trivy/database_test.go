package trivy

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// publish puts a database, or what looks like one, into a registry, and returns its digest.
func publish(t *testing.T, ref string) string {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// start serves a registry that fails the test when it is given credentials.
func start(t *testing.T) (host string) {
	t.Helper()
	registry := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the registry was given credentials")
		}
		registry.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestLatestDatabase(t *testing.T) {
	host := start(t)
	config := t.TempDir() // as after `docker login`
	t.Setenv("DOCKER_CONFIG", config)
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"auths":{"`+host+`":{"auth":"bWU6c2VjcmV0"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	repository := host + "/acme/trivy-db"
	current, other := publish(t, repository+":2"), publish(t, repository+":1")
	for given, want := range map[string]string{
		repository:                 current,
		repository + ":2":          current,
		repository + ":1":          other,
		repository + "@" + other:   other,
		repository + ":2@" + other: other, // the digest decides
	} {
		got, err := LatestDatabase(t.Context(), given)
		if err != nil {
			t.Fatal(err)
		}
		if got != (Database{Digest: want, Pinned: repository + "@" + want}) {
			t.Errorf("%s is %+v, want %s", given, got, want)
		}
	}
	// The next one counts as soon as it is there.
	next := publish(t, repository+":2")
	if got, err := LatestDatabase(t.Context(), repository); err != nil || got.Digest != next {
		t.Errorf("got %+v, %v; want %s", got, err, next)
	}
}

func TestLatestDatabaseFails(t *testing.T) {
	host := start(t)
	publish(t, host+"/acme/trivy-db:2")
	for given, says := range map[string][]string{
		host + "/acme/nothing":    {"404", "acme/nothing"},
		host + "/acme/trivy-db:3": {"404", "acme/trivy-db"},
		host + "/Acme/trivy-db":   {"Acme"},
		"not a reference":         {"not a reference"},
	} {
		got, err := LatestDatabase(t.Context(), given)
		if err == nil || got != (Database{}) {
			t.Errorf("%s: %+v, %v", given, got, err)
			continue
		}
		for _, word := range says {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("error %q does not say %q", err, word)
			}
		}
	}
}

func TestUpdatedAt(t *testing.T) {
	got, err := UpdatedAt([]byte(`{"Version":2,"NextUpdate":"2026-04-04T00:49:00Z","UpdatedAt":"2026-04-03T00:49:12.5Z","DownloadedAt":"0001-01-01T00:00:00Z"}`))
	if want := time.Date(2026, 4, 3, 0, 49, 12, 500_000_000, time.UTC); err != nil || !got.Equal(want) {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	for metadata, says := range map[string]string{
		`{"Version":2,"NextUpdate":"2026-04-04T00:49:00Z"}`: "does not say when it was made",
		`{"UpdatedAt":"0001-01-01T00:00:00Z"}`:              "does not say when it was made",
		`{"UpdatedAt":null}`:                                "does not say when it was made",
		`{"UpdatedAt":"yesterday"}`:                         "yesterday",
		`<html>`:                                            "invalid character",
		``:                                                  "unexpected end",
	} {
		_, err := UpdatedAt([]byte(metadata))
		if err == nil || !strings.Contains(err.Error(), MetadataFile) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one that says %q and %q", metadata, err, MetadataFile, says)
		}
	}
}
