package helmrepo_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/httpfault"
)

const pagesToken = "the-token"

// gitRun runs git in a repository and returns what it printed.
func gitRun(t testing.TB, dir, stdin string, args ...string) string {
	t.Helper()
	output, err := gitTry(dir, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func gitTry(dir, stdin string, args ...string) (string, error) {
	c := exec.Command("git", append([]string{"--git-dir", dir}, args...)...)
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
	}
	c.Stdin = strings.NewReader(stdin)
	output, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %v: %w\n%s", args, err, output)
	}
	return strings.TrimSpace(string(output)), nil
}

// bare makes a bare repository that lets clients choose what they fetch, as public servers do.
func bare(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "charts.git")
	gitRun(t, dir, "", "init", "--quiet", "--bare")
	for _, setting := range []string{"uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant", "http.receivepack"} {
		gitRun(t, dir, "", "config", setting, "true")
	}
	return dir
}

// commit puts entries of a tree, as git ls-tree prints them, on top of a branch.
func commit(t testing.TB, dir, branch string, entries ...string) string {
	t.Helper()
	tree := gitRun(t, dir, strings.Join(entries, "\n")+"\n", "mktree")
	args := []string{"commit-tree", tree, "-m", "by hand"}
	if parent := tip(t, dir, branch); parent != "" {
		args = append(args, "-p", parent)
	}
	made := gitRun(t, dir, "", args...)
	gitRun(t, dir, "", "update-ref", "refs/heads/"+branch, made)
	return made
}

func blob(t testing.TB, dir, content string) string {
	t.Helper()
	return gitRun(t, dir, content, "hash-object", "-w", "--stdin")
}

func tip(t testing.TB, dir, branch string) string {
	t.Helper()
	return gitRun(t, dir, "", "for-each-ref", "--format=%(objectname)", "refs/heads/"+branch)
}

