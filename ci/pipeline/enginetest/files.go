package enginetest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"pault.ag/go/debian/control"
)

// files is what the suite wants to know of an image's files.
type files struct {
	// installed are the Debian packages and their versions.
	installed map[string]string
	// secrets are files that must differ between deployments.
	secrets []string
	// late are files dated after the image.
	late []string
}

func secretPatterns() []string {
	return []string{
		"etc/ssh/ssh_host_*_key", "etc/ssl/private/*.key", "var/lib/one/.ssh/id_*", "var/lib/one/.ssh/authorized_keys", "var/lib/one/.one/*", "var/lib/one/.one-container/*",
	}
}

func readFiles(image v1.Image) (files, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return files{}, err
	}
	stream := mutate.Extract(image)
	defer func() { _ = stream.Close() }()
	var found files
	for archive := tar.NewReader(stream); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return files{}, err
		}
		file := path.Clean("/" + header.Name)[1:]
		if header.ModTime.After(config.Created.Time) {
			found.late = append(found.late, file)
		}
		for _, pattern := range secretPatterns() {
			match, err := path.Match(pattern, file)
			if err != nil {
				return files{}, err
			}
			if match && header.Typeflag != tar.TypeDir {
				found.secrets = append(found.secrets, file)
			}
		}
		if file == "var/lib/dpkg/status" {
			if found.installed, err = readStatus(archive); err != nil {
				return files{}, fmt.Errorf("read %s: %w", file, err)
			}
		}
	}
}

func readStatus(r io.Reader) (map[string]string, error) {
	paragraphs, err := control.NewParagraphReader(r, nil)
	if err != nil {
		return nil, err
	}
	all, err := paragraphs.All()
	if err != nil {
		return nil, err
	}
	installed := make(map[string]string)
	for _, p := range all {
		if p.Values["Status"] == "install ok installed" {
			installed[p.Values["Package"]] = p.Values["Version"]
		}
	}
	return installed, nil
}
