package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
)

// rebuildArgument is a build argument that makes every step that sees it another one, whatever is in the cache.
const rebuildArgument = "REBUILD"

// Build implements pipeline.Engine. Platforms are built side by side.
func (e *Engine) Build(ctx context.Context, spec pipeline.BuildSpec) (pipeline.Image, error) {
	img, err := e.build(ctx, spec)
	if err != nil {
		return pipeline.Image{}, fmt.Errorf("build OpenNebula %s from %s on %s: %w", spec.Version, spec.Upstream, spec.BaseImage, err)
	}
	return img, nil
}

func (e *Engine) build(ctx context.Context, spec pipeline.BuildSpec) (pipeline.Image, error) {
	if err := spec.Check(); err != nil {
		return pipeline.Image{}, err
	}
	work, err := e.scratch("build-")
	if err != nil {
		return pipeline.Image{}, err
	}
	base, err := registry.Fetch(ctx, spec.BaseImage, registry.WithKeychain(e.config.Keychain))
	if err != nil {
		return pipeline.Image{}, err
	}
	bases, err := registry.Images(base)
	if err != nil {
		return pipeline.Image{}, err
	}
	platforms := slices.Compact(slices.Sorted(slices.Values(spec.Platforms)))
	dirs := make([]string, len(platforms))
	manifests := make([]ocispecs.Descriptor, len(platforms))
	group, call := errgroup.WithContext(ctx)
	for i, platform := range platforms {
		dirs[i] = filepath.Join(work, strings.ReplaceAll(platform, "/", "-"))
		group.Go(func() (err error) {
			base, ok := bases[platform]
			if !ok {
				return fmt.Errorf("base image %s has no platform %s, it has %s", spec.BaseImage, platform,
					strings.Join(slices.Sorted(maps.Keys(bases)), ", "))
			}
			manifests[i], err = e.buildPlatform(call, spec, platform, base, dirs[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return pipeline.Image{}, stopped(ctx, err)
	}
	dir := filepath.Join(work, "image")
	if _, err := ocilayout.Join(dir, dirs, manifests, spec.IndexAnnotations()); err != nil {
		return pipeline.Image{}, err
	}
	return pipeline.OpenImage(dir)
}

// buildPlatform builds for one platform, to the layout dir.
func (e *Engine) buildPlatform(ctx context.Context, spec pipeline.BuildSpec, platform string, base v1.Image, dir string) (ocispecs.Descriptor, error) {
	built := e.container(spec, platform)
	archive := built.AsTarball(dagger.ContainerAsTarballOpts{
		ForcedCompression: dagger.ImageLayerCompressionGzip, MediaTypes: dagger.ImageMediaTypesOcimediaTypes,
	})
	file := dir + ".tar"
	if _, err := archive.Export(ctx, file); err != nil {
		return ocispecs.Descriptor{}, err
	}
	unpacked := dir + "-as-built"
	if err := unpack(file, unpacked); err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("take the image from Dagger: %w", err)
	}
	config, err := base.ConfigFile()
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	manifest, err := ocilayout.Redate(unpacked, dir, config, spec.Epoch)
	return manifest, errors.Join(err, os.RemoveAll(unpacked))
}

// container is what the Dockerfile makes of a spec for one platform.
func (e *Engine) container(spec pipeline.BuildSpec, platform string) *dagger.Container {
	arguments := spec.Arguments()
	if e.config.GoImage != "" {
		arguments["GO_IMAGE"] = e.config.GoImage
	}
	if spec.NoCache {
		arguments[rebuildArgument] = rand.Text()
	}
	names := slices.Sorted(maps.Keys(arguments))
	options := dagger.DirectoryDockerBuildOpts{Platform: dagger.Platform(platform)}
	for _, name := range names {
		options.BuildArgs = append(options.BuildArgs, dagger.BuildArg{Name: name, Value: arguments[name]})
	}
	container := e.config.Context.DockerBuild(options)
	for _, name := range names {
		container = container.WithoutEnvVariable(name) // Dagger leaves build arguments there
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Labels)) {
		container = container.WithLabel(key, spec.Labels[key])
	}
	return container
}

// unpack unpacks an archive, and removes it.
func unpack(file, dir string) error {
	archive, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := ocilayout.Unpack(archive, dir); err != nil {
		return err
	}
	return os.Remove(file)
}
