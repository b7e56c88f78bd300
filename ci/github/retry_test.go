package github_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"opennebula-kube/ci/github"
	"opennebula-kube/ci/httpfault"
)

func transient() map[string]httpfault.Effect {
	return map[string]httpfault.Effect{
		"502":        httpfault.Status(502),
		"503":        httpfault.Status(503),
		"504":        httpfault.Status(504),
		"cut":        httpfault.Drop(),
		"broken off": httpfault.CutBody(5),
		"no answer":  httpfault.Hang(),
		"limited":    limited(403, "Retry-After", "3"),
		"429":        limited(429, "Retry-After", "3"),
	}
}

func limited(code int, header, value string) httpfault.Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set(header, value)
		answer(w, code, map[string]string{
			"message":           "You have exceeded a secondary rate limit",
			"documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
		})
	}
}

func TestTransientFailuresPass(t *testing.T) {
	for name, effect := range transient() {
		for _, method := range []string{"GET", "POST", "PATCH"} {
			t.Run(name+" of "+method, func(t *testing.T) {
				run(t, func(t *testing.T, f *fake, r *github.Repository) {
					f.add("Release fails", marker+"\n\nwhy", label)
					f.add("Release fails", marker+"\n\nwhy", label)
					time.Sleep(time.Hour)
					f.Inject(httpfault.Fault{Method: method, Times: 2, Effect: effect})
					must[string](t)(r.Failed(t.Context(), "Release fails", "another reason"))
					if !slices.Equal(f.openIssues(), []int{1}) || len(f.issues[0].comments) != 1 || len(f.issues[1].comments) != 1 {
						t.Errorf("open %v, comments %v and %v", f.openIssues(), f.issues[0].comments, f.issues[1].comments)
					}
				})
			})
		}
		t.Run(name+" of an upload", func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				f.Inject(httpfault.Fault{Times: 2, Effect: effect})
				if err := r.UploadSARIF(t.Context(), []byte(`{}`), commit, "refs/heads/main"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestResetConnectionsPass(t *testing.T) {
	for _, method := range []string{"GET", "POST", "PATCH"} {
		run(t, func(t *testing.T, f *fake, _ *github.Repository) {
			f.add("Release fails", marker+"\n\nwhy", label)
			f.client.Transport = &reset{next: f.client.Transport, method: method, left: 2}
			must[string](t)(f.open(t, token).Failed(t.Context(), "Release fails", "another reason"))
			f.client.Transport = f.client.Transport.(*reset).next
		})
	}
}

// An answer that is lost must not lead to a second issue or comment, whether the request was carried out or not.
func TestNothingIsDoneTwice(t *testing.T) {
	for name, code := range map[string]int{"502": 502, "503": 503, "504": 504, "cut": 0} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				f.Inject(httpfault.Fault{Method: "POST", Path: issues, Effect: lost(code)})
				f.Inject(httpfault.Fault{Method: "POST", Path: issues + "/*/comments", Effect: lost(code)})
				url := must[string](t)(r.Failed(t.Context(), "Release fails", "why"))
				if len(f.issues) != 1 || f.issues[0].URL != url || f.count("POST /issues") != 1 {
					t.Fatalf("%s; %v", url, f.log)
				}
				for n, body := range []string{"a second reason", "a third reason"} {
					time.Sleep(time.Minute)
					must[string](t)(r.Failed(t.Context(), "Release fails", body))
					if len(f.issues[0].comments) != n+1 || f.count("POST /issues/1/comments") != n+1 {
						t.Errorf("comments %v; %v", f.issues[0].comments, f.log)
					}
				}
			})
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	effects := transient()
	delete(effects, "broken off") // the issue is open then, and found
	for name, effect := range effects {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				f.Inject(httpfault.Fault{Method: "POST", Path: issues, Effect: effect})
				_, err := r.Failed(t.Context(), "Release fails", "why")
				mustFail(t, err, "open an issue", "acme/opennebula", "given up after 4 attempts")
				if f.count("POST /issues") != 4 {
					t.Errorf("%v", f.log)
				}
			})
		})
	}
}

// When it cannot be seen whether an issue was opened the error says so.
func TestALookThatFails(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		f.Inject(httpfault.Fault{Method: "POST", Path: issues, Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			f.Inject(httpfault.Fault{Method: "GET", Effect: refusal(403, "Forbidden")})
			refuse(w, 502, "Server Error")
		}})
		_, err := r.Failed(t.Context(), "Release fails", "why")
		mustFail(t, err, "open an issue", "502", "whether that was carried out is not known", "look for open issues", "403")
	})
}

