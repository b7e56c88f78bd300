package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	api "github.com/google/go-github/v92/github"
)

// changed is the comment on an issue whose body is replaced.
const changed = "The failure is another one now: the description above is that of the latest run."

// Failed makes exactly one open issue tell that the scheduled run fails, with this title and body (Markdown), and returns its address.
// Where one is open already it is replaced in, otherwise one is opened. Of several that runs at the same time have opened, the oldest
// is kept and the others are closed as its duplicates.
func (r *Repository) Failed(ctx context.Context, title, body string) (url string, err error) {
	if title = shorten(title); title == "" {
		return "", fmt.Errorf("tell in GitHub repository %s that the run failed: %w", r, errors.New("the issue has no title: give one"))
	}
	body = r.compose(body)
	open, err := r.openIssues(ctx)
	if err != nil {
		return "", err
	}
	if len(open) == 0 {
		if open, err = r.createFirst(ctx, title, body); err != nil {
			return "", err
		}
	}
	kept := open[0]
	for _, duplicate := range open[1:] {
		// These words make it a duplicate for GitHub. The reason "duplicate" would too, but Enterprise Servers do not all know it.
		if err := r.closeIssue(ctx, duplicate, fmt.Sprintf("Duplicate of #%d", kept.GetNumber()), "not_planned"); err != nil {
			return "", err
		}
	}
	if err := r.replace(ctx, kept, title, body); err != nil {
		return "", err
	}
	return kept.GetHTMLURL(), nil
}

// Recovered closes the issue that tells that the scheduled run fails, with a comment (Markdown), and returns its address; it is
// empty when there is no such issue. Of several all are closed, and the address is that of the oldest.
func (r *Repository) Recovered(ctx context.Context, comment string) (url string, err error) {
	open, err := r.openIssues(ctx)
	if err != nil || len(open) == 0 {
		return "", err
	}
	for _, issue := range open {
		if err := r.closeIssue(ctx, issue, cut(comment, maxBody), "completed"); err != nil {
			return "", err
		}
	}
	return open[0].GetHTMLURL(), nil
}

// createFirst opens an issue where there was none, and returns it with those that other runs have opened meanwhile, the oldest first.
func (r *Repository) createFirst(ctx context.Context, title, body string) ([]*api.Issue, error) {
	created, err := r.createIssue(ctx, title, body)
	if err != nil {
		return nil, err
	}
	open, err := r.openIssues(ctx)
	if err != nil {
		return nil, err
	}
	// GitHub may take a moment to list what it has just opened.
	if !slices.ContainsFunc(open, func(i *api.Issue) bool { return i.GetNumber() == created.GetNumber() }) {
		open = append(open, created)
		slices.SortFunc(open, older)
	}
	return open, nil
}

func older(a, b *api.Issue) int { return cmp.Compare(a.GetNumber(), b.GetNumber()) }

// replace gives an issue the title and body of the latest run. Of that alone GitHub notifies nobody, so a comment says it when the failure
// is another one. The comment comes first: if the body cannot be replaced the next run comments again, and no change goes unnoticed.
func (r *Repository) replace(ctx context.Context, issue *api.Issue, title, body string) error {
	if issue.GetTitle() == title && issue.GetBody() == body {
		return nil
	}
	if lasting(issue.GetTitle()+"\n"+issue.GetBody()) != lasting(title+"\n"+body) {
		if err := r.comment(ctx, issue, changed); err != nil {
			return err
		}
	}
	return r.updateIssue(ctx, issue, "replace the body of", api.UpdateIssueRequest{Title: &title, Body: &body})
}

// closeIssue closes an issue with a comment. A comment without text is left out, for GitHub refuses it.
func (r *Repository) closeIssue(ctx context.Context, issue *api.Issue, comment, reason string) error {
	if strings.TrimSpace(comment) != "" {
		if err := r.comment(ctx, issue, comment); err != nil {
			return err
		}
	}
	state := "closed"
	return r.updateIssue(ctx, issue, "close", api.UpdateIssueRequest{State: &state, StateReason: &reason})
}
