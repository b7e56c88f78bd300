package figures

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layer is one layer of an image.
type layer struct {
	// content says what is in it.
	content              string
	compressed, unpacked int64
	// files are all but directories.
	files int
}

// readLayers measures the layers of an image. They are told apart by what is in them: engines do not agree on a history.
func readLayers(image v1.Image) ([]layer, error) {
	packed, err := image.Layers()
	if err != nil {
		return nil, err
	}
	content := "base image"
	layers := make([]layer, len(packed))
	for i, one := range packed {
		if layers[i], err = readLayer(one); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		switch {
		case layers[i].content != "":
			// What comes from here on is no longer the base's.
			content = "others"
		case layers[i].files == 0:
			layers[i].content = "directories"
		}
		layers[i].content = cmp.Or(layers[i].content, content)
	}
	return layers, nil
}

// contents says what a layer is by a file that is in no other.
func contents(file string) string {
	switch path.Clean("/" + file) {
	case "/etc/apt/keyrings/opennebula.asc":
		return "key of the package repository"
	case "/var/lib/dpkg/info/opennebula.list":
		return "OpenNebula's packages, and those that they need"
	case "/usr/bin/one-container":
		return "one-container, and how the services are run"
	}
	return ""
}

func readLayer(packed v1.Layer) (read layer, err error) {
	if read.compressed, err = packed.Size(); err != nil {
		return layer{}, err
	}
	files, err := packed.Uncompressed()
	if err != nil {
		return layer{}, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	for archive := tar.NewReader(files); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return read, nil
		} else if err != nil {
			return layer{}, err
		}
		read.unpacked += header.Size
		if header.Typeflag != tar.TypeDir {
			read.files++
		}
		read.content = cmp.Or(read.content, contents(header.Name))
	}
}
