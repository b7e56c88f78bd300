package httpfault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"opennebula-kube/ci/httpfault"
)

const content = "the real answer"

// serve starts a server that answers with content, or with whatever fault is switched on.
func serve(t *testing.T) (*httpfault.Switch, string) {
	t.Helper()
	return serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, content) }))
}

func serveHandler(t *testing.T, next http.Handler) (*httpfault.Switch, string) {
	t.Helper()
	faults := httpfault.New(next)
	server := httptest.NewServer(faults)
	t.Cleanup(server.Close)
	return faults, server.URL
}

// client neither follows redirects nor uses a connection twice: net/http would send a request again that a used one lost.
func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// do sends a request and reads the answer to its end. The answer is there as far as it came, whatever the error.
func do(t *testing.T, method, address string, body io.Reader) (status int, header http.Header, got string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client().Do(request)
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(read), err
}

func TestMatching(t *testing.T) {
	for _, test := range []struct {
		name         string
		fault        httpfault.Fault
		method, path string
		hit          bool
	}{
		{"everything", httpfault.Fault{}, "GET", "/a/b", true},
		{"the method", httpfault.Fault{Method: "PUT"}, "PUT", "/a", true},
		{"another method", httpfault.Fault{Method: "PUT"}, "GET", "/a", false},
		{"the path", httpfault.Fault{Path: "/a/b"}, "GET", "/a/b", true},
		{"another path", httpfault.Fault{Path: "/a/b"}, "GET", "/a/c", false},
		{"a pattern", httpfault.Fault{Path: "/a/*/c"}, "GET", "/a/b/c", true},
		{"a pattern stays within an element", httpfault.Fault{Path: "/a/*"}, "GET", "/a/b/c", false},
		{"a path with a query", httpfault.Fault{Path: "/a"}, "GET", "/a?b=c", true},
		{"what Match says", httpfault.Fault{Match: func(r *http.Request) bool { return r.URL.RawQuery == "b" }}, "GET", "/a?b", true},
		{"what Match says not", httpfault.Fault{Match: func(*http.Request) bool { return false }}, "GET", "/a", false},
		{"Match within a path", httpfault.Fault{Path: "/b", Match: func(*http.Request) bool { return true }}, "GET", "/a", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			faults, address := serve(t)
			test.fault.Effect = httpfault.Status(http.StatusTeapot)
			hits := faults.Inject(test.fault)
			status, _, _, err := do(t, test.method, address+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			want, count := http.StatusOK, 0
			if test.hit {
				want, count = http.StatusTeapot, 1
			}
			if status != want || hits() != count {
				t.Errorf("got status %d and %d hits, want %d and %d", status, hits(), want, count)
			}
		})
	}
}

// Faults wear off, the last one injected goes first, and one that wore off lets the one before it through.
func TestOrderAndTimes(t *testing.T) {
	faults, address := serve(t)
	expect := func(statuses ...int) {
		t.Helper()
		for i, want := range statuses {
			if got, _, _, err := do(t, "GET", address, nil); err != nil || got != want {
				t.Errorf("request %d: got status %d, %v, want %d", i+1, got, err, want)
			}
		}
	}
	expect(200)
	first := faults.Inject(httpfault.Fault{Times: 3, Effect: httpfault.Status(500)})
	second := faults.Inject(httpfault.Fault{Times: 2, Effect: httpfault.Status(503)})
	expect(503, 503, 500, 500, 500, 200)
	if first() != 3 || second() != 2 {
		t.Errorf("got %d and %d hits, want 3 and 2", first(), second())
	}
	always := faults.Inject(httpfault.Fault{Effect: httpfault.Status(502)})
	expect(502, 502, 502, 502)
	faults.Clear()
	expect(200)
	if always() != 4 {
		t.Errorf("got %d hits after Clear, want 4", always())
	}
}

