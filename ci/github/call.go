package github

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	// attempts is how often a request is sent at most. The waits of 1, 2 and 4 seconds in between outlast a front end of GitHub's that is
	// being replaced, and not its outages.
	attempts  = 4
	firstWait = time.Second
	lastWait  = 30 * time.Second

	// longestWait is how long GitHub is left alone when it asks for that. Its hourly limit can ask for most of an hour.
	longestWait = 2 * time.Minute

	// limitWait is what GitHub's documentation asks for after a limit was reached and the answer does not say how long.
	limitWait = time.Minute
)

// call is one thing asked of GitHub.
type call struct {
	doing string // what it is, for errors
	needs string // the permission that the token needs for it
	// refused is what to do when GitHub answers 403 or 404, in addition to what is said of the permission.
	refused string
	send    func(context.Context) error
	// done tells whether a request whose answer was lost was carried out all the same. It is nil where repeating one does no harm.
	done func(context.Context) (bool, error)
}

// do makes a call, again while its failure may pass. One that was perhaps carried out, and whose repetition would do it twice, is sent
// again only after a look that it was not.
func (r *Repository) do(ctx context.Context, c call) error {
	var last *failure
	for attempt := 1; ; attempt++ {
		err := c.send(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return r.ended(ctx, c, last)
		}
		last = r.failure(err)
		look := c.done != nil && last.unclear()
		if !last.passing(ctx) || attempt == attempts && !look {
			return r.fail(c, last, attempt)
		}
		if !sleep(ctx, max(last.asked, retryablehttp.DefaultBackoff(firstWait, lastWait, attempt-1, nil))) {
			return r.ended(ctx, c, last)
		}
		if !look {
			continue
		}
		done, err := c.done(ctx)
		switch {
		case err != nil:
			return errors.Join(r.fail(c, last, attempt), fmt.Errorf("whether that was carried out is not known: %w", err))
		case done:
			return nil
		case attempt == attempts:
			return r.fail(c, last, attempt)
		}
	}
}

// sleep waits and tells whether the time is over, which it is not when the context ended first.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
