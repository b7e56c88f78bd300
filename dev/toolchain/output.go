package toolchain

import (
	"bytes"
	"strings"
	"sync"
)

// keptLines is how much of a program's output an error carries.
const keptLines = 15

// tail is a writer that keeps the last lines written to it.
type tail struct {
	mu      sync.Mutex
	partial []byte
	lines   []string
	// each is called with each whole line; it says whether the line is kept.
	each func(line string) bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial = append(t.partial, p...)
	for {
		line, rest, found := bytes.Cut(t.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		t.add(strings.TrimRight(string(line), "\r"))
		t.partial = rest
	}
}

func (t *tail) add(line string) {
	if t.each != nil && !t.each(line) {
		return
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > keptLines {
		t.lines = t.lines[1:]
	}
}

// String returns the kept lines, the unfinished last one included.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := t.lines
	if len(t.partial) > 0 {
		lines = append(lines[:len(lines):len(lines)], string(t.partial))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// limitedBuffer keeps the beginning of what is written to it: a program that is not what its name says may print without end.
type limitedBuffer struct{ buf bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := 4096 - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *limitedBuffer) String() string { return b.buf.String() }
