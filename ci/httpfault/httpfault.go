// Package httpfault makes an HTTP server misbehave on demand: it stands in front of a handler and answers chosen requests with
// the faults that upstreams and registries show in practice. Tests and the sandbox use it; nothing that ships does.
package httpfault

import (
	"io"
	"net/http"
	"path"
	"strconv"
	"sync"
	"time"
)

// An Effect answers a request in place of, or around, next.
type Effect func(w http.ResponseWriter, r *http.Request, next http.Handler)

// A Fault is an Effect on the requests that it matches.
type Fault struct {
	// Method is the HTTP method to match; empty matches all.
	Method string
	// Path is a path.Match pattern for the whole URL path; empty matches all.
	Path string
	// Match narrows the requests further; nil matches all.
	Match func(*http.Request) bool
	// Times is how many matching requests are answered with the fault before it wears off; 0 means all.
	Times int
	// Effect is what happens to them.
	Effect Effect
}

func (f *Fault) matches(r *http.Request) bool {
	if f.Method != "" && f.Method != r.Method {
		return false
	}
	if f.Path != "" {
		if ok, err := path.Match(f.Path, r.URL.Path); err != nil || !ok {
			return false
		}
	}
	return f.Match == nil || f.Match(r)
}

// Switch is a handler whose faults are switched on and off while it serves. The zero value is not usable; see New.
type Switch struct {
	next http.Handler

	mu     sync.Mutex
	faults []*active
}

type active struct {
	fault Fault
	hits  int
}

// New returns a Switch without faults in front of next.
func New(next http.Handler) *Switch { return &Switch{next: next} }

// Inject switches a fault on and returns what counts the requests that it has answered. Of several faults that match, the one
// injected last wins. It panics when Path is no valid pattern, for a fault that never fires would let a test pass.
func (s *Switch) Inject(f Fault) (hits func() int) {
	if _, err := path.Match(f.Path, ""); err != nil {
		panic("httpfault: pattern " + strconv.Quote(f.Path) + ": " + err.Error())
	}
	a := &active{fault: f}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, a)
	return func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return a.hits
	}
}

// Clear switches all faults off.
func (s *Switch) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// ServeHTTP answers with the fault that matches, or hands the request on.
func (s *Switch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if effect := s.pick(r); effect != nil {
		effect(w, r, s.next)
		return
	}
	s.next.ServeHTTP(w, r)
}

func (s *Switch) pick(r *http.Request) Effect {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.faults) - 1; i >= 0; i-- {
		a := s.faults[i]
		if (a.fault.Times == 0 || a.hits < a.fault.Times) && a.fault.matches(r) {
			a.hits++
			return a.fault.Effect
		}
	}
	return nil
}

// Status answers with a status code and nothing else.
func Status(code int) Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, http.StatusText(code), code)
	}
}

// RetryAfter answers with a status code and a Retry-After header, which counts in seconds: a part of one is rounded up.
func RetryAfter(code int, wait time.Duration) Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		http.Error(w, http.StatusText(code), code)
	}
}

// Redirect sends the client to another address.
func Redirect(url string) Effect {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, url, http.StatusFound)
	}
}

// Body answers 200 with the given content.
func Body(contentType, content string) Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, content)
	}
}

// Hang accepts the request and says nothing until the client gives up.
func Hang() Effect {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		// The server notices a client that hangs up only once the request's body has been read.
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
}

// Drop closes the connection without an answer.
func Drop() Effect {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// CutUpload reads n bytes of the request's body and closes the connection, as a broken line in the middle of a push does.
func CutUpload(n int64) Effect {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.CopyN(io.Discard, r.Body, n)
		panic(http.ErrAbortHandler)
	}
}

// CutBody lets the real answer begin and closes the connection after n bytes of its body, or at the end of a shorter one: a fault that
// does not fire would let a test pass.
func CutBody(n int64) Effect {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutWriter{ResponseWriter: w, left: n}, r)
		panic(http.ErrAbortHandler)
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) <= c.left {
		n, err := c.ResponseWriter.Write(p)
		c.left -= int64(n)
		return n, err
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// Garbage answers 200 with n bytes that mean nothing, as text/html.
func Garbage(n int64) Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html")
		block := make([]byte, 32<<10)
		for i := range block {
			block[i] = byte('a' + i%26)
		}
		for n > 0 {
			if n < int64(len(block)) {
				block = block[:n]
			}
			written, err := w.Write(block)
			if err != nil {
				return
			}
			n -= int64(written)
		}
	}
}
