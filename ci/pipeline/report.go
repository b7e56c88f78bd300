package pipeline

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/release"
)

// Reports are what a run did: a report for each line, the lowest first, or the one report of a run that found no release.
type Reports []*Report

// passedOver is what upstream lists and is not a release: the same in all reports of a run.
func (r Reports) passedOver() []release.PassedOver {
	if len(r) == 0 {
		return nil
	}
	return r[0].PassedOver
}

// Report is what a run did for one line, as far as it came. It is complete up to the stage that failed.
type Report struct {
	// Version is the OpenNebula release that the run was about, and Line its line.
	Version string `json:"version,omitempty"`
	Line    string `json:"line,omitempty"`
	// PassedOver is what upstream lists and is not a release, with the reasons.
	PassedOver []release.PassedOver `json:"passedOver,omitempty"`
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

// Files are the files of the reports, each in a directory named after its line, and after them release.json, which is the list of the
// reports.
func (r Reports) Files() ([]File, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the report of the run: %w", err)
	}
	var files []File
	for _, report := range r {
		for _, file := range report.Files {
			files = append(files, File{Name: path.Join(report.Line, file.Name), Data: file.Data})
		}
	}
	return append(files, File{Name: "release.json", Data: append(data, '\n')}), nil
}

// Failure tells why lines failed; empty when none did.
func (r Reports) Failure() string {
	var failed []string
	for _, report := range r {
		switch {
		case report.Error == "":
		case len(r) == 1:
			return report.Error
		default:
			failed = append(failed, "OpenNebula "+report.Version+": "+report.Error)
		}
	}
	return strings.Join(failed, "\n")
}

func (r *Report) keep(name string, data []byte) {
	r.Files = append(r.Files, File{Name: name, Data: data})
}

// finish ends a report: err is why the run failed, nil when it did not.
func (r *Report) finish(now time.Time, err error) *Report {
	r.FinishedAt = now.UTC()
	if err != nil {
		r.Error = err.Error()
	}
	return r
}
