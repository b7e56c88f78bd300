package helmrepo

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// longestOutput bounds what is taken of git's output: a listing of the branch's root, or the index.
	longestOutput = 64 << 20
	// longestMessage bounds what is repeated of git's own words.
	longestMessage = 1000
	// killDelay is how long a program that was told to end may take.
	killDelay = 5 * time.Second
)

// git runs the git program in a bare repository. Settings, hooks and credentials of the machine and of the user have no part in it, so that
// it does the same everywhere, and sends nobody's password.
type git struct {
	dir  string
	env  []string
	hide *strings.Replacer
}

// newGit makes an empty repository in dir. The token is sent to the remote and to no other address; git gets it in its environment, for
// arguments are there for everybody to see.
func newGit(ctx context.Context, dir, remote, token string, now time.Time) (*git, error) {
	g := &git{dir: dir, hide: strings.NewReplacer()}
	// What reaches the remote from here is the machine's affair.
	for _, name := range []string{
		"PATH", "TMPDIR", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
	} {
		if value, ok := os.LookupEnv(name); ok {
			g.env = append(g.env, name+"="+value)
		}
	}
	const name, email = "opennebula-kube pipeline", "noreply@opennebula-kube.invalid"
	date := fmt.Sprintf("@%d +0000", now.Unix())
	g.env = append(g.env,
		"HOME="+dir, "GIT_DIR="+dir, "LC_ALL=C", // the words are read
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:http:file",
		"GIT_AUTHOR_NAME="+name, "GIT_AUTHOR_EMAIL="+email, "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_NAME="+name, "GIT_COMMITTER_EMAIL="+email, "GIT_COMMITTER_DATE="+date,
	)
	settings := [][2]string{
		{"core.hooksPath", os.DevNull},
		{"gc.auto", "0"},
		{"maintenance.auto", "false"},
		// A redirected request would take the token along.
		{"http.followRedirects", "false"},
		// A server that has fallen silent is given up.
		{"http.lowSpeedLimit", "1"},
		{"http.lowSpeedTime", "60"},
	}
	if token != "" {
		to, err := url.Parse(remote)
		if err != nil {
			return nil, err
		}
		// The form that GitHub documents; GitLab and Gitea take it too.
		login := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + token))
		g.hide = strings.NewReplacer(login, "***", token, "***")
		settings = append(settings, [2]string{"http." + to.Scheme + "://" + to.Host + "/.extraHeader", "Authorization: Basic " + login})
	}
	g.env = append(g.env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(settings)))
	for i, setting := range settings {
		g.env = append(g.env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, setting[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, setting[1]))
	}
	if _, err := g.run(ctx, nil, "init", "--quiet", "--bare", "--template="); err != nil {
		return nil, err
	}
	_, err := g.run(ctx, nil, "config", "remote.origin.url", remote)
	return g, err
}

// gitError is what git said when it failed.
type gitError struct {
	command string
	// said is what it printed, without the token.
	said string
	err  error
}

func (e *gitError) Error() string {
	said := strings.Join(strings.Fields(e.said), " ")
	if len(said) > longestMessage {
		said = strings.ToValidUTF8(said[:longestMessage], "") + "..."
	}
	if said == "" {
		said = e.err.Error()
	}
	return "git " + e.command + ": " + said
}

func (e *gitError) Unwrap() error { return e.err }

// run runs git and returns what it printed.
func (g *git) run(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	var stdout, stderr limited
	c := exec.CommandContext(ctx, "git", args...)
	c.Dir, c.Env = g.dir, g.env
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	// The program that git has speak HTTP ends with it only when it is told so too.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = killDelay
	err := c.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("the program git is not on the PATH: install it (apt-get install git)")
	case ctx.Err() != nil:
		return nil, fmt.Errorf("git %s: %w", args[0], context.Cause(ctx))
	case stdout.cut:
		return nil, fmt.Errorf("git %s: it printed more than %d bytes", args[0], longestOutput)
	case err != nil:
		return nil, &gitError{command: args[0], said: g.hide.Replace(stderr.String() + "\n" + stdout.String()), err: err}
	}
	return stdout.Bytes(), nil
}

// line runs git and returns the one line that it printed.
func (g *git) line(ctx context.Context, stdin []byte, args ...string) (string, error) {
	output, err := g.run(ctx, stdin, args...)
	return strings.TrimSpace(string(output)), err
}

// limited keeps the beginning of what is written to it.
type limited struct {
	bytes.Buffer
	cut bool
}

func (l *limited) Write(p []byte) (int, error) {
	if room := longestOutput - l.Len(); len(p) > room {
		l.cut = true
		l.Buffer.Write(p[:room])
		return len(p), nil
	}
	return l.Buffer.Write(p)
}

// treeEntry is a file of the branch's root.
type treeEntry struct {
	// mode says what it is: 100644 for a file, 120000 for a link, 040000 for a directory, 160000 for another repository's commit.
	mode, kind, object string
}

// tree lists the root of a commit.
func (g *git) tree(ctx context.Context, commit string) (map[string]treeEntry, error) {
	output, err := g.run(ctx, nil, "ls-tree", "-z", commit)
	if err != nil {
		return nil, err
	}
	tree := map[string]treeEntry{}
	for record := range strings.SplitSeq(strings.TrimSuffix(string(output), "\x00"), "\x00") {
		if record == "" {
			continue // an empty tree
		}
		head, name, found := strings.Cut(record, "\t")
		fields := strings.Fields(head)
		if !found || len(fields) != 3 {
			return nil, fmt.Errorf("git ls-tree printed %q", record)
		}
		tree[name] = treeEntry{mode: fields[0], kind: fields[1], object: fields[2]}
	}
	return tree, nil
}

// writeTree stores a tree and returns its name. Files that were not fetched stay what they are.
func (g *git) writeTree(ctx context.Context, tree map[string]treeEntry) (string, error) {
	var list bytes.Buffer
	for name, entry := range tree {
		fmt.Fprintf(&list, "%s %s %s\t%s\x00", entry.mode, entry.kind, entry.object, name)
	}
	return g.line(ctx, list.Bytes(), "mktree", "-z", "--missing")
}

// file is the entry of a name that has to be a file; its object is empty when there is none.
func (t treeEntry) file(name string) error {
	if t.object != "" && (t.kind != "blob" || t.mode != "100644" && t.mode != "100755") {
		return fmt.Errorf("%s is not a file there but has mode %s: remove it from the branch", name, t.mode)
	}
	return nil
}

// content is what a file of a tree has in it; nil when there is no such file.
func (g *git) content(ctx context.Context, tree map[string]treeEntry, name string) ([]byte, error) {
	at := tree[name]
	if err := at.file(name); err != nil || at.object == "" {
		return nil, err
	}
	return g.run(ctx, nil, "cat-file", "blob", at.object)
}

// store keeps a file's content and returns its name.
func (g *git) store(ctx context.Context, data []byte) (string, error) {
	return g.line(ctx, data, "hash-object", "-w", "--stdin")
}
