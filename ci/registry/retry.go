package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// longestHoldOff is how long a registry's Retry-After is obeyed. Docker Hub's pull limit can ask for hours.
	longestHoldOff = 2 * time.Minute
	// longestSilence is how long a registry may take to begin its answer: it hashes and moves a whole layer before it does.
	longestSilence = 5 * time.Minute
)

func defaultTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: longestSilence,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   2 * jobs,
	}
}

func retryStatus() []int {
	return []int{
		http.StatusRequestTimeout,
		http.StatusTooManyRequests,
		http.StatusInternalServerError,
		http.StatusBadGateway,
		http.StatusServiceUnavailable,
		http.StatusGatewayTimeout,
	}
}

// retryable tells whether trying again can help: the registry is busy or broken for the moment, it lost an upload that was under
// way, or the connection was cut.
func retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var status *transport.Error
	if errors.As(err, &status) {
		return slices.Contains(retryStatus(), status.StatusCode) ||
			slices.ContainsFunc(status.Errors, func(d transport.Diagnostic) bool {
				return d.Code == transport.BlobUploadInvalidErrorCode || d.Code == transport.BlobUploadUnknownErrorCode
			})
	}
	for _, cut := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.EPIPE, syscall.ECONNRESET, net.ErrClosed} {
		if errors.Is(err, cut) {
			return true
		}
	}
	var slow net.Error
	return errors.As(err, &slow) && slow.Timeout()
}

// holdOff keeps Retry-After: after an answer that has one, no request goes to that host until the time is over. Whether there is
// a next request at all is decided above it.
type holdOff struct {
	next http.RoundTripper

	mu    sync.Mutex
	until map[string]time.Time
}

func newHoldOff(next http.RoundTripper) *holdOff {
	return &holdOff{next: next, until: map[string]time.Time{}}
}

func (h *holdOff) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := h.wait(req.Context(), req.URL.Host); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	resp, err := h.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		now := time.Now()
		if until, ok := retryAfter(resp.Header.Get("Retry-After"), now); ok {
			h.hold(req.URL.Host, until)
		}
	}
	return resp, nil
}

func (h *holdOff) hold(host string, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.until[host]) {
		h.until[host] = until
	}
}

func (h *holdOff) wait(ctx context.Context, host string) error {
	h.mu.Lock()
	until := h.until[host]
	h.mu.Unlock()
	left := time.Until(until)
	if left <= 0 {
		return nil
	}
	if left > longestHoldOff {
		return fmt.Errorf("%s asks for no more requests before %s, which is longer than the %s that are waited: run again then",
			host, until.UTC().Format(time.RFC3339), longestHoldOff)
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// retryAfter reads the header, which holds either a number of seconds or a date.
func retryAfter(value string, now time.Time) (time.Time, bool) {
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		// A huge number would overflow a Duration; a day is past any patience already.
		return now.Add(time.Duration(min(seconds, 24*60*60)) * time.Second), true
	}
	date, err := http.ParseTime(value)
	return date, err == nil
}
