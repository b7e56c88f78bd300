package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/pipeline"
)

func testProgress(width int) (*Progress, *bytes.Buffer) {
	var out bytes.Buffer
	p := &Progress{out: &out, now: func() time.Time { return time.Unix(60, 0) }, stop: make(chan struct{})}
	if width > 0 {
		p.width = func() int { return width }
	}
	return p, &out
}

func write(t *testing.T, p *Progress, s string) {
	t.Helper()
	if n, err := p.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(s), err)
	}
}

func TestProgressWithoutTerminal(t *testing.T) {
	p, out := testProgress(0)
	p.Event(pipeline.Event{Stage: "build", State: pipeline.Started, Detail: "OpenNebula 7.0.1"})
	write(t, p, "step 1\nst")
	write(t, p, "ep 2\n\nlast")
	p.Event(pipeline.Event{Stage: "build", State: pipeline.Done, Detail: "sha256:1", Elapsed: 90 * time.Second})
	p.Event(pipeline.Event{Stage: "push", State: pipeline.Skipped, Detail: "dry run"})
	p.Say("compiling %s", "trivy")
	p.Close()
	want := strings.Join([]string{
		"build    OpenNebula 7.0.1 ...",
		"         | step 1",
		"         | step 2",
		"         | last",
		"build    done: sha256:1 (1m30s)",
		"push     skipped: dry run",
		"         compiling trivy",
		"",
	}, "\n")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestProgressOnTerminal(t *testing.T) {
	p, out := testProgress(40)
	p.Event(pipeline.Event{Stage: "build", State: pipeline.Started, Detail: "OpenNebula 7.0.1"})
	write(t, p, strings.Repeat("a line\n", keptLines)+"the last line, which is longer than the terminal\n")
	p.since = p.now().Add(-5 * time.Second)
	p.draw()
	lines := strings.Split(out.String(), "\r\x1b[K")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "build    OpenNebula 7.0.1 5s | the last") || len(last) >= 40 {
		t.Errorf("the living line is %q", last)
	}
	out.Reset()
	p.Event(pipeline.Event{Stage: "build", State: pipeline.Failed, Detail: "exit code 1", Elapsed: 5 * time.Second})
	said := out.String()
	if strings.Count(said, "\n") != keptLines+1 || !strings.Contains(said, "| the last line, which is longer than the terminal\n") ||
		!strings.Contains(said, "build    failed: exit code 1 (5s)\n") {
		t.Errorf("after a failure it shows %q, want the last %d lines and what failed", said, keptLines)
	}
	out.Reset()
	p.draw()
	if out.Len() > 0 {
		t.Errorf("no stage runs, and the line lives on: %q", out)
	}
	p.Close()
}
