// Package oned calls oned's interface.
package oned

import (
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/xmlrpc"
)

// Endpoint is where oned of a machine is called, at the port that it has unless it is told another.
func Endpoint(name string) string { return "http://" + net.JoinHostPort(name, "2633") + "/RPC2" }

// Client makes calls as one user.
type Client struct {
	HTTP *http.Client
	// URL is that of the interface, such as http://localhost:2633/RPC2.
	URL string
	// Session is <user>:<password>.
	Session string
}

// AuthFile has what oneadmin logs in with on this machine.
const AuthFile = "/var/lib/one/.one/one_auth"

// Session reads it.
func Session(h *host.Host) (string, error) {
	content, err := h.ReadFile(AuthFile)
	if err != nil {
		return "", err
	}
	session := strings.TrimSpace(string(content))
	if session == "" {
		return "", fmt.Errorf("%s has no credentials in it: start-up has not come so far", AuthFile)
	}
	return session, nil
}

// RefusedError is an answer of oned that tells of a failure.
type RefusedError struct{ Method, Reason string }

func (e *RefusedError) Error() string { return fmt.Sprintf("oned refuses %s: %s", e.Method, e.Reason) }

// Call calls a method and returns the text of its answer. A *RefusedError is an answer too.
func (c Client) Call(ctx context.Context, method string, params ...xmlrpc.Value) (string, error) {
	answer, err := xmlrpc.Call(ctx, c.HTTP, c.URL, method, append([]xmlrpc.Value{xmlrpc.Text(c.Session)}, params...)...)
	if err != nil {
		return "", fmt.Errorf("oned does not answer: %w", err)
	}
	values := answer.Values()
	if len(values) < 2 {
		return "", fmt.Errorf("oned at %s answers %s with %d values, not with its status and a text", c.URL, method, len(values))
	}
	const success = "1"
	if values[0].Text() != success {
		return "", &RefusedError{method, values[1].Text()}
	}
	return values[1].Text(), nil
}

// State is what a server of a zone is.
type State int

// The states that oned tells.
const (
	Solo State = iota
	Candidate
	Follower
	Leader
)

// Status is what a server of a zone says of itself.
type Status struct {
	State State
	// Term is that of the last election that it knows of.
	Term int
}

// Status asks the server.
func (c Client) Status(ctx context.Context) (Status, error) {
	text, err := c.Call(ctx, "one.zone.raftstatus")
	if err != nil {
		return Status{}, err
	}
	var status struct {
		State string `xml:"STATE"`
		Term  int    `xml:"TERM"`
	}
	if err := xml.Unmarshal([]byte(text), &status); err != nil {
		return Status{}, fmt.Errorf("read what oned at %s says of its state: %w", c.URL, err)
	}
	state, err := strconv.Atoi(strings.TrimSpace(status.State))
	if err != nil || state < int(Solo) || state > int(Leader) {
		return Status{}, fmt.Errorf("oned at %s says that its state is %q, which is none", c.URL, status.State)
	}
	return Status{State(state), status.Term}, nil
}
