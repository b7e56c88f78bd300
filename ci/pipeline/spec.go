package pipeline

import (
	"context"
	"fmt"
	"maps"
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
	labels := map[string]string{
		ociLabels + "title":       "OpenNebula",
		ociLabels + "description": "OpenNebula's control plane",
		ociLabels + "licenses":    "Apache-2.0",
		ociLabels + "version":     target.Version,
		ociLabels + "created":     target.Date.UTC().Format(time.RFC3339),
		ociLabels + "base.name":   name,
		release.LabelBaseDigest:   base.Digest,
		release.LabelPackages:     target.PackageVersion,
		release.LabelSources:      r.options.Sources,
	}
	maps.Copy(labels, r.options.Project.labels())
	return BuildSpec{
		Version:             target.Version,
		Upstream:            r.Upstream.URL(),
		UpstreamFingerprint: r.Upstream.Fingerprint(),
		Directory:           target.Directory,
		PackageVersion:      target.PackageVersion,
		BaseImage:           pinned(base),
		Platforms:           platforms,
		Epoch:               target.Date,
		Labels:              labels,
	}
}
