package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/trivy"
)

// reportLimit is the largest report that is read into memory, metadataLimit the largest description of a database, in bytes.
const (
	reportLimit   = 256 << 20
	metadataLimit = 1 << 20
)

// Scanner looks into images with Trivy.
type Scanner struct {
	// Engine runs Trivy.
	Engine Engine
	// Database is the repository of the vulnerability database; "" is trivy.DefaultDatabaseRepository.
	Database string
}

// Scan looks for known vulnerabilities in one platform of an image. Anything that keeps Trivy from a complete report is an error;
// vulnerabilities are not. The report names the image "opennebula@" and the digest of the platform's manifest.
func (s Scanner) Scan(ctx context.Context, image Image, platform string) (gate.Scan, error) {
	scan, err := s.scan(ctx, image, platform)
	if err != nil {
		return gate.Scan{}, fmt.Errorf("scan %s for %s: %w", image.Digest, platform, err)
	}
	return scan, nil
}

func (s Scanner) scan(ctx context.Context, image Image, platform string) (gate.Scan, error) {
	program, err := looking(image, platform, trivy.ScanArguments)
	if err != nil {
		return gate.Scan{}, err
	}
	repository := cmp.Or(s.Database, trivy.DefaultDatabaseRepository)
	database, updatedAt, err := s.database(ctx, repository)
	if err != nil {
		return gate.Scan{}, fmt.Errorf("get the vulnerability database %s: %w", repository, err)
	}
	program.In[trivy.DatabaseDir] = database
	report, err := s.report(ctx, program)
	return gate.Scan{Platform: platform, Report: report, DatabaseUpdatedAt: updatedAt}, err
}

// SBOM lists what one platform of an image consists of, as CycloneDX JSON.
func (s Scanner) SBOM(ctx context.Context, image Image, platform string) ([]byte, error) {
	program, err := looking(image, platform, trivy.SBOMArguments)
	var sbom []byte
	if err == nil {
		sbom, err = s.report(ctx, program)
	}
	if err != nil {
		return nil, fmt.Errorf("list what %s for %s consists of: %w", image.Digest, platform, err)
	}
	return sbom, nil
}

// looking is Trivy looking at one platform of an image.
func looking(image Image, platform string, arguments func(digest string) []string) (Program, error) {
	manifest, err := ocilayout.Manifest(image.Dir, platform)
	if err != nil {
		return Program{}, err
	}
	// Trivy takes the first image that it finds, so it gets a layout that names no other.
	index, err := ocilayout.Index(manifest)
	if err != nil {
		return Program{}, err
	}
	return Program{
		Args: arguments(manifest.Digest.String()),
		Files: map[string][]byte{
			path.Join(trivy.Input, ocilayout.IndexFile):  index,
			path.Join(trivy.Input, ocilayout.MarkerFile): []byte(ocilayout.Marker),
		},
		In:  map[string]Directory{path.Join(trivy.Input, ocilayout.Blobs): Local(filepath.Join(image.Dir, ocilayout.Blobs))},
		Out: map[string]Directory{trivy.Output: nil},
	}, nil
}

// database returns the vulnerability database that a repository has now, and when it was made.
func (s Scanner) database(ctx context.Context, repository string) (Directory, time.Time, error) {
	latest, err := trivy.LatestDatabase(ctx, repository)
	if err != nil {
		return nil, time.Time{}, err
	}
	result, err := s.run(ctx, Program{
		Args: trivy.DatabaseArguments(latest.Pinned), Out: map[string]Directory{trivy.DatabaseDir: nil}, Key: latest.Digest,
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	database := result.Out[trivy.DatabaseDir]
	metadata, err := database.ReadFile(ctx, trivy.MetadataFile, metadataLimit)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the database's %s: %w", trivy.MetadataFile, err)
	}
	updatedAt, err := trivy.UpdatedAt(metadata)
	return database, updatedAt, err
}

// report runs Trivy and returns the report that it writes.
func (s Scanner) report(ctx context.Context, program Program) ([]byte, error) {
	result, err := s.run(ctx, program)
	if err != nil {
		return nil, err
	}
	report, err := result.Out[trivy.Output].ReadFile(ctx, trivy.Report, reportLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the scanner ended without an error and wrote no report")
	}
	if err != nil {
		return nil, fmt.Errorf("read the scanner's report: %w", err)
	}
	return report, nil
}

// run runs Trivy, which has to end with status 0.
func (s Scanner) run(ctx context.Context, program Program) (Result, error) {
	program.Args = append([]string{"trivy"}, program.Args...)
	result, err := s.Engine.Run(ctx, program)
	if err != nil {
		return Result{}, err
	}
	if result.Status != 0 {
		return Result{}, fmt.Errorf("%s ended with status %d:\n%s", strings.Join(program.Args, " "), result.Status, LastLines(result.Stdout+result.Stderr))
	}
	return result, nil
}