// served is all files of a branch.
func served(t testing.TB, dir, branch string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for name := range strings.FieldsSeq(gitRun(t, dir, "", "ls-tree", "-r", "--name-only", branch)) {
		c := exec.Command("git", "--git-dir", dir, "cat-file", "blob", branch+":"+name)
		content, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	return files
}

func commits(t testing.TB, dir, branch string) []string {
	t.Helper()
	return strings.Split(gitRun(t, dir, "", "log", "--format=%H", branch), "\n")
}

// pages opens a branch that is tried often, without waiting long.
func pages(t testing.TB, address, token string) *helmrepo.Pages {
	t.Helper()
	p, err := helmrepo.OpenPages(address, helmrepo.PagesOptions{
		Token: token, Backoff: remote.Backoff{Duration: time.Millisecond, Factor: 2, Jitter: 1, Steps: 8},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func publishPages(t testing.TB, p *helmrepo.Pages, a helmrepo.Archive) helmrepo.Result {
	t.Helper()
	result, err := p.Publish(t.Context(), a, baseURL, now)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// A branch that does not exist is made; each version is a commit on top of it, and what is there already makes none.
func TestPages(t *testing.T) {
	dir := bare(t)
	p := pages(t, dir, "")
	first, second := archive(t, "opennebula", "0.1.0"), archiveFor(t, "opennebula", "0.2.0", "7.0.2")

	want := helmrepo.Result{Location: dir + "#gh-pages/opennebula-0.1.0.tgz", Digest: "sha256:" + first.Digest, Published: true}
	if diff := cmp.Diff(want, publishPages(t, p, first)); diff != "" {
		t.Error(diff)
	}
	directory := t.TempDir()
	publish(t, directory, first)
	like := content(t, directory)
	like[".nojekyll"] = ""
	if diff := cmp.Diff(like, served(t, dir, "gh-pages")); diff != "" {
		t.Errorf("other files than in a directory:\n%s", diff)
	}
	if got, want := gitRun(t, dir, "", "log", "-1", "--format=%an <%ae> %at %cn <%ce> %ct%n%B", "gh-pages"),
		"opennebula-kube pipeline <noreply@opennebula-kube.invalid> 1785585600 opennebula-kube pipeline <noreply@opennebula-kube.invalid> 1785585600\n"+
			"opennebula 0.1.0 for OpenNebula 7.0.1"; got != want {
		t.Errorf("the commit is\n%s\nwant\n%s", got, want)
	}

	// What else is in the branch stays.
	tree := strings.Split(gitRun(t, dir, "", "ls-tree", "gh-pages"), "\n")
	page := gitRun(t, dir, "100644 blob "+blob(t, dir, "<h1>Charts</h1>")+"\tpage.html\n", "mktree")
	byHand := commit(t, dir, "gh-pages", append(tree, "100755 blob "+blob(t, dir, "#!/bin/sh\n")+"\trun", "040000 tree "+page+"\tsite",
		"120000 blob "+blob(t, dir, "/etc/passwd")+"\tlink")...)
	publishPages(t, p, second)
	publish(t, directory, second)
	like = content(t, directory)
	like[".nojekyll"], like["run"], like["site/page.html"], like["link"] = "", "#!/bin/sh\n", "<h1>Charts</h1>", "/etc/passwd"
	if diff := cmp.Diff(like, served(t, dir, "gh-pages")); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(gitRun(t, dir, "", "ls-tree", "gh-pages", "run"), "100755") {
		t.Error("a program's mode has changed")
	}
	history := commits(t, dir, "gh-pages")
	if len(history) != 3 || history[1] != byHand {
		t.Errorf("history %v, want a commit on top of %s", history, byHand)
	}

	for _, a := range []helmrepo.Archive{first, second} {
		if publishPages(t, p, a).Published {
			t.Error("what is there is published again")
		}
	}
	if now := commits(t, dir, "gh-pages"); !slices.Equal(now, history) {
		t.Errorf("with nothing to do there are commits %v, want %v", now, history)
	}
}

// An address that names another branch, as a file address.
func TestPagesBranch(t *testing.T) {
	dir := bare(t)
	publishPages(t, pages(t, "file://"+dir+"#site/charts", ""), archive(t, "opennebula", "0.1.0"))
	if got := gitRun(t, dir, "", "for-each-ref", "--format=%(refname)"); got != "refs/heads/site/charts" {
		t.Errorf("branches %q", got)
	}
}

// An index that another tool wrote keeps its order, comments and unknown fields.
func TestPagesForeignIndex(t *testing.T) {
	foreign := "# made by hand\napiVersion: v1\nentries:\n    zeta:\n    -   version: 1.0.0 # the only one\n        name: zeta\n        apiVersion: v2\n" +
		"        urls: [zeta-1.0.0.tgz]\n    opennebula:\n    -   name: opennebula\n        apiVersion: v2\n        version: 0.0.9\n" +
		"        urls: ['opennebula-0.0.9.tgz']\ngenerated: 2020-01-01T00:00:00Z\n"
	dir := bare(t)
	commit(t, dir, "gh-pages", "100644 blob "+blob(t, dir, foreign)+"\tindex.yaml")
	a := archive(t, "opennebula", "0.1.0")
	publishPages(t, pages(t, dir, ""), a)
	want, _, err := helmrepo.MergeIndex([]byte(foreign), a, baseURL, now)
	if err != nil {
		t.Fatal(err)
	}
	got := served(t, dir, "gh-pages")
	if !strings.Contains(got["artifacthub-repo.yml"], "owners: []") {
		t.Errorf("artifacthub-repo.yml is %q", got["artifacthub-repo.yml"])
	}
	delete(got, "artifacthub-repo.yml")
	if diff := cmp.Diff(map[string]string{"index.yaml": string(want), a.Filename: string(a.Data)}, got); diff != "" {
		t.Error(diff)
	}
	for _, kept := range []string{"# made by hand\n", "    -   version: 1.0.0 # the only one\n", "['opennebula-0.0.9.tgz']"} {
		if !strings.Contains(got["index.yaml"], kept) {
			t.Errorf("%q is lost", kept)
		}
	}
}

// What is in the branch is looked at without following it anywhere.
func TestPagesHostileBranch(t *testing.T) {
	a := archive(t, "opennebula", "0.1.0")
	published := t.TempDir()
	publish(t, published, archiveFor(t, "opennebula", "0.1.0", "7.0.2"))
	for name, test := range map[string]struct {
		entries func(dir string) []string
		want    string
	}{
		"index is a link": {func(dir string) []string {
			return []string{"120000 blob " + blob(t, dir, "/etc/hostname") + "\tindex.yaml"}
		}, "index.yaml is not a file there but has mode 120000"},
		"index is another repository's": {func(dir string) []string {
			return []string{"160000 commit 0123456789012345678901234567890123456789\tindex.yaml"}
		}, "index.yaml is not a file there"},
		"archive is a directory": {func(dir string) []string {
			return []string{"040000 tree " + gitRun(t, dir, "", "mktree") + "\t" + a.Filename}
		}, a.Filename + " is not a file there but has mode 040000"},
		"index is broken": {func(dir string) []string {
			return []string{"100644 blob " + blob(t, dir, "apiVersion: [v1\n") + "\tindex.yaml"}
		}, "not valid YAML"},
		"other archive": {func(dir string) []string {
			return []string{"100644 blob " + blob(t, dir, "other") + "\t" + a.Filename}
		}, "the index does not have it"},
		"version is taken": {func(dir string) []string {
			return []string{"100644 blob " + blob(t, dir, content(t, published)["index.yaml"]) + "\tindex.yaml"}
		}, "run again"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := bare(t)
			before := commit(t, dir, "gh-pages", test.entries(dir)...)
			_, err := pages(t, dir, "").Publish(t.Context(), a, baseURL, now)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if got := tip(t, dir, "gh-pages"); got != before {
				t.Error("the branch has moved")
			}
		})
	}
}

// Releases at the same time all come into the index.
func TestPagesAtOnce(t *testing.T) {
	dir := bare(t)
	versions := []string{"0.1.0", "0.2.0", "0.3.0", "0.4.0"}
	var all sync.WaitGroup
	for _, version := range versions {
		a, p := archive(t, "opennebula", version), pages(t, dir, "")
		all.Go(func() {
			if result, err := p.Publish(t.Context(), a, baseURL, now); err != nil || !result.Published {
				t.Errorf("%s: %+v, %v", version, result, err)
			}
		})
	}
	all.Wait()
	index := load(t, []byte(served(t, dir, "gh-pages")["index.yaml"]))
	for _, version := range versions {
		if _, err := index.Get("opennebula", version); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
	if history := commits(t, dir, "gh-pages"); len(history) != len(versions) {
		t.Errorf("%d commits", len(history))
	}
}

// gitServer serves a repository by git's own program to those who have the token, and counts what it sends.
type gitServer struct {
	*httpfault.Switch
	url  string
	dir  string
	sent atomic.Int64
}

func serveGit(t *testing.T) *gitServer {
	t.Helper()
	where, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(strings.TrimSpace(string(where)), "git-http-backend")
	if _, err := os.Stat(program); err != nil {
		t.Skipf("git cannot serve HTTP here: %v", err)
	}
	s := &gitServer{dir: bare(t)}
	backend := &cgi.Handler{
		Path: program, Logger: log.New(io.Discard, "", 0), Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(s.dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + filepath.Dir(s.dir)},
	}
	s.Switch = httpfault.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != pagesToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no such token", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(&counter{w, &s.sent}, r)
	}))
	web := httptest.NewServer(s.Switch)
	t.Cleanup(web.Close)
	s.url = web.URL + "/charts.git"
	return s
}

type counter struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.sent.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// push matches what a push sends.
func push(f httpfault.Fault) httpfault.Fault {
	f.Method, f.Match = http.MethodPost, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/git-receive-pack") }
	return f
}

func TestPagesOverHTTP(t *testing.T) {
	s := serveGit(t)
	p := pages(t, s.url, pagesToken)
	if !publishPages(t, p, archive(t, "opennebula", "0.1.0")).Published {
		t.Error("nothing is published")
	}
	// A branch with much in it and behind it is not fetched.
	var noise bytes.Buffer
	for range 1 << 17 {
		noise.WriteByte(byte(rand.IntN(256)))
	}
	tree := strings.Split(gitRun(t, s.dir, "", "ls-tree", "gh-pages"), "\n")
	for range 3 {
		noise.WriteByte('x')
		commit(t, s.dir, "gh-pages", append(tree, "100644 blob "+blob(t, s.dir, noise.String())+"\tlarge")...)
	}
	s.sent.Store(0)
	publishPages(t, p, archive(t, "opennebula", "0.2.0"))
	if sent := s.sent.Load(); sent > 1<<15 {
		t.Errorf("%d bytes were fetched", sent)
	}
	if files := served(t, s.dir, "gh-pages"); len(files) != 6 || files["large"] != noise.String() {
		t.Errorf("%d files are served", len(files))
	}
	if history := commits(t, s.dir, "gh-pages"); len(history) != 5 {
		t.Errorf("%d commits", len(history))
	}
}

// A server that does not let clients choose sends more, and works.
func TestPagesWithoutFilter(t *testing.T) {
	s := serveGit(t)
	gitRun(t, s.dir, "", "config", "uploadpack.allowFilter", "false")
	p := pages(t, s.url, pagesToken)
	publishPages(t, p, archive(t, "opennebula", "0.1.0"))
	publishPages(t, p, archive(t, "opennebula", "0.2.0"))
	if files := served(t, s.dir, "gh-pages"); len(files) != 5 {
		t.Errorf("%d files are served", len(files))
	}
}

// Somebody else's push comes in between.
func TestPagesMoved(t *testing.T) {
	s := serveGit(t)
	publishPages(t, pages(t, s.url, pagesToken), archive(t, "opennebula", "0.1.0"))
	other, theirs := pages(t, s.dir, ""), archive(t, "opennebula", "0.2.0")
	hits := s.Inject(push(httpfault.Fault{Times: 1, Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if _, err := other.Publish(r.Context(), theirs, baseURL, now); err != nil {
			t.Error(err)
		}
		next.ServeHTTP(w, r)
	}}))
	if !publishPages(t, pages(t, s.url, pagesToken), archive(t, "opennebula", "0.3.0")).Published || hits() != 1 {
		t.Error("not published, or by nobody else")
	}
	index := load(t, []byte(served(t, s.dir, "gh-pages")["index.yaml"]))
	for _, version := range []string{"0.1.0", "0.2.0", "0.3.0"} {
		if _, err := index.Get("opennebula", version); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
}

// Somebody else pushes whenever this does.
func TestPagesMovesAllTheTime(t *testing.T) {
	s := serveGit(t)
	page := "100644 blob " + blob(t, s.dir, "<h1>Charts</h1>") + "\tindex.html"
	theirs := []string{commit(t, s.dir, "gh-pages", page), commit(t, s.dir, "gh-pages", page)}
	pushes := 0
	s.Inject(push(httpfault.Fault{Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if _, err := gitTry(s.dir, "", "update-ref", "refs/heads/gh-pages", theirs[pushes%2]); err != nil {
			t.Error(err)
		}
		pushes++
		next.ServeHTTP(w, r)
	}}))
	_, err := pages(t, s.url, pagesToken).Publish(t.Context(), archive(t, "opennebula", "0.1.0"), baseURL, now)
	if err == nil || !strings.Contains(err.Error(), "given up after 8 attempts: somebody else") {
		t.Errorf("error %v", err)
	}
}

// A push whose answer is lost is found to have succeeded.
func TestPagesAnswerLost(t *testing.T) {
	s := serveGit(t)
	s.Inject(push(httpfault.Fault{Times: 1, Effect: httpfault.CutBody(0)}))
	if !publishPages(t, pages(t, s.url, pagesToken), archive(t, "opennebula", "0.1.0")).Published {
		t.Error("what was pushed is said to have been there")
	}
	if history := commits(t, s.dir, "gh-pages"); len(history) != 1 {
		t.Errorf("%d commits", len(history))
	}
}

func TestPagesPassingFaults(t *testing.T) {
	for name, fault := range map[string]httpfault.Fault{
		"server busy":      {Times: 2, Effect: httpfault.Status(http.StatusServiceUnavailable)},
		"connection lost":  {Times: 2, Effect: httpfault.Drop()},
		"push not taken":   push(httpfault.Fault{Times: 2, Effect: httpfault.Status(http.StatusBadGateway)}),
		"upload cut short": push(httpfault.Fault{Times: 1, Effect: httpfault.CutUpload(100)}),
	} {
		t.Run(name, func(t *testing.T) {
			s := serveGit(t)
			hits := s.Inject(fault)
			if !publishPages(t, pages(t, s.url, pagesToken), archive(t, "opennebula", "0.1.0")).Published || hits() == 0 {
				t.Errorf("not published, or without the fault: %d hits", hits())
			}
		})
	}
}

// What will not pass by itself is said at once, with what to do, and without the token.
func TestPagesRefused(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another server is asked, with %q", r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	for name, test := range map[string]struct {
		token   string
		address func(*gitServer) string
		prepare func(*gitServer)
		want    string
	}{
		"wrong token": {token: "another-token", want: "the token is wrong or has expired"},
		"no token":    {token: "", want: "give a token by --pages-token"},
		"protected branch": {token: pagesToken, prepare: func(s *gitServer) {
			hook := "#!/bin/sh\necho 'GH006: Protected branch update failed, the-token' >&2\nexit 1\n"
			if err := os.WriteFile(filepath.Join(s.dir, "hooks", "pre-receive"), []byte(hook), 0o755); err != nil {
				t.Fatal(err)
			}
		}, want: "if it is protected, let the token's owner push to it"},
		"may not write": {token: pagesToken, prepare: func(s *gitServer) {
			s.Inject(push(httpfault.Fault{Effect: httpfault.Status(http.StatusForbidden)}))
		}, want: "`contents: write`"},
		"no repository": {token: pagesToken, address: func(s *gitServer) string { return strings.Replace(s.url, "charts", "absent", 1) },
			want: "make the repository absent.git, or correct its address"},
		"no directory": {address: func(s *gitServer) string { return s.dir + "-not" }, want: "make the repository charts.git-not"},
		"moved": {token: pagesToken, prepare: func(s *gitServer) {
			s.Inject(httpfault.Fault{Effect: httpfault.Redirect(elsewhere.URL)})
		}, want: "give its new address"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveGit(t)
			if test.prepare != nil {
				test.prepare(s)
			}
			address := s.url
			if test.address != nil {
				address = test.address(s)
			}
			_, err := pages(t, address, test.token).Publish(t.Context(), archive(t, "opennebula", "0.1.0"), baseURL, now)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "attempts") {
				t.Fatalf("error %v, want one with %q at once", err, test.want)
			}
			encoded := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + test.token))
			if strings.Contains(err.Error(), encoded) || test.token != "" && strings.Contains(err.Error(), test.token) {
				t.Errorf("the token is told: %v", err)
			}
		})
	}
}

