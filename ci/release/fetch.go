package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// maxRedirects is how many redirects are followed. Each stays on its host, so that a handful is plenty.
const maxRedirects = 5

// errAbsent is the error of a file that the server says it does not have.
var errAbsent = errors.New("404 Not Found")

// get reads the file at address, no more than limit bytes of it, through read. A failure that may pass (no connection, an answer that
// takes too long or breaks off, 429, a 5xx) is tried again, and read begins anew each time; what read itself complains of is not.
// The error says what was read and from where, and is errAbsent for a file that is not there.
func get[T any](ctx context.Context, u *Upstream, what, address string, limit int64, read func(*http.Response, io.Reader) (T, error)) (T, error) {
	f := &fetch[T]{policy: u.retry, limit: limit, read: read}
	err := f.run(ctx, u.client, address)
	if err != nil {
		var none T
		return none, fmt.Errorf("read %s %s: %w", what, address, err)
	}
	return f.result, nil
}

// fetch is the reading of one file, over all attempts.
type fetch[T any] struct {
	policy Retry
	limit  int64
	read   func(*http.Response, io.Reader) (T, error)

	attempts int
	failure  error // of the last attempt, one that may pass
	final    error // one that does not
	done     bool  // there is a result
	result   T
}

func (f *fetch[T]) run(ctx context.Context, client *http.Client, address string) error {
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "opennebula-kube")
	// Go would undo a compression of the transport silently, and that of a compressed file that is labelled as one as well.
	request.Header.Set("Accept-Encoding", "identity")
	request.SetResponseHandler(f.handle)
	retrying := &retryablehttp.Client{
		HTTPClient:   client,
		RetryMax:     f.policy.Attempts - 1,
		RetryWaitMin: f.policy.WaitMin,
		RetryWaitMax: f.policy.WaitMax,
		CheckRetry:   f.check,
		Backoff:      f.wait,
		// The library would wrap the error in one more line with the address. It may have none to give: of 429 it makes no error.
		ErrorHandler: func(response *http.Response, err error, _ int) (*http.Response, error) {
			if response != nil {
				_ = response.Body.Close()
			}
			return nil, err
		},
	}
	_, err = retrying.Do(request) //nolint:bodyclose // handle, check and the error handler have closed it
	switch {
	case f.final != nil:
		return f.final
	case f.done:
		return nil
	case ctx.Err() != nil && f.failure != nil:
		return fmt.Errorf("%w; the last of %s: %w", context.Cause(ctx), attempts(f.attempts), f.failure)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case f.failure != nil:
		return fmt.Errorf("%w (given up after %s)", f.failure, attempts(f.attempts))
	}
	return fmt.Errorf("no answer: %w", err)
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

// handle reads an answer. It returns only errors that are worth another attempt; the others end up in f.final.
func (f *fetch[T]) handle(response *http.Response) error {
	defer func() { _ = response.Body.Close() }()
	switch {
	case response.StatusCode == http.StatusNotFound:
		// The little that such a page has is read to the end, so that its connection can be used again.
		_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
		f.final = errAbsent
		return nil
	case response.StatusCode != http.StatusOK:
		f.final = fmt.Errorf("the server answered %s", response.Status)
		return nil
	case response.ContentLength > f.limit:
		f.final = fmt.Errorf("%d bytes are announced, more than the limit of %d", response.ContentLength, f.limit)
		return nil
	}
	body := &boundedBody{body: response.Body, limit: f.limit, left: f.limit}
	result, err := f.read(response, body)
	if body.broken != nil {
		return fmt.Errorf("the answer breaks off: %w", body.broken)
	}
	f.result, f.final, f.done = result, err, err == nil
	return nil
}

// check decides whether to try again after an answer or a failure, and keeps in f what the failure was.
func (f *fetch[T]) check(ctx context.Context, response *http.Response, err error) (bool, error) {
	var refused *redirectError
	if errors.As(err, &refused) {
		f.final = refused
		return false, refused
	}
	again, reason := retryablehttp.ErrorPropagatedRetryPolicy(ctx, response, err)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	switch {
	case err != nil:
		f.failure = f.explain(err)
	case again:
		f.failure = fmt.Errorf("the server answered %s", response.Status)
	default:
		f.failure = nil
		return false, reason
	}
	f.attempts++
	if asked := retryAfter(response); asked > f.policy.RetryAfterMax {
		f.final = fmt.Errorf("%w and asks to be left alone for %s, longer than the %s that are waited at most; run again later",
			f.failure, asked, f.policy.RetryAfterMax)
		return false, f.final
	}
	if !again {
		f.final = f.failure
	}
	return again, reason
}

// explain makes an error of net/http shorter, for it repeats the address, and says what a time-out was.
func (f *fetch[T]) explain(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("no complete answer within %s", f.policy.Timeout)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// wait is how long to wait before the next attempt: as long as the server asks for, but never less than the growing wait of our own.
func (f *fetch[T]) wait(minimum, maximum time.Duration, attempt int, response *http.Response) time.Duration {
	own := retryablehttp.DefaultBackoff(minimum, maximum, attempt, nil)
	own -= rand.N(own/2 + 1)
	return max(own, retryAfter(response))
}

// retryAfter is the wait that a server asks for, 0 if for none. The library's parser of the header is reached through its backoff, which
// without a wait of its own has nothing else to return. A number of seconds too large for it overflows.
func retryAfter(response *http.Response) time.Duration {
	asked := retryablehttp.DefaultBackoff(0, 0, 0, response)
	if asked < 0 {
		return math.MaxInt64
	}
	return asked
}

// redirectError is the error of a redirect that is not followed.
type redirectError struct{ from, to, why string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("%s redirects to %s, %s; if that address is right, give it as the upstream", e.from, e.to, e.why)
}

// sameHost lets a redirect pass that stays on its host and does not leave https. Elsewhere there may be anything.
func sameHost(request *http.Request, via []*http.Request) error {
	first := via[0].URL
	refuse := func(why string) error {
		return &redirectError{from: first.Redacted(), to: request.URL.Redacted(), why: why}
	}
	switch {
	case request.URL.Host != first.Host:
		return refuse(fmt.Sprintf("which is another host (%s, not %s)", request.URL.Host, first.Host))
	case first.Scheme == "https" && request.URL.Scheme != "https":
		return refuse("which is not encrypted any more")
	case len(via) > maxRedirects:
		return refuse(fmt.Sprintf("the last of more than %d redirects", maxRedirects))
	}
	return nil
}

// boundedBody reads an answer up to a limit, and keeps apart a connection that breaks from what a reader makes of the content.
type boundedBody struct {
	body        io.Reader
	limit, left int64
	broken      error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	// One byte more than the limit is asked for, which tells a body of just that size from one that is longer.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if int64(n) > b.left {
		n, b.left = int(b.left), 0
		return n, fmt.Errorf("larger than the limit of %d bytes", b.limit)
	}
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.broken = err
	}
	return n, err
}
