package exercise

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"opennebula-kube/image/internal/xmlrpc"
)

// sessionCookie is where FireEdge puts the token of a session, from OpenNebula 7.2 on.
const sessionCookie = "FireedgeToken"

// Login logs in through oned's XML-RPC and through FireEdge.
func (t Target) Login(ctx context.Context) error {
	user, password, _ := strings.Cut(t.Session, ":")
	var has object
	if err := t.document(ctx, &has, "one.user.info", xmlrpc.Number(-1), xmlrpc.Bool(false)); err != nil {
		return fmt.Errorf("log in to oned at %s as %s: %w; look whether the password is the one in the database", t.XMLRPC, user, err)
	}
	if has.Name != user {
		return fmt.Errorf("log in to oned at %s as %s: it takes us for %q: look whether that is oned", t.XMLRPC, user, clip(has.Name))
	}
	if err := t.loginFireEdge(ctx, user, password); err != nil {
		return fmt.Errorf("log in to FireEdge at %s as %s: %w; look into fireedge.log, and whether sunstone_auth has the password of serveradmin", t.FireEdge, user, err)
	}
	return nil
}

// loginFireEdge does what the login page does. In 7.0 the answer has the token of the session, later on a cookie has it.
func (t Target) loginFireEdge(ctx context.Context, user, password string) error {
	body, err := json.Marshal(map[string]any{"user": user, "token": password, "remember": false})
	if err != nil {
		return err
	}
	const method = http.MethodPost
	at := t.FireEdge + "/fireedge/api/auth"
	answer, err := t.exchange(ctx, method, at, body, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
	if err != nil {
		return err
	}
	if answer.status != http.StatusOK {
		return &statusError{method, at, answer.status, clip(string(answer.body))}
	}
	var session struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(answer.body, &session); err != nil {
		return fmt.Errorf("the answer of %d bytes is not JSON: %w", len(answer.body), err)
	}
	if hasToken(session.Data) {
		return nil
	}
	for _, cookie := range answer.cookies {
		if value, err := url.QueryUnescape(cookie.Value); err == nil && cookie.Name == sessionCookie && hasToken([]byte(value)) {
			return nil
		}
	}
	return fmt.Errorf("neither the answer nor a cookie %s has the token of a session", sessionCookie)
}

// hasToken tells whether JSON is an object with a token.
func hasToken(text []byte) bool {
	var session struct {
		Token string `json:"token"`
	}
	return json.Unmarshal(text, &session) == nil && session.Token != ""
}
