package github

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	api "github.com/google/go-github/v92/github"
)

const (
	// defaultAPI is where the REST API of github.com is.
	defaultAPI = "https://api.github.com"

	// longestAnswer is how long one answer may take when the caller brings no HTTP client.
	longestAnswer = time.Minute
)

var (
	ownerPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	tokenPattern = regexp.MustCompile(`^[!-~]+$`)
)

// Options say which repository is told, where and as whom.
type Options struct {
	// Token is what GitHub knows the caller by. It goes to the API's host only, and into no error.
	Token string
	// Repository is the repository as owner/name.
	Repository string
	// API is the address of the REST API: https://api.github.com when it is empty; that of a GitHub Enterprise Server has a path, such as
	// https://github.example.org/api/v3.
	API string
	// Subject is what fails when an issue tells so, as one word: "release" when it is empty. Each subject has an issue of its own.
	Subject string
	// Client carries the requests, and its Timeout bounds each attempt; nil is one that waits a minute. Its CheckRedirect is not used.
	Client *http.Client
}

// Repository is a repository on GitHub. It is safe for concurrent use.
type Repository struct {
	owner, name string
	subject     string
	api         *api.Client
	hide        *strings.Replacer // takes the token out of a text
}

// New returns the repository that the options name. Nothing is sent yet.
func New(o Options) (*Repository, error) {
	owner, name, err := splitRepository(o.Repository)
	if err != nil {
		return nil, err
	}
	address, err := checkAPI(o.API)
	if err != nil {
		return nil, err
	}
	// The text of the error must not repeat the token, not even one that is none.
	if !tokenPattern.MatchString(o.Token) {
		return nil, fmt.Errorf("the token for GitHub repository %s is empty, or has a space, a line break or another character that no token has",
			o.Repository)
	}
	client := &http.Client{Timeout: longestAnswer}
	if o.Client != nil {
		*client = *o.Client
	}
	client.CheckRedirect = sameHost
	calls, err := api.NewClient(
		api.WithHTTPClient(client),
		api.WithAuthToken(o.Token),
		api.WithURLs(&address, nil),
		api.WithUserAgent("opennebula-kube"),
		// It would answer in GitHub's place once a limit is reached. How long to wait is decided in one place, see do.
		api.WithDisableRateLimitCheck(),
	)
	if err != nil {
		return nil, fmt.Errorf("GitHub repository %s: %w", o.Repository, err)
	}
	return &Repository{owner: owner, name: name, subject: cmp.Or(o.Subject, "release"), api: calls, hide: strings.NewReplacer(o.Token, "[token]")}, nil
}

// String is the repository as owner/name.
func (r *Repository) String() string { return r.owner + "/" + r.name }

func splitRepository(repository string) (owner, name string, err error) {
	owner, name, _ = strings.Cut(repository, "/")
	if !ownerPattern.MatchString(owner) || !namePattern.MatchString(name) || name == "." || name == ".." {
		return "", "", fmt.Errorf("%q is no GitHub repository: want owner/name, such as acme/opennebula", repository)
	}
	return owner, name, nil
}

func checkAPI(address string) (string, error) {
	if address == "" {
		return defaultAPI, nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		// The error of the parser repeats the address, which may hold a password.
		err = errors.New("it cannot be read as one")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		err = errors.New("it does not begin with https:// and a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		err = errors.New("it has more than a host and a path")
	default:
		return address, nil
	}
	return "", fmt.Errorf("address of GitHub's API: %w: want %s, or https://github.example.org/api/v3 for a GitHub Enterprise Server",
		err, defaultAPI)
}

// redirectError is the error of a redirect that is not followed.
type redirectError struct{ to, why string }

func (e *redirectError) Error() string { return fmt.Sprintf("it redirects to %s, %s", e.to, e.why) }

// sameHost lets a redirect pass that repeats the request on the same host, as GitHub answers for a renamed repository. The token goes
// with every request, so none may go elsewhere; and a POST that becomes a GET does nothing while it looks like a success.
func sameHost(request *http.Request, via []*http.Request) error {
	first := via[0]
	refuse := func(why string) error { return &redirectError{to: request.URL.Redacted(), why: why} }
	switch {
	case request.URL.Host != first.URL.Host || request.URL.Scheme != first.URL.Scheme:
		return refuse("which is another server")
	case request.Method != first.Method:
		return refuse("which would turn " + first.Method + " into " + request.Method)
	case len(via) > 3:
		return refuse("the last of more than 3 redirects")
	}
	return nil
}
