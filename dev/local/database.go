package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	// keptDatabases is how many vulnerability databases are kept at least.
	keptDatabases = 2
	// databaseSchema is the version of the database's format, and the tag that a repository without one means.
	databaseSchema = "2"
)

// databases keeps vulnerability databases, each in a cache directory of Trivy's named after its digest. Trivy by itself looks at
// the age of its copy only: it would scan with the database of another repository, or with one that was replaced meanwhile.
type databases struct {
	dir        string
	repository string
	now        func() time.Time

	mu sync.Mutex
}

// database is a vulnerability database on this machine.
type database struct {
	cacheDir  string
	updatedAt time.Time
}

// current returns the database that the registry has now, and downloads it when it is not here yet.
func (d *databases) current(ctx context.Context, download func(ctx context.Context, cacheDir, pinned string) error) (database, error) {
	db, err := d.get(ctx, download)
	if err != nil {
		return database{}, fmt.Errorf("get the vulnerability database %s: %w", d.repository, err)
	}
	return db, nil
}

func (d *databases) get(ctx context.Context, download func(ctx context.Context, cacheDir, pinned string) error) (database, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ref, err := name.ParseReference(d.repository, name.WithDefaultTag(databaseSchema))
	if err != nil {
		return database{}, err
	}
	// Without credentials, as Trivy has none.
	head, err := remote.Head(ref, remote.WithContext(ctx))
	if err != nil {
		return database{}, err
	}
	target := filepath.Join(d.dir, strings.ReplaceAll(head.Digest.String(), ":", "-"))
	now := d.now()
	if err := os.Chtimes(target, now, now); err == nil {
		return readDatabase(target)
	}

	stage, err := os.MkdirTemp(d.dir, stagePrefix)
	if err != nil {
		return database{}, err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	if err := download(ctx, stage, ref.Context().Digest(head.Digest.String()).String()); err != nil {
		return database{}, err
	}
	if _, err := readDatabase(stage); err != nil {
		return database{}, err
	}
	if err := os.Chmod(stage, 0o755); err != nil {
		return database{}, err
	}
	if err := os.Rename(stage, target); err != nil {
		// Another process may have been faster.
		if _, statErr := os.Stat(target); statErr != nil {
			return database{}, err
		}
	}
	if err := prune(d.dir, keptDatabases, d.now()); err != nil {
		return database{}, err
	}
	return readDatabase(target)
}

// readDatabase checks that a cache directory holds a whole database and reads when that was made.
func readDatabase(cacheDir string) (database, error) {
	if _, err := os.Stat(filepath.Join(cacheDir, "db", "trivy.db")); err != nil {
		return database{}, err
	}
	file := filepath.Join(cacheDir, "db", "metadata.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return database{}, err
	}
	var metadata struct{ UpdatedAt time.Time }
	if err := json.Unmarshal(data, &metadata); err != nil {
		return database{}, fmt.Errorf("read %s: %w", file, err)
	}
	if metadata.UpdatedAt.IsZero() {
		return database{}, errors.New(file + " does not say when the database was made")
	}
	return database{cacheDir: cacheDir, updatedAt: metadata.UpdatedAt}, nil
}
