package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"opennebula-kube/ci/github"
	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/pipeline"
	ociregistry "opennebula-kube/ci/registry"
)

// What became of the acceptance tests.
type Acceptance struct {
	// +private
	Text string
	// +private
	Error string
}

// Takes the image and the chart through the life of an installation.
//
// It tests with the packages that an upstream has now: first boot, logins, hosts, virtual machines, services, hooks, restarts, kills, lost
// credentials, backup and restore, upgrades from each version to the next, a refused downgrade, and three front-ends. The container of the
// tests has all of the engine's privileges, for it runs containers itself.
//
// Example: dagger call acceptance --version 7.2.0 --version 7.4.0 summary
//
// +cache="never"
func (m *OpennebulaKube) Acceptance(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=[".git", "out"]
	source *dagger.Directory,
	// Where OpenNebula's packages come from.
	//
	// +default="https://downloads.opennebula.io"
	upstream string,
	// Fingerprint of the key that signs the packages, for a mirror with a key of its own, such as
	// 0123456789ABCDEF0123456789ABCDEF01234567 (default: OpenNebula's, which image/Dockerfile pins).
	//
	// +optional
	upstreamFingerprint string,
	// Image to build on (default: the one that image/Dockerfile pins).
	//
	// +optional
	baseImage string,
	// Version to install, or to upgrade to, such as 7.0.1; may be repeated (default: the highest of each release line).
	//
	// +optional
	version []string,
	// Test only when the upstream has a version that this repository has no image of, such as ghcr.io/acme/opennebula.
	//
	// +optional
	unreleasedIn string,
	// User name at that repository's registry (default: none, which is for registries without a login).
	//
	// +optional
	username string,
	// Password at the registry, such as env:REGISTRY_PASSWORD.
	//
	// +optional
	password *dagger.Secret,
	// After a failure, let the call go on to what is chained to it: report-to-github reports, and summary fails.
	//
	// +optional
	keepReport bool,
) (*Acceptance, error) {
	if unreleasedIn != "" {
		unreleased, err := m.unreleased(ctx, source, upstream, upstreamFingerprint, unreleasedIn, login{username, password})
		if err != nil {
			return nil, err
		}
		if len(unreleased) == 0 {
			return &Acceptance{Text: "nothing to test: " + unreleasedIn + " has an image of the newest version of each release line"}, nil
		}
		fmt.Println("not released yet:", strings.Join(unreleased, ", "))
	}
	tests := m.workshop(source).
		// What the tests find today says nothing about tomorrow's packages.
		WithEnvVariable("ACCEPTANCE_BEGAN", time.Now().UTC().Format(time.RFC3339)).
		WithExec([]string{
			"make", "acceptance", "UPSTREAM=" + upstream, "UPSTREAM_FINGERPRINT=" + upstreamFingerprint, "BASE_IMAGE=" + baseImage,
			"VERSIONS=" + strings.Join(version, " "),
		}, dagger.ContainerWithExecOpts{InsecureRootCapabilities: true, Expect: dagger.ReturnTypeAny})
	status, err := tests.ExitCode(ctx)
	if err != nil {
		return nil, fmt.Errorf("run the acceptance tests: %w", err)
	}
	said, err := tests.CombinedOutput(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what the acceptance tests print: %w", err)
	}
	a := &Acceptance{Text: pipeline.LastLines(said)}
	if status != 0 {
		a.Error = fmt.Sprintf("the acceptance tests ended with status %d", status)
	}
	if err := a.failure(); err != nil && !keepReport {
		return nil, err
	}
	return a, nil
}

// unreleased returns the newest versions of the release lines that a repository has no image of.
func (m *OpennebulaKube) unreleased(
	ctx context.Context, source *dagger.Directory, upstream, fingerprint, repository string, l login,
) ([]string, error) {
	all, err := catalog(ctx, upstream, fingerprint, source.File(dockerfile))
	if err != nil {
		return nil, err
	}
	keychain, err := l.keychain(ctx, repository)
	if err != nil {
		return nil, err
	}
	images, err := ociregistry.Open(repository, ociregistry.WithKeychain(keychain))
	if err != nil {
		return nil, err
	}
	tags, err := images.Tags(ctx)
	if err != nil {
		return nil, err
	}
	var newest []string
	for i, r := range all.Releases {
		if last := i == len(all.Releases)-1 || all.Releases[i+1].Line != r.Line; last && !slices.Contains(tags, r.Version) {
			newest = append(newest, r.Version)
		}
	}
	return newest, nil
}

// Tells what the acceptance tests found.
//
// Example: dagger call acceptance summary
func (a *Acceptance) Summary() (string, error) { return a.Text, a.failure() }

// failure is the error of tests that failed, with the end of what they printed.
func (a *Acceptance) failure() error {
	if a.Error == "" {
		return nil
	}
	return errors.New(a.Error + ":\n" + a.Text)
}

// Opens, updates or closes the issue that tells that the acceptance tests fail.
//
// It is one issue for all failures in a row. The call prints what the tests found, and fails when they failed.
//
// Example:
//
//	dagger call acceptance --keep-report report-to-github --token env:GITHUB_TOKEN --repository acme/opennebula-kube
//
// +cache="never"
func (a *Acceptance) ReportToGithub(
	ctx context.Context,
	// Token that may write issues, such as env:GITHUB_TOKEN.
	token *dagger.Secret,
	// Repository on GitHub to report to, such as acme/opennebula-kube.
	repository string,
	// Address of GitHub's API, for GitHub Enterprise such as https://github.example.org/api/v3.
	//
	// +default="https://api.github.com"
	api string,
	// Address of the run, for the issue (default: none).
	//
	// +optional
	run string,
) (string, error) {
	return github.Conclude(a.Text, a.failure(), a.deliver(ctx, github.Options{Repository: repository, API: api, Subject: "acceptance"}, token, run))
}

// deliver opens, updates or closes the issue.
func (a *Acceptance) deliver(ctx context.Context, options github.Options, token *dagger.Secret, run string) error {
	to, err := gitHub(ctx, options, token)
	if err != nil {
		return err
	}
	return reportIssue(ctx, to, run, outcome{
		failed: a.Error, works: "The acceptance tests pass again.", title: "The acceptance tests fail",
		body: a.Error + ":\n\n```\n" + a.Text + "\n```",
		next: "`make acceptance` does the same on one machine. The next run that passes closes this issue.",
	})
}
