// Package registry reads from and publishes to one repository of an OCI registry: what a tag stands for, pushing an image once by
// digest, moving tags. A tag is only ever put on what has been seen to be in the registry whole.
package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// What callers tell apart with errors.Is.
var (
	// ErrNotFound means that the registry has no such tag, digest or repository.
	ErrNotFound = errors.New("not in the registry")
	// ErrTagTaken means that a tag to be pushed stands for something else already.
	ErrTagTaken = errors.New("the tag is taken")
	// ErrTagMoved means that a tag no longer stands for what the plan found there.
	ErrTagMoved = errors.New("the tag was moved by someone else")
)

// jobs bounds how many requests or uploads are under way at once: more makes public registries answer 429.
const jobs = 4

// Repository is one repository in one registry. It is safe for concurrent use.
type Repository struct {
	given   string
	repo    name.Repository
	options []remote.Option
	puller  *remote.Puller
}

type settings struct {
	keychain  authn.Keychain
	transport http.RoundTripper
	backoff   remote.Backoff
}

// Option changes how a Repository talks to its registry.
type Option func(*settings)

// WithKeychain says where credentials come from; the default is Docker's keychain (see also Keychain).
func WithKeychain(k authn.Keychain) Option { return func(s *settings) { s.keychain = k } }

// WithTransport sets what carries the HTTP requests; the default is an http.Transport that gives up on a silent registry.
func WithTransport(t http.RoundTripper) Option { return func(s *settings) { s.transport = t } }

// WithBackoff sets how often a failed request is tried (Steps, the first one included) and how long to wait in between.
func WithBackoff(b remote.Backoff) Option { return func(s *settings) { s.backoff = b } }

// Open returns the repository of that name, such as docker.io/acme/opennebula. The registry has to be named. Capitals are lowered: registries
// have none, but the owners that repositories are named after may. Nothing is sent yet.
func Open(repository string, opts ...Option) (*Repository, error) {
	repository = strings.ToLower(repository)
	repo, err := parseRepository(repository)
	if err != nil {
		return nil, err
	}
	return open(repository, repo, opts)
}

func parseRepository(repository string) (name.Repository, error) {
	repo, err := name.NewRepository(strings.ToLower(repository), name.StrictValidation)
	if err == nil && strings.Contains(repository, "//") {
		// Taken for a host called https: and found missing only much later.
		err = errors.New("it is an address, not a name")
	}
	if err == nil && repo.RegistryStr() == name.DefaultRegistry && strings.Count(repo.RepositoryStr(), "/") > 1 {
		return name.Repository{}, fmt.Errorf("repository %q: Docker Hub has an owner and a name, and nothing below them: name it docker.io/<owner>/<name>",
			repository)
	}
	if err != nil {
		return name.Repository{}, fmt.Errorf("repository %q: %w; name it whole, such as docker.io/acme/opennebula", repository, err)
	}
	return repo, nil
}

func open(given string, repo name.Repository, opts []Option) (*Repository, error) {
	s := settings{
		keychain: authn.DefaultKeychain,
		// Waits of 1, 2, 4 and 8 seconds: long enough for a registry's front end to be replaced.
		backoff: remote.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 5},
	}
	for _, opt := range opts {
		opt(&s)
	}
	if s.transport == nil {
		s.transport = defaultTransport()
	}
	options := []remote.Option{
		remote.WithAuthFromKeychain(s.keychain),
		remote.WithTransport(newHoldOff(s.transport)),
		remote.WithRetryBackoff(s.backoff),
		remote.WithRetryPredicate(retryable),
		remote.WithRetryStatusCodes(retryStatus()...),
		remote.WithJobs(jobs),
		remote.WithUserAgent("opennebula-kube"),
	}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", given, err)
	}
	return &Repository{given: given, repo: repo, options: options, puller: puller}, nil
}

// Name returns the name that the repository was opened with.
func (r *Repository) Name() string { return r.given }

// Same tells whether another name stands for this repository.
func (r *Repository) Same(other *Repository) bool { return r.repo.Name() == other.repo.Name() }

// reference reads a tag or a digest of this repository.
func (r *Repository) reference(tagOrDigest string) (name.Reference, error) {
	if strings.Contains(tagOrDigest, ":") {
		ref, err := name.NewDigest(r.repo.Name() + "@" + tagOrDigest)
		if err != nil {
			return nil, fmt.Errorf("%q is no digest: %w", tagOrDigest, err)
		}
		return ref, nil
	}
	return r.tag(tagOrDigest)
}

func (r *Repository) tag(tag string) (name.Tag, error) {
	ref, err := name.NewTag(r.repo.Name()+":"+tag, name.StrictValidation)
	if err != nil {
		return name.Tag{}, fmt.Errorf("%q is no tag: %w", tag, err)
	}
	return ref, nil
}
