package helmrepo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Pages is a branch of a git repository that is served as a chart repository, as GitHub Pages serves one.
type Pages struct {
	remote  string
	branch  string
	token   string
	backoff remote.Backoff
}

// PagesOptions are what a Pages needs beside its address.
type PagesOptions struct {
	// Token logs in at an https address; "" does without.
	Token string
	// Backoff sets how often publishing is tried (Steps, the first time included) and how long it waits in between; the default is that of a
	// registry.
	Backoff remote.Backoff
}

// servedBranch is the branch that GitHub Pages is served from where an address names none.
const servedBranch = "gh-pages"

var (
	branchPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/-]*$`)
	// shellPattern is the form in which ssh names a repository.
	shellPattern = regexp.MustCompile(`^[^/]+:`)
)

// OpenPages returns the branch that an address names: the https address of a git repository, or its path on this machine, with #<branch> at
// its end (default #gh-pages). Nothing is sent yet.
func OpenPages(address string, options PagesOptions) (*Pages, error) {
	// Not the whole address: it may have a password in it.
	repository, branch, named := strings.Cut(address, "#")
	if !named {
		branch = servedBranch
	}
	if !branchPattern.MatchString(branch) || strings.Contains(branch, "..") || strings.Contains(branch, "//") ||
		strings.HasSuffix(branch, "/") || strings.HasSuffix(branch, ".") || strings.HasSuffix(branch, ".lock") {
		return nil, fmt.Errorf("address of the pages: %q cannot be the name of a branch: write <address of the git repository>#%s", branch, servedBranch)
	}
	at, err := gitAddress(repository, options.Token != "")
	if err != nil {
		return nil, fmt.Errorf("address of the pages: %w", err)
	}
	if options.Backoff == (remote.Backoff{}) {
		options.Backoff = remote.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 5}
	}
	p := &Pages{remote: at, branch: branch, backoff: options.Backoff}
	if strings.HasPrefix(at, "http") {
		p.token = options.Token
	}
	return p, nil
}

// gitAddress is the address of a git repository as git gets it. What would send a token, or any password, where it does not belong is an
// error.
func gitAddress(repository string, token bool) (string, error) {
	if !strings.Contains(repository, "://") {
		if repository == "" || shellPattern.MatchString(repository) {
			return "", errors.New("give the https address of a git repository, such as https://github.com/acme/charts, or a path")
		}
		return filepath.Abs(repository)
	}
	u, err := url.Parse(repository)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // without the address
		}
		return "", err
	}
	switch {
	case u.User != nil:
		return "", fmt.Errorf("a login is part of the address of %s: take it out, and give the token by --pages-token", u.Host)
	case u.RawQuery != "":
		return "", fmt.Errorf("%s has a query: leave it away", u.Redacted())
	case u.Scheme == "file" && u.Host == "" && u.Path != "":
		return repository, nil
	case u.Scheme == "http" && token && !loopback(u.Hostname()):
		return "", fmt.Errorf("%s would get the token in the clear: use https", u.Redacted())
	case (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || strings.Trim(u.Path, "/") == "":
		return "", fmt.Errorf("%q: give the https address of a git repository, such as https://github.com/acme/charts, or a path", repository)
	}
	return repository, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Name is the branch, as <address of the repository>#<branch>.
func (p *Pages) Name() string { return p.remote + "#" + p.branch }

// URL is the address that the branch is served at, where its repository's address tells: on GitHub. Elsewhere it is empty.
func (p *Pages) URL() string {
	u, err := url.Parse(p.remote)
	if err != nil || !strings.EqualFold(u.Host, "github.com") {
		return ""
	}
	owner, name, found := strings.Cut(strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git"), "/")
	if !found || strings.Contains(name, "/") {
		return ""
	}
	host := strings.ToLower(owner) + ".github.io"
	if strings.EqualFold(name, host) {
		return "https://" + host + "/"
	}
	return "https://" + host + "/" + name + "/"
}

// errMoved says that somebody else has pushed to the branch meanwhile.
var errMoved = errors.New("somebody else pushes to the branch all the time: run again")

// Publish adds an archive to the branch and to the index.yaml there, as PublishDirectory does, by a commit on top of what the branch has; a
// branch that does not exist is made. When all of it is there already nothing is sent. When somebody else has pushed meanwhile, or the
// connection is lost, it begins again with what the branch has then; it gives up after some attempts. An empty baseURL is that of URL. Only the index is
// fetched, where the server lets it choose.
func (p *Pages) Publish(ctx context.Context, a Archive, baseURL string, now time.Time) (Result, error) {
	published, err := p.publish(ctx, a, baseURL, now)
	switch {
	case errors.Is(err, ErrVersionTaken):
		return Result{}, err
	case err != nil:
		return Result{}, fmt.Errorf("publish chart %s %s in %s: %w", a.Name, a.Version, p.Name(), err)
	}
	return Result{Location: p.Name() + "/" + a.Filename, Digest: "sha256:" + a.Digest, Published: published}, nil
}

func (p *Pages) publish(ctx context.Context, a Archive, baseURL string, now time.Time) (published bool, err error) {
	if baseURL == "" {
		baseURL = p.URL()
	}
	err = p.try(ctx, now, func(g *git) error {
		published, err = p.attempt(ctx, g, a, baseURL, now)
		return err
	})
	return published && err == nil, err
}

// try has something done in a repository of its own, and again when the branch has moved or git has failed in a way that may pass.
func (p *Pages) try(ctx context.Context, now time.Time, do func(*git) error) (err error) {
	dir, err := os.MkdirTemp("", "pages-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	g, err := newGit(ctx, dir, p.remote, p.token, now)
	if err != nil {
		return err
	}
	backoff := p.backoff
	for attempt := 1; ; attempt++ {
		err := do(g)
		var failed *gitError
		if err == nil || !errors.Is(err, errMoved) && !errors.As(err, &failed) {
			return err
		}
		if errors.As(err, &failed) {
			if advice := p.advice(failed); advice != "" {
				return fmt.Errorf("%w: %s", err, advice)
			}
		}
		if attempt >= p.backoff.Steps {
			return fmt.Errorf("given up after %d attempts: %w", attempt, err)
		}
		if err := wait(ctx, backoff.Step()); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// attempt publishes on top of what the branch has now; errMoved when that is no longer what it has.
func (p *Pages) attempt(ctx context.Context, g *git, a Archive, baseURL string, now time.Time) (published bool, err error) {
	parent, tree, err := p.fetch(ctx, g)
	if err != nil {
		return false, err
	}
	files, err := p.changes(ctx, g, tree, a, baseURL, now)
	if err != nil || len(files) == 0 {
		return false, err
	}
	if parent == "" {
		// Else GitHub has Jekyll make a site of the files.
		files = append(files, file{name: ".nojekyll"})
	}
	if _, there := tree[hubFile.name]; !there {
		files = append(files, hubFile)
	}
	for _, f := range files {
		object, err := g.store(ctx, f.data)
		if err != nil {
			return false, err
		}
		tree[f.name] = treeEntry{mode: "100644", kind: "blob", object: object}
	}
	root, err := g.writeTree(ctx, tree)
	if err != nil {
		return false, err
	}
	commit := []string{"commit-tree", root, "-m", fmt.Sprintf("%s %s for OpenNebula %s", a.Name, a.Version, a.AppVersion)}
	if parent != "" {
		commit = append(commit, "-p", parent)
	}
	made, err := g.line(ctx, nil, commit...)
	if err != nil {
		return false, err
	}
	return p.push(ctx, g, parent, made)
}

// ref is the branch's whole name.
func (p *Pages) ref() string { return "refs/heads/" + p.branch }

// tip is the commit that the branch stands at, "" when there is no branch.
func (p *Pages) tip(ctx context.Context, g *git) (string, error) {
	output, err := g.run(ctx, nil, "ls-remote", "origin", p.ref())
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(output)) {
		// The argument is a pattern: it may list others whose names end alike.
		if commit, name, _ := strings.Cut(strings.TrimSpace(line), "\t"); name == p.ref() {
			return commit, nil
		}
	}
	return "", nil
}

// fetch gets the branch's last commit and the list of its files, and, where the server lets it choose, none of their contents.
func (p *Pages) fetch(ctx context.Context, g *git) (commit string, tree map[string]treeEntry, err error) {
	tip, err := p.tip(ctx, g)
	if err != nil || tip == "" {
		return "", map[string]treeEntry{}, err
	}
	const here = "refs/tip"
	if _, err := g.run(ctx, nil, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1", "--filter=blob:none", "origin",
		"+"+p.ref()+":"+here); err != nil {
		return "", nil, err
	}
	if commit, err = g.line(ctx, nil, "rev-parse", "--verify", here+"^{commit}"); err != nil {
		return "", nil, err
	}
	tree, err = g.tree(ctx, commit)
	return commit, tree, err
}

// changes are the files that the branch lacks.
func (p *Pages) changes(ctx context.Context, g *git, tree map[string]treeEntry, a Archive, baseURL string, now time.Time) ([]file, error) {
	index, err := g.content(ctx, tree, indexName)
	if err != nil {
		return nil, err
	}
	at := tree[a.Filename]
	if err := at.file(a.Filename); err != nil {
		return nil, err
	}
	there := absent
	if at.object != "" {
		// The name of a file's content says what it is: it need not be fetched.
		same, err := g.line(ctx, a.Data, "hash-object", "--stdin")
		if err != nil {
			return nil, err
		}
		if there = other; same == at.object {
			there = identical
		}
	}
	return a.changes(index, there, p.Name()+"/"+a.Filename, baseURL, now)
}

// push moves the branch from parent to commit, which it never does by force.
func (p *Pages) push(ctx context.Context, g *git, parent, commit string) (pushed bool, err error) {
	_, failed := g.run(ctx, nil, "push", "--quiet", "--porcelain", "origin", commit+":"+p.ref())
	if failed == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, failed
	}
	// What git says of it has many forms; what the branch stands at has one. A push whose answer was lost may have succeeded.
	tip, err := p.tip(ctx, g)
	switch {
	case err != nil:
		return false, failed
	case tip == commit:
		return true, nil
	case tip != parent:
		return false, errMoved
	}
	return false, failed
}

// advice is what to do about a failure that will not pass by itself; "" for others.
func (p *Pages) advice(failed *gitError) string {
	said := strings.ToLower(failed.said)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("[remote rejected]"):
		return fmt.Sprintf("the server does not let this push change the branch %s: if it is protected, let the token's owner push to it, "+
			"or give a branch that is not", p.branch)
	case has("could not read username", "could not read password", "authentication failed", "returned error: 401"):
		if p.token == "" {
			return "the server asks for a login: give a token by --pages-token"
		}
		return "the token is wrong or has expired: give one that may write the repository's contents"
	case has("returned error: 403", "write access to repository not granted", "permission to "):
		return "the token may not write there: give it the permission `contents: write`, or let it push to the repository"
	case has("redirect", "returned error: 30"):
		return "the repository has moved: give its new address"
	case has("not found", "does not appear to be a git repository", "does not exist", "no such file or directory"):
		return fmt.Sprintf("make the repository %s, or correct its address; one that is private needs a token", path.Base(p.remote))
	}
	return ""
}
