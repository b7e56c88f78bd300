package exercise

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// answerLimit is how much of an answer is read.
const answerLimit = 16 << 20

// request makes a call to one of the servers beside oned, and returns the answer when it has the status that is wanted.
func (t Target) request(ctx context.Context, method, url string, body []byte, prepare func(*http.Request), want int) ([]byte, error) {
	answer, err := t.exchange(ctx, method, url, body, prepare)
	if err != nil {
		return nil, err
	}
	if answer.status != want {
		return nil, &statusError{method, url, answer.status, clip(string(answer.body))}
	}
	return answer.body, nil
}

// reply is an answer that has been read.
type reply struct {
	status  int
	cookies []*http.Cookie
	body    []byte
}

// statusError is an answer with another status than the one that is wanted.
type statusError struct {
	method, url string
	status      int
	body        string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s %s is answered with %d %s, %s", e.method, e.url, e.status, http.StatusText(e.status), quoted(e.body, "and nothing else"))
}

// exchange makes a call and reads the answer, whatever its status.
func (t Target) exchange(ctx context.Context, method, url string, body []byte, prepare func(*http.Request)) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	prepare(request)
	response, err := t.HTTP.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, answerLimit+1))
	if err != nil {
		return reply{}, fmt.Errorf("read the answer to %s %s: %w", method, url, err)
	}
	if len(answer) > answerLimit {
		return reply{}, fmt.Errorf("the answer to %s %s has more than %d bytes, which is not read", method, url, answerLimit)
	}
	return reply{response.StatusCode, response.Cookies(), answer}, nil
}

// login adds the session's user and password to a request.
func (t Target) login(r *http.Request) {
	user, password, _ := strings.Cut(t.Session, ":")
	r.SetBasicAuth(user, password)
	r.Header.Set("Content-Type", "application/json")
}
