package local

import (
	"context"

	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
)

// baseImageAuth lets BuildKit pull base images with the credentials of a keychain. It asks for them over the build's session when
// a registry wants some, so that they are in no file, argument or layer.
func baseImageAuth(keychain authn.Keychain) session.Attachable {
	return authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: func(ctx context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
			return credentials(ctx, keychain, host)
		},
	})
}

func credentials(ctx context.Context, keychain authn.Keychain, host string) (types.AuthConfig, error) {
	if host == authprovider.DockerHubRegistryHost {
		host = name.DefaultRegistry
	}
	registry, err := name.NewRegistry(host)
	if err != nil {
		return types.AuthConfig{}, err
	}
	authenticator, err := authn.Resolve(ctx, keychain, registry)
	if err != nil {
		return types.AuthConfig{}, err
	}
	config, err := authn.Authorization(ctx, authenticator)
	if err != nil {
		return types.AuthConfig{}, err
	}
	return types.AuthConfig{
		Username:      config.Username,
		Password:      config.Password,
		Auth:          config.Auth,
		IdentityToken: config.IdentityToken,
		RegistryToken: config.RegistryToken,
	}, nil
}
