package supervise

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// longest is how long a line may be that is read as one.
	longest = 64 << 10
	// shown is how much of a line goes into an error.
	shown = 500
)

// listener passes lines on and remembers the last one of each service, which is what its name is before.
type listener struct {
	to   io.Writer
	done chan struct{}

	mu    sync.Mutex
	words map[string]string
}

func newListener(to io.Writer) *listener {
	return &listener{to: to, done: make(chan struct{}), words: make(map[string]string)}
}

// listen reads until nobody can write any more.
func (l *listener) listen(from io.ReadCloser) {
	go func() {
		defer close(l.done)
		defer func() { _ = from.Close() }()
		for lines := bufio.NewReaderSize(from, longest); ; {
			line, err := lines.ReadSlice('\n')
			// Who reads the log may be gone; the services must not hang for that.
			_, _ = l.to.Write(line)
			l.remember(string(line))
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	}()
}

func (l *listener) remember(line string) {
	service, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
	if !ok || strings.Contains(service, " ") {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.words[service] = text[:min(len(text), shown)]
}

// last returns the last words of a service.
func (l *listener) last(service string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.words[service]
}

// wait waits for the last line.
func (l *listener) wait(limit time.Duration) {
	select {
	case <-l.done:
	case <-time.After(limit):
	}
}
