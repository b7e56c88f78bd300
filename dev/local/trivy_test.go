package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/mod/modfile"

	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/registry"
	"opennebula-kube/dev/toolchain"
)

// pinnedTrivy is the version that a program has to say it is to be taken for Trivy.
func pinnedTrivy(t *testing.T) string {
	t.Helper()
	const file = "../tools/trivy.mod"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(mod.Require, func(r *modfile.Require) bool { return r.Mod.Path == "github.com/aquasecurity/trivy" })
	if i < 0 {
		t.Fatalf("%s does not require Trivy", file)
	}
	return strings.TrimPrefix(mod.Require[i].Mod.Version, "v")
}

// scanner puts a script on the PATH in Trivy's place. It makes databases as Trivy does; what it does instead of a scan is the
// caller's.
func scanner(t *testing.T, scan string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
set -eu
case " $* " in
*" --version "*) echo "Version: %s"; exit ;;
*" --download-db-only "*)
	while [ "$1" != --cache-dir ]; do shift; done
	mkdir -p "$2/db"
	echo bolt > "$2/db/trivy.db"
	echo '{"Version":2,"UpdatedAt":"2026-08-01T02:03:04Z"}' > "$2/db/metadata.json"
	exit ;;
esac
%s
`, pinnedTrivy(t), scan)
	if err := os.WriteFile(filepath.Join(dir, "trivy"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// testRegistry returns the address of a registry with a vulnerability database at trivy-db:2.
func testRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	publishDatabase(t, host)
	return host
}

func publishDatabase(t *testing.T, host string) {
	t.Helper()
	ref, err := name.NewTag(host + "/trivy-db:2")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, platformImage(t, "amd64")); err != nil {
		t.Fatal(err)
	}
}

// newEngine is an engine that holds artifact.
func newEngine(t *testing.T, database string, artifact registry.Artifact) (*Engine, *image) {
	t.Helper()
	e, err := New(t.Context(), Config{
		Context: "../../image", StateDir: t.TempDir(), DatabaseRepository: database,
		Toolchain: toolchain.New("../..", t.TempDir(), t.Logf),
	})
	if err != nil {
		t.Fatal(err)
	}
	digest := digestOf(t, artifact)
	platforms, err := keep(t, e.images, artifact, digest)
	if err != nil {
		t.Fatal(err)
	}
	return e, &image{engine: e, digest: digest, platforms: platforms}
}

func TestScanRunsTrivy(t *testing.T) {
	// The report says what Trivy got to see.
	scanner(t, `{ echo "args $*"; env | grep -v '^PWD=\|^_=\|^SHLVL=\|^OLDPWD=' | cut -d= -f1 | sort; ls opennebula opennebula/blobs/sha256/*; cat opennebula/index.json; } > report.json`)
	t.Setenv("REGISTRY_PASSWORD", "secret")
	t.Setenv("DOCKER_CONFIG", "/secret")
	t.Setenv("NO_PROXY", "127.0.0.1")
	for _, key := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if _, set := os.LookupEnv(key); set {
			t.Setenv(key, "")
			if err := os.Unsetenv(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	index := multiPlatform(t)
	e, img := newEngine(t, testRegistry(t)+"/trivy-db:2", index)
	manifest, err := ocilayout.Manifest(e.images.path(img.digest), "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Digest.String()

	scan, err := e.Scan(t.Context(), img, "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	if at := time.Date(2026, 8, 1, 2, 3, 4, 0, time.UTC); scan.Platform != "linux/arm64" || !scan.DatabaseUpdatedAt.Equal(at) {
		t.Errorf("scan of %s with the database of %s, want linux/arm64 and %s", scan.Platform, scan.DatabaseUpdatedAt, at)
	}
	report := string(scan.Report)
	for _, part := range []string{
		"--scanners vuln ", "--format json ", "--skip-db-update ", "--disable-telemetry ", "--skip-version-check ",
		"--input opennebula@" + want + "\n", "\nHOME\nNO_PROXY\nPATH\nTMPDIR\n", `"digest":"` + want + `"`,
	} {
		if !strings.Contains(report, part) {
			t.Errorf("Trivy did not get %q, but:\n%s", part, report)
		}
	}
	if strings.Contains(report, "DOCKER_CONFIG") || strings.Contains(report, "REGISTRY_PASSWORD") {
		t.Errorf("Trivy sees secrets:\n%s", report)
	}
	if left, err := os.ReadDir(e.scratch); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDatabaseFollowsTheRegistry(t *testing.T) {
	scanner(t, `echo "$*" > report.json`)
	host := testRegistry(t)
	e, img := newEngine(t, host+"/trivy-db", platformImage(t, "amd64")) // without a tag, as Trivy allows it
	cacheDirs := func() []string {
		t.Helper()
		if _, err := e.Scan(t.Context(), img, "linux/amd64"); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(e.databases.dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}
	first := cacheDirs()
	if again := cacheDirs(); len(first) != 1 || !slices.Equal(first, again) {
		t.Errorf("databases %v, then %v; want the same one", first, again)
	}
	publishDatabase(t, host)
	if second := cacheDirs(); len(second) != 2 || !slices.Contains(second, first[0]) {
		t.Errorf("databases %v after %v; want one more", second, first)
	}
}

func TestScanFails(t *testing.T) {
	for _, c := range []struct {
		name, scan, database, platform string
		want                           []string
	}{
		{"trivy fails", `echo "FATAL run error: cannot open" >&2; exit 3`, "/trivy-db:2", "linux/amd64", []string{"exit status 3", "FATAL run error: cannot open"}},
		{"no report", ":", "/trivy-db:2", "linux/amd64", []string{"no report"}},
		{"no database", ":", "/elsewhere:2", "linux/amd64", []string{"get the vulnerability database", "/elsewhere:2"}},
		{"other platform", ":", "/trivy-db:2", "linux/arm64", []string{"the image has no platform linux/arm64, it has linux/amd64"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			scanner(t, c.scan)
			e, img := newEngine(t, testRegistry(t)+c.database, platformImage(t, "amd64"))
			scan, err := e.Scan(t.Context(), img, c.platform)
			if err == nil || scan.Report != nil {
				t.Fatalf("report %q, error %v", scan.Report, err)
			}
			for _, want := range append(c.want, img.digest, c.platform) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		started := filepath.Join(t.TempDir(), "started")
		scanner(t, `echo yes > `+started+`; exec sleep 600`)
		e, img := newEngine(t, testRegistry(t)+"/trivy-db:2", platformImage(t, "amd64"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := e.Scan(ctx, img, "linux/amd64")
			done <- err
		}()
		for {
			if _, err := os.Stat(started); err == nil {
				break
			}
			select {
			case err := <-done:
				t.Fatalf("ended before it was interrupted: %v", err)
			case <-time.After(time.Millisecond):
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
	})
}

func TestSBOMRunsTrivy(t *testing.T) {
	scanner(t, `echo "$*" > report.json`)
	e, img := newEngine(t, "127.0.0.1:1/not-asked:2", platformImage(t, "amd64"))
	sbom, err := e.SBOM(t.Context(), img, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(sbom), "--format cyclonedx ") || strings.Contains(string(sbom), "--scanners") {
		t.Errorf("ran trivy %s", sbom)
	}
}

func TestReadDatabase(t *testing.T) {
	for _, c := range []struct{ name, metadata, want string }{
		{"whole", `{"Version":2,"UpdatedAt":"2026-08-01T02:03:04.5Z"}`, ""},
		{"no date", `{"Version":2}`, "does not say when"},
		{"not JSON", `<html>`, "metadata.json"},
		{"no metadata", "", "metadata.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "db"), 0o755); err != nil {
				t.Fatal(err)
			}
			files := map[string]string{"trivy.db": "bolt", "metadata.json": c.metadata}
			for file, content := range files {
				if content == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, "db", file), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			db, err := readDatabase(dir)
			if c.want == "" && (err != nil || db.updatedAt.IsZero()) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("readDatabase = %+v, %v; want %q in the error", db, err, c.want)
			}
		})
	}
}

// TestPushAndPull goes through a registry without building anything.
func TestPushAndPull(t *testing.T) {
	host := testRegistry(t)
	for label, artifact := range map[string]registry.Artifact{"image": platformImage(t, "amd64"), "index": multiPlatform(t)} {
		t.Run(label, func(t *testing.T) {
			e, img := newEngine(t, host+"/trivy-db:2", artifact)
			repository := host + "/acme/" + label
			if digest, err := e.Push(t.Context(), img, repository+":1"); err != nil || digest != img.digest {
				t.Fatalf("Push = %s, %v", digest, err)
			}
			other, _ := newEngine(t, host+"/trivy-db:2", platformImage(t, "arm64"))
			pulled, err := other.Pull(t.Context(), repository+"@"+img.digest)
			if err != nil {
				t.Fatal(err)
			}
			if pulled.Digest() != img.digest {
				t.Errorf("pulled %s, want %s", pulled.Digest(), img.digest)
			}
			if diff := cmp.Diff(img.Platforms(), pulled.Platforms()); diff != "" {
				t.Errorf("platforms (-want +got):\n%s", diff)
			}
			if _, err := other.Push(t.Context(), img, repository+":2"); err == nil || !strings.Contains(err.Error(), "not one of this engine's") {
				t.Errorf("image of another engine: error %v", err)
			}
			if err := os.RemoveAll(e.images.path(img.digest)); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Push(t.Context(), img, repository+":3"); err == nil || !strings.Contains(err.Error(), "build it, or pull it, again") {
				t.Errorf("image that was pruned: error %v", err)
			}
		})
	}
}

func TestNewErrors(t *testing.T) {
	tools := toolchain.New("../..", t.TempDir(), t.Logf)
	for want, config := range map[string]Config{
		"no toolchain":         {Context: "../../image", StateDir: t.TempDir()},
		"sources of the image": {Context: t.TempDir(), StateDir: t.TempDir(), Toolchain: tools},
		"state directory":      {Context: "../../image", StateDir: "/dev/null/x", Toolchain: tools},
	} {
		if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
