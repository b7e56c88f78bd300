package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/pipeline"
	ociregistry "opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// The Helm chart, as sources.
type Chart struct {
	// +private
	Source *dagger.Directory
	// +private
	Dockerfile *dagger.File
	// +private
	Golang string
}

// The Helm chart in the project's sources.
//
// Example: dagger call chart lint
//
// +cache="session"
func (m *OpennebulaKube) Chart(
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!chart/opennebula", "!image/Dockerfile"]
	source *dagger.Directory,
) *Chart {
	return &Chart{Source: source.Directory("chart/opennebula"), Dockerfile: source.File(dockerfile), Golang: m.Golang}
}

// Checks the chart with Helm's linter; fails on warnings too.
//
// Example: dagger call chart lint
//
// +check
func (c *Chart) Lint(ctx context.Context) (string, error) {
	dir, err := exported(ctx, c.Source)
	if err != nil {
		return "", err
	}
	messages, err := helmrepo.Lint(dir)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, message := range messages {
		fmt.Fprintln(&out, message)
	}
	if bad := helmrepo.Unfit(messages); bad > 0 {
		return "", fmt.Errorf("check the chart: %d warnings and errors:\n%s", bad, out.String())
	}
	return out.String(), nil
}

// Packages the chart for an OpenNebula release.
//
// The release's date dates the archive: the same sources, release and image give the same bytes.
//
// Example: dagger call -o out/ chart package --version 7.0.1 --registry ghcr.io/acme/opennebula archive
//
// +cache="never"
func (c *Chart) Package(
	ctx context.Context,
	// Where OpenNebula's packages come from.
	//
	// +default="https://downloads.opennebula.io"
	upstream string,
	// Fingerprint of the key that signs the packages, for a mirror with a key of its own, such as
	// 0123456789ABCDEF0123456789ABCDEF01234567 (default: OpenNebula's, which image/Dockerfile pins).
	//
	// +optional
	upstreamFingerprint string,
	// Range of versions, in the notation of Masterminds/semver; the highest in it is taken.
	//
	// +default=">=7.0.0"
	constraint string,
	// Release line to stay in, such as 7.0 (default: any).
	//
	// +optional
	line string,
	// Exact version, such as 7.0.1 (default: the highest).
	//
	// +optional
	version string,
	// Repository that has the image, such as ghcr.io/acme/opennebula: the chart refers to the release's newest revision there (default: none; the
	// chart refers to the image that its sources name).
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
) (*ChartPackage, error) {
	keychain, err := login{username, password}.keychain(ctx, registry)
	if err != nil {
		return nil, err
	}
	subject, err := c.subject(ctx, upstream, upstreamFingerprint, release.Selection{Constraint: constraint, Line: line, Version: version}, registry, keychain)
	if err != nil {
		return nil, err
	}
	archive, err := pipeline.ChartOptions{Dir: subject.dir}.Package(ctx, subject.release, subject.images)
	if err != nil {
		return nil, err
	}
	return newChartPackage(archive)
}

// chartSubject is what a chart is packaged from and for.
type chartSubject struct {
	dir     string
	release release.Release
	images  *ociregistry.Repository
}

// subject is the chart with the selected release, whose image is in a repository unless that is empty.
func (c *Chart) subject(
	ctx context.Context, upstream, fingerprint string, selection release.Selection, repository string, keychain authn.Keychain,
) (of chartSubject, err error) {
	if repository != "" {
		if of.images, err = ociregistry.Open(repository, ociregistry.WithKeychain(keychain)); err != nil {
			return of, err
		}
	}
	all, err := catalog(ctx, upstream, fingerprint, c.Dockerfile)
	if err != nil {
		return of, err
	}
	if of.release, err = selection.Pick(all); err != nil {
		return of, err
	}
	of.dir, err = exported(ctx, c.Source)
	return of, err
}

