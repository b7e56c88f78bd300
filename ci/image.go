package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/release"
)

// An image that was built. Nothing of it is in a registry yet.
type Image struct {
	// The OpenNebula release in it.
	Version string
	// The digest that it has, or will have, in a registry.
	Digest string
	// The platforms that it has, such as linux/amd64.
	Platforms []string
	// +private
	Layout *dagger.Directory
	// +private
	Source *dagger.Directory
	// +private
	Upstream string
	// +private
	UpstreamFingerprint string
	// +private
	BaseImage string
	// +private
	Scanner *dagger.Container
}

// Builds the image of an OpenNebula release, for all its platforms side by side. Nothing is sent anywhere.
//
// Example: dagger call build --version 7.0.1 --platform linux/amd64 as-oci export --path opennebula-7.0.1
//
// +cache="never"
func (m *OpennebulaKube) Build(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!image", "!.git/HEAD", "!.git/config", "!.git/packed-refs", "!.git/refs"]
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
) (*Image, error) {
	s, err := m.open(ctx, request{
		source: source, upstream: upstream, fingerprint: upstreamFingerprint,
		selection: release.Selection{Constraint: constraint, Line: line, Version: version},
		platforms: platform, baseImage: baseImage, project: project,
	})
	if err != nil {
		return nil, err
	}
	built, picked, err := s.Build(ctx, s.options)
	if err != nil {
		return nil, err
	}
	return &Image{
		Version: picked.Version, Digest: built.Digest, Platforms: built.Platforms,
		Layout: s.engine.Upload(built.Dir), Source: source,
		Upstream: upstream, UpstreamFingerprint: upstreamFingerprint, BaseImage: s.options.BaseImage, Scanner: m.Scanner,
	}, nil
}

// The image as an OCI layout, all platforms of it.
//
// Example: dagger call build --version 7.0.1 as-oci export --path opennebula-7.0.1
func (i *Image) AsOci() *dagger.Directory { return i.Layout }

// The image as a container of Dagger, to look around in or to run.
//
// Example: dagger call build --version 7.0.1 container terminal
func (i *Image) Container(
	ctx context.Context,
	// Platform to take, such as linux/arm64 (default: the engine's own).
	//
	// +optional
	platform dagger.Platform,
) (*dagger.Container, error) {
	if platform == "" {
		var err error
		if platform, err = dag.DefaultPlatform(ctx); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(i.Platforms, string(platform)) {
		return nil, fmt.Errorf("take the image for %s: it has %s; name one of these (--platform)", platform, strings.Join(i.Platforms, ", "))
	}
	s, built, err := i.open(ctx, request{})
	if err != nil {
		return nil, err
	}
	return s.engine.Container(built, string(platform))
}

// Lists what the image consists of for one platform, as CycloneDX JSON.
//
// Example: dagger call -o opennebula.cdx.json build --version 7.0.1 sbom --platform linux/amd64
func (i *Image) SBOM(
	ctx context.Context,
	// Platform to list, such as linux/amd64 (default: the only one that the image has).
	//
	// +optional
	platform string,
) (string, error) {
	if platform == "" {
		if len(i.Platforms) != 1 {
			return "", fmt.Errorf("list the contents of the image: it has %s; name one (--platform)", strings.Join(i.Platforms, ", "))
		}
		platform = i.Platforms[0]
	}
	s, built, err := i.open(ctx, request{})
	if err != nil {
		return "", err
	}
	sbom, err := pipeline.Scanner{Engine: s.engine}.SBOM(ctx, built, platform)
	return string(sbom), err
}

// open makes a pipeline that has the image already.
func (i *Image) open(ctx context.Context, r request) (*session, pipeline.Image, error) {
	m := &OpennebulaKube{Scanner: i.Scanner}
	r.source, r.upstream, r.fingerprint, r.baseImage, r.platforms = i.Source, i.Upstream, i.UpstreamFingerprint, i.BaseImage, i.Platforms
	r.selection = release.Selection{Version: i.Version}
	s, err := m.open(ctx, r)
	if err != nil {
		return nil, pipeline.Image{}, err
	}
	built, err := s.engine.Open(ctx, i.Layout)
	if err != nil {
		return nil, pipeline.Image{}, fmt.Errorf("take image %s up again: %w", i.Digest, err)
	}
	s.Engine = pipeline.Prebuilt(s.engine, built)
	return s, built, nil
}

// Looks for known vulnerabilities in the image and judges them.
//
// Example: dagger call build --version 7.0.1 scan gate
//
// +cache="never"
func (i *Image) Scan(
	ctx context.Context,
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
) (*Scan, error) {
	s, built, err := i.open(ctx, request{gate: &gateRequest{severity, ignoreUnfixed, dbMaxAge, dbRepository, exceptions}})
	if err != nil {
		return nil, err
	}
	report, err := s.Examine(ctx, built, s.options)
	return newScan(report, err)
}

// Releases the image, without the chart.
//
// It scans, judges and tries the image, sends it to the registry as a new revision, and moves the tags that stand for it. When the registry has
// what it is to have, nothing is sent.
//
// Example: dagger call build --version 7.0.1 push --registry ghcr.io/acme/opennebula --username acme --password env:REGISTRY_PASSWORD summary
//
// +cache="never"
func (i *Image) Push(
	ctx context.Context,
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
	// Release a new revision, whatever is published.
	//
	// +optional
	rebuild bool,
	// Why the image is released without having been tried; the report has it (default: it is tried).
	//
	// +optional
	skipTrial *string,
	// Scan, judge and try, but send nothing anywhere and move no tag.
	//
	// +optional
	dryRun bool,
) (*Release, error) {
	s, _, err := i.open(ctx, request{
		gate:     &gateRequest{severity, ignoreUnfixed, dbMaxAge, dbRepository, exceptions},
		registry: registry, login: login{username, password},
	})
	if err != nil {
		return nil, err
	}
	s.options.Rebuild, s.options.SkipTrial, s.options.DryRun = rebuild, skipTrial, dryRun
	reports, err := s.Push(ctx, s.options)
	return newRelease(reports, err, nil, false)
}
