// Package mariadb makes an image that stands in for MariaDB's official one, out of Debian's packages of the same version. It behaves as that
// does in what the chart of MariaDB uses: the server by its user's number, on a root that is read-only; the variables that a first start makes
// databases and accounts of; healthcheck.sh; the upgrade of system tables.
package mariadb

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Version is that of the MariaDB in Debian's packages.
const Version = "10.11"

// user is the official image's number for its user and group mysql.
const user = 999

var (
	//go:embed docker-entrypoint.sh
	entrypoint []byte
	//go:embed healthcheck.sh
	healthcheck []byte
)

// configuration has accounts with host names match by address alone, as in the official image: nothing in a cluster answers for them.
const configuration = "[mariadb]\nhost-cache-size = 0\nskip-name-resolve\n"

// Packages are Debian's packages that the image is made of.
func Packages() []string { return []string{"mariadb-server-core", "mariadb-client-core"} }

// Image adds the programs of the official image to one with Packages.
func Image(debian v1.Image) (v1.Image, error) {
	below, err := debian.ConfigFile()
	if err != nil {
		return nil, err
	}
	files, err := archive(below.Created.Time)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(debian, mutate.Addendum{Layer: layer, History: v1.History{Created: below.Created, CreatedBy: "mariadb"}})
	if err != nil {
		return nil, err
	}
	config := below.Config.DeepCopy()
	config.Env = append(config.Env, "LANG=C.UTF-8")
	config.Entrypoint, config.Cmd = []string{"docker-entrypoint.sh"}, []string{"mariadbd"}
	config.ExposedPorts = map[string]struct{}{"3306/tcp": {}}
	config.Volumes = map[string]struct{}{"/var/lib/mysql": {}}
	return mutate.Config(image, *config)
}

// archive is the layer with the programs. The same date gives the same bytes.
func archive(date time.Time) ([]byte, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, f := range []struct {
		header  tar.Header
		content []byte
	}{
		{tar.Header{Name: "usr/local/bin/docker-entrypoint.sh", Mode: 0o755}, entrypoint},
		{tar.Header{Name: "usr/local/bin/healthcheck.sh", Mode: 0o755}, healthcheck},
		{tar.Header{Name: "etc/mysql/mariadb.conf.d/05-skipcache.cnf", Mode: 0o644}, []byte(configuration)},
		{tar.Header{Name: "var/lib/mysql/", Mode: 0o755, Typeflag: tar.TypeDir, Uid: user, Gid: user}, nil},
		{tar.Header{Name: "run/mysqld/", Mode: 0o1777, Typeflag: tar.TypeDir, Uid: user, Gid: user}, nil},
	} {
		f.header.ModTime, f.header.Size = date, int64(len(f.content))
		if err := w.WriteHeader(&f.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
