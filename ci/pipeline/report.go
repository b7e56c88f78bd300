package pipeline

import (
	"encoding/json"
	"fmt"
	"time"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/release"
)

// Report is what a run did, as far as it came. It is complete up to the stage that failed.
type Report struct {
	// Version is the OpenNebula release that the run was about.
	Version string `json:"version,omitempty"`
	// DryRun tells that nothing was sent anywhere.
	DryRun bool `json:"dryRun,omitempty"`
	// Plan is what was to be done and why.
	Plan *release.Plan `json:"plan,omitempty"`
	// Image is the image that was released, or that was found released already.
	Image *ImageReport `json:"image,omitempty"`
	// Gate is the verdict on that image.
	Gate *gate.Verdict `json:"gate,omitempty"`
	// Trial is what became of the trial of an image that was built.
	Trial *TrialReport `json:"trial,omitempty"`
	// Chart is what became of the chart.
	Chart *ChartReport `json:"chart,omitempty"`
	// Stages are the stages in the order in which they ended.
	Stages []StageReport `json:"stages"`
	// Error is why the run failed; empty when it did not.
	Error string `json:"error,omitempty"`
	// StartedAt and FinishedAt are in UTC.
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`

	// Files are what the run made besides the image: scan reports, lists of contents, the log of a trial that failed, the chart's archive.
	Files []File `json:"-"`
}

// ImageReport names a released image.
type ImageReport struct {
	// Repository is where it is, such as ghcr.io/acme/opennebula.
	Repository string `json:"repository"`
	// Digest is the digest of its manifest or index.
	Digest string `json:"digest"`
	// Platforms are the platforms that it has, as os/architecture.
	Platforms []string `json:"platforms"`
	// Tags are the tags that stand for it now, its revision first.
	Tags []string `json:"tags"`
}

// ChartReport tells what became of the chart.
type ChartReport struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	AppVersion string `json:"appVersion"`
	// Digest is the sha256 of the archive, in hex.
	Digest string `json:"digest"`
	// Published are the places that have it now.
	Published []helmrepo.Result `json:"published,omitempty"`
}

// File is something that a run made, by the name that it is to be kept under.
type File struct {
	Name string
	Data []byte
}

// JSON is the report as a file of its own, release.json.
func (r *Report) JSON() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the report of the run: %w", err)
	}
	return append(data, '\n'), nil
}

func (r *Report) keep(name string, data []byte) {
	r.Files = append(r.Files, File{Name: name, Data: data})
}

func (r *Report) finish(now time.Time, err error) (*Report, error) {
	r.FinishedAt = now.UTC()
	if err != nil {
		r.Error = err.Error()
	}
	return r, err
}
