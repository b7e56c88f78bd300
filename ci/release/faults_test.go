package release_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/release"
)

// Every fault that an upstream can have is an error that names the address. None is ever "no new version".
func TestFaultsAreErrors(t *testing.T) {
	const listing = "/repo/"
	description, index := place("7.0.1", "InRelease"), place("7.0.1", indexFile("arm64"))
	content := usual()[index]
	body := httpfault.Body
	const once, always = 1, 3 // attempts: once what stays as it is, as often as patience has it what may pass
	for _, test := range []struct {
		name     string
		path     string
		effect   httpfault.Effect
		attempts int
		says     string
	}{
		{"listing: 500", listing, httpfault.Status(500), always, "the server answered 500 Internal Server Error (given up after 3 attempts)"},
		{"listing: 503", listing, httpfault.Status(503), always, "the server answered 503 Service Unavailable (given up after 3 attempts)"},
		{"listing: 429", listing, httpfault.Status(429), always, "the server answered 429 Too Many Requests (given up after 3 attempts)"},
		{"listing: 404", listing, httpfault.Status(404), once, "404 Not Found"},
		{"listing: 403", listing, httpfault.Status(403), once, "the server answered 403 Forbidden"},
		{"listing: 204", listing, httpfault.Status(204), once, "the server answered 204 No Content"},
		{"listing: connection closed", listing, httpfault.Drop(), always, "EOF (given up after 3 attempts)"},
		{"listing: cut", listing, httpfault.CutBody(100), always, "breaks off: unexpected EOF (given up after 3 attempts)"},
		{"listing: redirect", listing, httpfault.Redirect("http://elsewhere.example/repo/"), once,
			"redirects to http://elsewhere.example/repo/, which is another host (elsewhere.example, not 127.0.0.1:"},
		{"listing: redirect in a circle", listing, httpfault.Redirect(listing), 6, "the last of more than 5 redirects"},
		{"listing: no listing", listing, body("text/html", `<html><body><h1>Welcome</h1><a href="/about">us</a> <a href="#top">top</a></body></html>`),
			once, "is no directory listing"},
		{"listing: nothing", listing, body("text/html", ""), once, "is no directory listing"},
		{"listing: not HTML", listing, body("application/json", `{"href": "7.0.0/"}`), once, `content type is "application/json"`},
		{"listing: empty", listing, body("text/html", `<h1>Index of /repo/</h1><a href="../">../</a> <a href="repo2.key">repo2.key</a>`),
			once, "empty listing: none of its 2 entries is a version"},
		{"listing: garbage", listing, httpfault.Garbage(100 << 20), once, "larger than the limit of 2097152"},
		{"release file: 500", description, httpfault.Status(500), always, "500 Internal Server Error"},
		{"release file: HTML", description, body("text/html", "<html>\n<p>Welcome</p>\n</html>\n"), once, "is not a Release file of an apt repository: its content type"},
		{"release file: garbage", description, httpfault.Garbage(100 << 20), once, "is not a Release file of an apt repository: its content type"},
		{"keys: 500", keyFile, httpfault.Status(500), always, "500 Internal Server Error"},
		{"keys: 404", keyFile, httpfault.Status(404), once, "404 Not Found; an upstream, or a mirror of it, must have the key"},
		{"keys: cut", keyFile, httpfault.CutBody(60), always, "breaks off: unexpected EOF"},
		{"keys: HTML", keyFile, body("text/html", "<html>Welcome</html>"), once, "is not a file of OpenPGP keys in ASCII armour"},
		{"keys: nothing", keyFile, body("text/plain", ""), once, "is not a file of OpenPGP keys in ASCII armour"},
		{"keys: garbage", keyFile, httpfault.Garbage(100 << 20), once, "larger than the limit of 262144"},
		{"index: 502", index, httpfault.Status(502), always, "502 Bad Gateway"},
		{"index: 404 of a file that Release lists", index, httpfault.Status(404), once, "404 Not Found, also with .gz, though"},
		{"index: 403", index, httpfault.Status(403), once, "403 Forbidden"},
		{"index: connection closed", index, httpfault.Drop(), always, "EOF (given up after 3 attempts)"},
		{"index: cut", index, httpfault.CutBody(60), always, "breaks off: unexpected EOF"},
		{"index: truncated in a line", index, body("text/plain", content[:len(content)/2]), once,
			fmt.Sprintf("truncated: has %d of the %d bytes", len(content)/2, len(content))},
		{"index: truncated to nothing", index, body("text/plain", ""), once, "truncated: has 0 of the"},
		{"index: longer", index, body("text/plain", content+content), once, fmt.Sprintf("has %d bytes, the", 2*len(content))},
		{"index: other content", index, body("text/plain", strings.ToUpper(content)), once, "has SHA-256"},
		{"index: truncated gzip", index, body("application/gzip", zipped(t, content)[:80]), once, "truncated or damaged gzip: unexpected EOF"},
		{"index: gzip of a few bytes", index, body("application/gzip", zipped(t, content)[:4]), once, "truncated or damaged gzip: unexpected EOF"},
		{"index: damaged gzip", index, body("application/gzip", zipped(t, content)+"more"), once, "truncated or damaged gzip"},
		{"index: gzip of something else", index, body("application/gzip", zipped(t, content+"\n")), once, "bytes, the repository's InRelease file says"},
		{"index: HTML", index, body("text/html; charset=utf-8", "<html>Welcome</html>"), once, "is not a package index: its content type"},
		{"index: redirect", index, httpfault.Redirect("http://elsewhere.example/Packages"), once, "another host (elsewhere.example, not 127.0.0.1:"},
		{"index: garbage", index, httpfault.Garbage(100 << 20), once, "is not a package index: its content type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u, faults := serve(t, usual())
			hits := faults.Inject(httpfault.Fault{Path: test.path, Effect: test.effect})
			got, err := u.Releases(t.Context())
			if err == nil {
				t.Fatalf("got %v, want an error", versions(got))
			}
			for _, part := range []string{u.URL() + test.path, test.says} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got error %q, want %q in it", err, part)
				}
			}
			if got.Releases != nil || got.PassedOver != nil {
				t.Errorf("got %v beside the error, want nothing", versions(got))
			}
			// When a connection that was used before is closed instead of answered, net/http itself tries others.
			if hits() != test.attempts && !(strings.HasSuffix(test.name, "closed") && hits() > test.attempts) {
				t.Errorf("got %d attempts, want %d", hits(), test.attempts)
			}
		})
	}
}

