package github_test

import (
	"compress/gzip"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"opennebula-kube/ci/github"
	"opennebula-kube/ci/httpfault"
)

const commit = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

func TestUploadSARIF(t *testing.T) {
	for _, ref := range []string{"refs/heads/main", "refs/heads/feature/a-b", "refs/tags/v1.2.0", "refs/pull/12/merge"} {
		run(t, func(t *testing.T, f *fake, r *github.Repository) {
			const sarif = `{"version":"2.1.0"}`
			if err := r.UploadSARIF(t.Context(), []byte(sarif), commit, ref); err != nil {
				t.Fatal(err)
			}
			if len(f.uploads) != 1 || f.uploads[0]["commit_sha"] != commit || f.uploads[0]["ref"] != ref {
				t.Fatalf("uploaded %v", f.uploads)
			}
			unpacked := must[*gzip.Reader](t)(gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(f.uploads[0]["sarif"]))))
			if got := string(must[[]byte](t)(io.ReadAll(unpacked))); got != sarif {
				t.Errorf("uploaded %s", got)
			}
		})
	}
}

func TestUploadSARIFChecksWhatItIsGiven(t *testing.T) {
	for name, c := range map[string]struct{ sarif, commit, ref, words string }{
		"empty":           {``, commit, "refs/heads/main", "no JSON"},
		"short commit":    {`{}`, commit[:7], "refs/heads/main", `"4b825dc" is no commit`},
		"commit in caps":  {`{}`, strings.ToUpper(commit), "refs/heads/main", "no commit"},
		"branch alone":    {`{}`, commit, "main", `"main" is no ref`},
		"empty branch":    {`{}`, commit, "refs/heads/", "no ref"},
		"open end":        {`{}`, commit, "refs/heads/a/", "no ref"},
		"line break":      {`{}`, commit, "refs/heads/main\n", "no ref"},
		"range":           {`{}`, commit, "refs/heads/a..b", "no ref"},
		"head of a pull":  {`{}`, commit, "refs/pull/12/head", "refs/pull/<number>/merge"},
		"pull of no such": {`{}`, commit, "refs/pull/x/merge", "no ref"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				mustFail(t, r.UploadSARIF(t.Context(), []byte(c.sarif), c.commit, c.ref), c.words, "acme/opennebula")
				if len(f.log) > 0 {
					t.Errorf("sent %v", f.log)
				}
			})
		})
	}
}

func TestUploadSARIFRefused(t *testing.T) {
	for name, c := range map[string]struct {
		code    int
		message string
		words   []string
	}{
		"off":           {403, "Code Security must be enabled for this repository to use code scanning.", []string{"turn it on in the settings", "or upload nothing"}},
		"not there":     {404, "Not Found", []string{"check the name of the repository", "`security-events: write`", "turn it on in the settings"}},
		"no permission": {403, "Resource not accessible by integration", []string{"`security-events: write`"}},
		"not valid":     {422, "Validation Failed", []string{"correct what it names"}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				hits := f.Inject(httpfault.Fault{Path: sarifs, Effect: refusal(c.code, c.message)})
				err := r.UploadSARIF(t.Context(), []byte(`{}`), commit, "refs/heads/main")
				mustFail(t, err, append(c.words, "upload SARIF", "acme/opennebula", http.StatusText(c.code), c.message)...)
				if hits() != 1 {
					t.Errorf("asked %d times, want once", hits())
				}
			})
		})
	}
}
