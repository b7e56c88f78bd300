package standin

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// serviceLog is the file that a web service writes its log into.
type serviceLog struct {
	now func() time.Time
	// level is the last that is written: 0 for errors, 2 for what is told besides.
	level int

	mu   sync.Mutex
	file *os.File
}

const (
	errorLevel = 0
	infoLevel  = 2
)

func (h Host) openServiceLog(path string, level int) (*serviceLog, error) {
	file, err := os.OpenFile(h.path(path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return &serviceLog{now: h.Now, level: level, file: file}, err
}

func (l *serviceLog) write(level int, line string) {
	if level > l.level {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.file, line+"\n")
}

// ruby writes a line as the services in Ruby do.
func (l *serviceLog) ruby(level int, text string) {
	l.write(level, fmt.Sprintf("%s [%c]: %s", l.now().Format(time.ANSIC), "EWI"[level], text))
}

// truncateAt is how much of a text FireEdge writes.
const truncateAt = 150

// node writes a line as FireEdge does.
func (l *serviceLog) node(level int, text string) {
	if len(text) > truncateAt {
		text = text[:truncateAt-3] + "..."
	}
	name := "error"
	if level == infoLevel {
		name = "info"
	}
	l.write(level, fmt.Sprintf("[%s] - [%s] %s", l.now().UTC().Format("2006-01-02T15:04:05.000Z"), name, text))
}

// logged answers a request when it is whole, as Puma does, and calls tell with its line for the log: what Rack's CommonLogger and FireEdge's
// morgan agree on. Of a client that goes away before there is nothing to tell.
func logged(now func() time.Time, answer http.HandlerFunc, tell func(status int, line string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		answer(recorder, r)
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		tell(recorder.status, fmt.Sprintf("%s - - [%s] %q %d %d", client, now().Format("02/Jan/2006:15:04:05 -0700"),
			r.Method+" "+r.RequestURI+" "+r.Proto, recorder.status, recorder.size))
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status, size int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.size += n
	return n, err
}
