package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/pipeline"
)

// reportLimit is the largest report that is read into memory, in bytes.
const reportLimit = 256 << 20

// Scan implements pipeline.Engine. The report names the image "opennebula@" and the digest of the platform's manifest.
func (e *Engine) Scan(ctx context.Context, img pipeline.Image, platform string) (gate.Scan, error) {
	scan, err := e.scan(ctx, img, platform)
	if err != nil {
		return gate.Scan{}, fmt.Errorf("scan %s for %s: %w", img.Digest(), platform, err)
	}
	return scan, nil
}

func (e *Engine) scan(ctx context.Context, img pipeline.Image, platform string) (gate.Scan, error) {
	dir, manifest, err := e.platform(img, platform)
	if err != nil {
		return gate.Scan{}, err
	}
	trivy, err := e.config.Toolchain.Tool(ctx, "trivy")
	if err != nil {
		return gate.Scan{}, err
	}
	db, err := e.databases.current(ctx, func(ctx context.Context, cacheDir, pinned string) error {
		_, err := e.trivy(ctx, trivy, databaseArgs(cacheDir, pinned), nil)
		return err
	})
	if err != nil {
		return gate.Scan{}, err
	}
	report, err := e.trivy(ctx, trivy, scanArgs(db.cacheDir, manifest), func(work string) error { return view(dir, manifest, work) })
	if err != nil {
		return gate.Scan{}, err
	}
	return gate.Scan{Platform: platform, Report: report, DatabaseUpdatedAt: db.updatedAt}, nil
}

// SBOM implements pipeline.Engine.
func (e *Engine) SBOM(ctx context.Context, img pipeline.Image, platform string) ([]byte, error) {
	sbom, err := e.sbom(ctx, img, platform)
	if err != nil {
		return nil, fmt.Errorf("list what %s for %s consists of: %w", img.Digest(), platform, err)
	}
	return sbom, nil
}

func (e *Engine) sbom(ctx context.Context, img pipeline.Image, platform string) ([]byte, error) {
	dir, manifest, err := e.platform(img, platform)
	if err != nil {
		return nil, err
	}
	trivy, err := e.config.Toolchain.Tool(ctx, "trivy")
	if err != nil {
		return nil, err
	}
	return e.trivy(ctx, trivy, sbomArgs(manifest), func(work string) error { return view(dir, manifest, work) })
}

// platform finds one platform's manifest in an image.
func (e *Engine) platform(img pipeline.Image, platform string) (dir string, manifest v1.Descriptor, err error) {
	i, dir, err := e.own(img)
	if err != nil {
		return "", v1.Descriptor{}, err
	}
	manifests, err := layoutManifests(dir)
	if err != nil {
		return "", v1.Descriptor{}, err
	}
	manifest, ok := manifests[platform]
	if !ok {
		return "", v1.Descriptor{}, fmt.Errorf("the image has no platform %s, it has %s", platform, strings.Join(i.platforms, ", "))
	}
	return dir, manifest, nil
}

const viewName = "opennebula"

// view makes, in the directory work, a layout of one platform alone: Trivy takes the first image of an index, whatever it is asked
// for. The layout's content stays where it is.
func view(dir string, manifest v1.Descriptor, work string) error {
	path := filepath.Join(work, viewName)
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(dir, "blobs"), filepath.Join(path, "blobs")); err != nil {
		return err
	}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{manifest}})
	if err != nil {
		return err
	}
	if err := layout.Path(path).WriteFile("index.json", index, 0o644); err != nil {
		return err
	}
	return layout.Path(path).WriteFile("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

const reportName = "report.json"

// commonArgs keep Trivy from talking to anybody but the database's registry. Not --quiet: it would hide why Trivy fails.
func commonArgs() []string {
	return []string{"image", "--no-progress", "--skip-version-check", "--disable-telemetry", "--timeout", "30m"}
}

func databaseArgs(cacheDir, repository string) []string {
	return append(commonArgs(), "--cache-dir", cacheDir, "--download-db-only", "--db-repository", repository)
}

// scanArgs make Trivy look for vulnerabilities and nothing else: its scanner for secrets takes OpenNebula's SSH material for leaks.
// What it finds in the layers is kept in memory, because its cache on disk takes one process at a time.
func scanArgs(cacheDir string, manifest v1.Descriptor) []string {
	return append(commonArgs(),
		"--cache-dir", cacheDir, "--skip-db-update", "--cache-backend", "memory", "--offline-scan",
		"--scanners", "vuln", "--format", "json", "--output", reportName, "--exit-code", "0",
		"--input", viewName+"@"+manifest.Digest.String())
}

func sbomArgs(manifest v1.Descriptor) []string {
	return append(commonArgs(), "--cache-dir", "cache", "--cache-backend", "memory", "--offline-scan",
		"--format", "cyclonedx", "--output", reportName, "--input", viewName+"@"+manifest.Digest.String())
}

// trivy runs Trivy in a directory of its own, which prepare may fill, and returns the report that it writes there, if any.
func (e *Engine) trivy(ctx context.Context, program string, args []string, prepare func(work string) error) ([]byte, error) {
	work, err := os.MkdirTemp(e.scratch, stagePrefix)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := prune(e.scratch, 0, time.Now()); err != nil {
		return nil, err
	}
	if prepare != nil {
		if err := prepare(work); err != nil {
			return nil, err
		}
	}
	output, err := os.Create(filepath.Join(work, "trivy.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = output.Close() }()

	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = work
	cmd.Env = scannerEnvironment(os.Environ(), work)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%s %s: %w:\n%s", program, strings.Join(args, " "), err, lastLines(output.Name()))
	}
	if prepare == nil {
		return nil, nil
	}
	return readReport(filepath.Join(work, reportName), reportLimit)
}

// readReport reads what Trivy wrote, up to limit bytes.
func readReport(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("the scanner ended without an error and wrote no report")
	} else if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the report is larger than %d bytes", limit)
	}
	return data, nil
}

// scannerEnvironment is all that Trivy gets of the environment: it must not see the secrets of a release. Its home, where it would
// look for registry credentials, is the empty directory work.
func scannerEnvironment(environ []string, work string) []string {
	kept := []string{"PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
	env := []string{"HOME=" + work, "TMPDIR=" + work}
	for _, kv := range environ {
		if key, _, _ := strings.Cut(kv, "="); slices.Contains(kept, key) {
			env = append(env, kv)
		}
	}
	return env
}

// lastLines returns the end of a file that a program's output went to; "" when there is none.
func lastLines(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > keptOutput {
		if _, err := file.Seek(-keptOutput, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(file, keptOutput))
	if err != nil {
		return ""
	}
	return tailOf(string(data))
}
