// Package pipeline releases OpenNebula on Kubernetes: it finds out what is new upstream, builds, scans and pushes the image, moves
// its tags, and packages and publishes the chart. It decides everything and does none of the heavy work: that is an Engine's.
package pipeline

import (
	"context"
	"time"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/kept"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// Upstream is where OpenNebula's releases are found. *release.Upstream is one.
type Upstream interface {
	// Releases returns all installable releases, and what was passed over.
	Releases(ctx context.Context) (release.Catalog, error)
	// URL is the address that packages come from.
	URL() string
	// Fingerprint is that of the key that has to sign the packages.
	Fingerprint() string
}

// Pipeline is the machinery of a run: what it works with, but not what it is asked to do (see Options).
type Pipeline struct {
	// Engine builds images and runs programs.
	Engine Engine
	// Layouts keeps the published images that a run looks at.
	Layouts kept.Directories
	// Database is the repository of the vulnerability database; "" is trivy.DefaultDatabaseRepository.
	Database string
	// Upstream is where releases come from.
	Upstream Upstream
	// Images is the repository that the image is released to; nil for a dry run that compares with none.
	Images *registry.Repository
	// ResolveBase returns the digest that a reference to a base image stands for now.
	ResolveBase func(ctx context.Context, ref string) (digest string, err error)
	// Now is the clock.
	Now func() time.Time
	// Progress is told what the run does; nil keeps it quiet.
	Progress func(Event)
}

// Options is what a run is asked to do.
type Options struct {
	// Selection says which release to take.
	Selection release.Selection
	// Platforms are the platforms to release for, as os/architecture; none means all that the release has.
	Platforms []string
	// Project is the repository that releases, and that image and chart name as their source.
	Project Project
	// Sources is the digest of the image's sources, see SourcesDigest.
	Sources string
	// BaseImage is the reference of the image to build on, with or without a digest.
	BaseImage string
	// Policy is what the gate lets pass.
	Policy gate.Policy
	// Chart says what to do with the chart.
	Chart ChartOptions
	// Rebuild builds, and releases a new revision, also of an image that is published and current.
	Rebuild bool
	// SkipTrial is why the image is released without having been tried; nil tries it.
	SkipTrial *string
	// DryRun builds, scans, tries and packages, but sends nothing anywhere and moves no tag.
	DryRun bool
}

// ChartOptions says where the chart is and where it goes.
type ChartOptions struct {
	// Dir is the directory of the chart's sources.
	Dir string
	// Registry is the OCI repository to publish to, its last element the chart's name; nil for none.
	Registry *registry.Repository
	// RepositoryDir is the directory of a chart repository (index.yaml and archives) to publish to; empty for none.
	RepositoryDir string
	// Pages is a branch of a git repository to publish to; nil for none.
	Pages *helmrepo.Pages
	// RepositoryURL is the address that RepositoryDir or Pages is served at; empty is that of GitHub Pages for Pages on GitHub, and else makes
	// the index's addresses relative.
	RepositoryURL string
}
