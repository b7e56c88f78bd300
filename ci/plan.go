package main

import (
	"bytes"
	"context"
	"encoding/json"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/release"
)

// Says what a release would do for each release line, and why. It changes nothing.
//
// Example: dagger call plan --registry ghcr.io/acme/opennebula
//
// +cache="never"
func (m *OpennebulaKube) Plan(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!image"]
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
	// Repository to compare with, such as ghcr.io/acme/opennebula.
	registry string,
	// User name at the registry (default: none, which is for registries without a login).
	//
	// +optional
	username string,
	// Password at the registry, such as env:REGISTRY_PASSWORD.
	//
	// +optional
	password *dagger.Secret,
	// How to print it: text, json.
	//
	// +default="text"
	format string,
) (string, error) {
	if err := checkFormat(format, "text", "json"); err != nil {
		return "", err
	}
	s, err := m.open(ctx, request{
		source: source, upstream: upstream, fingerprint: upstreamFingerprint,
		selection: release.Selection{Constraint: constraint, Line: line, Version: version},
		platforms: platform, baseImage: baseImage,
		gate:     &gateRequest{severity, ignoreUnfixed, dbMaxAge, dbRepository, exceptions},
		registry: registry, login: login{username, password},
	})
	if err != nil {
		return "", err
	}
	plans, err := s.Plan(ctx, s.options)
	if err != nil {
		return "", err
	}
	if format == "json" {
		data, err := json.MarshalIndent(plans, "", "  ")
		return string(data) + "\n", err
	}
	var out bytes.Buffer
	err = release.WritePlans(&out, plans)
	return out.String(), err
}
