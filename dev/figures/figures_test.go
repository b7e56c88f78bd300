package figures

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	fake "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// image has a base of two layers and what the Dockerfile adds, each with files of 1000 bytes and a directory.
func image(t *testing.T) v1.Image {
	t.Helper()
	made := empty.Image
	for _, files := range [][]string{
		{"etc/os-release", "bin/sh", "var/lib/dpkg/status"},
		{"var/lib/dpkg/status", "usr/bin/mount"},
		{"etc/apt/keyrings/opennebula.asc"},
		{"usr/bin/oned", "./var/lib/dpkg/info/opennebula.list", "var/lib/dpkg/status", "usr/bin/onedb"},
		{"etc/supervisor/supervisord.conf", "usr/bin/one-container"},
		{},
		{"etc/late"},
	} {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		write := func(header tar.Header, content []byte) {
			if err := w.WriteHeader(&header); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
		write(tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
		for _, file := range files {
			write(tar.Header{Name: file, Typeflag: tar.TypeReg, Size: 1000}, make([]byte, 1000))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if made, err = mutate.AppendLayers(made, layer); err != nil {
			t.Fatal(err)
		}
	}
	config, err := made.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", "amd64"
	if made, err = mutate.ConfigFile(made, config); err != nil {
		t.Fatal(err)
	}
	return made
}

// released pushes an image and writes the files of a release of it to a directory.
func released(t *testing.T, made v1.Image) (dir string) {
	t.Helper()
	server := httptest.NewServer(fake.New())
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/acme/opennebula"
	ref, err := name.ParseReference(repository + ":7.2.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, made); err != nil {
		t.Fatal(err)
	}
	digest, err := made.Digest()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "7.2"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"release.json": fmt.Sprintf(`[{"line": "7.0"}, {"version": "7.2.0", "line": "7.2", "image": {"repository": %q, "digest": %q, "platforms": ["linux/amd64"]}}]`,
			repository, digest),
		"7.2/sbom-linux-amd64.cdx.json": `{"components": [{"purl": "pkg:deb/debian/opennebula@7.2.0-1?arch=amd64"}, {"purl": "pkg:golang/stdlib@1.26"},
			{"purl": "pkg:deb/debian/bash@5"}, {"name": "debian", "type": "operating-system"}]}`,
		"7.2/gate.json": `{"counts": {"MEDIUM": 5, "LOW": 14}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWrite(t *testing.T) {
	made := image(t)
	dir := released(t, made)
	var out strings.Builder
	if err := Write(t.Context(), &out, dir); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		// Compressed sizes are what the compressor makes of it.
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] != "packages:" && fields[0] != "findings:" {
			line = strings.Join(fields[1:], " ")
		}
		got = append(got, strings.TrimSpace(line))
	}
	layers, err := made.Layers()
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := layers[3].Size()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%dB", compressed); !strings.Contains(out.String(), want) {
		t.Errorf("no layer has the size %s:\n%s", want, out.String())
	}
	digest, err := made.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(got[0], "@"+digest.String()) || !strings.HasPrefix(out.String(), "OpenNebula 7.2.0, ") {
		t.Errorf("it begins with %q", got[0])
	}
	want := []string{
		"",
		"UNPACKED FILES LAYER",
		"3kB 3 base image",
		"2kB 2 base image",
		"1kB 1 key of the package repository",
		"4kB 4 OpenNebula's packages, and those that they need",
		"2kB 2 one-container, and how the services are run",
		"0B 0 directories",
		"1kB 1 others",
		"13kB 13 all of linux/amd64",
		"packages: 2 deb, 1 golang",
		"findings: 0 critical, 0 high, 5 medium, 14 low, 0 unknown",
	}
	if diff := cmp.Diff(want, got[1:]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"no release", func(dir string) error { return os.Remove(filepath.Join(dir, "release.json")) }, "name the directory that a release"},
		{"a dry run", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "release.json"), []byte(`[{"dryRun": true}]`), 0o644)
		}, "names no image"},
		{"no JSON", func(dir string) error { return os.WriteFile(filepath.Join(dir, "7.2/gate.json"), []byte("<"), 0o644) }, "gate.json"},
		{"no list of contents", func(dir string) error { return os.Remove(filepath.Join(dir, "7.2/sbom-linux-amd64.cdx.json")) }, "sbom-linux-amd64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := released(t, image(t))
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if err := Write(t.Context(), io.Discard, dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
