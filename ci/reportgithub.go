package main

import (
	"context"
	"errors"
	"fmt"

	"opennebula-kube/ci/github"
	"opennebula-kube/ci/internal/dagger"
)

// Tells GitHub what became of the release.
//
// What the gate found goes to code scanning and, with --issue, a failure to an issue, one for all failures in a row, which the next success
// closes. The call prints the release as Markdown, for the summary of the job, and fails when the release failed. If GitHub does not take a
// report, because code scanning or issues are turned off or a limit is reached, the call prints a warning and does not fail for that.
//
// Example:
//
//	dagger call release --registry ghcr.io/acme/opennebula --keep-report report-to-github --token env:GITHUB_TOKEN \
//	  --repository acme/opennebula-kube --commit "$GITHUB_SHA" --ref "$GITHUB_REF" --issue
//
// +cache="never"
func (r *Release) ReportToGithub(
	ctx context.Context,
	// Token that may write security-events and, with --issue, issues; such as env:GITHUB_TOKEN.
	token *dagger.Secret,
	// Repository on GitHub to report to, such as acme/opennebula-kube.
	repository string,
	// Commit that was released from, all 40 digits.
	commit string,
	// Branch or tag that was released from, such as refs/heads/main.
	ref string,
	// Address of GitHub's API, for GitHub Enterprise such as https://github.example.org/api/v3.
	//
	// +default="https://api.github.com"
	api string,
	// Open, update or close the issue that tells of failures.
	//
	// +optional
	issue bool,
	// Address of the run, for the issue (default: none).
	//
	// +optional
	run string,
) (string, error) {
	undelivered := r.deliver(ctx, github.Options{Repository: repository, API: api}, token, commit, ref, issue, run)
	return github.Conclude(r.Report, r.failure(), undelivered)
}

// deliver sends what is to be sent to GitHub.
func (r *Release) deliver(ctx context.Context, options github.Options, token *dagger.Secret, commit, ref string, issue bool, run string) error {
	to, err := gitHub(ctx, options, token)
	if err != nil {
		return err
	}
	err = r.reportFindings(ctx, to, commit, ref)
	if issue {
		err = errors.Join(err, reportIssue(ctx, to, run, outcome{
			failed: r.Error, works: "The release works again.", title: "The scheduled release fails", body: r.Report,
			next: "What to do stands with what failed. `dagger call release --dry-run` does the same on a laptop and sends nothing anywhere. " +
				"The next release that works closes this issue.",
		}))
	}
	return err
}

// gitHub is a repository on GitHub, as whom a token is for.
func gitHub(ctx context.Context, options github.Options, token *dagger.Secret) (*github.Repository, error) {
	var err error
	if options.Token, err = token.Plaintext(ctx); err != nil {
		return nil, fmt.Errorf("read the token for GitHub: %w", err)
	}
	return github.New(options)
}

// reportFindings sends the gate's findings to code scanning, of each line for which the release came so far.
func (r *Release) reportFindings(ctx context.Context, to *github.Repository, commit, ref string) error {
	found, err := r.Made.Glob(ctx, "*/gate.sarif")
	if err != nil {
		return err
	}
	for _, name := range found {
		sarif, err := r.Made.File(name).Contents(ctx)
		if err != nil {
			return err
		}
		if err := to.UploadSARIF(ctx, []byte(sarif), commit, ref); err != nil {
			return err
		}
	}
	return nil
}

// outcome is what an issue is to tell of a run.
type outcome struct {
	// failed is why the run failed, "" when it did not.
	failed string
	// works is the comment that closes the issue.
	works string
	// title and body are those of the issue; next is what to do.
	title, body, next string
}

// reportIssue opens, updates or closes the issue.
func reportIssue(ctx context.Context, to *github.Repository, run string, o outcome) error {
	at := ""
	if run != "" {
		at = "\n\nRun: " + run
	}
	var url string
	var err error
	if o.failed == "" {
		url, err = to.Recovered(ctx, o.works+at)
	} else {
		url, err = to.Failed(ctx, o.title, o.body+at+"\n\n"+o.next)
	}
	if err == nil && url != "" {
		fmt.Println(url)
	}
	return err
}
