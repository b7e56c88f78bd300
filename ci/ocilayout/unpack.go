package ocilayout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
)

var layoutFile = regexp.MustCompile(`^(oci-layout|index\.json|blobs/sha256/[0-9a-f]{64})$`)

// Unpack writes the OCI layout that a build engine sends as a tar archive to the directory dir. What is in an archive besides the
// layout's directories and files, and Docker's own index, is an error.
func Unpack(archive io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll("blobs/sha256", 0o755); err != nil {
		return err
	}
	for stream := tar.NewReader(archive); ; {
		header, err := stream.Next()
		if errors.Is(err, io.EOF) {
			// The end may be padded; what is left has to be taken, or the sender would fail.
			_, err := io.Copy(io.Discard, archive)
			return err
		} else if err != nil {
			return err
		}
		file := path.Clean(header.Name)
		switch {
		case header.Typeflag == tar.TypeDir && (file == "blobs" || file == "blobs/sha256"):
		case header.Typeflag == tar.TypeReg && file == "manifest.json": // the index once more, for `docker load`
		case header.Typeflag == tar.TypeReg && layoutFile.MatchString(file):
			if err := unpackFile(stream, root, file); err != nil {
				return err
			}
		default:
			return fmt.Errorf("the image's archive has %q in it, which belongs to no OCI layout", header.Name)
		}
	}
}

func unpackFile(content io.Reader, root *os.Root, name string) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}
