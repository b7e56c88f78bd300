package registry

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/google/go-containerregistry/pkg/authn"
)

var (
	// gitHubToken is the form of what GitHub logs in with, a workflow's own token among them.
	gitHubToken = regexp.MustCompile(`^(gh[a-z]_|github_pat_)`)
	// gitHubRegistry are GitHub's own, and those that a GitHub Enterprise has below its name.
	gitHubRegistry = regexp.MustCompile(`^(ghcr\.io|containers\..+)$`)
)

// Keychain returns a keychain that gives username and password to the registry of the repository, and to every other registry
// what Docker's keychain has for it. Without a username it is Docker's keychain alone. A token of GitHub's is given to no other's registry.
func Keychain(repository, username, password string) (authn.Keychain, error) {
	if username == "" {
		if password != "" {
			return nil, errors.New("registry credentials: there is a password but no user name")
		}
		return authn.DefaultKeychain, nil
	}
	if password == "" {
		return nil, errors.New("registry credentials: there is a user name but no password")
	}
	repo, err := parseRepository(repository)
	if err != nil {
		return nil, err
	}
	if host := repo.RegistryStr(); gitHubToken.MatchString(password) && !gitHubRegistry.MatchString(host) {
		return nil, fmt.Errorf("the password for %s is a token of GitHub's, which is for ghcr.io only: give the login of %s", host, host)
	}
	given := given{registry: repo.RegistryStr(), auth: &authn.Basic{Username: username, Password: password}}
	return authn.NewMultiKeychain(given, authn.DefaultKeychain), nil
}

// given holds credentials for a single registry: a password must not reach any other, such as that of the base image.
type given struct {
	registry string
	auth     authn.Authenticator
}

func (g given) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if target.RegistryStr() == g.registry {
		return g.auth, nil
	}
	return authn.Anonymous, nil
}