func TestWaits(t *testing.T) {
	for name, c := range map[string]struct {
		effect func(now time.Time) httpfault.Effect
		wait   time.Duration
		words  string // of the error, when it is not waited
	}{
		"growing":     {func(time.Time) httpfault.Effect { return httpfault.Status(502) }, time.Second, ""},
		"as asked":    {func(time.Time) httpfault.Effect { return limited(403, "Retry-After", "40") }, 40 * time.Second, ""},
		"busy":        {func(time.Time) httpfault.Effect { return httpfault.RetryAfter(503, 40*time.Second) }, 40 * time.Second, ""},
		"not said":    {func(time.Time) httpfault.Effect { return limited(403, "X", "") }, time.Minute, ""},
		"hourly":      {func(now time.Time) httpfault.Effect { return hourly(now.Add(90 * time.Second)) }, 90 * time.Second, ""},
		"hourly, far": {func(now time.Time) httpfault.Effect { return hourly(now.Add(40 * time.Minute)) }, 0, "run again in 40m0s"},
		"too long":    {func(time.Time) httpfault.Effect { return limited(429, "Retry-After", "3600") }, 0, "run again in 1h0m0s"},
		"absurd":      {func(time.Time) httpfault.Effect { return limited(429, "Retry-After", "9223372036854775807") }, 0, "run again in "},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				begin := time.Now()
				hits := f.Inject(httpfault.Fault{Times: 1, Effect: c.effect(begin)})
				_, err := r.Recovered(t.Context(), "It works again.")
				if c.words != "" {
					mustFail(t, err, c.words, "too many requests", "acme/opennebula")
				} else if err != nil {
					t.Error(err)
				}
				if waited := time.Since(begin); waited != c.wait || hits() != 1 {
					t.Errorf("waited %s, want %s", waited, c.wait)
				}
			})
		})
	}
}

func hourly(reset time.Time) httpfault.Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
		refuse(w, 403, "API rate limit exceeded")
	}
}

func TestTheContextEndsTheTries(t *testing.T) {
	for name, c := range map[string]struct {
		effect httpfault.Effect
		words  string
	}{
		"while waiting":     {httpfault.RetryAfter(503, time.Minute), "GitHub answered 503"},
		"during a request":  {httpfault.Hang(), "no answer yet"},
		"in a later of two": {httpfault.Status(502), "GitHub answered 502"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				f.Inject(httpfault.Fault{Effect: c.effect})
				ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer cancel()
				begin := time.Now()
				_, err := r.Failed(ctx, "Release fails", "why")
				mustFail(t, err, c.words, "look for open issues", "acme/opennebula", "with more time")
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 2500*time.Millisecond {
					t.Errorf("error %v after %s", err, time.Since(begin))
				}
			})
		})
	}
}

func TestNoConnection(t *testing.T) {
	run(t, func(t *testing.T, f *fake, _ *github.Repository) {
		dials := 0
		f.client.Transport = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}}
		err := f.open(t, token).UploadSARIF(t.Context(), []byte(`{}`), commit, "refs/heads/main")
		mustFail(t, err, "upload SARIF", "connection refused", "check that http://github.example.org/api/v3/ is the address")
		if dials != 4 {
			t.Errorf("dialled %d times", dials)
		}
	})
}

func TestWrongTokenIsNotRepeated(t *testing.T) {
	// The fake repeats the token that it was sent in its answer, as no server should.
	const wrong = "ghp_notTheToken"
	run(t, func(t *testing.T, f *fake, _ *github.Repository) {
		r := f.open(t, wrong)
		_, failed := r.Failed(t.Context(), "Release fails", "why")
		_, recovered := r.Recovered(t.Context(), "It works again.")
		for _, err := range []error{failed, recovered, r.UploadSARIF(t.Context(), []byte(`{}`), commit, "refs/heads/main")} {
			mustFail(t, err, "acme/opennebula", "401 Unauthorized: Bad credentials: Bearer [token]", "wrong or has expired")
			if strings.Contains(err.Error(), wrong) {
				t.Errorf("error %q says the token", err)
			}
		}
		if len(f.log) != 3 {
			t.Errorf("%v", f.log)
		}
	})
}

func TestLongAnswersAreCutShort(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		f.Inject(httpfault.Fault{Effect: refusal(418, strings.Repeat("ö"+token+" ", 5000))})
		_, err := r.Failed(t.Context(), "Release fails", "why")
		mustFail(t, err, "418")
		if len(err.Error()) > 1000 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	})
}

// A proxy's page with status 200 is not GitHub's answer: nothing is taken for delivered.
func TestPagesAreNoAnswers(t *testing.T) {
	for name, do := range map[string]func(*testing.T, *github.Repository) error{
		"upload": func(t *testing.T, r *github.Repository) error {
			return r.UploadSARIF(t.Context(), []byte(`{}`), commit, "refs/heads/main")
		},
		"failed": func(t *testing.T, r *github.Repository) error {
			_, err := r.Failed(t.Context(), "Release fails", "why")
			return err
		},
		"recovered": func(t *testing.T, r *github.Repository) error {
			_, err := r.Recovered(t.Context(), "works")
			return err
		},
	} {
		for _, code := range []int{http.StatusOK, http.StatusAccepted} {
			t.Run(name+" "+strconv.Itoa(code), func(t *testing.T) {
				run(t, func(t *testing.T, f *fake, r *github.Repository) {
					hits := f.Inject(httpfault.Fault{Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
						w.Header().Set("Content-Type", "text/html")
						w.WriteHeader(code)
						_, _ = w.Write([]byte("<!DOCTYPE html><title>Log in to the proxy</title>"))
					}})
					mustFail(t, do(t, r), "no usable answer", "acme/opennebula", "check that")
					if hits() > 8 {
						t.Errorf("asked %d times", hits())
					}
				})
			})
		}
	}
}