func TestInvalidPattern(t *testing.T) {
	defer func() {
		if message := fmt.Sprint(recover()); !strings.Contains(message, `"/a["`) {
			t.Errorf("got panic %s, want one that names the pattern", message)
		}
	}()
	httpfault.New(http.NotFoundHandler()).Inject(httpfault.Fault{Path: "/a["})
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name          string
		effect        httpfault.Effect
		status        int
		header, value string
		body          string
	}{
		{"Status", httpfault.Status(503), 503, "Retry-After", "", "Service Unavailable\n"},
		{"RetryAfter", httpfault.RetryAfter(429, 90*time.Second), 429, "Retry-After", "90", "Too Many Requests\n"},
		{"RetryAfter of a part of a second", httpfault.RetryAfter(503, 100*time.Millisecond), 503, "Retry-After", "1", "Service Unavailable\n"},
		{"Redirect", httpfault.Redirect("http://elsewhere.example/x"), 302, "Location", "http://elsewhere.example/x",
			"<a href=\"http://elsewhere.example/x\">Found</a>.\n\n"},
		{"Body", httpfault.Body("text/plain", "other"), 200, "Content-Type", "text/plain", "other"},
		{"Garbage", httpfault.Garbage(30), 200, "Content-Type", "text/html", "abcdefghijklmnopqrstuvwxyzabcd"},
		{"Garbage of no size", httpfault.Garbage(0), 200, "Content-Type", "text/html", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			faults, address := serve(t)
			faults.Inject(httpfault.Fault{Effect: test.effect})
			status, header, body, err := do(t, "GET", address, nil)
			if err != nil {
				t.Fatal(err)
			}
			if status != test.status || header.Get(test.header) != test.value || body != test.body {
				t.Errorf("got status %d, %s %q, body %q, want %d, %q, %q", status, test.header, header.Get(test.header), body,
					test.status, test.value, test.body)
			}
		})
	}
}

func TestGarbageHasItsSize(t *testing.T) {
	const size = 1<<20 + 7
	faults, address := serve(t)
	faults.Inject(httpfault.Fault{Effect: httpfault.Garbage(size)})
	if _, _, body, err := do(t, "GET", address, nil); err != nil || len(body) != size {
		t.Errorf("got %d bytes, %v, want %d", len(body), err, size)
	}
}

func TestHang(t *testing.T) {
	faults, address := serve(t)
	let := make(chan struct{})
	faults.Inject(httpfault.Fault{Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		httpfault.Hang()(w, r, next)
		close(let)
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	if response, err := client().Do(request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v, want the time-out of the client", response, err)
	}
	<-let // the server notices that the client is gone
}

func TestDrop(t *testing.T) {
	faults, address := serve(t)
	faults.Inject(httpfault.Fault{Effect: httpfault.Drop()})
	if status, _, _, err := do(t, "GET", address, nil); err == nil {
		t.Errorf("got status %d, want an error", status)
	}
}

func TestCutUpload(t *testing.T) {
	reached := false
	faults, address := serveHandler(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	faults.Inject(httpfault.Fault{Method: "PUT", Effect: httpfault.CutUpload(10)})
	if status, _, _, err := do(t, "PUT", address, strings.NewReader(strings.Repeat("x", 8<<20))); err == nil {
		t.Errorf("got status %d, want an error", status)
	}
	if reached {
		t.Error("the upload reached the handler")
	}
}

// An answer is cut wherever it is told to, and always: a fault that never fires would let a test pass.
func TestCutBody(t *testing.T) {
	length := int64(len(content))
	for _, announced := range []bool{true, false} {
		for _, n := range []int64{0, 1, 7, length - 1, length, length + 100} {
			t.Run(fmt.Sprintf("after %d, announced %t", n, announced), func(t *testing.T) {
				faults, address := serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if announced {
						w.Header().Set("Content-Length", fmt.Sprint(length+1)) // the last byte comes in a write of its own
						defer func() { _, _ = io.WriteString(w, ".") }()
					}
					_, _ = io.WriteString(w, content[:5])
					_, _ = io.WriteString(w, content[5:])
				}))
				faults.Inject(httpfault.Fault{Effect: httpfault.CutBody(n)})
				_, _, body, err := do(t, "GET", address, nil)
				if err == nil {
					t.Fatalf("got %q whole, want an error", body)
				}
				if n < length && body != content[:n] {
					t.Errorf("got %q, want the first %d bytes", body, n)
				}
			})
		}
	}
}

// Faults are switched while requests are under way.
func TestConcurrentUse(t *testing.T) {
	faults, address := serve(t)
	hits := faults.Inject(httpfault.Fault{Times: 10, Effect: httpfault.Status(500)})
	var group sync.WaitGroup
	failures := make(chan int, 40)
	for range 40 {
		group.Go(func() {
			faults.Inject(httpfault.Fault{Path: "/elsewhere", Effect: httpfault.Drop()})
			status, _, _, err := do(t, "GET", address, nil)
			if err != nil {
				t.Error(err)
			}
			failures <- status
		})
	}
	group.Wait()
	close(failures)
	failed := 0
	for status := range failures {
		if status == 500 {
			failed++
		}
	}
	if failed != 10 || hits() != 10 {
		t.Errorf("got %d failures and %d hits, want 10 and 10", failed, hits())
	}
}
