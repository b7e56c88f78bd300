package local

import (
	"context"
	"fmt"
	"io"
	"regexp"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/util/progress/progressui"

	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
)

// solve runs a build, writes the image to the directory dir as an OCI layout, with annotations for its index, and the progress to log as
// plain lines, and returns the image's digest.
func solve(ctx context.Context, d *daemon, opt client.SolveOpt, annotations map[string]string, dir string, log io.Writer) (string, error) {
	display, err := progressui.NewDisplay(log, progressui.PlainMode)
	if err != nil {
		return "", err
	}
	statuses := make(chan *client.SolveStatus)
	shown := make(chan *client.SolveStatus)
	steps := make(stepLogs)
	displayed := make(chan struct{})
	go func() {
		defer close(displayed)
		// It ends when the statuses do; Solve closes them even when ctx is done.
		_, _ = display.UpdateFrom(context.WithoutCancel(ctx), shown)
	}()
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		defer close(shown)
		for status := range statuses {
			steps.add(status)
			shown <- status
		}
	}()
	reader, writer := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := ocilayout.Unpack(reader, dir)
		_ = reader.CloseWithError(err)
		unpacked <- err
	}()
	// Files that the build made get the date of SOURCE_DATE_EPOCH too, not only the metadata.
	attrs := map[string]string{string(exptypes.OptKeyRewriteTimestamp): "true"}
	for name, value := range annotations {
		attrs[exptypes.AnnotationIndexKey(name)] = value
	}
	opt.Exports = []client.ExportEntry{{
		Type:   client.ExporterOCI,
		Attrs:  attrs,
		Output: func(map[string]string) (io.WriteCloser, error) { return writer, nil },
	}}
	response, err := d.client.Solve(ctx, nil, opt, statuses)
	// BuildKit closes it when it has sent all; this ends the unpacking of a build that did not come so far.
	_ = writer.CloseWithError(io.ErrUnexpectedEOF)
	unpackErr := <-unpacked
	<-collected
	<-displayed
	if err != nil {
		if !d.alive() {
			return "", d.failure(fmt.Errorf("the build daemon ended in the middle of the build: %w", d.waitErr))
		}
		if said := steps.failed(); said != "" {
			return "", &stepError{err: err, output: said}
		}
		return "", err
	}
	if unpackErr != nil {
		return "", fmt.Errorf("take the image from BuildKit: %w", unpackErr)
	}
	digest := response.ExporterResponse[exptypes.ExporterImageDigestKey]
	if digest == "" {
		return "", fmt.Errorf("BuildKit names no digest of the image: it says %v", response.ExporterResponse)
	}
	return digest, nil
}

// stepError is a step that failed. BuildKit's own text for it repeats the whole command, which may be a page long.
type stepError struct {
	err    error
	output string
}

var commandText = regexp.MustCompile(`process "(?:[^"\\]|\\.)*" did not complete`)

func (e *stepError) Error() string {
	return commandText.ReplaceAllLiteralString(e.err.Error(), "a step of the Dockerfile did not complete") + "; its last output:\n" + e.output
}

func (e *stepError) Unwrap() error { return e.err }

// stepLogs collects what each step of a build prints, for the error of the one that fails.
type stepLogs map[string]*stepLog

type stepLog struct {
	output []byte
	failed bool
}

// keptOutput is how many bytes of a step's output are kept.
const keptOutput = 4096

func (s stepLogs) step(id string) *stepLog {
	if s[id] == nil {
		s[id] = new(stepLog)
	}
	return s[id]
}

func (s stepLogs) add(status *client.SolveStatus) {
	for _, vertex := range status.Vertexes {
		if vertex.Error != "" {
			s.step(vertex.Digest.String()).failed = true
		}
	}
	for _, log := range status.Logs {
		step := s.step(log.Vertex.String())
		step.output = append(step.output, log.Data...)
		if over := len(step.output) - keptOutput; over > 0 {
			step.output = step.output[over:]
		}
	}
}

// failed returns the last lines of the step that failed and said something.
func (s stepLogs) failed() string {
	for _, step := range s {
		if step.failed && len(step.output) > 0 {
			return pipeline.LastLines(string(step.output))
		}
	}
	return ""
}
