// Package trivydb makes vulnerability databases as Trivy downloads them, with advisories of one's own choosing.
package trivydb

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	bolt "go.etcd.io/bbolt"
)

const (
	// LayerType is the media type of the database in a registry: a gzipped tar of trivy.db and metadata.json.
	LayerType types.MediaType = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"
	// ConfigType is the media type of its config, which says nothing.
	ConfigType types.MediaType = "application/vnd.aquasec.trivy.config.v1+json"

	// platform is the bucket of advisories for the Debian release that package base makes.
	platform = "debian 12"
	source   = dbtypes.SourceID("debian")
	// lifetime is how long after UpdatedAt the next database is announced, as for the public one.
	lifetime = 24 * time.Hour
)

// Image makes a database of the advisories, dated updatedAt, as the image that Trivy expects under --db-repository. The same
// advisories and time give the same digest.
//
// The library that writes databases keeps the open one in a variable of its package: calls in one process must not overlap.
func Image(advisories []Advisory, updatedAt time.Time) (_ v1.Image, err error) {
	dir, err := os.MkdirTemp("", "trivy-db-")
	if err != nil {
		return nil, fmt.Errorf("make vulnerability database: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := write(dir, advisories, updatedAt.UTC()); err != nil {
		return nil, fmt.Errorf("make vulnerability database: %w", err)
	}
	archive, err := pack(dir, updatedAt.UTC())
	if err != nil {
		return nil, fmt.Errorf("make vulnerability database: %w", err)
	}
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer(archive, LayerType),
		Annotations: map[string]string{"org.opencontainers.image.title": "db.tar.gz"},
	})
	if err != nil {
		return nil, fmt.Errorf("make vulnerability database: %w", err)
	}
	return mutate.ConfigMediaType(image, ConfigType), nil
}

// write fills dir with trivy.db and metadata.json.
func write(dir string, advisories []Advisory, updatedAt time.Time) (err error) {
	// The order of writing shows in the file.
	advisories = slices.SortedFunc(slices.Values(advisories), func(a, b Advisory) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.SourcePackage, b.SourcePackage))
	})
	if err := db.Init(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	file := db.Config{}.Connection()
	file.NoSync = true // nothing is lost with a file that is packed up and removed
	// The file puts the buckets of one transaction down in no order, so each gets its own.
	if err := file.Update(func(tx *bolt.Tx) error {
		return db.Config{}.PutDataSource(tx, platform, dbtypes.DataSource{
			ID:   source,
			Name: "Debian Security Tracker",
			URL:  "https://salsa.debian.org/security-tracker-team/security-tracker",
		})
	}); err != nil {
		return err
	}
	for _, a := range advisories {
		if err := a.put(file); err != nil {
			return fmt.Errorf("advisory %s for %s: %w", a.ID, a.SourcePackage, err)
		}
	}
	return metadata.NewClient(dir).Update(metadata.Metadata{
		Version:    db.SchemaVersion,
		UpdatedAt:  updatedAt,
		NextUpdate: updatedAt.Add(lifetime),
	})
}

func (a Advisory) put(file *bolt.DB) error {
	if a.ID == "" || a.SourcePackage == "" {
		return errors.New("it needs an ID and a source package")
	}
	severity, err := dbtypes.NewSeverity(a.Severity)
	if err != nil {
		return err
	}
	advisory := &dbtypes.Advisory{FixedVersion: a.FixedVersion}
	if a.FixedVersion == "" {
		advisory.Status = dbtypes.StatusAffected
	}
	if err := file.Update(func(tx *bolt.Tx) error {
		return db.Config{}.PutAdvisory(tx, []string{platform, a.SourcePackage}, a.ID, advisory)
	}); err != nil {
		return err
	}
	return file.Update(func(tx *bolt.Tx) error {
		return db.Config{}.PutVulnerability(tx, a.ID, dbtypes.Vulnerability{
			Title:          a.Title,
			Severity:       a.Severity,
			VendorSeverity: dbtypes.VendorSeverity{source: severity},
			References:     []string{"https://security-tracker.debian.org/tracker/" + a.ID},
		})
	})
}

// pack returns a gzipped tar of the files of a database.
func pack(dir string, modified time.Time) ([]byte, error) {
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	out := tar.NewWriter(zip)
	for _, file := range []string{db.Path(dir), metadata.Path(dir)} {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		header := &tar.Header{
			Name: filepath.Base(file), Typeflag: tar.TypeReg, Mode: 0o644,
			Size: int64(len(content)), ModTime: modified.Truncate(time.Second),
		}
		if err := out.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := out.Write(content); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(out.Close(), zip.Close()); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}
