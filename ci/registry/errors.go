package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// longestMessage bounds, in bytes, what is repeated of a registry's own words: some answer with whole web pages.
const longestMessage = 600

// brief is an error whose text is cut to a readable length.
type brief struct{ error }

func (b brief) Error() string {
	text := b.error.Error()
	if len(text) > longestMessage {
		text = strings.ToValidUTF8(text[:longestMessage], "") + "..."
	}
	return text
}

func (b brief) Unwrap() error { return b.error }

// fail says what was being done when a request failed and, when the registry refused it, how to give credentials.
func (r *Repository) fail(doing string, err error) error {
	if r.absent(err) {
		return fmt.Errorf("%s: %w: %w", doing, ErrNotFound, brief{err})
	}
	var status *transport.Error
	if !errors.As(err, &status) {
		return fmt.Errorf("%s: %w", doing, brief{err})
	}
	host := r.loginHost()
	how := fmt.Sprintf("`docker login %s`, or give --username and the password in a file or the environment", host)
	switch status.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: registry %s accepts no anonymous access or not these credentials (log in with %s): %w",
			doing, host, how, brief{err})
	case http.StatusForbidden:
		return fmt.Errorf("%s: registry %s does not allow it with these credentials (log in as someone who may with %s): %w",
			doing, host, how, brief{err})
	}
	return fmt.Errorf("%s: %w", doing, brief{err})
}

// loginHost is the registry as `docker login` wants it.
func (r *Repository) loginHost() string {
	if host := r.repo.RegistryStr(); host != name.DefaultRegistry {
		return host
	}
	return "docker.io"
}

// absent tells whether the registry said that what was asked for in this repository does not exist. A 404 to anything else, to an
// upload or from a web server that is no registry, does not count: it says nothing about tags.
func (r *Repository) absent(err error) bool {
	var status *transport.Error
	return errors.As(err, &status) && status.StatusCode == http.StatusNotFound && status.Request != nil &&
		(status.Request.Method == http.MethodGet || status.Request.Method == http.MethodHead) &&
		strings.HasPrefix(status.Request.URL.Path, "/v2/"+r.repo.RepositoryStr()+"/")
}
