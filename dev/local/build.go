package local

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"

	"opennebula-kube/ci/pipeline"
)

// Build implements pipeline.Engine. It needs root.
func (e *Engine) Build(ctx context.Context, spec pipeline.BuildSpec) (pipeline.Image, error) {
	img, err := e.build(ctx, spec)
	if err != nil {
		if ctx.Err() != nil {
			// BuildKit's own error for it is no context.Canceled.
			err = context.Cause(ctx)
		}
		return pipeline.Image{}, fmt.Errorf("build OpenNebula %s from %s on %s: %w", spec.Version, spec.Upstream, spec.BaseImage, err)
	}
	return img, nil
}

func (e *Engine) build(ctx context.Context, spec pipeline.BuildSpec) (pipeline.Image, error) {
	wanted, err := checkSpec(spec)
	if err != nil {
		return pipeline.Image{}, err
	}
	if err := CanBuild(); err != nil {
		return pipeline.Image{}, err
	}
	builder, err := e.builder(ctx)
	if err != nil {
		return pipeline.Image{}, err
	}
	workers, err := builder.client.ListWorkers(ctx)
	if err != nil {
		return pipeline.Image{}, err
	}
	if err := checkPlatforms(wanted, workers); err != nil {
		return pipeline.Image{}, err
	}
	stage, err := e.images.Stage()
	if err != nil {
		return pipeline.Image{}, err
	}
	defer func() { _ = os.RemoveAll(stage) }()

	sourceDir, err := e.stageContext(ctx, wanted)
	if err != nil {
		return pipeline.Image{}, err
	}
	defer func() { _ = os.RemoveAll(sourceDir) }()
	sources, err := fsutil.NewFS(sourceDir)
	if err != nil {
		return pipeline.Image{}, err
	}
	var annotations map[string]string
	if len(wanted) > 1 {
		annotations = spec.IndexAnnotations() // BuildKit refuses them where there is no index
	}
	digest, err := solve(ctx, builder, client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: frontendAttrs(spec, wanted),
		LocalMounts:   map[string]fsutil.FS{"context": sources, "dockerfile": sources},
		Session:       []session.Attachable{baseImageAuth(e.config.Keychain)},
	}, annotations, stage, e.config.Log)
	if err != nil {
		return pipeline.Image{}, err
	}
	image, err := pipeline.Keep(e.images, stage, digest)
	if err != nil {
		return pipeline.Image{}, fmt.Errorf("keep image %s: %w", digest, err)
	}
	return image, nil
}

// checkSpec rejects what would build something else than the caller means, and returns the platforms.
func checkSpec(spec pipeline.BuildSpec) ([]ocispecs.Platform, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	var wanted []ocispecs.Platform
	for _, text := range spec.Platforms {
		platform, err := platforms.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("platform %q: %w", text, err)
		}
		wanted = append(wanted, platforms.Normalize(platform))
	}
	return wanted, nil
}

// checkPlatforms tells before the build, and not in the middle of it, that a platform's programs cannot run here.
func checkPlatforms(wanted []ocispecs.Platform, workers []*client.WorkerInfo) error {
	var possible []string
	var missing []ocispecs.Platform
	for _, want := range wanted {
		runs := func(have ocispecs.Platform) bool { return platforms.OnlyStrict(want).Match(platforms.Normalize(have)) }
		if !slices.ContainsFunc(workers, func(w *client.WorkerInfo) bool { return slices.ContainsFunc(w.Platforms, runs) }) {
			missing = append(missing, want)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, worker := range workers {
		for _, have := range worker.Platforms {
			possible = append(possible, platforms.Format(have))
		}
	}
	slices.Sort(possible)
	var names []string
	for _, p := range missing {
		names = append(names, platforms.Format(p))
	}
	return fmt.Errorf("this machine cannot run programs for %s (it can for %s): install an emulator (apt-get install qemu-user-static "+
		"binfmt-support), or leave the platform out (--platform linux/amd64)",
		strings.Join(names, ", "), strings.Join(slices.Compact(possible), ", "))
}

// frontendAttrs are the arguments of BuildKit's Dockerfile frontend.
func frontendAttrs(spec pipeline.BuildSpec, wanted []ocispecs.Platform) map[string]string {
	var names []string
	for _, p := range wanted {
		names = append(names, platforms.Format(p))
	}
	slices.Sort(names)
	attrs := map[string]string{
		"filename": "Dockerfile",
		"platform": strings.Join(slices.Compact(names), ","),
	}
	attrs["build-arg:PROGRAM"] = givenProgram
	for name, value := range spec.Arguments() {
		attrs["build-arg:"+name] = value
	}
	for key, value := range spec.Labels {
		attrs["label:"+key] = value
	}
	if spec.NoCache {
		attrs["no-cache"] = ""
	}
	return attrs
}