// Packages the chart for an OpenNebula release and publishes it.
//
// Example:
//
//	dagger call chart publish --registry ghcr.io/acme/opennebula --chart-registry ghcr.io/acme/charts/opennebula \
//	  --username acme --password env:REGISTRY_PASSWORD
//
// +cache="never"
func (c *Chart) Publish(
	ctx context.Context,
	// Where OpenNebula's packages come from.
	//
	// +default="https://downloads.opennebula.io"
	upstream string,
	// Fingerprint of the key that signs the packages, for a mirror with a key of its own, such as
	// 0123456789ABCDEF0123456789ABCDEF01234567 (default: OpenNebula's, which image/Dockerfile pins).
	//
	// +optional
	upstreamFingerprint string,
	// Range of versions, in the notation of Masterminds/semver; the highest in it is taken.
	//
	// +default=">=7.0.0"
	constraint string,
	// Release line to stay in, such as 7.0 (default: any).
	//
	// +optional
	line string,
	// Exact version, such as 7.0.1 (default: the highest).
	//
	// +optional
	version string,
	// Repository that has the image, such as ghcr.io/acme/opennebula: the chart refers to the release's newest revision there.
	registry string,
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
	// User name at the registry (default: none, which is for registries without a login).
	//
	// +optional
	username string,
	// Password at the registry.
	//
	// +optional
	password *dagger.Secret,
) (*ChartPublication, error) {
	// The login is that of one registry, as a rule the one that both are in.
	keychain, err := login{username, password}.keychain(ctx, cmp.Or(chartRegistry, registry))
	if err != nil {
		return nil, err
	}
	places := pipeline.ChartOptions{RepositoryURL: chartRepositoryURL}
	if places.Pages, err = openPages(ctx, pages, pagesToken); err != nil {
		return nil, err
	}
	if chartRegistry != "" {
		if places.Registry, err = ociregistry.Open(chartRegistry, ociregistry.WithKeychain(keychain)); err != nil {
			return nil, err
		}
	}
	changed, err := takeRepository(ctx, &places, chartRepository)
	if err != nil {
		return nil, err
	}
	subject, err := c.subject(ctx, upstream, upstreamFingerprint, release.Selection{Constraint: constraint, Line: line, Version: version}, registry, keychain)
	if err != nil {
		return nil, err
	}
	places.Dir = subject.dir
	results, err := places.Publish(ctx, subject.release, subject.images, time.Now().UTC().Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	publication := &ChartPublication{Changed: changed}
	for _, result := range results {
		publication.Locations = append(publication.Locations, pipeline.PublishedLine(result))
	}
	return publication, nil
}

// openPages opens the branch that the chart is published to, if one was given.
func openPages(ctx context.Context, address string, token *dagger.Secret) (*helmrepo.Pages, error) {
	if address == "" {
		return nil, nil
	}
	var options helmrepo.PagesOptions
	if token != nil {
		plaintext, err := token.Plaintext(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the token for the pages: %w", err)
		}
		if options.Token = strings.TrimSpace(plaintext); options.Token == "" {
			return nil, errors.New("read the token for the pages: it is empty")
		}
	}
	return helmrepo.OpenPages(address, options)
}

// takeRepository has the chart published to a copy of a chart repository, if one was given, and returns what will be that copy.
func takeRepository(ctx context.Context, places *pipeline.ChartOptions, repository *dagger.Directory) (*dagger.Directory, error) {
	if repository == nil {
		return nil, nil
	}
	dir, err := exported(ctx, repository)
	if err != nil {
		return nil, err
	}
	places.RepositoryDir = dir
	return dag.CurrentModule().Workdir(dir), nil
}

// What publishing a chart came to.
type ChartPublication struct {
	// Where the chart is now, a place a line.
	Locations []string
	// +private
	Changed *dagger.Directory
}

// The chart repository with the chart in it.
//
// Example: dagger call chart publish --registry ghcr.io/acme/opennebula --chart-repository gh-pages repository export --path gh-pages
func (p *ChartPublication) Repository() (*dagger.Directory, error) {
	if p.Changed == nil {
		return nil, fmt.Errorf("no chart repository was published to: give --chart-repository")
	}
	return p.Changed, nil
}

// exported puts a directory of the engine where Go can read it: in a new directory, relative to the working directory.
func exported(ctx context.Context, dir *dagger.Directory) (string, error) {
	path, err := os.MkdirTemp(".", "in-")
	if err != nil {
		return "", err
	}
	if _, err := dir.Export(ctx, path); err != nil {
		return "", err
	}
	return path, nil
}
