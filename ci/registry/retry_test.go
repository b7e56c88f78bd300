package registry_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

func TestRetriesAreBounded(t *testing.T) {
	for name, effect := range map[string]httpfault.Effect{
		"request timeout":   httpfault.Status(http.StatusRequestTimeout),
		"too many requests": httpfault.Status(http.StatusTooManyRequests),
		"server error":      httpfault.Status(http.StatusInternalServerError),
		"bad gateway":       httpfault.Status(http.StatusBadGateway),
		"unavailable":       httpfault.Status(http.StatusServiceUnavailable),
		"gateway timeout":   httpfault.Status(http.StatusGatewayTimeout),
		"cut":               httpfault.Drop(),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			hits := s.Inject(httpfault.Fault{Method: http.MethodHead, Effect: effect})
			_, err := s.open(t).Digest(t.Context(), "7.0.1")
			mustFail(t, err, nil, s.host)
			if errors.Is(err, registry.ErrNotFound) {
				t.Errorf("error %v reads as if there were no such tag", err)
			}
			// Go's own transport asks once more when a connection that it used again turns out to be closed.
			if n := hits(); n != tries && (name != "cut" || n > 2*tries) {
				t.Errorf("asked %d times, want %d", n, tries)
			}
		})
	}
}

func TestRefusalsAreNotRetried(t *testing.T) {
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTeapot} {
		s := start(t)
		hits := s.Inject(httpfault.Fault{Method: http.MethodHead, Effect: httpfault.Status(code)})
		_, err := s.open(t).Digest(t.Context(), "7.0.1")
		mustFail(t, err, nil, "7.0.1")
		if hits() != 1 {
			t.Errorf("%d: asked %d times, want once", code, hits())
		}
	}
}

func TestLongAnswersAreCutShort(t *testing.T) {
	s := start(t)
	s.Inject(httpfault.Fault{Path: "/v2/acme/opennebula/tags/list", Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, strings.Repeat("<p>ö</p>", 5000), http.StatusTeapot)
	}})
	_, err := s.open(t).Tags(t.Context())
	mustFail(t, err, nil, "418", s.host)
	if len(err.Error()) > 1000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

// inProcess carries requests to a handler without a network, so that they can happen in the synthetic time of testing/synctest.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "http" {
		return nil, errors.New("plain HTTP only")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	response := w.Result()
	response.Request = r
	return response, nil
}

// inProcessRepository has the waits that a real one has.
func inProcessRepository(t *testing.T) (*registry.Repository, *httpfault.Switch) {
	t.Helper()
	faults, _ := handler()
	r, err := registry.Open("localhost:5000/acme/opennebula",
		registry.WithTransport(inProcess{faults}), registry.WithKeychain(authn.NewMultiKeychain()))
	if err != nil {
		t.Fatal(err)
	}
	return r, faults
}

func TestWaitsBetweenTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, faults := inProcessRepository(t)
		hits := faults.Inject(httpfault.Fault{Method: http.MethodHead, Effect: httpfault.Status(http.StatusBadGateway)})
		begin := time.Now()
		if _, err := r.Digest(t.Context(), "7.0.1"); err == nil {
			t.Fatal("no error")
		}
		if waited := time.Since(begin); hits() != 5 || waited < 15*time.Second || waited > 20*time.Second {
			t.Errorf("tried %d times in %s, want 5 times in 15 to 20 seconds", hits(), waited)
		}
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	for name, header := range map[string]func(now time.Time) string{
		"seconds": func(time.Time) string { return "40" },
		"date":    func(now time.Time) string { return now.Add(40 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, faults := inProcessRepository(t)
				hits := faults.Inject(httpfault.Fault{Method: http.MethodHead, Times: 1, Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
					w.Header().Set("Retry-After", header(time.Now()))
					w.WriteHeader(http.StatusTooManyRequests)
				}})
				begin := time.Now()
				_, err := r.Digest(t.Context(), "7.0.1")
				mustFail(t, err, registry.ErrNotFound)
				if waited := time.Since(begin); hits() != 1 || waited != 40*time.Second {
					t.Errorf("turned away %d times, answered after %s; want once and 40s", hits(), waited)
				}
			})
		})
	}
}

func TestRetryAfterEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, faults := inProcessRepository(t)
		hits := faults.Inject(httpfault.Fault{Method: http.MethodHead, Effect: httpfault.RetryAfter(http.StatusServiceUnavailable, time.Minute)})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := r.Digest(ctx, "7.0.1")
		mustFail(t, err, ctx.Err(), "7.0.1")
		if waited := time.Since(begin); hits() != 1 || waited != 10*time.Second {
			t.Errorf("asked %d times in %s, want once in 10s", hits(), waited)
		}
	})
}

func TestRetryAfterBeyondPatience(t *testing.T) {
	for _, wait := range []time.Duration{6 * time.Hour, 1 << 62} {
		synctest.Test(t, func(t *testing.T) {
			r, faults := inProcessRepository(t)
			hits := faults.Inject(httpfault.Fault{Method: http.MethodHead, Effect: httpfault.RetryAfter(http.StatusTooManyRequests, wait)})
			begin := time.Now()
			_, err := r.Digest(t.Context(), "7.0.1")
			mustFail(t, err, nil, "localhost:5000 asks for no more requests before", "run again then")
			if waited := time.Since(begin); hits() != 1 || waited > 2*time.Second {
				t.Errorf("asked %d times and gave up after %s, want once and at once", hits(), waited)
			}
		})
	}
}
