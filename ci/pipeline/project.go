package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// ociLabels begins the names of the labels and annotations that OCI's image specification gives a meaning.
const ociLabels = "org.opencontainers.image."

// Project is the git repository whose sources are released.
type Project struct {
	// URL is the address of its page, such as https://github.com/acme/opennebula-kube; empty when it is not known.
	URL string
	// Revision is the commit that is released, as git names it; empty when it is not known.
	Revision string
}

var (
	revisionPattern = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
	// shellRemote is how ssh names a repository: git@github.com:acme/opennebula-kube.git.
	shellRemote = regexp.MustCompile(`^(?:[^@/:]+@)?([^/:@]+):([^/].*)$`)
)

// ReadProject asks git what project the repository in gitDir, mostly named .git, is of: the remote origin and the commit that is checked out.
// No object of the repository is needed. What git does not know, or what is not the address of a page, stays empty. An address that is given
// counts instead of the remote's.
func ReadProject(ctx context.Context, gitDir, address string) (Project, error) {
	project, err := readProject(ctx, gitDir)
	if err == nil && address != "" {
		project.URL, err = ProjectURL(address)
	}
	return project, err
}

func readProject(ctx context.Context, gitDir string) (Project, error) {
	if _, err := os.Stat(gitDir); errors.Is(err, fs.ErrNotExist) {
		return Project{}, nil // such as an unpacked archive
	}
	remote, err := askGit(ctx, gitDir, "config", "--get", "remote.origin.url")
	if err != nil {
		return Project{}, err
	}
	revision, err := askGit(ctx, gitDir, "rev-parse", "--verify", "--quiet", "HEAD")
	if err != nil || !revisionPattern.MatchString(revision) {
		return Project{}, err
	}
	page, err := ProjectURL(remote)
	if err != nil {
		return Project{Revision: revision}, nil //nolint:nilerr // a path, or another machine's name for it: nobody else can open it
	}
	return Project{URL: page, Revision: revision}, nil
}

// ProjectURL makes, of the address of a git repository, that of its page: without a login, and without .git at its end.
func ProjectURL(remote string) (string, error) {
	address := remote
	if parts := shellRemote.FindStringSubmatch(remote); parts != nil && !strings.Contains(remote, "://") {
		address = "https://" + parts[1] + "/" + parts[2]
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh" {
		return "", fmt.Errorf("%q is not the address of a project: give one such as https://github.com/acme/opennebula-kube", withoutLogin(remote))
	}
	page := url.URL{Scheme: "https", Host: u.Host, Path: strings.TrimSuffix(strings.TrimRight(u.Path, "/"), ".git")}
	switch u.Scheme {
	case "http":
		page.Scheme = "http"
	case "ssh":
		page.Host = u.Hostname() // the port is that of ssh
	}
	return page.String(), nil
}

// withoutLogin takes out of an address what may be a password.
func withoutLogin(address string) string { return address[strings.LastIndex(address, "@")+1:] }

// askGit runs git, and returns the line that it prints. That it has nothing to say is not an error.
func askGit(ctx context.Context, gitDir string, args ...string) (string, error) {
	var stderr bytes.Buffer
	command := exec.CommandContext(ctx, "git", args...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_DIR=" + gitDir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "LC_ALL=C"}
	command.Stderr = &stderr
	output, err := command.Output()
	var status *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", nil // then it is a copy of the sources that nobody works in
	case errors.As(err, &status) && status.ExitCode() == 1:
		return "", nil
	case err != nil:
		return "", fmt.Errorf("find out which project is released: git %s in %s: %w: %s; give --project, or repair the repository",
			args[0], gitDir, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(output)), nil
}

// labels tell where the project is, in the words of OCI.
func (p Project) labels() map[string]string {
	if p.URL == "" {
		return nil
	}
	labels := map[string]string{
		ociLabels + "source":        p.URL,
		ociLabels + "url":           p.URL,
		ociLabels + "documentation": p.URL + "#readme",
	}
	if p.Revision != "" {
		labels[ociLabels+"revision"] = p.Revision
	}
	return labels
}
