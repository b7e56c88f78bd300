package github

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	api "github.com/google/go-github/v92/github"
	"github.com/hashicorp/go-retryablehttp"
)

// longestMessage bounds, in bytes, what is repeated of GitHub's own words.
const longestMessage = 600

// failure is what came of a request that did not succeed: an answer, or none that can be used. It keeps no error of go-github's, for
// those lead to the request and its token.
type failure struct {
	text     string         // what happened, without the token
	response *http.Response // nil for no answer
	err      error          // of the connection, nil with an answer
	limited  bool           // a rate limit was reached, so the request was not carried out
	asked    time.Duration  // how long GitHub wants to be left alone
}

func (r *Repository) failure(err error) *failure {
	f := &failure{}
	message := ""
	if limit, ok := errors.AsType[*api.RateLimitError](err); ok {
		f.response, message, f.limited = limit.Response, limit.Message, true
		f.asked = time.Until(limit.Rate.Reset.Time)
	} else if limit, ok := errors.AsType[*api.AbuseRateLimitError](err); ok {
		f.response, message, f.limited = limit.Response, limit.Message, true
	} else if refused, ok := errors.AsType[*api.ErrorResponse](err); ok {
		f.response, message = refused.Response, refused.Message
		for _, detail := range refused.Errors {
			message += "; " + strings.Join(strings.Fields(detail.Resource+" "+detail.Field+" "+detail.Code+" "+detail.Message), " ")
		}
	} else {
		f.err = err
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // without the address
		}
		f.text = "no usable answer: " + r.brief(err.Error())
		return f
	}
	code := f.response.StatusCode
	f.text = strings.TrimSuffix(fmt.Sprintf("GitHub answered %d %s: %s", code, http.StatusText(code), r.brief(message)), ": ")
	asked, given := retryAfter(f.response)
	f.limited = f.limited || code == http.StatusTooManyRequests || code == http.StatusForbidden && given
	f.asked = max(f.asked, asked)
	if f.limited && f.asked <= 0 {
		f.asked = limitWait
	}
	return f
}

// retryAfter is the wait that an answer asks for. The library's parser of the header is reached through its backoff, which
// does not look at it in a 403, as GitHub's limits are answered. A number of seconds too large for it overflows.
func retryAfter(response *http.Response) (wait time.Duration, given bool) {
	header := response.Header.Get("Retry-After")
	wait = retryablehttp.DefaultBackoff(0, 0, 0, &http.Response{StatusCode: http.StatusTooManyRequests, Header: response.Header})
	if wait < 0 {
		wait = math.MaxInt64
	}
	return wait, header != ""
}

// passing tells whether the same request may succeed before long.
func (f *failure) passing(ctx context.Context) bool {
	if _, refused := errors.AsType[*redirectError](f.err); refused || f.asked > longestWait {
		return false
	}
	again, _ := retryablehttp.DefaultRetryPolicy(ctx, f.response, f.err)
	return again || f.limited
}

// unclear tells whether the request may have been carried out.
func (f *failure) unclear() bool {
	if f.response != nil {
		return f.response.StatusCode >= http.StatusInternalServerError
	}
	op, ok := errors.AsType[*net.OpError](f.err)
	return !ok || op.Op != "dial"
}

// fail is the error of a call that is given up: what was being done, what came of it, and what to do.
func (r *Repository) fail(c call, f *failure, attempts int) error {
	times := ""
	if attempts > 1 {
		times = fmt.Sprintf(" (given up after %d attempts)", attempts)
	}
	return fmt.Errorf("%s: %s%s: %s", r.doing(c), f.text, times, r.advice(c, f))
}

// ended is the error of a call whose context ended, which is what errors.Is finds in it.
func (r *Repository) ended(ctx context.Context, c call, last *failure) error {
	if last == nil {
		return fmt.Errorf("%s: no answer yet: %w: run again, with more time", r.doing(c), context.Cause(ctx))
	}
	return fmt.Errorf("%s: %s; no time was left to try again: %w: run again, with more time", r.doing(c), last.text, context.Cause(ctx))
}

func (r *Repository) doing(c call) string {
	return fmt.Sprintf("%s in GitHub repository %s", c.doing, r)
}

// advice is what to do about a failure.
func (r *Repository) advice(c call, f *failure) string {
	if f.response == nil {
		if _, refused := errors.AsType[*redirectError](f.err); refused {
			return "if the repository or the server has moved, give the new name or address"
		}
		return fmt.Sprintf("check that %s is the address of GitHub's API and can be reached from here", r.api.BaseURL())
	}
	code := f.response.StatusCode
	switch {
	case f.limited:
		return fmt.Sprintf("too many requests: run again in %s", f.asked.Round(time.Second))
	case code == http.StatusUnauthorized:
		return fmt.Sprintf("the token is wrong or has expired: give one that has the permission `%s`", c.needs)
	case code == http.StatusForbidden:
		return fmt.Sprintf("give the token the permission `%s`%s", c.needs, c.refused)
	case code == http.StatusNotFound:
		return fmt.Sprintf("check the name of the repository, and give the token access to it and the permission `%s`%s", c.needs, c.refused)
	case code == http.StatusGone:
		return "what is gone is most likely turned off: turn it on in the settings of the repository"
	case code >= http.StatusInternalServerError:
		return "GitHub has trouble of its own: run again later"
	}
	return "GitHub does not take the request as it is: correct what it names"
}

// brief is a text on one line, cut to a readable length, without the token, which a server may repeat.
func (r *Repository) brief(text string) string {
	text = strings.Join(strings.Fields(r.hide.Replace(text)), " ")
	if len(text) > longestMessage {
		text = strings.ToValidUTF8(text[:longestMessage], "") + "..."
	}
	return text
}