// With the context ends the wait for a server that says nothing, and each program that waits for it: else its connection stays.
func TestPagesCancelled(t *testing.T) {
	s := serveGit(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	s.Inject(httpfault.Fault{Times: 1, Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		defer close(gone)
		cancel()
		httpfault.Hang()(w, r, next)
	}})
	if _, err := pages(t, s.url, pagesToken).Publish(ctx, archive(t, "opennebula", "0.1.0"), baseURL, now); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("a program still waits for the server")
	}
}

// The user's own settings, hooks and variables have no part in it, and nothing is left behind.
func TestPagesLeavesUserAlone(t *testing.T) {
	dir := bare(t)
	home, temporary := t.TempDir(), t.TempDir()
	write(t, home, map[string]string{
		".gitconfig": "[core]\n\thooksPath = " + home + "/hooks\n[url \"/nowhere\"]\n\tinsteadOf = " + dir + "\n[commit]\n\tgpgSign = true\n",
	})
	write(t, home, map[string]string{"hooks/reference-transaction": "#!/bin/sh\ntouch " + home + "/hooked\n"})
	if err := os.Chmod(filepath.Join(home, "hooks", "reference-transaction"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"HOME": home, "TMPDIR": temporary, "GIT_DIR": "/nowhere", "GIT_AUTHOR_NAME": "Ada", "GIT_INDEX_FILE": "/nowhere", "GIT_CONFIG_COUNT": "x",
	} {
		t.Setenv(name, value)
	}
	publishPages(t, pages(t, dir, ""), archive(t, "opennebula", "0.1.0"))
	if author := gitRun(t, dir, "", "log", "-1", "--format=%an", "gh-pages"); author != "opennebula-kube pipeline" {
		t.Errorf("author %s", author)
	}
	if _, err := os.Stat(filepath.Join(home, "hooked")); err == nil {
		t.Error("a hook of the user's has run")
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestOpenPages(t *testing.T) {
	for address, want := range map[string]string{
		"":                            "give the https address",
		"#gh-pages":                   "give the https address",
		"git@github.com:acme/charts":  "give the https address",
		"ssh://github.com/acme":       "give the https address",
		"ext::sh -c true":             "give the https address",
		"https://github.com":          "give the https address",
		"https:///acme/charts":        "give the https address",
		"file://host/charts":          "give the https address",
		"https://github.com/a%zz":     "invalid URL escape",
		"https://github.com/a?token":  "leave it away",
		"http://github.com/a/charts":  "use https",
		"https://me:secret@g.org/a/b": "a login is part of the address of g.org",
		"https://secret@g.org/a/b":    "--pages-token",
		"https://g.org/a/b#":          "cannot be the name of a branch",
		"https://g.org/a/b#-x":        "cannot be the name of a branch",
		"https://g.org/a/b#a..b":      "cannot be the name of a branch",
		"https://g.org/a/b#a b":       "cannot be the name of a branch",
		"https://g.org/a/b#a.lock":    "cannot be the name of a branch",
		"https://g.org/a/b#a:b":       "cannot be the name of a branch",
	} {
		_, err := helmrepo.OpenPages(address, helmrepo.PagesOptions{Token: pagesToken})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want one with %q", address, err, want)
		}
	}
	for _, address := range []string{"http://localhost:3000/a/b", "http://[::1]/a/b", "http://127.0.0.1/a", "relative/path", "file:///a/b"} {
		if _, err := helmrepo.OpenPages(address, helmrepo.PagesOptions{Token: pagesToken}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestPagesURL(t *testing.T) {
	for address, want := range map[string]string{
		"https://github.com/Acme/Charts.git#gh-pages": "https://acme.github.io/Charts/",
		"https://github.com/acme/charts/":             "https://acme.github.io/charts/",
		"https://github.com/acme/acme.github.io#main": "https://acme.github.io/",
		"https://github.com/Acme/acme.GitHub.io":      "https://acme.github.io/",
		"https://github.com/acme":                     "",
		"https://github.com/acme/charts/tree":         "",
		"https://git.example.org/acme/charts":         "",
		"/srv/charts.git":                             "",
	} {
		if got := pages(t, address, "").URL(); got != want {
			t.Errorf("%s is served at %q, want %q", address, got, want)
		}
	}
}
