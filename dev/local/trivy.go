package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/trivy"
)

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
	program, err := e.config.Toolchain.Tool(ctx, "trivy")
	if err != nil {
		return gate.Scan{}, err
	}
	db, err := e.databases.current(ctx, func(ctx context.Context, cacheDir, pinned string) error {
		_, err := e.trivy(ctx, program, trivy.DatabaseArguments(cacheDir, pinned), nil)
		return err
	})
	if err != nil {
		return gate.Scan{}, err
	}
	report, err := e.trivy(ctx, program, trivy.ScanArguments(db.cacheDir, manifest.Digest.String()), view(dir, manifest))
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
	program, err := e.config.Toolchain.Tool(ctx, "trivy")
	if err != nil {
		return nil, err
	}
	return e.trivy(ctx, program, trivy.SBOMArguments(manifest.Digest.String()), view(dir, manifest))
}

// platform finds one platform's manifest in an image.
func (e *Engine) platform(img pipeline.Image, platform string) (dir string, manifest v1.Descriptor, err error) {
	_, dir, err = e.own(img)
	if err != nil {
		return "", v1.Descriptor{}, err
	}
	manifest, err = ocilayout.Manifest(dir, platform)
	return dir, manifest, err
}

// view gives Trivy one platform of an image.
func view(dir string, manifest v1.Descriptor) func(work string) error {
	return func(work string) error { return ocilayout.View(dir, filepath.Join(work, trivy.Input), manifest) }
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
	cmd.Env = trivy.Environment(os.Environ(), work)
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
	return trivy.ReadReport(filepath.Join(work, trivy.Report))
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
	return pipeline.LastLines(string(data))
}
