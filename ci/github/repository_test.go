package github_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"opennebula-kube/ci/github"
	"opennebula-kube/ci/httpfault"
)

func TestNewWantsValidOptions(t *testing.T) {
	for name, c := range map[string]struct {
		options github.Options
		words   string
	}{
		"no repository":      {github.Options{Token: token}, `"" is no GitHub repository: want owner/name`},
		"no owner":           {github.Options{Token: token, Repository: "opennebula"}, `"opennebula"`},
		"no name":            {github.Options{Token: token, Repository: "acme/"}, `"acme/"`},
		"three parts":        {github.Options{Token: token, Repository: "github.com/acme/opennebula"}, "want owner/name"},
		"address":            {github.Options{Token: token, Repository: "https://github.com/acme/opennebula"}, "want owner/name"},
		"parent":             {github.Options{Token: token, Repository: "acme/.."}, "want owner/name"},
		"query":              {github.Options{Token: token, Repository: "acme/opennebula?x=1"}, "want owner/name"},
		"no token":           {github.Options{Repository: "acme/opennebula"}, "token for GitHub repository acme/opennebula is empty"},
		"token with newline": {github.Options{Token: token + "\n", Repository: "acme/opennebula"}, "a line break"},
		"API without scheme": {github.Options{Token: token, Repository: "acme/opennebula", API: "github.example.org"}, "does not begin with https://"},
		"API with a user":    {github.Options{Token: token, Repository: "acme/opennebula", API: "https://" + token + "@github.example.org"}, "more than a host"},
		"API with a query":   {github.Options{Token: token, Repository: "acme/opennebula", API: "https://github.example.org?x=1"}, "more than a host"},
		"API unreadable":     {github.Options{Token: token, Repository: "acme/opennebula", API: "https://" + token + "%zz"}, "https://github.example.org/api/v3"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := github.New(c.options)
			mustFail(t, err, c.words)
		})
	}
}

func TestARepositoryDoesNotShowItsToken(t *testing.T) {
	r, err := github.New(github.Options{Token: token, Repository: "acme/opennebula"})
	if err != nil {
		t.Fatal(err)
	}
	if r.String() != "acme/opennebula" {
		t.Errorf("it is called %s", r)
	}
	if text := fmt.Sprintf("%v %+v %#v %+v", r, r, r, *r); strings.Contains(text, token) {
		t.Errorf("%s", text)
	}
}

func TestAPIAddressMayEndWithASlash(t *testing.T) {
	run(t, func(t *testing.T, f *fake, _ *github.Repository) {
		f.url += "/"
		if url := must[string](t)(f.open(t, token).Failed(t.Context(), "Release fails", "why")); url == "" {
			t.Error("no address")
		}
	})
}

func TestRedirects(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		moved := f.Inject(httpfault.Fault{Method: http.MethodPost, Path: sarifs, Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.URL.RawQuery == "" {
				http.Redirect(w, r, sarifs+"?again=1", http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		}})
		if err := r.UploadSARIF(t.Context(), []byte(`{}`), commit, "refs/heads/main"); err != nil || moved() != 2 || len(f.uploads) != 1 {
			t.Errorf("on the same host: error %v, asked %d times, %d uploads", err, moved(), len(f.uploads))
		}
		for name, effect := range map[string]httpfault.Effect{
			"another server":     httpfault.Redirect("http://elsewhere.example.org/"),
			"POST into GET":      httpfault.Redirect(sarifs),
			"GitHub answered 30": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { refuse(w, 304, "") },
		} {
			f.Clear()
			hits := f.Inject(httpfault.Fault{Effect: effect})
			err := r.UploadSARIF(t.Context(), []byte(`{}`), commit, "refs/heads/main")
			mustFail(t, err, name, "acme/opennebula")
			if hits() != 1 {
				t.Errorf("%s: asked %d times, want once", name, hits())
			}
		}
	})
}
