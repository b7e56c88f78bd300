package github_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"opennebula-kube/ci/github"
	"opennebula-kube/ci/httpfault"
)

const (
	token  = "ghp_thisIsTheToken"
	prefix = "/api/v3"
	repo   = prefix + "/repos/acme/opennebula"
	issues = repo + "/issues"
	sarifs = repo + "/code-scanning/sarifs"
	label  = "release-failure"
	marker = "<!-- opennebula-kube: release-failure -->"
)

type comment struct {
	Body    string    `json:"body"`
	Created time.Time `json:"created_at"`
}

type labelled struct {
	Name string `json:"name"`
}

type issue struct {
	Number   int        `json:"number"`
	Title    string     `json:"title"`
	Body     string     `json:"body"`
	State    string     `json:"state"`
	Reason   string     `json:"state_reason"`
	URL      string     `json:"html_url"`
	Labels   []labelled `json:"labels"`
	Updated  time.Time  `json:"updated_at"`
	Pull     *struct{}  `json:"pull_request,omitempty"`
	comments []comment
}

// fake behaves like GitHub for the calls of this package, at an address of a GitHub Enterprise Server, behind faults that are switched on
// as needed. Its network is in memory, so that waits happen in the synthetic time of testing/synctest.
type fake struct {
	*httpfault.Switch
	url    string
	client *http.Client

	mu      sync.Mutex
	issues  []*issue
	labels  []string
	uploads []map[string]string
	log     []string // method and path of every request
	opening func()   // runs before an issue is opened
	mute    bool     // drops labels of new issues, as for who may not set them
}

// run starts a fake and calls the test with it, and with a repository at it.
func run(t *testing.T, test func(*testing.T, *fake, *github.Repository)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := start(t)
		test(t, f, f.open(t, token))
	})
}

func start(t *testing.T) *fake {
	t.Helper()
	f := &fake{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+issues, f.list)
	mux.HandleFunc("POST "+issues, f.create)
	mux.HandleFunc("PATCH "+issues+"/{number}", f.update)
	mux.HandleFunc("GET "+issues+"/{number}/comments", f.comments)
	mux.HandleFunc("POST "+issues+"/{number}/comments", f.comment)
	mux.HandleFunc("POST "+repo+"/labels", f.label)
	mux.HandleFunc("POST "+sarifs, f.upload)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "Not Found") })
	f.Switch = httpfault.New(f.authorised(mux))

	line := pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	line.hangUp = sync.OnceFunc(func() { close(line.closed) })
	server := &httptest.Server{Listener: line, Config: &http.Server{Handler: f.journal(f.Switch), ErrorLog: log.New(io.Discard, "", 0)}}
	server.Start()
	f.url = "http://github.example.org" + prefix
	f.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: line.dial}}
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		server.Close()
	})
	return f
}

func (f *fake) open(t *testing.T, token string) *github.Repository {
	t.Helper()
	r, err := github.New(github.Options{Token: token, Repository: "acme/opennebula", API: f.url, Client: f.client})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pipes is a network of one host.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	hangUp func()
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { p.hangUp(); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fake) journal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.log = append(f.log, r.Method+" "+strings.TrimPrefix(r.URL.Path, repo))
		f.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (f *fake) authorised(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if given := r.Header.Get("Authorization"); given != "Bearer "+token {
			refuse(w, http.StatusUnauthorized, "Bad credentials: "+given)
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value)
}

func refuse(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]string{"message": message})
}

// refusal answers as GitHub refuses.
func refusal(code int, message string) httpfault.Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { refuse(w, code, message) }
}

// lost carries the request out and loses the answer.
func lost(code int) httpfault.Effect {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		if code == 0 {
			panic(http.ErrAbortHandler)
		}
		refuse(w, code, "Server Error")
	}
}

func read[T any](r *http.Request) (value T) {
	_ = json.NewDecoder(r.Body).Decode(&value)
	return value
}

// page answers with the part of a list that was asked for, and says where the rest is.
func page[T any](w http.ResponseWriter, r *http.Request, all []T) {
	size, number := 30, 1
	if n, err := strconv.Atoi(r.URL.Query().Get("per_page")); err == nil {
		size = min(n, 100)
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("page")); err == nil {
		number = n
	}
	from, to := min((number-1)*size, len(all)), min(number*size, len(all))
	if to < len(all) {
		query := r.URL.Query()
		query.Set("page", strconv.Itoa(number+1))
		next := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: query.Encode()}
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, next.String()))
	}
	answer(w, http.StatusOK, append([]T{}, all[from:to]...))
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var matching []*issue
	for _, i := range f.issues {
		if (query.Get("state") == "all" || i.State == query.Get("state")) && i.labelled(query.Get("labels")) {
			matching = append(matching, i)
		}
	}
	page(w, r, matching)
}

