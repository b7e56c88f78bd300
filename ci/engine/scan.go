package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/trivy"
)

// DefaultScanner is Trivy's own image, in the version that the repository pins.
const DefaultScanner = "ghcr.io/aquasecurity/trivy:0.74.0@sha256:62b1e65e8869bc4b4c6aa4fa2b21595256c7c2f6018a9d9ad61caf87187c1969"

// Where things are in the scanner's container.
const (
	workDir     = "/work"
	databaseDir = "/database"
)

// Scan implements pipeline.Engine. The report names the image "opennebula@" and the digest of the platform's manifest.
func (e *Engine) Scan(ctx context.Context, img pipeline.Image, platform string) (gate.Scan, error) {
	scan, err := e.scan(ctx, img, platform)
	if err != nil {
		return gate.Scan{}, fmt.Errorf("scan %s for %s: %w", img.Digest(), platform, stopped(ctx, err))
	}
	return scan, nil
}

func (e *Engine) scan(ctx context.Context, img pipeline.Image, platform string) (gate.Scan, error) {
	i, err := e.own(img)
	if err != nil {
		return gate.Scan{}, err
	}
	manifest, err := ocilayout.Manifest(i.dir, platform)
	if err != nil {
		return gate.Scan{}, err
	}
	database, updatedAt, err := e.database(ctx)
	if err != nil {
		return gate.Scan{}, fmt.Errorf("get the vulnerability database %s: %w", e.config.DatabaseRepository, stopped(ctx, err))
	}
	container, err := e.scanner(i, manifest)
	if err != nil {
		return gate.Scan{}, err
	}
	container = container.WithMountedDirectory(databaseDir, database)
	report, err := e.trivy(ctx, container, trivy.ScanArguments(databaseDir, manifest.Digest.String()))
	return gate.Scan{Platform: platform, Report: report, DatabaseUpdatedAt: updatedAt}, err
}

// SBOM implements pipeline.Engine.
func (e *Engine) SBOM(ctx context.Context, img pipeline.Image, platform string) ([]byte, error) {
	sbom, err := e.sbom(ctx, img, platform)
	if err != nil {
		return nil, fmt.Errorf("list what %s for %s consists of: %w", img.Digest(), platform, stopped(ctx, err))
	}
	return sbom, nil
}

func (e *Engine) sbom(ctx context.Context, img pipeline.Image, platform string) ([]byte, error) {
	i, err := e.own(img)
	if err != nil {
		return nil, err
	}
	manifest, err := ocilayout.Manifest(i.dir, platform)
	if err != nil {
		return nil, err
	}
	container, err := e.scanner(i, manifest)
	if err != nil {
		return nil, err
	}
	return e.trivy(ctx, container, trivy.SBOMArguments(manifest.Digest.String()))
}

// database returns the vulnerability database that the registry has now, and when it was made. The engine's cache knows the download
// by the database's digest: it is done once for each, and no two scans can get in each other's way.
func (e *Engine) database(ctx context.Context) (*dagger.Directory, time.Time, error) {
	latest, err := trivy.LatestDatabase(ctx, e.config.DatabaseRepository)
	if err != nil {
		return nil, time.Time{}, err
	}
	database := e.config.Scanner.
		WithExec(command(trivy.DatabaseArguments(databaseDir, latest.Pinned))).
		Directory(databaseDir)
	metadata, err := database.File(trivy.MetadataFile).Contents(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	updatedAt, err := trivy.UpdatedAt([]byte(metadata))
	return database, updatedAt, err
}

// scanner is a container with one platform of an image for Trivy to look at.
func (e *Engine) scanner(i *image, manifest v1.Descriptor) (*dagger.Container, error) {
	index, err := ocilayout.Index(manifest)
	if err != nil {
		return nil, err
	}
	view := e.dag.Directory().
		WithDirectory("blobs", i.upload().Directory("blobs")).
		WithNewFile(ocilayout.MarkerFile, ocilayout.Marker).
		WithNewFile(ocilayout.IndexFile, string(index))
	return e.config.Scanner.WithWorkdir(workDir).WithMountedDirectory(filepath.Join(workDir, trivy.Input), view), nil
}

// trivy runs Trivy in a container and returns the report that it writes.
func (e *Engine) trivy(ctx context.Context, container *dagger.Container, arguments []string) ([]byte, error) {
	dir, err := e.scratch("report-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, trivy.Report)
	if _, err := container.WithExec(command(arguments)).File(filepath.Join(workDir, trivy.Report)).Export(ctx, path); err != nil {
		return nil, err
	}
	return trivy.ReadReport(path)
}

func command(arguments []string) []string { return append([]string{"trivy"}, arguments...) }
