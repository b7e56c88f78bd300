package sandbox

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"opennebula-kube/dev/sandbox/base"
	"opennebula-kube/dev/toolchain"
)

const (
	baseRepository = "base"
	baseTag        = baseRepository + ":" + base.Suite
)

// baseImages returns the base image of each architecture.
func baseImages(ctx context.Context, o Options) ([]v1.Image, error) {
	if o.Base != nil {
		return o.Base, nil
	}
	architectures := o.Architectures
	if architectures == nil {
		architectures = []string{runtime.GOARCH}
	}
	var images []v1.Image
	for _, architecture := range architectures {
		image, err := debian(ctx, o, architecture, nil)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

// debian returns the image of a Debian with some packages, as base.Options has them.
func debian(ctx context.Context, o Options, architecture string, packages []string) (v1.Image, error) {
	needs := []toolchain.Need{
		{Command: "mmdebstrap", Package: "mmdebstrap"}, {File: base.Keyring, Package: "debian-archive-keyring"},
	}
	if architecture != runtime.GOARCH {
		// mmdebstrap asks it whether there is an emulator.
		needs = append(needs, toolchain.Need{Command: "arch-test", Package: "arch-test"})
	}
	options := base.Options{CacheDir: o.CacheDir, Architecture: architecture, Packages: packages, Log: o.Log}
	if o.Toolchain != nil {
		options.Install = func(ctx context.Context) error { return o.Toolchain.OSPackages(ctx, needs...) }
	}
	dir, err := base.Layout(ctx, options)
	if err != nil {
		return nil, err
	}
	return base.Image(dir)
}

// UpdateBase publishes a base image with the same files and another digest under the base image's tag, as distributions do when
// they refresh theirs, and returns it pinned by digest. The same revision gives the same digest.
func (s *Sandbox) UpdateBase(ctx context.Context, revision string) (string, error) {
	updated := slices.Clone(s.base)
	for i, image := range updated {
		config, err := image.ConfigFile()
		if err != nil {
			return "", fmt.Errorf("update base image: %w", err)
		}
		labelled := config.DeepCopy().Config
		if labelled.Labels == nil {
			labelled.Labels = map[string]string{}
		}
		labelled.Labels["org.opencontainers.image.revision"] = revision
		if updated[i], err = mutate.Config(image, labelled); err != nil {
			return "", fmt.Errorf("update base image: %w", err)
		}
	}
	digest, err := s.publishBase(ctx, updated)
	if err != nil {
		return "", err
	}
	return s.Registry + "/" + baseRepository + "@" + digest, nil
}

// publishBase publishes the base image: an index where there are several architectures, as those of distributions are.
func (s *Sandbox) publishBase(ctx context.Context, images []v1.Image) (digest string, err error) {
	if len(images) == 1 {
		return s.publish(ctx, images[0], baseTag)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return "", fmt.Errorf("publish %s: %w", baseTag, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}},
		})
	}
	return s.publish(ctx, index, baseTag)
}
