package pipeline

import (
	"context"
	"fmt"
	"strings"
	"time"

	"opennebula-kube/ci/release"
)

// base finds the digest of the base image as it is now.
func (p *Pipeline) base(ctx context.Context, ref string) (release.Base, error) {
	digest, err := p.ResolveBase(ctx, ref)
	if err != nil {
		return release.Base{}, fmt.Errorf("find the digest of base image %s: %w", ref, err)
	}
	return release.Base{Name: ref, Digest: digest}, nil
}

// spec is all that the image's content depends on. What a later plan compares is kept in labels.
func (r *run) spec(target release.Release, base release.Base, platforms []string) BuildSpec {
	name, _, _ := strings.Cut(base.Name, "@")
	return BuildSpec{
		Version:             target.Version,
		Upstream:            r.Upstream.URL(),
		UpstreamFingerprint: r.Upstream.Fingerprint(),
		Directory:           target.Directory,
		BaseImage:           pinned(base),
		Platforms:           platforms,
		Epoch:               target.Date,
		Labels: map[string]string{
			"org.opencontainers.image.title":       "OpenNebula",
			"org.opencontainers.image.description": "OpenNebula's control plane",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     target.Version,
			"org.opencontainers.image.created":     target.Date.UTC().Format(time.RFC3339),
			"org.opencontainers.image.base.name":   name,
			release.LabelBaseDigest:                base.Digest,
			release.LabelPackages:                  target.PackageVersion,
			release.LabelSources:                   r.options.Sources,
		},
	}
}
