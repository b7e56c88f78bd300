package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"opennebula-kube/ci/trivy"
)

// keptDatabases is how many vulnerability databases are kept at least.
const keptDatabases = 2

// databases keeps vulnerability databases, each in a cache directory of Trivy's named after its digest.
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
	latest, err := trivy.LatestDatabase(ctx, d.repository)
	if err != nil {
		return database{}, err
	}
	target := filepath.Join(d.dir, strings.ReplaceAll(latest.Digest, ":", "-"))
	now := d.now()
	if err := os.Chtimes(target, now, now); err == nil {
		return readDatabase(target)
	}

	stage, err := os.MkdirTemp(d.dir, stagePrefix)
	if err != nil {
		return database{}, err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	if err := download(ctx, stage, latest.Pinned); err != nil {
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
	if _, err := os.Stat(filepath.Join(cacheDir, trivy.DatabaseFile)); err != nil {
		return database{}, err
	}
	data, err := os.ReadFile(filepath.Join(cacheDir, trivy.MetadataFile))
	if err != nil {
		return database{}, err
	}
	updatedAt, err := trivy.UpdatedAt(data)
	return database{cacheDir: cacheDir, updatedAt: updatedAt}, err
}
