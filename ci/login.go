package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/registry"
)

// login is how to log in at a registry; the zero value does without.
type login struct {
	username string
	password *dagger.Secret
}

// keychain gives the login to the registry of a repository and to no other.
func (l login) keychain(ctx context.Context, repository string) (authn.Keychain, error) {
	if (l.username == "") != (l.password == nil) {
		return nil, errors.New("--username and --password go together: give both or none")
	}
	if l.password == nil {
		return registry.Keychain(repository, "", "")
	}
	plaintext, err := l.password.Plaintext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the registry password: %w", err)
	}
	if plaintext = strings.TrimRight(plaintext, "\r\n"); plaintext == "" {
		return nil, errors.New("read the registry password: it is empty")
	}
	return registry.Keychain(repository, l.username, plaintext)
}
