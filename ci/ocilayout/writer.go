package ocilayout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// writer writes a layout.
type writer struct {
	dir   string
	blobs string
}

func create(dir string) (writer, error) {
	w := writer{dir: dir, blobs: filepath.Join(dir, "blobs", "sha256")}
	return w, os.MkdirAll(w.blobs, 0o755)
}

// put writes a blob.
func (w writer) put(mediaType string, data []byte) (ocispecs.Descriptor, error) {
	id := digest.FromBytes(data)
	return ocispecs.Descriptor{MediaType: mediaType, Digest: id, Size: int64(len(data))},
		os.WriteFile(filepath.Join(w.blobs, id.Encoded()), data, 0o644)
}

// putJSON writes a manifest, or an index, with the white space that BuildKit gives it.
func (w writer) putJSON(mediaType string, value any) (ocispecs.Descriptor, error) {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	return w.put(mediaType, data)
}

// finish makes the directory a layout of the one image.
func (w writer) finish(top ocispecs.Descriptor) error {
	index, err := json.Marshal(indexOf(top))
	if err != nil {
		return err
	}
	return seal(w.dir, index)
}

// blob writes a blob of unknown digest, which fill fills in.
func (w writer) blob(mediaType string, fill func(io.Writer) error) (_ ocispecs.Descriptor, err error) {
	file, err := os.CreateTemp(w.dir, "blob-")
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	hash := sha256.New()
	if err := fill(io.MultiWriter(file, hash)); err != nil {
		return ocispecs.Descriptor{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	if err := file.Chmod(0o644); err != nil {
		return ocispecs.Descriptor{}, err
	}
	if err := file.Close(); err != nil {
		return ocispecs.Descriptor{}, err
	}
	name := hex.EncodeToString(hash.Sum(nil))
	return ocispecs.Descriptor{MediaType: mediaType, Digest: digest.NewDigestFromEncoded(digest.SHA256, name), Size: info.Size()},
		os.Rename(file.Name(), filepath.Join(w.blobs, name))
}
