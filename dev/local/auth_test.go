package local

import (
	"testing"

	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session/auth/authprovider"
)

type keychain map[string]authn.AuthConfig

func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if config, ok := k[target.RegistryStr()]; ok {
		return authn.FromConfig(config), nil
	}
	return authn.Anonymous, nil
}

func TestCredentials(t *testing.T) {
	known := keychain{
		name.DefaultRegistry:   {Username: "hub", Password: "h"},
		"registry.example.com": {Username: "own", Password: "o"},
	}
	for host, want := range map[string]types.AuthConfig{
		authprovider.DockerHubRegistryHost: {Username: "hub", Password: "h"},
		"registry.example.com":             {Username: "own", Password: "o"},
		"elsewhere.example.com":            {},
	} {
		got, err := credentials(t.Context(), known, host)
		if err != nil {
			t.Fatal(err)
		}
		got.Auth = "" // username and password once more
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", host, diff)
		}
	}
}
