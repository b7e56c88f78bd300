package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"opennebula-kube/ci/pipeline"
)

// keptLines is how many lines of a builder's or scanner's own output are shown when a stage fails.
const keptLines = 30

// Progress shows what a run does: a line that lives where there is a terminal, plain lines where there is none. What engines write
// to it is shown as it comes where there is no terminal; on a terminal only its last line, and the last lines once a stage fails.
type Progress struct {
	out   io.Writer
	width func() int // columns of the terminal; nil where there is none
	now   func() time.Time
	stop  chan struct{}
	ended sync.WaitGroup

	mu      sync.Mutex
	stage   pipeline.Event // that runs; its State is empty when none does
	since   time.Time
	partial []byte   // of a line that has not ended
	tail    []string // the last lines of the stage's own output
}

// NewProgress shows progress on out until it is closed.
func NewProgress(out *os.File, now func() time.Time) *Progress {
	p := &Progress{out: out, now: now, stop: make(chan struct{})}
	if fd := int(out.Fd()); term.IsTerminal(fd) {
		p.width = func() int {
			width, _, err := term.GetSize(fd)
			if err != nil || width < 20 {
				return 80
			}
			return width
		}
		p.ended.Go(p.live)
	}
	return p
}

// Close stops the living line.
func (p *Progress) Close() {
	close(p.stop)
	p.ended.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *Progress) live() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

// Event shows what a stage does.
func (p *Progress) Event(e pipeline.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush()
	p.erase()
	switch e.State {
	case pipeline.Started:
		p.stage, p.since, p.tail = e, p.now(), nil
		if p.width == nil {
			fmt.Fprintln(p.out, e)
		}
	case pipeline.Skipped:
		fmt.Fprintln(p.out, e)
	default:
		if e.State == pipeline.Failed && p.width != nil {
			for _, line := range p.tail {
				fmt.Fprintln(p.out, "         | "+line)
			}
		}
		fmt.Fprintln(p.out, e)
		p.stage = pipeline.Event{}
	}
}

// Say shows one line beside the stages, such as a tool that is being compiled.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintf(p.out, "         "+format+"\n", args...)
}

// Write takes the output of an engine.
func (p *Progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, data...)
	for {
		line, rest, found := bytes.Cut(p.partial, []byte("\n"))
		if !found {
			return len(data), nil
		}
		p.line(string(line))
		p.partial = bytes.Clone(rest)
	}
}

func (p *Progress) flush() {
	if len(p.partial) > 0 {
		p.line(string(p.partial))
		p.partial = nil
	}
}

func (p *Progress) line(line string) {
	line = strings.TrimRight(line, "\r ")
	if line == "" {
		return
	}
	if p.width == nil {
		fmt.Fprintln(p.out, "         | "+line)
		return
	}
	p.tail = append(p.tail, line)
	if len(p.tail) > keptLines {
		p.tail = p.tail[1:]
	}
}

// erase takes the living line away.
func (p *Progress) erase() {
	if p.width != nil {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func (p *Progress) draw() {
	if p.stage.State == "" {
		return
	}
	line := fmt.Sprintf("%-8s %s %s", p.stage.Stage, p.stage.Detail, pipeline.Brief(p.now().Sub(p.since)))
	if len(p.tail) > 0 {
		line += " | " + p.tail[len(p.tail)-1]
	}
	if runes, width := []rune(line), p.width(); len(runes) >= width {
		line = string(runes[:width-1])
	}
	p.erase()
	fmt.Fprint(p.out, line)
}
