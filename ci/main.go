// OpenNebula's control plane on Kubernetes: detects OpenNebula releases, builds and scans the image, and packages and publishes the
// Helm chart.
//
// Every function that looks at the outside world does so on every call: an answer from a cache would be out of date.
package main

import (
	"context"
	"fmt"
	"strings"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/release"
)

// OpennebulaKube releases OpenNebula's control plane for Kubernetes.
type OpennebulaKube struct{}

// pick returns the release that is meant among those that an upstream has.
func pick(ctx context.Context, upstream string, selection release.Selection) (release.Release, error) {
	from, err := release.NewUpstream(upstream)
	if err != nil {
		return release.Release{}, err
	}
	return from.Pick(ctx, selection)
}

// checkFormat rejects a format that a function does not know.
func checkFormat(format string, known ...string) error {
	for _, k := range known {
		if format == k {
			return nil
		}
	}
	return fmt.Errorf("--format %s: want one of %s", format, strings.Join(known, ", "))
}

// Chart is the Helm chart in the project's sources.
//
// Example: dagger call chart lint
//
// +cache="session"
func (m *OpennebulaKube) Chart(
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!chart/opennebula"]
	source *dagger.Directory,
) *Chart {
	return &Chart{Source: source.Directory("chart/opennebula")}
}
