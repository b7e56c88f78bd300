package trivy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// DefaultDatabaseRepository is where Trivy's own project publishes its vulnerability database.
const DefaultDatabaseRepository = "mirror.gcr.io/aquasec/trivy-db:2"

// databaseSchema is the version of the database's format, and the tag that a repository without one means.
const databaseSchema = "2"

// MetadataFile is the file in DatabaseDir that describes the database.
const MetadataFile = "db/metadata.json"

// Database is a vulnerability database in a registry as it is now.
type Database struct {
	// Digest is its digest.
	Digest string
	// Pinned is its repository with that digest.
	Pinned string
}

// LatestDatabase asks the registry, without credentials, as Trivy has none, which database a repository has now. Trivy by itself
// looks at the age of its copy only: it would scan with the database of another repository, or with one that was replaced meanwhile.
func LatestDatabase(ctx context.Context, repository string) (Database, error) {
	ref, err := name.ParseReference(repository, name.WithDefaultTag(databaseSchema))
	if err != nil {
		return Database{}, err
	}
	head, err := remote.Head(ref, remote.WithContext(ctx))
	if err != nil {
		return Database{}, err
	}
	digest := head.Digest.String()
	return Database{Digest: digest, Pinned: ref.Context().Digest(digest).String()}, nil
}

// UpdatedAt reads, from the content of MetadataFile, when a database was made.
func UpdatedAt(metadata []byte) (time.Time, error) {
	var m struct{ UpdatedAt time.Time }
	if err := json.Unmarshal(metadata, &m); err != nil {
		return time.Time{}, fmt.Errorf("read the database's %s: %w", MetadataFile, err)
	}
	if m.UpdatedAt.IsZero() {
		return time.Time{}, errors.New("the database's " + MetadataFile + " does not say when it was made")
	}
	return m.UpdatedAt, nil
}
