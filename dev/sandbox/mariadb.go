package sandbox

import (
	"context"
	"fmt"
	"runtime"

	"opennebula-kube/dev/sandbox/mariadb"
)

// MariaDB is an image of MariaDB in the registry.
type MariaDB struct {
	// Registry, Repository and Tag are the image by its tag, as MariaDB's chart takes it.
	Registry, Repository, Tag string
	// Digest pins it.
	Digest string
}

// PublishMariaDB publishes what stands in for MariaDB's official image, for this machine's architecture. Making it takes root and a Debian
// mirror, once; see base.Layout.
func (s *Sandbox) PublishMariaDB(ctx context.Context) (MariaDB, error) {
	debian, err := debian(ctx, s.options, runtime.GOARCH, mariadb.Packages())
	if err != nil {
		return MariaDB{}, fmt.Errorf("make the image of MariaDB: %w", err)
	}
	image, err := mariadb.Image(debian)
	if err != nil {
		return MariaDB{}, fmt.Errorf("make the image of MariaDB: %w", err)
	}
	m := MariaDB{Registry: s.Registry, Repository: "library/mariadb", Tag: mariadb.Version}
	m.Digest, err = s.publish(ctx, image, m.Repository+":"+m.Tag)
	return m, err
}
