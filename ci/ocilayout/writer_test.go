package ocilayout

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func newWriter(t *testing.T) writer {
	t.Helper()
	w, err := create(filepath.Join(t.TempDir(), "new", "layout"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWriterNamesBlobsByDigest(t *testing.T) {
	const content = "content"
	for name, write := range map[string]func(writer) (ocispecs.Descriptor, error){
		"known": func(w writer) (ocispecs.Descriptor, error) { return w.put("text/plain", []byte(content)) },
		"filled in": func(w writer) (ocispecs.Descriptor, error) {
			return w.blob("text/plain", func(out io.Writer) error {
				_, err := io.WriteString(out, content)
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWriter(t)
			want := ocispecs.Descriptor{MediaType: "text/plain", Digest: digest.FromString(content), Size: int64(len(content))}
			for range 2 { // the same again is no error
				got, err := write(w)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			file := filepath.Join(w.dir, "blobs", "sha256", want.Digest.Encoded())
			if data, err := os.ReadFile(file); err != nil || string(data) != content {
				t.Errorf("the blob is %q, %v", data, err)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("the blob's mode is %v, %v; others have to read it", info.Mode(), err)
			}
		})
	}
}

func TestWriterLeavesNoHalfBlob(t *testing.T) {
	w := newWriter(t)
	broken := errors.New("the disk is full")
	_, err := w.blob("text/plain", func(out io.Writer) error {
		_, err := io.WriteString(out, "half")
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	if left, err := filepath.Glob(filepath.Join(w.dir, "blob-*")); err != nil || left != nil {
		t.Errorf("it left %v, %v", left, err)
	}
	if left, err := os.ReadDir(w.blobs); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}
