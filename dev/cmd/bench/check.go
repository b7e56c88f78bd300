package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// check makes sure that a run has done the work that it was measured for: the same image as all others under five tags, the chart in
// both places, the scanner's report and the list of contents. Figures of two that do different things would mean nothing.
// It returns what the trial took.
func (b *bench) check(ctx context.Context, s step, at place) (trial time.Duration, err error) {
	if err := b.checkImage(ctx, at.images); err != nil {
		return 0, err
	}
	charts, err := tagsOf(ctx, at.charts)
	if err != nil {
		return 0, err
	}
	if len(charts) != 1 {
		return 0, fmt.Errorf("%s has the tags %v, want one", at.charts, charts)
	}
	made := []string{"charts/index.yaml", "gate.sarif", "trivy-*.json", "sbom-*.cdx.json"}
	if s.side == shellSide {
		made = []string{"charts/index.yaml", "trivy.sarif", "trivy.json", "sbom.cdx.json"}
	}
	for _, pattern := range made {
		if files, err := filepath.Glob(filepath.Join(at.out, pattern)); err != nil || len(files) != 1 {
			return 0, fmt.Errorf("made no %s in %s", pattern, at.out)
		}
	}
	if s.side == pipelineSide {
		return checkReport(filepath.Join(at.out, "release.json"), s.kind)
	}
	return 0, nil
}

// checkImage makes sure that all tags stand for the image that the first run made.
func (b *bench) checkImage(ctx context.Context, name string) error {
	repository, err := registry.Open(name)
	if err != nil {
		return err
	}
	tags, err := repository.Tags(ctx)
	if err != nil {
		return err
	}
	if len(tags) != 5 {
		return fmt.Errorf("%s has the tags %v, want five: revision, version, line, major version and latest", name, tags)
	}
	for _, tag := range tags {
		digest, err := repository.Digest(ctx, tag)
		if err != nil {
			return err
		}
		if b.digest == "" {
			b.digest = digest
		}
		if digest != b.digest {
			return fmt.Errorf("%s:%s is %s, and the first run made %s: both sides have to build the same; "+
				"bring the arguments and labels in dev/cmd/bench/release.sh in line with the pipeline's", name, tag, digest, b.digest)
		}
	}
	return nil
}

func tagsOf(ctx context.Context, name string) ([]string, error) {
	repository, err := registry.Open(name)
	if err != nil {
		return nil, err
	}
	return repository.Tags(ctx)
}

// checkReport makes sure that a run of the pipeline found what it was to find, and tried the image if it was to. It returns what that took.
func checkReport(file string, found kind) (trial time.Duration, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var reports pipeline.Reports
	if err := json.Unmarshal(data, &reports); err != nil {
		return 0, fmt.Errorf("read %s: %w", file, err)
	}
	if len(reports) != 1 {
		return 0, fmt.Errorf("%s has %d reports, want that of one line", file, len(reports))
	}
	report := reports[0]
	want := release.Build
	if found == nothing {
		want = release.Nothing
	}
	if report.Plan == nil || report.Plan.Action != want {
		return 0, fmt.Errorf("the plan in %s is to be %q: %s", file, want, data)
	}
	for _, stage := range report.Stages {
		if stage.Name == "trial" && stage.State == pipeline.Done {
			trial = time.Duration(stage.Seconds * float64(time.Second))
		}
	}
	if (trial > 0) != (found == tried) {
		return 0, fmt.Errorf("a %s run has tried the image for %s: %s", found, trial, data)
	}
	return trial, nil
}
