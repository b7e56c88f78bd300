package supervise

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"opennebula-kube/image/internal/linelog"
)

// longest is how long a line may be that is read as one.
const longest = 64 << 10

// listener passes lines on and remembers the last ones of each service, which is what its name is before.
type listener struct {
	to   io.Writer
	done chan struct{}

	mu    sync.Mutex
	words map[string]words
}

// words are the last line that a service has printed, and the last one in its log that tells of an error.
type words struct{ printed, logged string }

func newListener(to io.Writer) *listener {
	return &listener{to: to, done: make(chan struct{}), words: make(map[string]words)}
}

// listen reads until nobody can write any more.
func (l *listener) listen(from io.ReadCloser) {
	go func() {
		defer close(l.done)
		defer func() { _ = from.Close() }()
		whole := true
		for lines := bufio.NewReaderSize(from, longest); ; {
			line, err := lines.ReadSlice('\n')
			// Who reads the log may be gone; the services must not hang for that.
			_, _ = l.to.Write(line)
			// What is in the middle of a line has no name of a service before it.
			if whole {
				l.remember(line)
			}
			whole = bytes.HasSuffix(line, []byte("\n"))
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	}()
}

func (l *listener) remember(line []byte) {
	name, text, ok := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
	if !ok || bytes.IndexByte(name, ' ') >= 0 {
		return
	}
	text = linelog.Clean(text)
	service, last := string(name), linelog.Abridge(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	has := l.words[service]
	if linelog.IsError(text) {
		has.logged = last
	} else {
		has.printed = last
	}
	l.words[service] = has
}

// last tells what a service said last.
func (l *listener) last(service string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch has := l.words[service]; {
	case has.printed == "" && has.logged == "":
		return "it printed no error, and its log has none"
	case has.logged == "":
		return "its last error is: " + has.printed
	case has.printed == "":
		return "the last error in its log is: " + has.logged
	default:
		return fmt.Sprintf("the last error in its log is: %s; what it printed last is: %s", has.logged, has.printed)
	}
}

// wait waits for the last line.
func (l *listener) wait(limit time.Duration) {
	select {
	case <-l.done:
	case <-time.After(limit):
	}
}
