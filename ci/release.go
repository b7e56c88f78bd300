package main

import (
	"context"
	"errors"
	"strings"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/pipeline"
	ociregistry "opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// What a release did, as far as it came.
type Release struct {
	// The OpenNebula versions that it was about, one for each line, the lowest first.
	Versions []string
	// The images that were released, or found released, by digest; none after a dry run.
	Images []string
	// +private
	Error string
	// +private
	Text string
	// +private
	Report string
	// +private
	Made *dagger.Directory
	// +private
	Changed *dagger.Directory
}

// newRelease keeps the reports. A release that failed is an error, unless its reports are to be kept.
func newRelease(reports pipeline.Reports, failed error, changed *dagger.Directory, keep bool) (*Release, error) {
	made, err := reports.Files()
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	files, err := filesOf(made)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	var text strings.Builder
	if err := reports.WriteSummary(&text, ""); err != nil {
		return nil, errors.Join(failed, err)
	}
	markdown, err := reports.Markdown()
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	r := &Release{Error: reports.Failure(), Text: text.String(), Report: markdown, Made: files, Changed: changed}
	for _, report := range reports {
		if report.Version != "" {
			r.Versions = append(r.Versions, report.Version)
		}
		if report.Image != nil {
			r.Images = append(r.Images, report.Image.Repository+"@"+report.Image.Digest)
		}
	}
	if err := r.failure(); err != nil && !keep {
		return nil, err
	}
	return r, nil
}

// Brings a registry and the chart repositories up to date with OpenNebula.
//
// It detects the newest version of each release line, plans, builds, scans, judges, tries, pushes, moves tags, and packages and publishes
// the chart. What is there already is skipped, so it can be run again at any time. Nothing is visible under any tag unless the gate and
// the trial have passed. A line that fails does not stop the others.
//
// Examples:
//
//	dagger call release --dry-run summary
//	dagger call release --registry ghcr.io/acme/opennebula --chart-registry ghcr.io/acme/charts/opennebula \
//	  --username acme --password env:REGISTRY_PASSWORD summary
//
// +cache="never"
func (m *OpennebulaKube) Release(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!image", "!chart/opennebula", "!.git/HEAD", "!.git/config", "!.git/packed-refs", "!.git/refs"]
	source *dagger.Directory,
	// Where OpenNebula's packages come from.
	//
	// +default="https://downloads.opennebula.io"
	upstream string,
	// Fingerprint of the key that signs the packages, for a mirror with a key of its own, such as
	// 0123456789ABCDEF0123456789ABCDEF01234567 (default: OpenNebula's, which image/Dockerfile pins).
	//
	// +optional
	upstreamFingerprint string,
	// Range of versions, in the notation of Masterminds/semver; of each release line the highest in it is taken.
	//
	// +default=">=7.0.0"
	constraint string,
	// Release line to stay in, such as 7.0 (default: all).
	//
	// +optional
	line string,
	// Exact version, such as 7.0.1 (default: the highest of each line).
	//
	// +optional
	version string,
	// Platform to build for, such as linux/amd64; may be repeated (default: all that the release has).
	//
	// +optional
	platform []string,
	// Image to build on (default: the one that image/Dockerfile pins).
	//
	// +optional
	baseImage string,
	// Address of the project that releases, such as https://github.com/acme/opennebula-kube, which the image names as its source (default:
	// git's remote origin).
	//
	// +optional
	project string,
	// Severities that stop a release.
	//
	// +default=["CRITICAL", "HIGH"]
	severity []string,
	// Let vulnerabilities pass that have no fix yet.
	//
	// +optional
	ignoreUnfixed bool,
	// Oldest vulnerability database to trust.
	//
	// +default="48h"
	dbMaxAge string,
	// Where the vulnerability database comes from.
	//
	// +default="mirror.gcr.io/aquasec/trivy-db:2"
	dbRepository string,
	// File of vulnerabilities to let through (default: image/exceptions.yaml of the sources).
	//
	// +optional
	exceptions *dagger.File,
	// Repository to release the image to, such as ghcr.io/acme/opennebula (default: none, for a dry run).
	//
	// +optional
	registry string,
	// User name at the registry (default: none, which is for registries without a login).
	//
	// +optional
	username string,
	// Password at the registry, such as env:REGISTRY_PASSWORD.
	//
	// +optional
	password *dagger.Secret,
	// OCI repository to publish the chart to, such as ghcr.io/acme/charts/opennebula (default: none).
	//
	// +optional
	chartRegistry string,
	// Directory of a chart repository to publish to, such as a checkout of gh-pages (default: none). It comes back changed as
	// repository.
	//
	// +optional
	chartRepository *dagger.Directory,
	// Address that the chart repository is served at (default: that of GitHub Pages for --pages on GitHub, else archives are named relative to
	// index.yaml).
	//
	// +optional
	chartRepositoryURL string,
	// Branch of a git repository to publish to, which GitHub Pages serves, such as https://github.com/acme/charts#gh-pages; it is made when
	// it does not exist (default: none).
	//
	// +optional
	pages string,
	// Token that may write to that repository.
	//
	// +optional
	pagesToken *dagger.Secret,
	// Build, and release a new revision, whatever is published.
	//
	// +optional
	rebuild bool,
	// Why the image is released without having been tried; the report has it (default: it is tried).
	//
	// +optional
	skipTrial *string,
	// Build, scan, try and package, but send nothing anywhere and move no tag.
	//
	// +optional
	dryRun bool,
	// After a failure, let the call go on to what is chained to it: files is there as far as the release came, report-to-github
	// reports, and all but files fail.
	//
	// +optional
	keepReport bool,
) (*Release, error) {
	s, err := m.open(ctx, request{
		source: source, upstream: upstream, fingerprint: upstreamFingerprint,
		selection: release.Selection{Constraint: constraint, Line: line, Version: version},
		platforms: platform, baseImage: baseImage, project: project,
		gate:     &gateRequest{severity, ignoreUnfixed, dbMaxAge, dbRepository, exceptions},
		registry: registry, login: login{username, password},
	})
	if err != nil {
		return nil, err
	}
	s.options.Rebuild, s.options.SkipTrial, s.options.DryRun = rebuild, skipTrial, dryRun
	chart := pipeline.ChartOptions{RepositoryURL: chartRepositoryURL}
	if chart.Dir, err = exported(ctx, source.Directory("chart/opennebula")); err != nil {
		return nil, err
	}
	if chartRegistry != "" {
		if chart.Registry, err = ociregistry.Open(chartRegistry, ociregistry.WithKeychain(s.keychain)); err != nil {
			return nil, err
		}
	}
	if chart.Pages, err = openPages(ctx, pages, pagesToken); err != nil {
		return nil, err
	}
	if err := chart.Check(s.Images); err != nil {
		return nil, err
	}
	changed, err := takeRepository(ctx, &chart, chartRepository)
	if err != nil {
		return nil, err
	}
	s.options.Chart = chart
	reports, err := s.Release(ctx, s.options)
	return newRelease(reports, err, changed, keepReport)
}

// Tells in a few lines what was released.
//
// Example: dagger call release --dry-run summary
func (r *Release) Summary() (string, error) {
	return r.Text, r.failure()
}

// Tells what was done, for the summary of a GitHub Actions job.
//
// It goes stage by stage, and has what the gate said. A release that failed says the same in its error.
//
// Example: dagger call release --dry-run markdown
func (r *Release) Markdown() (string, error) {
	return r.Report, r.failure()
}

// failure is the error of a release that failed. It tells the whole story: after it, nothing else is shown.
func (r *Release) failure() error {
	if r.Error == "" {
		return nil
	}
	return errors.New("\n\n" + r.Report) // a heading, in Markdown, begins a line
}

// What the release made besides the image.
//
// They are release.json and, in a directory for each line, the verdict, scan reports, lists of contents, the log of a trial that failed,
// and the chart's archive.
//
// Example: dagger call release --dry-run --keep-report files export --path out
func (r *Release) Files() *dagger.Directory { return r.Made }

// The chart repository that was given, with the chart in it.
//
// Example: dagger call release --registry ghcr.io/acme/opennebula --chart-repository gh-pages repository export --path gh-pages
func (r *Release) Repository() (*dagger.Directory, error) {
	if err := r.failure(); err != nil {
		return nil, err
	}
	if r.Changed == nil {
		return nil, errors.New("no chart repository was published to: give --chart-repository")
	}
	return r.Changed, nil
}
