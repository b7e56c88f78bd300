package main

import (
	"bytes"
	"context"
	"encoding/json"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/release"
)

// Lists the OpenNebula releases that can be installed on Ubuntu 24.04.
//
// A version is a release when the pinned key has signed its repository. Other versions that are listed upstream are passed over; the log has
// the reasons.
//
// Example: dagger call releases --format json
//
// +cache="never"
func (m *OpennebulaKube) Releases(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!image/Dockerfile"]
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
	// How to print it: table, json.
	//
	// +default="table"
	format string,
) (string, error) {
	if err := checkFormat(format, "table", "json"); err != nil {
		return "", err
	}
	all, err := catalog(ctx, upstream, upstreamFingerprint, source.File(dockerfile))
	if err != nil {
		return "", err
	}
	if format == "json" {
		data, err := json.MarshalIndent(all.Releases, "", "  ")
		return string(data) + "\n", err
	}
	var out bytes.Buffer
	err = release.WriteTable(&out, all.Releases)
	return out.String(), err
}

// Prints the newest OpenNebula release that can be installed on Ubuntu 24.04.
//
// Example: dagger call detect-version --line 7.0
//
// +cache="never"
func (m *OpennebulaKube) DetectVersion(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!image/Dockerfile"]
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
) (string, error) {
	all, err := catalog(ctx, upstream, upstreamFingerprint, source.File(dockerfile))
	if err != nil {
		return "", err
	}
	picked, err := release.Selection{Constraint: constraint, Line: line, Version: version}.Pick(all)
	return picked.Version, err
}