func (i *issue) labelled(name string) bool {
	return name == "" || slices.Contains(i.Labels, labelled{name})
}

// add opens an issue behind the pipeline's back.
func (f *fake) add(title, body string, labels ...string) *issue {
	i := &issue{Number: len(f.issues) + 1, Title: title, Body: body, State: "open", Updated: second()}
	i.URL = fmt.Sprintf("https://github.example.org/acme/opennebula/issues/%d", i.Number)
	for _, name := range labels {
		i.Labels = append(i.Labels, labelled{name})
	}
	f.issues = append(f.issues, i)
	return i
}

// second is the time as GitHub gives it.
func second() time.Time { return time.Now().UTC().Truncate(time.Second) }

func (f *fake) create(w http.ResponseWriter, r *http.Request) {
	request := read[struct {
		Title, Body string
		Labels      []string
	}](r)
	if utf8.RuneCountInString(request.Body) > 65536 || utf8.RuneCountInString(request.Title) > 256 {
		refuse(w, http.StatusUnprocessableEntity, "body is too long (maximum is 65536 characters)")
		return
	}
	if f.opening != nil {
		f.opening()
	}
	if f.mute {
		request.Labels = nil
	}
	answer(w, http.StatusCreated, f.add(request.Title, request.Body, request.Labels...))
}

func (f *fake) find(r *http.Request) *issue {
	number, _ := strconv.Atoi(r.PathValue("number"))
	return f.issues[number-1]
}

func (f *fake) update(w http.ResponseWriter, r *http.Request) {
	i := f.find(r)
	request := read[struct {
		Title, Body, State *string
		Reason             *string `json:"state_reason"`
	}](r)
	for _, change := range []struct{ to, from *string }{
		{&i.Title, request.Title}, {&i.Body, request.Body}, {&i.State, request.State}, {&i.Reason, request.Reason},
	} {
		if change.from != nil {
			*change.to = *change.from
		}
	}
	i.Updated = second()
	answer(w, http.StatusOK, i)
}

func (f *fake) comments(w http.ResponseWriter, r *http.Request) {
	since, _ := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
	var matching []comment
	for _, c := range f.find(r).comments {
		if !c.Created.Before(since) {
			matching = append(matching, c)
		}
	}
	page(w, r, matching)
}

func (f *fake) comment(w http.ResponseWriter, r *http.Request) {
	i := f.find(r)
	c := comment{Body: read[comment](r).Body, Created: second()}
	if c.Body == "" || utf8.RuneCountInString(c.Body) > 65536 {
		refuse(w, http.StatusUnprocessableEntity, "Validation Failed")
		return
	}
	i.comments, i.Updated = append(i.comments, c), c.Created
	answer(w, http.StatusCreated, c)
}

func (f *fake) label(w http.ResponseWriter, r *http.Request) {
	name := read[labelled](r).Name
	if slices.Contains(f.labels, name) {
		answer(w, http.StatusUnprocessableEntity, map[string]any{
			"message": "Validation Failed",
			"errors":  []map[string]string{{"resource": "Label", "code": "already_exists", "field": "name"}},
		})
		return
	}
	f.labels = append(f.labels, name)
	answer(w, http.StatusCreated, labelled{name})
}

func (f *fake) upload(w http.ResponseWriter, r *http.Request) {
	f.uploads = append(f.uploads, read[map[string]string](r))
	answer(w, http.StatusAccepted, map[string]string{"id": "47177e22-5596-11eb-80a1-c1e54ef945c6"})
}

// openIssues returns the numbers of the open issues and pull requests.
func (f *fake) openIssues() (numbers []int) {
	for _, i := range f.issues {
		if i.State == "open" {
			numbers = append(numbers, i.Number)
		}
	}
	return numbers
}

func (f *fake) count(request string) (n int) {
	for _, entry := range f.log {
		if entry == request {
			n++
		}
	}
	return n
}

// reset answers nothing to the first requests of a method, as a connection that is cut does on this side of it.
type reset struct {
	next   http.RoundTripper
	method string
	left   int
}

func (c *reset) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != c.method || c.left == 0 {
		return c.next.RoundTrip(r)
	}
	c.left--
	if r.Body != nil {
		_, _ = io.Copy(&bytes.Buffer{}, r.Body)
	}
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

// mustFail checks that there is an error, that it says all of the words, and that it does not say the token.
func mustFail(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), token) {
		t.Errorf("error %q says the token", err)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
