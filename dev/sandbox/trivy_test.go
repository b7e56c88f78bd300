package sandbox_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"opennebula-kube/dev/sandbox/trivydb"
)

// debian is an image with as much of a Debian as Trivy looks at.
func debian(t *testing.T) v1.Image {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, file := range []struct{ name, content string }{
		{"etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"},
		{"etc/debian_version", "12.11\n"},
		{"var/lib/dpkg/status", `Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 3.0.17-1~deb12u2

Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib
Version: 1:1.2.13.dfsg-1

Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u10

Package: ncurses-base
Status: install ok installed
Architecture: all
Source: ncurses
Version: 6.4-4

Package: passwd
Status: install ok installed
Architecture: amd64
Source: shadow
Version: 1:4.13+dfsg1-1+deb12u1
`},
	} {
		header := &tar.Header{Name: file.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(file.content))}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, file.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: rootFS(t, image)})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func rootFS(t *testing.T, image v1.Image) v1.RootFS {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.RootFS
}

// trivy finds a Trivy that is there; the tests of the engine make one.
func trivy(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("trivy"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no trivy on the PATH, and no cache to look in: %v", err)
	}
	built, err := filepath.Glob(filepath.Join(cache, "opennebula-kube", "tools", "trivy-*"))
	if err != nil {
		t.Fatal(err)
	}
	built = slices.DeleteFunc(built, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0
	})
	if len(built) == 0 {
		t.Skip("no trivy on the PATH and none built yet")
	}
	return built[len(built)-1]
}

// TestTrivyReads has the real scanner download the database from the sandbox and find what it says.
func TestTrivyReads(t *testing.T) {
	program := trivy(t)
	type finding struct{ VulnerabilityID, PkgName, FixedVersion, Severity, Status string }
	for _, test := range []struct {
		name       string
		updated    time.Time
		advisories []trivydb.Advisory
		want       []finding
	}{
		{"passing", dawn, trivydb.Passing(), []finding{
			{"CVE-2099-1001", "libssl3", "99:1-1", "MEDIUM", "fixed"},
			{"CVE-2099-1002", "libc6", "", "LOW", "affected"},
			{"CVE-2099-1003", "ncurses-base", "", "MEDIUM", "affected"},
			{"CVE-2099-1004", "passwd", "99:1-1", "LOW", "fixed"},
		}},
		{"critical, in an old database", dawn.AddDate(0, 0, -30), trivydb.Critical(), []finding{
			{"CVE-2099-9001", "libssl3", "99:1-1", "CRITICAL", "fixed"},
			{"CVE-2099-9002", "zlib1g", "", "HIGH", "affected"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options(t)
			o.Base = []v1.Image{debian(t)}
			s := start(t, o)
			if err := s.SetAdvisories(t.Context(), test.updated, test.advisories...); err != nil {
				t.Fatal(err)
			}
			cache := t.TempDir()
			run := func(args ...string) []byte {
				t.Helper()
				var said bytes.Buffer
				command := exec.CommandContext(t.Context(), program, append(args, "--cache-dir", cache)...)
				command.Stderr = &said
				out, err := command.Output()
				if err != nil {
					t.Fatalf("%s: %v\n%s", command, err, said.Bytes())
				}
				return out
			}
			var report struct {
				Results []struct{ Vulnerabilities []finding }
			}
			out := run("image", "--quiet", "--scanners", "vuln", "--format", "json", "--skip-version-check",
				"--db-repository", s.DatabaseRepository, s.BaseImage)
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatal(err)
			}
			var got []finding
			for _, result := range report.Results {
				got = append(got, result.Vulnerabilities...)
			}
			slices.SortFunc(got, func(a, b finding) int { return strings.Compare(a.VulnerabilityID, b.VulnerabilityID) })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			var version struct {
				VulnerabilityDB struct {
					Version   int
					UpdatedAt time.Time
				}
			}
			if err := json.Unmarshal(run("version", "--format", "json"), &version); err != nil {
				t.Fatal(err)
			}
			if version.VulnerabilityDB.Version != 2 || !version.VulnerabilityDB.UpdatedAt.Equal(test.updated) {
				t.Errorf("database %+v, want version 2 of %s", version.VulnerabilityDB, test.updated)
			}
		})
	}
}
