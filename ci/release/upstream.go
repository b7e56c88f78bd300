package release

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Upstream is a server of OpenNebula's packages, laid out as downloads.opennebula.io is. It can be used from several goroutines.
type Upstream struct {
	base        string
	fingerprint string // of the key that signs the packages
	client      *http.Client
	retry       Retry
	limits      Limits
	now         func() time.Time
}

// Retry says how much patience to have with a server. A zero field stands for its default.
type Retry struct {
	// Attempts is how often one file is asked for at most; 4 by default.
	Attempts int
	// Timeout is how long one attempt may take, from the connection to the end of the body; 1 minute by default.
	Timeout time.Duration
	// WaitMin is about the wait before the second attempt; 1 s by default. It doubles with every further attempt, and each is shortened by
	// a random part of up to its half, so that many clients do not come back at once.
	WaitMin time.Duration
	// WaitMax is the longest such wait; 30 s by default.
	WaitMax time.Duration
	// RetryAfterMax is the longest wait that a server may ask for in a Retry-After header; 5 minutes by default. A server that asks for
	// more is not asked again.
	RetryAfterMax time.Duration
}

// Limits are the sizes, in bytes, above which a file is not read any further. A zero field stands for its default.
type Limits struct {
	// Listing is the limit for the page that lists the versions; 2 MiB by default.
	Listing int64
	// Keys is the limit for the file of keys; 256 KiB by default.
	Keys int64
	// Release is the limit for a repository's InRelease file; 256 KiB by default.
	Release int64
	// Index is the limit for a Packages index, both as it is sent and uncompressed; 64 MiB by default.
	Index int64
}

// An Option changes how an Upstream works.
type Option func(*Upstream)

// WithTransport makes an Upstream send its requests through t instead of net/http's own transport.
func WithTransport(t http.RoundTripper) Option { return func(u *Upstream) { u.client.Transport = t } }

// WithRetry sets how patient an Upstream is.
func WithRetry(r Retry) Option { return func(u *Upstream) { u.retry = r } }

// WithLimits sets how much an Upstream reads.
func WithLimits(l Limits) Option { return func(u *Upstream) { u.limits = l } }

// WithClock sets the clock that keys, signatures and repositories expire by; time.Now by default.
func WithClock(now func() time.Time) Option { return func(u *Upstream) { u.now = now } }

// NewUpstream returns the Upstream at base, an absolute http or https address such as https://downloads.opennebula.io. What the key with
// the fingerprint, 40 hexadecimal digits, has not signed is not taken from it. Nothing is read yet. The address must not have credentials
// in it: it ends up in logs and in the image.
func NewUpstream(base, fingerprint string, options ...Option) (*Upstream, error) {
	parsed, err := url.Parse(base)
	if err != nil {
		// url.Error repeats the address, with the password if there is one.
		return nil, errors.New("upstream: the address cannot be parsed; it must look like https://downloads.opennebula.io")
	}
	shown := parsed.Redacted()
	switch {
	case parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Host == "":
		return nil, fmt.Errorf("upstream %q: not an http or https address; it must look like https://downloads.opennebula.io", shown)
	case parsed.User != nil:
		return nil, fmt.Errorf("upstream %q: credentials in the address would end up in logs and in the image; leave them out", shown)
	case parsed.RawQuery != "" || parsed.Fragment != "":
		return nil, fmt.Errorf("upstream %q: the address must have no query and no fragment", shown)
	}
	if err := CheckFingerprint(fingerprint); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport
	if t, ok := transport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxIdleConnsPerHost = parallel
		transport = t
	}
	u := &Upstream{
		base:        strings.TrimRight(base, "/"),
		fingerprint: strings.ToUpper(fingerprint),
		client:      &http.Client{Transport: transport, CheckRedirect: sameHost},
		now:         time.Now,
	}
	for _, option := range options {
		option(u)
	}
	setDefault(&u.retry.Attempts, 4)
	setDefault(&u.retry.Timeout, time.Minute)
	setDefault(&u.retry.WaitMin, time.Second)
	setDefault(&u.retry.WaitMax, 30*time.Second)
	setDefault(&u.retry.RetryAfterMax, 5*time.Minute)
	setDefault(&u.limits.Listing, 2<<20)
	setDefault(&u.limits.Keys, 256<<10)
	setDefault(&u.limits.Release, 256<<10)
	setDefault(&u.limits.Index, 64<<20)
	u.client.Timeout = u.retry.Timeout
	return u, nil
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// URL is the upstream's address, without a slash at its end.
func (u *Upstream) URL() string { return u.base }

// Fingerprint is that of the key that has to sign the packages, in capitals.
func (u *Upstream) Fingerprint() string { return u.fingerprint }
