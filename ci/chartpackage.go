package main

import (
	"os"
	"path/filepath"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/internal/dagger"
)

// A packaged chart.
type ChartPackage struct {
	// The chart's name.
	Name string
	// The chart's version.
	Version string
	// The OpenNebula release that the chart installs.
	AppVersion string
	// The sha256 of the archive, in hex.
	Digest string
	// The archive, a .tgz.
	Archive *dagger.File
}

// newChartPackage hands an archive to the engine.
func newChartPackage(a helmrepo.Archive) (*ChartPackage, error) {
	dir, err := os.MkdirTemp(".", "chart-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, a.Filename)
	if err := os.WriteFile(path, a.Data, 0o644); err != nil {
		return nil, err
	}
	return &ChartPackage{
		Name: a.Name, Version: a.Version, AppVersion: a.AppVersion, Digest: a.Digest,
		Archive: dag.CurrentModule().WorkdirFile(path),
	}, nil
}