// What passes is waited for, and leaves no trace in the result.
func TestFaultsThatPass(t *testing.T) {
	for _, path := range []string{"/repo/", keyFile, place("7.0.1", "InRelease"), place("7.0.1", indexFile("amd64"))} {
		for name, effect := range map[string]httpfault.Effect{
			"500":    httpfault.Status(500),
			"429":    httpfault.Status(429),
			"0 s":    httpfault.RetryAfter(503, 0),
			"closed": httpfault.Drop(),
			"cut":    httpfault.CutBody(50),
		} {
			t.Run(name+" "+path, func(t *testing.T) {
				t.Parallel()
				u, faults := serve(t, usual())
				hits := faults.Inject(httpfault.Fault{Path: path, Times: 2, Effect: effect})
				got, err := u.Releases(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if hits() != 2 || strings.Join(versions(got), " ") != "7.0.0 7.0.1" {
					t.Errorf("got %v after %d faults, want 7.0.0 and 7.0.1 after 2", versions(got), hits())
				}
			})
		}
	}
}

// What the repository does not list need not be there; what it lists must.
func TestAbsentIndexes(t *testing.T) {
	for _, test := range []struct {
		listed []string
		want   string
	}{
		{[]string{"amd64", "arm64"}, "7.0.0 7.0.1"},
		{[]string{"amd64"}, "7.0.0 7.0.1"},
		{nil, "7.0.0"},
	} {
		s := usual()
		for _, a := range []string{"amd64", "arm64"} {
			if !slices.Contains(test.listed, a) {
				delete(s, place("7.0.1", indexFile(a)))
			}
		}
		s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64 arm64")
		u, _ := serve(t, s)
		got, err := u.Releases(t.Context())
		if err != nil || strings.Join(versions(got), " ") != test.want {
			t.Errorf("with indexes for %v: got %v, %v, want %s", test.listed, versions(got), err, test.want)
		}
		if n := len(got.Releases); n == 2 && !slices.Equal(got.Releases[1].Architectures, test.listed) {
			t.Errorf("got architectures %v, want %v", got.Releases[1].Architectures, test.listed)
		}
	}
}

// No answer is read further than its limit, whatever it says of its own size, and no compression gets around that.
func TestReadsAreBounded(t *testing.T) {
	limits := release.Limits{Listing: 64 << 10, Keys: 8 << 10, Release: 16 << 10, Index: 128 << 10}
	var sent atomic.Int64
	endless := func(kind, block string) httpfault.Effect {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", kind)
			for r.Context().Err() == nil {
				n, err := w.Write([]byte(block))
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		}
	}
	announced := func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Length", "104857600")
		w.WriteHeader(http.StatusOK)
	}
	listing, description, index := "/repo/", place("7.0.1", "InRelease"), place("7.0.1", indexFile("amd64"))
	for _, test := range []struct {
		name, path string
		effect     httpfault.Effect
		says       string
	}{
		{"listing", listing, endless("text/html", strings.Repeat("<a href=7.0.0/>", 100)), "larger than the limit of 65536 bytes"},
		{"listing of an announced size", listing, announced, "104857600 bytes are announced, more than the limit of 65536"},
		{"keys", keyFile, endless("text/plain", strings.Repeat("a line\n", 1000)), "larger than the limit of 8192 bytes"},
		{"release file", description, endless("text/plain", strings.Repeat("A: b\n", 1000)), "larger than the limit of 16384 bytes"},
		{"index", index, endless("text/plain", strings.Repeat("Package: x\n\n", 100)), "larger than the limit of 131072 bytes"},
		{"index of one line", index, endless("text/plain", strings.Repeat("x", 1000)), "larger than the limit of 131072 bytes"},
		{"index of empty lines", index, endless("text/plain", strings.Repeat("\n", 1000)), "larger than the limit of 131072 bytes"},
		{"index that is small only while it is compressed", index, httpfault.Body("application/gzip", zipped(t, strings.Repeat("Package: x\n\n", 1<<17))),
			"larger than the limit of 131072 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sent.Store(0)
			u, faults := serve(t, usual(), release.WithLimits(limits))
			hits := faults.Inject(httpfault.Fault{Path: test.path, Effect: test.effect})
			got, err := u.Releases(t.Context())
			if err == nil || !strings.Contains(err.Error(), u.URL()+test.path) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, error %v, want %q and the address in it", versions(got), err, test.says)
			}
			if hits() != 1 {
				t.Errorf("got %d attempts, want 1", hits())
			}
			// What is sent and not read lies in the buffers of two sockets.
			if n := sent.Load(); n > 32<<20 {
				t.Errorf("%d bytes were sent before the connection was closed", n)
			}
		})
	}
}

