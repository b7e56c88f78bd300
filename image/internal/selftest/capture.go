package selftest

import (
	"bufio"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// keptLines are the lines that are kept from before the services are stopped, stopLines those from after that, keptLength is the beginning of each.
	keptLines  = 30
	stopLines  = 10
	keptLength = 500
	// drainLimit is how long what is left of the services may keep the output open.
	drainLimit = time.Second
)

// ordinary are lines of supervisord about services that start and stop as they should, stopping is the one with which it begins to stop all.
var (
	ordinary = regexp.MustCompile(`^\d{4}-\d\d-\d\d [\d:,]+ INFO `)
	stopping = regexp.MustCompile(`^\d{4}-\d\d-\d\d [\d:,]+ WARN received SIGTERM `)
)

// Capture keeps back what this process and those that it starts print.
type Capture struct {
	// Stdout and Stderr are where that went before.
	Stdout, Stderr *os.File
	drained        chan struct{}

	mu sync.Mutex
	// before are lines from before the services are stopped, which tell why a test fails; what they say when they stop must not push those out.
	before, after []string
	stopped       bool
}

// NewCapture begins.
func NewCapture() (*Capture, error) {
	c := &Capture{drained: make(chan struct{})}
	var err error
	if c.Stdout, err = duplicate(unix.Stdout, "stdout"); err != nil {
		return nil, err
	}
	if c.Stderr, err = duplicate(unix.Stderr, "stderr"); err != nil {
		return nil, errors.Join(err, c.Stdout.Close())
	}
	output, input, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, c.Stdout.Close(), c.Stderr.Close())
	}
	go func() {
		defer close(c.drained)
		defer func() { _ = output.Close() }()
		c.keep(output)
	}()
	// The two descriptors alone hold the pipe open from here on.
	return c, errors.Join(unix.Dup3(int(input.Fd()), unix.Stdout, 0), unix.Dup3(int(input.Fd()), unix.Stderr, 0), input.Close())
}

func duplicate(fd int, name string) (*os.File, error) {
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(copied), name), nil
}

// keep reads lines to the end, and keeps the last ones.
func (c *Capture) keep(from io.Reader) {
	reader := bufio.NewReader(from)
	for {
		line, isPrefix, err := reader.ReadLine()
		if err != nil {
			return
		}
		text := string(line[:min(len(line), keptLength)])
		for isPrefix && err == nil {
			_, isPrefix, err = reader.ReadLine()
		}
		if !ordinary.MatchString(text) {
			c.add(text)
		}
	}
}

func (c *Capture) add(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = c.stopped || stopping.MatchString(line)
	lines, most := &c.before, keptLines
	if c.stopped {
		lines, most = &c.after, stopLines
	}
	if *lines = append(*lines, line); len(*lines) > most {
		*lines = slices.Delete(*lines, 0, 1)
	}
}

// End lets everything be printed where it was before, and returns the last lines that were kept back.
func (c *Capture) End() ([]string, error) {
	err := errors.Join(unix.Dup3(int(c.Stdout.Fd()), unix.Stdout, 0), unix.Dup3(int(c.Stderr.Fd()), unix.Stderr, 0), c.Stdout.Close(), c.Stderr.Close())
	select {
	case <-c.drained:
	case <-time.After(drainLimit):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.before, c.after), err
}
