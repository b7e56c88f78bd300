// Package linelog puts the name of a service before each line that it prints, so that the lines of all services can share a log. Colours and
// control characters stay out of it: what a service logs may come from its users.
package linelog

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// lineLimit is the longest line that is kept together.
const lineLimit = 64 << 10

// Writer passes whole lines on, each in one write. It is safe for use by several goroutines.
type Writer struct {
	to, errors io.Writer
	prefix     []byte

	mu      sync.Mutex
	pending []byte
}

// New returns a Writer to w for a service.
func New(w io.Writer, service string) *Writer { return NewSorted(w, w, service) }

// NewSorted returns a Writer for the log of a service: lines that tell of an error go to errors, all others to w.
func NewSorted(w, errors io.Writer, service string) *Writer {
	return &Writer{to: w, errors: errors, prefix: []byte(service + ": ")}
}

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
	line = Clean(line)
	to := w.to
	if IsError(line) {
		to = w.errors
	}
	whole := make([]byte, 0, len(w.prefix)+len(line)+1)
	whole = append(append(append(whole, w.prefix...), line...), '\n')
	_, err := to.Write(whole)
	return err
}

// failure is how lines begin that tell of an error: those of oned, its monitor, and the services in Ruby, which have the names of modules before
// the level, and those of FireEdge.
var failure = regexp.MustCompile(`^([A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4} (\[[^\[\]]{1,20}\])*\[E\]:|\[[\dT:.Z-]+\] - \[error\]) `)

// IsError tells whether a line of a log of OpenNebula's tells of an error.
func IsError(line []byte) bool { return failure.Match(line) }

// escape is a sequence that a terminal takes for a command, such as one that changes the colour.
var escape = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])?`)

// Clean returns a line without commands to terminals, with blanks in place of control characters, and without blanks that only colours had
// around them, or that end it.
func Clean(line []byte) []byte {
	if bytes.IndexByte(line, '\x1b') >= 0 {
		line = bytes.TrimSpace(escape.ReplaceAll(line, nil))
	}
	line = bytes.TrimRight(line, "\r")
	if bytes.IndexFunc(line, isControl) < 0 && utf8.Valid(line) {
		return line
	}
	return bytes.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, line)
}

func isControl(r rune) bool { return unicode.IsControl(r) && r != '\t' }

// shown is how much of a line goes into an error.
const shown = 500

// Abridge returns a line for an error: the whole of a short one, and the beginning of a long one.
func Abridge(line []byte) string {
	if len(line) <= shown {
		return string(line)
	}
	// The end may be in the middle of a character.
	return strings.ToValidUTF8(string(line[:shown]), "") + "..."
}

// LastError returns the last line of a log that tells of an error, for an error; "" when none does.
func LastError(log []byte) string {
	var last []byte
	for line := range bytes.Lines(log) {
		if IsError(line) {
			last = line
		}
	}
	return Abridge(Clean(bytes.TrimSpace(last)))
}