// A package's own paragraph is bounded too, and so is any other.
func TestParagraphsAreBounded(t *testing.T) {
	head := "Package: opennebula\nVersion: 7.0.1-1\nArchitecture: amd64\nDescription: cloud\n"
	for _, test := range []struct{ content, says string }{
		{head + strings.Repeat(" .\n", 30<<10), "more than the limit of 65536"},
		{strings.Replace(head, "opennebula", "other", 1) + strings.Repeat(" .\n", 400<<10), "token too long"},
		{"Version: 7.0.1-1\n", "has no field Package"},
		{"Package: opennebula\nArchitecture: amd64\n", `version "": version string is empty`},
		{"Package: opennebula\nVersion: x y\nArchitecture: amd64\n", `version "x y"`},
		{"Package: opennebula\nVersion\n", "has no ':'"},
	} {
		s := stock{place("7.0.1", indexFile("amd64")): test.content}
		s.list("7.0.1")
		s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64")
		u, _ := serve(t, s)
		got, err := u.Releases(t.Context())
		if err == nil || !strings.Contains(err.Error(), u.URL()+place("7.0.1", indexFile("amd64"))) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%.40q: got %v, error %v, want %q and the address in it", test.content, versions(got), err, test.says)
		}
	}
}

// elapsed runs Releases where time passes by itself, and returns how much of it did.
func elapsed(ctx context.Context, t *testing.T, handler http.Handler, retry release.Retry) (time.Duration, release.Catalog, error) {
	u := open(t, "http://upstream.example", release.WithTransport(direct{handler}), release.WithRetry(retry))
	start := time.Now()
	got, err := u.Releases(ctx)
	return time.Since(start), got, err
}

func TestWaitsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := httpfault.New(usual())
		var at []time.Time
		faults.Inject(httpfault.Fault{Path: "/repo/", Times: 5, Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			at = append(at, time.Now())
			w.WriteHeader(http.StatusBadGateway)
		}})
		retry := release.Retry{Attempts: 6, WaitMin: time.Second, WaitMax: 5 * time.Second}
		took, got, err := elapsed(t.Context(), t, faults, retry)
		if err != nil || len(got.Releases) != 2 {
			t.Fatalf("got %v, %v, want two releases", versions(got), err)
		}
		at = append(at, at[0].Add(took))
		// Doubled each time up to the maximum, and up to the half of it taken off at random.
		for i, most := range []time.Duration{1, 2, 4, 5, 5} {
			most *= time.Second
			if wait := at[i+1].Sub(at[i]); wait < most/2 || wait > most {
				t.Errorf("wait %d: got %s, want between %s and %s", i+1, wait, most/2, most)
			}
		}
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	retry := release.Retry{WaitMin: time.Millisecond, WaitMax: time.Millisecond}
	inSeconds := func(value string) httpfault.Effect {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}
	for _, test := range []struct {
		name     string
		effect   func() httpfault.Effect
		min, max time.Duration
		says     string
	}{
		{"seconds, 503", func() httpfault.Effect { return httpfault.RetryAfter(503, 90*time.Second) }, 90 * time.Second, 90 * time.Second, ""},
		{"seconds, 429", func() httpfault.Effect { return httpfault.RetryAfter(429, 7*time.Second) }, 7 * time.Second, 7 * time.Second, ""},
		{"a date", func() httpfault.Effect { return inSeconds(time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)) },
			59 * time.Second, time.Minute, ""},
		{"a date gone by", func() httpfault.Effect { return inSeconds(time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat)) },
			0, time.Millisecond, ""},
		{"nonsense", func() httpfault.Effect { return inSeconds("soon") }, 0, time.Millisecond, ""},
		{"longer than is waited", func() httpfault.Effect { return httpfault.RetryAfter(503, time.Hour) }, 0, 0,
			"503 Service Unavailable and asks to be left alone for 1h0m0s, longer than the 5m0s"},
		{"longer than can be counted", func() httpfault.Effect { return inSeconds("9223372036854775807") }, 0, 0, "longer than the 5m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults := httpfault.New(usual())
				hits := faults.Inject(httpfault.Fault{Path: "/repo/", Times: 1, Effect: test.effect()})
				took, got, err := elapsed(t.Context(), t, faults, retry)
				if test.says == "" && (err != nil || len(got.Releases) != 2) {
					t.Errorf("got %v, %v, want two releases", versions(got), err)
				}
				if test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "http://upstream.example/repo/")) {
					t.Errorf("got %v, error %v, want %q and the address in it", versions(got), err, test.says)
				}
				if took < test.min || took > test.max || hits() != 1 {
					t.Errorf("waited %s after %d faults, want between %s and %s after 1", took, hits(), test.min, test.max)
				}
			})
		})
	}
}

func TestTimeOut(t *testing.T) {
	for _, path := range []string{"/repo/", keyFile, place("7.0.1", "InRelease"), place("7.0.1", indexFile("amd64"))} {
		synctest.Test(t, func(t *testing.T) {
			faults := httpfault.New(usual())
			hits := faults.Inject(httpfault.Fault{Path: path, Effect: httpfault.Hang()})
			took, got, err := elapsed(t.Context(), t, faults, release.Retry{Attempts: 3, Timeout: 40 * time.Second, WaitMax: time.Second})
			for _, says := range []string{"http://upstream.example" + path, "no complete answer within 40s (given up after 3 attempts)"} {
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("got %v, error %v, want %q in it", versions(got), err, says)
				}
			}
			if hits() != 3 || took < 2*time.Minute || took > 2*time.Minute+2*time.Second {
				t.Errorf("got %d attempts in %s, want 3 in 2 minutes and at most 2 s between them", hits(), took)
			}
		})
	}
}

