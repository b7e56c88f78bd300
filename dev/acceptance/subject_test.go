package acceptance_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/dev/acceptance"
	"opennebula-kube/dev/sandbox/apt"
)

const (
	root = "../.."
	base = "registry.example.org/ubuntu@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// upstream serves the packages of some versions, signed by the key with the fingerprint.
func upstream(t *testing.T) (url, fingerprint string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var versions []apt.Version
	for _, version := range []string{"7.0.1", "7.0.2", "7.2.0", "7.3.80", "7.4.0"} {
		versions = append(versions, apt.Version{Version: version, Date: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), Architectures: []string{"amd64"}})
	}
	repository, err := apt.Build(t.Context(), apt.Options{
		Dir: t.TempDir(), Versions: versions, Standin: func(context.Context, string) (string, error) { return program, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(repository.Handler())
	t.Cleanup(server.Close)
	return server.URL, repository.Fingerprint()
}

func TestFromEnvironment(t *testing.T) {
	at, key := upstream(t)
	sandbox := acceptance.Subject{Upstream: "http://sandbox", Versions: []string{"7.0.1"}}
	for name, c := range map[string]struct {
		env     map[string]string
		want    acceptance.Subject
		wantErr string
	}{
		"nothing": {nil, sandbox, ""},
		"all": {
			map[string]string{
				"ACCEPTANCE_UPSTREAM": at + "/", "ACCEPTANCE_UPSTREAM_FINGERPRINT": key, "ACCEPTANCE_BASE_IMAGE": base,
				"ACCEPTANCE_VERSIONS": "7.4.0 7.0.2  7.0.1 7.0.2",
			},
			acceptance.Subject{Upstream: at, Fingerprint: key, BaseImage: base, Versions: []string{"7.0.1", "7.0.2", "7.4.0"}}, "",
		},
		"the highest of each line": {
			map[string]string{"ACCEPTANCE_UPSTREAM": at, "ACCEPTANCE_UPSTREAM_FINGERPRINT": key, "ACCEPTANCE_BASE_IMAGE": base},
			acceptance.Subject{Upstream: at, Fingerprint: key, BaseImage: base, Versions: []string{"7.0.2", "7.2.0", "7.4.0"}}, "",
		},
		"a version that is not there": {
			map[string]string{
				"ACCEPTANCE_UPSTREAM": at, "ACCEPTANCE_UPSTREAM_FINGERPRINT": key, "ACCEPTANCE_BASE_IMAGE": base, "ACCEPTANCE_VERSIONS": "7.0.9",
			},
			acceptance.Subject{}, `has no release "7.0.9": it has 7.0.1, 7.0.2, 7.2.0, 7.4.0`,
		},
		"packages that OpenNebula has not signed": {
			map[string]string{"ACCEPTANCE_UPSTREAM": at, "ACCEPTANCE_BASE_IMAGE": base}, acceptance.Subject{}, "the file has " + key,
		},
		"versions without an upstream": {
			map[string]string{"ACCEPTANCE_VERSIONS": "7.0.1"}, acceptance.Subject{}, "ACCEPTANCE_VERSIONS is set and ACCEPTANCE_UPSTREAM is not",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := acceptance.FromEnvironment(t.Context(), func(name string) string { return c.env[name] }, root, sandbox)
			if (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Fatalf("error %v, want %q", err, c.wantErr)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("subject (-want +got):\n%s", diff)
			}
		})
	}
}

// Without a base image it is the one that the Dockerfile pins.
func TestDefaultBase(t *testing.T) {
	at, key := upstream(t)
	env := map[string]string{"ACCEPTANCE_UPSTREAM": at, "ACCEPTANCE_UPSTREAM_FINGERPRINT": key}
	got, err := acceptance.FromEnvironment(t.Context(), func(name string) string { return env[name] }, root, acceptance.Subject{})
	if err != nil {
		t.Fatal(err)
	}
	dockerfile, err := os.ReadFile(filepath.Join(root, "image", "Dockerfile"))
	if err != nil || !strings.Contains(string(dockerfile), "ARG BASE_IMAGE="+got.BaseImage+"\n") {
		t.Errorf("base image %q, %v, want the one in the Dockerfile", got.BaseImage, err)
	}
}
