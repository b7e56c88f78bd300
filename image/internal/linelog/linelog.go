// Package linelog puts the name of a service before each line that it prints, so that the lines of all services can share a log.
package linelog

import (
	"bytes"
	"io"
	"sync"
)

// lineLimit is the longest line that is kept together.
const lineLimit = 64 << 10

// Writer passes whole lines on, each in one write. It is safe for use by several goroutines.
type Writer struct {
	to     io.Writer
	prefix []byte

	mu      sync.Mutex
	pending []byte
}

// New returns a Writer to w for a service.
func New(w io.Writer, service string) *Writer { return &Writer{to: w, prefix: []byte(service + ": ")} }

// Write takes text of any form.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, p...)
	for {
		end := bytes.IndexByte(w.pending, '\n')
		if end < 0 && len(w.pending) < lineLimit {
			return len(p), nil
		}
		if end < 0 || end > lineLimit {
			end = lineLimit
		}
		line := w.pending[:end]
		w.pending = bytes.TrimPrefix(w.pending[end:], []byte("\n"))
		if err := w.line(line); err != nil {
			return len(p), err
		}
	}
}

// Flush passes on what has no line end yet.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		return nil
	}
	line := w.pending
	w.pending = nil
	return w.line(line)
}

func (w *Writer) line(line []byte) error {
	whole := make([]byte, 0, len(w.prefix)+len(line)+1)
	whole = append(append(append(whole, w.prefix...), bytes.TrimSuffix(line, []byte("\r"))...), '\n')
	_, err := w.to.Write(whole)
	return err
}
