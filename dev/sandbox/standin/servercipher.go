package standin

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sessionFor is how long a session of a service lasts that it makes for a user.
const sessionFor = 30 * time.Minute

// actFor is the session by which a service acts for a user, or as serveradmin itself: the users' names, and a token that only who knows
// serveradmin's secret can make.
func (h Host) actFor(auth, user string) (string, error) {
	server, secret, err := readAuth(h.path(filepath.Join(authDir, auth)))
	if err != nil {
		return "", err
	}
	if user == "" {
		user = server
	}
	key := hash(secret)
	token, err := encryptCBC(fmt.Sprintf("%s:%s:%d", server, user, h.Now().Add(sessionFor).Unix()), key, []byte(key[:16]))
	return server + ":" + user + ":" + token, err
}

// authenticateServer finds the user for whom a service acts. The server is the service's own user, whose password is hashed already.
func (d *daemon) authenticateServer(db *database, server *user, session string) *user {
	name, token, ok := strings.Cut(session, ":")
	target := db.userNamed(name)
	if !ok || target == nil {
		d.log.logf(levelError, "AuM", "User: %s does not exist. Returned by server auth", name)
		return nil
	}
	// The group to act in may stand in between.
	if _, after, found := strings.Cut(token, ":"); found {
		token = after
	}
	plain, err := decryptCBC(token, server.Password, []byte(server.Password)[:min(16, len(server.Password))])
	fields := strings.Split(plain, ":")
	expires, _ := strconv.ParseInt(fields[len(fields)-1], 10, 64)
	switch {
	case err != nil:
		d.log.logf(levelError, "AuM", "Auth Error: %v", err)
	case fields[0] != server.Name:
		d.log.logf(levelError, "AuM", "Auth Error: User name missmatch")
	case d.host.Now().Unix() >= expires:
		d.log.logf(levelError, "AuM", "Auth Error: login token expired")
	default:
		return target
	}
	return nil
}

// client makes calls to oned with a session.
type client struct{ endpoint, session string }

// call makes a call that answers with a text or a number.
func (c client) call(ctx context.Context, method string, params ...value) (string, error) {
	return call(ctx, c.endpoint, method, append([]value{stringValue(c.session)}, params...)...)
}

// document makes a call that answers with a document.
func (c client) document(ctx context.Context, method string, params ...value) (*node, error) {
	answer, err := c.call(ctx, method, params...)
	if err != nil {
		return nil, err
	}
	return parseDocument(answer)
}
