package registry_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/registry"
)

const (
	user     = "maintainer"
	password = "correct-horse"
)

// dockerLogin leaves credentials where `docker login` does.
func dockerLogin(t *testing.T, host, user, password string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", filepath.Join(home, ".docker"))
	config := `{}`
	if user != "" {
		config = fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	}
	if err := os.MkdirAll(filepath.Join(home, ".docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".docker", "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// closed lets in only who knows the password.
func closed() httpfault.Fault {
	return httpfault.Fault{
		Match: func(r *http.Request) bool {
			u, p, _ := r.BasicAuth()
			return u != user || p != password
		},
		Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		},
	}
}

func TestCredentials(t *testing.T) {
	type login struct{ user, password string }
	for name, test := range map[string]struct {
		docker, given login
		works         bool
	}{
		"given":                        {login{}, login{user, password}, true},
		"docker's":                     {login{user, password}, login{}, true},
		"given goes before docker's":   {login{user, "outdated-horse"}, login{user, password}, true},
		"wrong ones given":             {login{user, password}, login{user, "wrong-horse"}, false},
		"wrong ones from docker login": {login{user, "wrong-horse"}, login{}, false},
		"none":                         {login{}, login{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.Inject(closed())
			dockerLogin(t, s.host, test.docker.user, test.docker.password)
			keychain, err := registry.Keychain(s.host+"/acme/opennebula", test.given.user, test.given.password)
			if err != nil {
				t.Fatal(err)
			}
			r := s.open(t, registry.WithKeychain(keychain))
			_, err = r.Push(t.Context(), randomImage(t), "7.0.1-1")
			if test.works {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			mustFail(t, err, nil, "registry "+s.host, "`docker login "+s.host+"`", "--username")
			wantSecret(t, err)
			_, err = r.Tags(t.Context())
			mustFail(t, err, nil, "registry "+s.host, "`docker login "+s.host+"`")
			wantSecret(t, err)
			wantSecret(t, r.Promote(t.Context(), nowhere, []registry.Move{{Tag: "latest"}}))
			s.Clear()
			if tag := at(t, r, "7.0.1-1"); tag != "" {
				t.Errorf("the tag stands for %s", tag)
			}
		})
	}
}

// wantSecret checks that no form of an error tells a password.
func wantSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
	}
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%q", err)} {
		for _, secret := range []string{"-horse", base64.StdEncoding.EncodeToString([]byte(user + ":"))[:12]} {
			if strings.Contains(text, secret) {
				t.Errorf("the error tells the password: %s", text)
			}
		}
	}
}

func TestForbiddenNamesTheWayOut(t *testing.T) {
	s := start(t)
	s.Inject(httpfault.Fault{Method: http.MethodPost, Effect: httpfault.Status(http.StatusForbidden)})
	_, err := s.open(t).Push(t.Context(), randomImage(t), "7.0.1-1")
	mustFail(t, err, nil, "does not allow", "`docker login "+s.host+"`")
}

func TestGivenCredentialsGoToOneRegistryOnly(t *testing.T) {
	dockerLogin(t, "", "", "")
	keychain, err := registry.Keychain("docker.io/acme/opennebula", user, password)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"docker.io/acme/opennebula": password,
		"docker.io/library/ubuntu":  password, // the same registry under the same account
		"ghcr.io/acme/opennebula":   "",
		"docker.io.evil.example/x":  "",
	} {
		repo, err := name.NewRepository(target)
		if err != nil {
			t.Fatal(err)
		}
		auth, err := authn.Resolve(t.Context(), keychain, repo)
		if err != nil {
			t.Fatal(err)
		}
		config, err := authn.Authorization(t.Context(), auth)
		if err != nil {
			t.Fatal(err)
		}
		if config.Password != want {
			t.Errorf("%s is given the password %q, want %q", target, config.Password, want)
		}
	}
}

func TestHalfCredentialsAreAnError(t *testing.T) {
	for _, c := range []struct{ repository, user, password string }{
		{"docker.io/acme/opennebula", user, ""},
		{"docker.io/acme/opennebula", "", password},
		{"", user, password},
		{"acme/opennebula", user, password},
	} {
		_, err := registry.Keychain(c.repository, c.user, c.password)
		mustFail(t, err, nil)
		if strings.Contains(err.Error(), password) {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// A workflow's token that stands in for a login that was forgotten is not sent to another registry.
func TestGitHubTokensStayAtGitHub(t *testing.T) {
	for _, token := range []string{"ghs_16C7e42F292c6912E7", "ghp_16C7e42F292c6912E7", "github_pat_11AAAAAAA"} {
		for repository, good := range map[string]bool{
			"ghcr.io/acme/opennebula": true, "GHCR.io/Acme/opennebula": true, "containers.github.acme.example/acme/opennebula": true,
			"docker.io/acme/opennebula": false, "ghcr.io.evil.example/acme/opennebula": false, "harbor.acme.example/one/opennebula": false,
		} {
			_, err := registry.Keychain(repository, user, token)
			if good != (err == nil) || err != nil && (strings.Contains(err.Error(), token) || !strings.Contains(err.Error(), "for ghcr.io only")) {
				t.Errorf("%s for %s: %v", token, repository, err)
			}
		}
	}
	if _, err := registry.Keychain("docker.io/acme/opennebula", user, "dckr_pat_16C7e42F292c6912E7"); err != nil {
		t.Error(err)
	}
}
