// OpenNebula's control plane on Kubernetes: detects OpenNebula releases, builds, scans and publishes the image, and packages and
// publishes the Helm chart.
//
// Every function that looks at the outside world does so on every call: an answer from a cache would be out of date.
package main

import (
	"fmt"
	"strings"

	"opennebula-kube/ci/internal/dagger"
)

// Releases OpenNebula's control plane for Kubernetes.
type OpennebulaKube struct {
	// +private
	Scanner *dagger.Container
	// +private
	Golang string
}

// Says where the tools come from, for networks that do not reach the public registries.
//
// Example: dagger call --scanner harbor.example.org/aquasec/trivy:0.74.0 release --dry-run
func New(
	// Image with Trivy to scan with (default: Trivy's own, pinned by digest).
	//
	// +optional
	scanner *dagger.Container,
	// Image with Go on Debian, to compile and to run the checks with (default: Docker's golang, pinned by digest).
	//
	// +optional
	golang string,
) *OpennebulaKube {
	return &OpennebulaKube{Scanner: scanner, Golang: golang}
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
