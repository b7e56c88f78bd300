package ocilayout

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func archive(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 2
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestUnpack(t *testing.T) {
	blob := "blobs/sha256/" + strings.Repeat("a", 64)
	data := archive(t,
		tar.Header{Name: "blobs/", Typeflag: tar.TypeDir}, tar.Header{Name: "blobs/sha256/", Typeflag: tar.TypeDir},
		tar.Header{Name: blob, Typeflag: tar.TypeReg}, tar.Header{Name: "index.json", Typeflag: tar.TypeReg},
		tar.Header{Name: "oci-layout", Typeflag: tar.TypeReg})
	dir := t.TempDir()
	if err := Unpack(bytes.NewReader(data), dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{blob, "index.json", "oci-layout"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "{}" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestUnpackRejects(t *testing.T) {
	for name, data := range map[string][]byte{
		"a path that leads out":  archive(t, tar.Header{Name: "../index.json", Typeflag: tar.TypeReg}),
		"an absolute path":       archive(t, tar.Header{Name: "/index.json", Typeflag: tar.TypeReg}),
		"a link":                 archive(t, tar.Header{Name: "index.json", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"another file":           archive(t, tar.Header{Name: "blobs/sha256/short", Typeflag: tar.TypeReg}),
		"the same file twice":    archive(t, tar.Header{Name: "index.json", Typeflag: tar.TypeReg}, tar.Header{Name: "index.json", Typeflag: tar.TypeReg}),
		"an archive that is cut": archive(t, tar.Header{Name: "index.json", Typeflag: tar.TypeReg})[:513],
	} {
		t.Run(name, func(t *testing.T) {
			if err := Unpack(bytes.NewReader(data), t.TempDir()); err == nil {
				t.Error("no error")
			}
		})
	}
}
