package pipeline

import (
	"fmt"
	"time"
)

// State is how far a stage has come.
type State string

// The states of a stage.
const (
	Started State = "started"
	Done    State = "done"
	Skipped State = "skipped"
	Failed  State = "failed"
)

// Event is told when a stage starts and when it ends.
type Event struct {
	// Stage is the stage's name: detect, plan, build, scan, gate, trial, push, promote, package, publish.
	Stage string
	// State is what became of it.
	State State
	// Detail is what it is about to do when it starts, what came of it when it ends, why when it is skipped.
	Detail string
	// Elapsed is how long it took; 0 when it starts or is skipped.
	Elapsed time.Duration
}

// String is the event as a line for people.
func (e Event) String() string {
	switch e.State {
	case Started:
		return fmt.Sprintf("%-8s %s ...", e.Stage, e.Detail)
	case Skipped:
		return fmt.Sprintf("%-8s skipped: %s", e.Stage, e.Detail)
	default:
		return fmt.Sprintf("%-8s %s: %s (%s)", e.Stage, e.State, e.Detail, Brief(e.Elapsed))
	}
}

// Brief is a duration in as many digits as people read.
func Brief(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// StageReport is what became of one stage of a run.
type StageReport struct {
	Name    string  `json:"name"`
	State   State   `json:"state"`
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
}

// run is one run of the pipeline: its progress and its report so far.
type run struct {
	*Pipeline
	options Options
	report  *Report
	// ships is the image that the run has released or found released; of a dry run, the one that it would release.
	ships *ImageReport
}

func (p *Pipeline) begin(options Options) *run {
	return &run{Pipeline: p, options: options, report: &Report{StartedAt: p.Now().UTC(), DryRun: options.DryRun}}
}

// stage does one stage: it tells that it starts and what came of it, and keeps both for the report.
func (r *run) stage(name, what string, do func() (detail string, err error)) error {
	r.tell(Event{Stage: name, State: Started, Detail: what})
	start := r.Now()
	detail, err := do()
	event := Event{Stage: name, State: Done, Detail: detail, Elapsed: r.Now().Sub(start)}
	if err != nil {
		event.State, event.Detail = Failed, err.Error()
	}
	r.end(event)
	return err
}

func (r *run) skip(name, why string) { r.end(Event{Stage: name, State: Skipped, Detail: why}) }

func (r *run) end(e Event) {
	r.report.Stages = append(r.report.Stages,
		StageReport{Name: e.Stage, State: e.State, Detail: e.Detail, Seconds: e.Elapsed.Round(time.Millisecond).Seconds()})
	r.tell(e)
}

func (r *run) tell(e Event) {
	if r.Progress != nil {
		r.Progress(e)
	}
}
