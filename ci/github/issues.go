package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	api "github.com/google/go-github/v92/github"
)

const (
	issuesWrite = "issues: write"
	perPage     = 100
)

// label and marker tell our issues from all others. Anyone can write the marker, but only who may write to the repository can
// set the label; and they use it for issues of their own.
func (r *Repository) label() string { return r.subject + "-failure" }

func (r *Repository) marker() string { return "<!-- opennebula-kube: " + r.label() + " -->" }

// openIssues returns our open issues, the oldest first.
func (r *Repository) openIssues(ctx context.Context) ([]*api.Issue, error) {
	var found []*api.Issue
	err := r.do(ctx, call{
		doing: "look for open issues labelled " + r.label(),
		needs: issuesWrite,
		send: func(ctx context.Context) error {
			found = nil
			for issue, err := range r.api.Issues.ListByRepoIter(ctx, r.owner, r.name, &api.IssueListByRepoOptions{
				State: "open", Labels: []string{r.label()}, Sort: "created", Direction: "asc", ListOptions: api.ListOptions{PerPage: perPage},
			}) {
				if err != nil {
					return err
				}
				if !issue.IsPullRequest() && strings.Contains(issue.GetBody(), r.marker()) {
					found = append(found, issue)
				}
			}
			return nil
		},
	})
	slices.SortFunc(found, older)
	return found, err
}

// createIssue opens an issue with our label. When the answer is lost and one of ours is open then, it is taken for it.
func (r *Repository) createIssue(ctx context.Context, title, body string) (*api.Issue, error) {
	if err := r.createLabel(ctx); err != nil {
		return nil, err
	}
	var issue *api.Issue
	opening := call{
		doing: "open an issue",
		needs: issuesWrite,
		send: func(ctx context.Context) (err error) {
			issue, _, err = r.api.Issues.Create(ctx, r.owner, r.name, api.CreateIssueRequest{Title: title, Body: &body, Labels: []string{r.label()}})
			if err == nil && issue.GetNumber() == 0 {
				err = errors.New("it names no issue")
			}
			return err
		},
		done: func(ctx context.Context) (bool, error) {
			open, err := r.openIssues(ctx)
			if err != nil || len(open) == 0 {
				return false, err
			}
			issue = open[0]
			return true, nil
		},
	}
	if err := r.do(ctx, opening); err != nil {
		return nil, err
	}
	// GitHub drops labels silently when the token may open an issue and no more. No later run would find this one, and open another.
	if !slices.ContainsFunc(issue.Labels, func(l *api.Label) bool { return l.GetName() == r.label() }) {
		return nil, fmt.Errorf("%s: GitHub opened %s without the label %s: close it, and give the token the permission `%s`",
			r.doing(opening), issue.GetHTMLURL(), r.label(), issuesWrite)
	}
	return issue, nil
}

// createLabel makes sure that there is our label.
func (r *Repository) createLabel(ctx context.Context) error {
	color, description, label := "b60205", "The scheduled "+r.subject+" fails", r.label()
	return r.do(ctx, call{
		doing: "create the label " + label,
		needs: issuesWrite,
		send: func(ctx context.Context) error {
			_, _, err := r.api.Issues.CreateLabel(ctx, r.owner, r.name,
				api.CreateIssueLabelRequest{Name: label, Color: &color, Description: &description})
			if refused, ok := errors.AsType[*api.ErrorResponse](err); ok && refused.Response.StatusCode == http.StatusUnprocessableEntity &&
				slices.ContainsFunc(refused.Errors, func(e api.Error) bool { return e.Code == "already_exists" }) {
				return nil
			}
			return err
		},
	})
}

// updateIssue changes an issue; doing says to what end.
func (r *Repository) updateIssue(ctx context.Context, issue *api.Issue, doing string, update api.UpdateIssueRequest) error {
	return r.do(ctx, call{
		doing: fmt.Sprintf("%s issue #%d", doing, issue.GetNumber()),
		needs: issuesWrite,
		send: func(ctx context.Context) error {
			_, _, err := r.api.Issues.Update(ctx, r.owner, r.name, issue.GetNumber(), update)
			return err
		},
	})
}

// comment adds a comment to an issue. When the answer is lost, one of that text is looked for that is younger, by GitHub's clock, than
// anything that was known of the issue.
func (r *Repository) comment(ctx context.Context, issue *api.Issue, text string) error {
	return r.do(ctx, call{
		doing: fmt.Sprintf("comment on issue #%d", issue.GetNumber()),
		needs: issuesWrite,
		send: func(ctx context.Context) error {
			_, _, err := r.api.Issues.CreateComment(ctx, r.owner, r.name, issue.GetNumber(), api.IssueCommentRequest{Body: text})
			return err
		},
		done: func(ctx context.Context) (bool, error) {
			return r.commented(ctx, issue, text)
		},
	})
}

func (r *Repository) commented(ctx context.Context, issue *api.Issue, text string) (bool, error) {
	known, found := issue.GetUpdatedAt().Time, false
	err := r.do(ctx, call{
		doing: fmt.Sprintf("look for the comment on issue #%d", issue.GetNumber()),
		needs: issuesWrite,
		send: func(ctx context.Context) error {
			for comment, err := range r.api.Issues.ListCommentsIter(ctx, r.owner, r.name, issue.GetNumber(),
				&api.IssueListCommentsOptions{Since: &known, ListOptions: api.ListOptions{PerPage: perPage}}) {
				if err != nil {
					return err
				}
				if comment.GetCreatedAt().After(known) && strings.TrimSpace(comment.GetBody()) == strings.TrimSpace(text) {
					found = true
					return nil
				}
			}
			return nil
		},
	})
	return found, err
}
