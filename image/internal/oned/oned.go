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
	// Commit is the last record of the zone's log that it knows most servers to have, LastIndex the last that it has itself, and LastTerm the term
	// in which that was made.
	Commit, LastIndex, LastTerm int
}

// UnclearError is a status that cannot be read: the server runs, and nothing more is known of it.
type UnclearError struct{ Reason string }

func (e *UnclearError) Error() string { return e.Reason }

// Status asks the server.
func (c Client) Status(ctx context.Context) (Status, error) {
	text, err := c.Call(ctx, "one.zone.raftstatus")
	if err != nil {
		return Status{}, err
	}
	unclear := func(format string, args ...any) (Status, error) {
		return Status{}, &UnclearError{fmt.Sprintf("oned at %s tells its state in a form that is not known: ", c.URL) + fmt.Sprintf(format, args...)}
	}
	var raft struct {
		XMLName  xml.Name `xml:"RAFT"`
		Elements []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := xml.Unmarshal([]byte(text), &raft); err != nil {
		return unclear("%v", err)
	}
	values := make(map[string]string)
	for _, element := range raft.Elements {
		values[element.XMLName.Local] = element.Text
	}
	var status Status
	for name, number := range map[string]*int{
		"STATE": (*int)(&status.State), "TERM": &status.Term, "COMMIT": &status.Commit, "LOG_INDEX": &status.LastIndex, "LOG_TERM": &status.LastTerm,
	} {
		if *number, err = strconv.Atoi(values[name]); err != nil {
			return unclear("%s is %q, a number was expected", name, values[name])
		}
	}
	if status.State < Solo || status.State > Leader {
		return unclear("STATE is %d, which is not one of %d to %d", status.State, Solo, Leader)
	}
	return status, nil
}
