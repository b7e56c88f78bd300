package main

import (
	"context"
	"errors"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/pipeline"
)

// What was found in an image, and the verdict on it.
type Scan struct {
	// Tells whether the image may be released.
	Passed bool
	// +private
	Error string
	// +private
	Made *dagger.Directory
}

// newScan keeps a report. That the gate did not pass is part of it; any other error is one.
func newScan(report *pipeline.Report, err error) (*Scan, error) {
	if err != nil && !errors.Is(err, pipeline.ErrGate) {
		return nil, err
	}
	files, err := filesOf(report.Files)
	if err != nil {
		return nil, err
	}
	return &Scan{Passed: report.Gate.Passed, Error: report.Error, Made: files}, nil
}

// The verdict for people.
//
// Example: dagger call build --version 7.0.1 scan table
func (s *Scan) Table(ctx context.Context) (string, error) {
	return s.Made.File("gate.txt").Contents(ctx)
}

// The verdict for programs.
//
// Example: dagger call build --version 7.0.1 scan json
//
//nolint:revive // Dagger makes j-son of JSON.
func (s *Scan) Json(ctx context.Context) (string, error) {
	return s.Made.File("gate.json").Contents(ctx)
}

// The verdict for code scanning.
//
// Example: dagger call -o opennebula.sarif build --version 7.0.1 scan sarif
func (s *Scan) Sarif(ctx context.Context) (string, error) {
	return s.Made.File("gate.sarif").Contents(ctx)
}

// The verdict for the summary of a GitHub Actions job.
//
// Example: dagger call build --version 7.0.1 scan markdown
func (s *Scan) Markdown(ctx context.Context) (string, error) {
	return s.Made.File("gate.md").Contents(ctx)
}

// The verdict in all forms, and for each platform what Trivy found and what the image consists of.
//
// Example: dagger call build --version 7.0.1 scan files export --path out
func (s *Scan) Files() *dagger.Directory { return s.Made }

// Fails unless the image may be released. It prints the verdict.
//
// Example: dagger call build --version 7.0.1 scan gate
func (s *Scan) Gate(ctx context.Context) (string, error) {
	table, err := s.Table(ctx)
	if err != nil {
		return "", err
	}
	if s.Error != "" {
		return "", errors.New(s.Error + "\n\n" + table)
	}
	return table, nil
}
