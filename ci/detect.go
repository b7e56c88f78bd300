package main

import (
	"bytes"
	"context"
	"encoding/json"

	"opennebula-kube/ci/release"
)

// Releases lists the OpenNebula releases that can be installed on Ubuntu 24.04.
//
// Example: dagger call releases --format json
//
// +cache="never"
func (m *OpennebulaKube) Releases(
	ctx context.Context,
	// Where OpenNebula's packages come from.
	//
	// +default="https://downloads.opennebula.io"
	upstream string,
	// How to print it: table, json.
	//
	// +default="table"
	format string,
) (string, error) {
	if err := checkFormat(format, "table", "json"); err != nil {
		return "", err
	}
	from, err := release.NewUpstream(upstream)
	if err != nil {
		return "", err
	}
	all, err := from.Releases(ctx)
	if err != nil {
		return "", err
	}
	if format == "json" {
		data, err := json.MarshalIndent(all, "", "  ")
		return string(data) + "\n", err
	}
	var out bytes.Buffer
	err = release.WriteTable(&out, all)
	return out.String(), err
}

// DetectVersion prints the newest OpenNebula release that can be installed on Ubuntu 24.04.
//
// Example: dagger call detect-version --line 7.0
//
// +cache="never"
func (m *OpennebulaKube) DetectVersion(
	ctx context.Context,
	// Where OpenNebula's packages come from.
	//
	// +default="https://downloads.opennebula.io"
	upstream string,
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
	picked, err := pick(ctx, upstream, release.Selection{Constraint: constraint, Line: line, Version: version})
	return picked.Version, err
}
