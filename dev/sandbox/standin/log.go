package standin

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const onedLog = "/var/log/one/oned.log"

// logLevel is how much a line of oned's log matters; DEBUG_LEVEL in oned.conf is the last level that is written.
type logLevel int

const (
	levelError logLevel = iota
	levelWarning
	levelInfo
	levelDebug
)

// onedLogger writes oned's log. Like oned it opens the file for each line, so that one that was moved away gets no more.
type onedLogger struct {
	path  string
	now   func() time.Time
	level logLevel

	mu sync.Mutex
}

// openLogger checks that the log can be written: oned does not start without it.
func (h Host) openLogger(config map[string]string) (*onedLogger, error) {
	l := &onedLogger{path: h.path(onedLog), now: h.Now, level: levelDebug}
	if level, err := strconv.Atoi(config["LOG.DEBUG_LEVEL"]); err == nil {
		l.level = logLevel(level)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("Could not open log file: %w", err)
	}
	return l, f.Close()
}

// logf writes a line of a module of oned's, such as ReM.
func (l *onedLogger) logf(level logLevel, module, format string, args ...any) {
	if level > l.level {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer closeQuietly(f)
	_, _ = fmt.Fprintf(f, "%s [Z0][%s][%c]: %s\n", l.now().Format(time.ANSIC), module, "EWID"[level], strings.TrimSuffix(fmt.Sprintf(format, args...), "\n"))
}