// A body that stops half way is as good as no answer.
func TestTimeOutInTheMiddle(t *testing.T) {
	stall := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<a href="7.0.0/">`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	u, faults := serve(t, usual(), release.WithRetry(release.Retry{Attempts: 2, Timeout: 50 * time.Millisecond, WaitMin: time.Millisecond}))
	hits := faults.Inject(httpfault.Fault{Path: "/repo/", Effect: stall})
	got, err := u.Releases(t.Context())
	if err == nil || !strings.Contains(err.Error(), u.URL()+"/repo/: no complete answer within 50ms (given up after 2 attempts)") || hits() != 2 {
		t.Errorf("got %v, error %v after %d attempts, want a time-out after 2", versions(got), err, hits())
	}
}

// The caller's patience goes before the server's wishes, and the error says what was waited for.
func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := httpfault.New(usual())
		faults.Inject(httpfault.Fault{Path: "/repo/", Effect: httpfault.RetryAfter(503, 4*time.Minute)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		took, got, err := elapsed(ctx, t, faults, release.Retry{})
		if !errors.Is(err, context.DeadlineExceeded) || took != time.Minute {
			t.Errorf("got %v, error %v after %s, want the context's error after a minute", versions(got), err, took)
		}
		for _, part := range []string{"http://upstream.example/repo/", "the last of 1 attempt: the server answered 503"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("got error %v, want %q in it", err, part)
			}
		}
	})
	u, faults := serve(t, usual())
	hits := faults.Inject(httpfault.Fault{Effect: httpfault.Status(500)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.Releases(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), u.URL()+"/repo/") || hits() != 0 {
		t.Errorf("got error %v after %d requests, want that of the canceled context without any", err, hits())
	}
}

// A server that is not there at all.
func TestNoConnection(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, err := open(t, server.URL, release.WithRetry(patience)).Releases(t.Context())
	if err == nil || !strings.Contains(err.Error(), server.URL+"/repo/") || !strings.Contains(err.Error(), "given up after 3 attempts") {
		t.Errorf("got error %v, want one that names the address after 3 attempts", err)
	}
}

// Redirects that stay where they are meant are followed.
func TestRedirectOnTheSameHost(t *testing.T) {
	u, faults := serve(t, usual())
	faults.Inject(httpfault.Fault{Path: place("7.0.1", "InRelease"), Effect: httpfault.Redirect(place("7.0.1", "InRelease") + "?moved")})
	faults.Inject(httpfault.Fault{Path: place("7.0.1", "InRelease"), Match: func(r *http.Request) bool { return r.URL.RawQuery == "moved" },
		Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }})
	if got, err := u.Releases(t.Context()); err != nil || len(got.Releases) != 2 {
		t.Errorf("got %v, %v, want two releases", versions(got), err)
	}
}

// An encrypted upstream does not send its clients to where it is not.
func TestRedirectOutOfTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
		http.Redirect(w, r, target.String(), http.StatusMovedPermanently)
	}))
	defer server.Close()
	_, err := open(t, server.URL, release.WithTransport(server.Client().Transport), release.WithRetry(patience)).Releases(t.Context())
	if err == nil || !strings.Contains(err.Error(), "not encrypted any more") || !strings.Contains(err.Error(), server.URL+"/repo/") {
		t.Errorf("got error %v, want one that says that the redirect leaves TLS", err)
	}
}

// A certificate that cannot be trusted does not get better by asking again.
func TestUntrustedCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(usual())
	server.Config.ErrorLog = discard()
	server.StartTLS()
	defer server.Close()
	_, err := open(t, server.URL, release.WithRetry(release.Retry{WaitMin: time.Hour})).Releases(t.Context())
	if err == nil || !strings.Contains(err.Error(), "certificate") || !strings.Contains(err.Error(), server.URL+"/repo/") {
		t.Errorf("got error %v, want one about the certificate", err)
	}
}
