// Package health asks the services of a running container whether they work. The calls are made natively: OpenNebula's own tools start
// Ruby, which takes a third of a second of processor time each time.
package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/supervisord"
	"opennebula-kube/image/internal/xmlrpc"
)

// peerLimit is how long another front-end may take to answer.
const peerLimit = 1500 * time.Millisecond

// Probe is what is asked.
type Probe string

// The probes, as Kubernetes has them.
const (
	// Live asks whether supervisord runs and oned answers at all.
	Live Probe = "live"
	// Started asks whether oned has come so far as to know oneadmin.
	Started Probe = "startup"
	// Ready asks whether the services run, and all that users and guests call answers.
	Ready Probe = "ready"
)

// Probes are all probes.
func Probes() []Probe { return []Probe{Live, Started, Ready} }

// Check carries out a probe. All that does not answer is in the error.
func Check(ctx context.Context, h *host.Host, probe Probe) error {
	c := &checker{host: h, client: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true},
		// A redirect is an answer. The page that FireEdge redirects to takes it some time to render.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	checks, err := c.checks(ctx, probe)
	if err != nil {
		return err
	}
	// At the same time, for a probe has a time limit.
	errs := make(chan error)
	for _, check := range checks {
		go func() { errs <- check(ctx) }()
	}
	var all []error
	for range checks {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// checks are those of a probe that are about services of this container.
func (c *checker) checks(ctx context.Context, probe Probe) ([]func(context.Context) error, error) {
	chosen, err := supervisord.Chosen(c.host)
	if err != nil {
		return nil, err
	}
	type check struct {
		service string
		run     func(context.Context) error
	}
	all := map[Probe][]check{
		Live: {{"", c.supervisord}, {supervisord.Oned, c.oned}},
		// Of every container: all services wait for oned.
		Started: {{"", c.oneadmin}},
		// Beside containers with the others all else answers before this one has come so far.
		Ready: {{"", c.supervisord}, {"", c.oneadmin}, {"fireedge", c.fireedge}, {"oneflow", c.oneflow}, {"onegate", c.onegate}},
	}[probe]
	if all == nil {
		return nil, fmt.Errorf("there is no probe %q: give one of %v", probe, Probes())
	}
	var among *place
	if probe == Ready {
		if among, err = c.place(ctx); err != nil {
			return nil, err
		}
	}
	follows := among != nil && among.follows
	if among != nil {
		all = append(all, check{supervisord.Oned, func(ctx context.Context) error { return c.hasLog(ctx, *among) }})
	}
	var checks []func(context.Context) error
	for _, check := range all {
		if follows && slices.Contains(supervisord.LeaderOnly(), check.service) {
			continue
		}
		// Nothing is chosen before start-up has come so far.
		if check.service == "" || len(chosen) == 0 || slices.Contains(chosen, check.service) {
			checks = append(checks, check.run)
		}
	}
	return checks, nil
}

// place is what a front-end is among others.
type place struct {
	// own is its oned, leader what that of the leader says, which may be the same.
	own    oned.Client
	leader oned.Status
	// follows tells that it is not the leader.
	follows bool
}

// place returns nil for a front-end that is alone. Of several front-ends one has to lead, or none can serve.
func (c *checker) place(ctx context.Context) (*place, error) {
	zone, err := frontends.Read(c.host)
	if err != nil || len(zone.Endpoints) == 0 {
		return nil, err
	}
	session, err := oned.Session(c.host)
	if err != nil {
		return nil, err
	}
	url, err := OnedURL(c.host)
	if err != nil {
		return nil, err
	}
	own := oned.Client{HTTP: c.client, URL: url, Session: session}
	if status, err := leads(ctx, own); err == nil {
		return &place{own: own, leader: status}, nil
	}
	// One that has lost its node does not even refuse.
	ctx, cancel := context.WithTimeout(ctx, peerLimit)
	defer cancel()
	type answer struct {
		status oned.Status
		err    error
	}
	answers := make(chan answer, len(zone.Endpoints))
	for _, url := range zone.Endpoints {
		go func() {
			status, err := leads(ctx, oned.Client{HTTP: c.client, URL: url, Session: session})
			answers <- answer{status, err}
		}()
	}
	var reasons []error
	for range zone.Endpoints {
		answer := <-answers
		if answer.err == nil {
			return &place{own: own, leader: answer.status, follows: true}, nil
		}
		reasons = append(reasons, answer.err)
	}
	return nil, fmt.Errorf("no front-end leads: %w", errors.Join(reasons...))
}

// leads returns the status of the leader, or why a server is not the leader.
func leads(ctx context.Context, server oned.Client) (oned.Status, error) {
	status, err := server.Status(ctx)
	if err != nil {
		return oned.Status{}, fmt.Errorf("%s: %w", server.URL, err)
	}
	if status.State != oned.Leader {
		return oned.Status{}, fmt.Errorf("%s does not lead", server.URL)
	}
	return status, nil
}

type checker struct {
	host   *host.Host
	client *http.Client
}

func (c *checker) supervisord(ctx context.Context) error {
	const running = "1"
	state, err := supervisord.Call(ctx, c.host, "supervisor.getState")
	if err != nil {
		return fmt.Errorf("supervisord does not answer: %w", err)
	}
	if code := state.Member("statecode").Text(); code != running {
		return fmt.Errorf("supervisord is in state %s", state.Member("statename").Text())
	}
	return nil
}

// oned asks for an answer of any kind. The web server in oned refuses a GET in one of the threads that answer calls, and writes nothing into
// a log; oned logs a refused call as an error. It may have no room for the request, though, while others wait for a database that does not
// answer: a restart would not help then.
func (c *checker) oned(ctx context.Context) error {
	asking := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		asking, cancel = context.WithDeadline(ctx, deadline.Add(-databaseLimit))
		defer cancel()
	}
	url, err := OnedURL(c.host)
	if err != nil {
		return err
	}
	err = c.get(asking, "oned", url)
	if errors.Is(err, context.DeadlineExceeded) && databaseIsSilent(ctx, c.host) {
		return nil
	}
	return err
}

// oneadmin asks all the way down to the database, as `oneuser show 0` does.
func (c *checker) oneadmin(ctx context.Context) error {
	session, err := oned.Session(c.host)
	if err != nil {
		return err
	}
	err = c.callOned(ctx, "one.user.info", session, xmlrpc.Number(0))
	if refused, ok := errors.AsType[*oned.RefusedError](err); ok {
		return fmt.Errorf("%w; either it does not reach its database, or the password in %s is not the one in the database: start the container again "+
			"to have it brought there", refused, oned.AuthFile)
	}
	return err
}

func (c *checker) callOned(ctx context.Context, method, session string, params ...xmlrpc.Value) error {
	url, err := OnedURL(c.host)
	if err != nil {
		return err
	}
	_, err = oned.Client{HTTP: c.client, URL: url, Session: session}.Call(ctx, method, params...)
	return err
}

// fireedge asks for a page that FireEdge redirects elsewhere: it logs only answers that are errors.
func (c *checker) fireedge(ctx context.Context) error {
	address, err := c.fireedgeAddress()
	if err != nil {
		return err
	}
	return c.get(ctx, "FireEdge", "http://"+address+"/fireedge/")
}

func (c *checker) oneflow(ctx context.Context) error {
	address, err := c.oneflowAddress()
	if err != nil {
		return err
	}
	return c.announce(ctx, "OneFlow", address)
}

func (c *checker) onegate(ctx context.Context) error {
	address, err := c.onegateAddress()
	if err != nil {
		return err
	}
	return c.announce(ctx, "OneGate", address)
}

// get asks a web server for a page. A refusal or a redirect is an answer; a status from 500 on is a failure.
func (c *checker) get(ctx context.Context, name, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", name, err)
	}
	defer func() { _ = response.Body.Close() }()
	return judge(name, url, response.StatusCode)
}

// announce asks a web server whether it would read a request of one byte, and goes away without sending it. The Ruby servers log each request
// that is whole, whatever they answer. They agree in a thread that would serve the request, and the kernel alone cannot: one whose threads
// are all stuck does not answer.
func (c *checker) announce(ctx context.Context, name, address string) error {
	status, err := announced(ctx, address)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", name, err)
	}
	return judge(name, "http://"+address+"/", status)
}

// headerLimit is how much of an answer is read that has to be short.
const headerLimit = 16 << 10

// announced returns the status of the answer.
func announced(ctx context.Context, address string) (int, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = connection.Close() }()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	_, err = fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", address)
	if err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(connection, headerLimit)), nil)
	if err != nil {
		return 0, errors.Join(context.Cause(ctx), err)
	}
	return response.StatusCode, response.Body.Close()
}

func judge(name, url string, status int) error {
	if status >= http.StatusInternalServerError {
		return fmt.Errorf("%s answers %s with %d %s", name, url, status, http.StatusText(status))
	}
	return nil
}
