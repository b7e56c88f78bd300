package github_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"opennebula-kube/ci/github"
	"opennebula-kube/ci/httpfault"
)

const another = "The failure is another one now: the description above is that of the latest run."

func TestFailedOpensAnIssue(t *testing.T) {
	for name, labels := range map[string][]string{"without the label": nil, "with it": {label}} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				f.labels = labels
				// What is not ours: of others, closed already, a pull request that is labelled alike.
				f.add("mine too", "why", label)
				f.add("quoted", marker)
				f.add("over", marker, label).State = "closed"
				f.add("pull", marker, label).Pull = &struct{}{}
				url := must[string](t)(r.Failed(t.Context(), "Release\n fails", "why\n"))
				if url != f.issues[4].URL || !slices.Equal(f.openIssues(), []int{1, 2, 4, 5}) {
					t.Fatalf("%s, open %v", url, f.openIssues())
				}
				if i := f.issues[4]; i.Title != "Release fails" || i.Body != marker+"\n\nwhy\n" || len(i.comments) > 0 || !i.labelled(label) {
					t.Errorf("%+v", i)
				}
				if !slices.Equal(f.labels, []string{label}) {
					t.Errorf("labels %v", f.labels)
				}
			})
		})
	}
}

func TestFailedReplacesTheBody(t *testing.T) {
	const before = "gate failed on 2026-11-25 00:49 UTC after 1m3.2s\r\nsee https://github.com/acme/opennebula/actions/runs/123/attempts/2 on 7.2.0: 5 high\n"
	for name, c := range map[string]struct {
		title, body string
		comments    int
	}{
		"same": {"Release fails", before, 0},
		"other dates": {"Release fails",
			"gate failed on 2026-11-26T01:02:03Z after 900ms\nsee https://github.com/acme/opennebula/actions/runs/4567 on 7.2.0: 5 high\n", 0},
		"other version": {"Release fails", strings.Replace(before, "7.2.0", "7.2.1", 1), 1},
		"other count":   {"Release fails", strings.Replace(before, "5 high", "6 high", 1), 1},
		"other title":   {"Build fails", before, 1},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				i := f.add("Release fails", marker+"\n\n"+before, label)
				time.Sleep(24 * time.Hour)
				url := must[string](t)(r.Failed(t.Context(), c.title, c.body))
				if url != i.URL || len(f.issues) != 1 || i.Title != c.title || i.Body != marker+"\n\n"+c.body {
					t.Errorf("%s: %+v", url, i)
				}
				if len(i.comments) != c.comments || c.comments > 0 && i.comments[0].Body != another {
					t.Errorf("comments %v, want %d", i.comments, c.comments)
				}
			})
		})
	}
}

func TestFailedClosesDuplicates(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		for range 3 {
			f.add("Release fails", marker+"\n\nwhy", label)
		}
		url := must[string](t)(r.Failed(t.Context(), "Release fails", "why"))
		if url != f.issues[0].URL || !slices.Equal(f.openIssues(), []int{1}) || len(f.issues[0].comments) > 0 {
			t.Fatalf("%s, open %v, comments %v", url, f.openIssues(), f.issues[0].comments)
		}
		for _, i := range f.issues[1:] {
			if len(i.comments) != 1 || i.comments[0].Body != "Duplicate of #1" || i.Reason != "not_planned" {
				t.Errorf("%+v", i)
			}
		}
	})
}

func TestTwoRunsOpenAnIssueAtOnce(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		f.opening = func() { f.add("Release fails", marker+"\n\nanother reason", label) }
		url := must[string](t)(r.Failed(t.Context(), "Release fails", "why"))
		if url != f.issues[0].URL || !slices.Equal(f.openIssues(), []int{1}) || !strings.Contains(f.issues[0].Body, "why") {
			t.Errorf("%s, open %v, %+v", url, f.openIssues(), f.issues[0])
		}
	})
}

func TestANewIssueIsListedLate(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		f.Inject(httpfault.Fault{Method: "GET", Path: issues, Effect: httpfault.Body("application/json", "[]")})
		if url := must[string](t)(r.Failed(t.Context(), "Release fails", "why")); url != f.issues[0].URL || len(f.issues) != 1 {
			t.Errorf("%s of %d", url, len(f.issues))
		}
	})
}

func TestFailuresHalfWay(t *testing.T) {
	for name, c := range map[string]struct {
		fault httpfault.Fault
		words string
	}{
		"comment": {httpfault.Fault{Method: "POST", Path: issues + "/*/comments", Effect: refusal(403, "Forbidden")}, "comment on issue #2"},
		"close":   {httpfault.Fault{Method: "PATCH", Path: issues + "/2", Effect: refusal(403, "Forbidden")}, "close issue #2"},
		"replace": {httpfault.Fault{Method: "PATCH", Path: issues + "/1", Effect: refusal(403, "Forbidden")}, "replace the body of issue #1"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				f.add("Release fails", marker, label)
				f.add("Release fails", marker, label)
				f.Inject(c.fault)
				_, err := r.Failed(t.Context(), "Release fails", "why")
				mustFail(t, err, c.words, "acme/opennebula", "403 Forbidden", "`issues: write`")
				f.Clear()
				must[string](t)(r.Failed(t.Context(), "Release fails", "why"))
				if !slices.Equal(f.openIssues(), []int{1}) || f.issues[0].Body != marker+"\n\nwhy" {
					t.Errorf("open %v after the next run", f.openIssues())
				}
			})
		})
	}
}

func TestAllPagesAreRead(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		for n := range 250 {
			f.add(fmt.Sprint(n), "of others", label)
		}
		i := f.add("Release fails", marker+"\n\nwhy", label)
		if url := must[string](t)(r.Failed(t.Context(), "Release fails", "why")); url != i.URL || len(f.issues) != 251 {
			t.Errorf("%s of %d", url, len(f.issues))
		}
	})
}

func TestFailedSaysWhenTheLabelIsDropped(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		f.mute = true
		_, err := r.Failed(t.Context(), "Release fails", "why")
		mustFail(t, err, "open an issue", "acme/opennebula", "issues/1 without the label", "`issues: write`")
	})
}

func TestFailedWantsATitle(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		_, err := r.Failed(t.Context(), " \n", "why")
		mustFail(t, err, "no title", "acme/opennebula")
	})
}

func TestRecovered(t *testing.T) {
	for name, c := range map[string]struct {
		open     int
		comment  string
		comments int
	}{
		"none":            {0, "It works again.", 0},
		"one":             {1, "It works again.", 1},
		"several":         {2, "It works again.", 1},
		"nothing to say":  {1, " ", 0},
		"too much to say": {1, strings.Repeat("öne line of it\n", 10000), 1},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				want := ""
				for range c.open {
					f.add("Release fails", marker, label)
					want = f.issues[0].URL
				}
				f.add("pull", marker, label).Pull = &struct{}{}
				if url := must[string](t)(r.Recovered(t.Context(), c.comment)); url != want {
					t.Errorf("address %q, want %q", url, want)
				}
				for _, i := range f.issues[:c.open] {
					if i.State != "closed" || i.Reason != "completed" || len(i.comments) != c.comments ||
						c.comments > 0 && i.comments[0].Body[:8] != c.comment[:8] {
						t.Errorf("%+v", i)
					}
				}
				if !slices.Equal(f.openIssues(), []int{c.open + 1}) {
					t.Errorf("open %v", f.openIssues())
				}
			})
		})
	}
}

func TestFailedAfterRecovered(t *testing.T) {
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		first := must[string](t)(r.Failed(t.Context(), "Release fails", "why"))
		if url := must[string](t)(r.Recovered(t.Context(), "It works again.")); url != first {
			t.Errorf("closed %s, opened %s", url, first)
		}
		if url := must[string](t)(r.Failed(t.Context(), "Release fails", "why")); url == first || !slices.Equal(f.openIssues(), []int{2}) {
			t.Errorf("%s again, open %v", url, f.openIssues())
		}
	})
}

func TestLongBodiesAreCut(t *testing.T) {
	lines := strings.Repeat("a line of the log, ö\n", 10000)
	for name, c := range map[string]struct {
		body, end string // what is kept ends with
	}{
		"lines":      {lines, "a line of the log, ö\n\n*The last "},
		"code":       {"```text\n" + lines + "```\n", "a line of the log, ö\n```\n\n*The last "},
		"code ended": {"````\n```\n````\n" + lines, "a line of the log, ö\n\n*The last "},
		"one line":   {strings.Repeat("ö", 100000), "ö\n\n*The last "},
		"not UTF-8":  {strings.Repeat("\xff\n", 60000), "\uFFFD\n\n*The last "},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				must[string](t)(r.Failed(t.Context(), strings.Repeat("ö", 300), c.body))
				body := f.issues[0].Body
				size := utf8.RuneCountInString(body)
				if size > 65536 || size < 65000 || !strings.HasPrefix(body, marker) || !strings.Contains(body, c.end) {
					t.Errorf("%d characters, which end with %q", size, body[len(body)-200:])
				}
				if !strings.HasSuffix(body, "GitHub takes no more than 65536. The log of the run has all.*\n") {
					t.Errorf("it ends with %q", body[len(body)-100:])
				}
				if again := must[string](t)(r.Failed(t.Context(), strings.Repeat("ö", 300), c.body)); again != f.issues[0].URL || f.count("PATCH /issues/1") > 0 {
					t.Errorf("the same is sent again: %v", f.log)
				}
			})
		})
	}
	run(t, func(t *testing.T, f *fake, r *github.Repository) {
		body := strings.Repeat("ö", 65536-len(marker)-2)
		must[string](t)(r.Failed(t.Context(), "Release fails", body))
		if f.issues[0].Body != marker+"\n\n"+body {
			t.Error("a body that just fits is cut")
		}
	})
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		fault httpfault.Fault
		words []string
	}{
		"may not read": {httpfault.Fault{Method: "GET", Effect: refusal(403, "Resource not accessible by integration")},
			[]string{"look for open issues", "403 Forbidden: Resource not accessible by integration", "`issues: write`"}},
		"unknown": {httpfault.Fault{Effect: refusal(404, "Not Found")},
			[]string{"404 Not Found", "check the name of the repository", "`issues: write`"}},
		"issues off": {httpfault.Fault{Method: "POST", Path: issues, Effect: refusal(410, "Issues has been disabled in this repository.")},
			[]string{"open an issue", "410 Gone: Issues has been disabled", "turn it on in the settings"}},
		"may not label": {httpfault.Fault{Path: repo + "/labels", Effect: refusal(403, "")},
			[]string{"create the label release-failure", "answered 403 Forbidden: give the token"}},
		"not valid": {httpfault.Fault{Method: "POST", Path: issues, Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			answer(w, 422, map[string]any{"message": "Validation Failed", "errors": []any{map[string]string{"resource": "Issue", "field": "title", "code": "missing_field"}}})
		}}, []string{"422", "Validation Failed; Issue title missing_field", "correct what it names"}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake, r *github.Repository) {
				hits := f.Inject(c.fault)
				_, err := r.Failed(t.Context(), "Release fails", "why")
				mustFail(t, err, append(c.words, "in GitHub repository acme/opennebula")...)
				if hits() != 1 {
					t.Errorf("asked %d times, want once", hits())
				}
			})
		})
	}
}

// Failures of two subjects are told by two issues, and each closes its own.
func TestSubjects(t *testing.T) {
	run(t, func(t *testing.T, f *fake, release *github.Repository) {
		acceptance, err := github.New(github.Options{Token: token, Repository: "acme/opennebula", API: f.url, Client: f.client, Subject: "acceptance"})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*github.Repository{release, acceptance, release} {
			if _, err := r.Failed(t.Context(), "It fails", "why"); err != nil {
				t.Fatal(err)
			}
		}
		if len(f.issues) != 2 || !f.issues[1].labelled("acceptance-failure") {
			t.Fatalf("issues %+v, want two, the second labelled acceptance-failure", f.issues)
		}
		if _, err := acceptance.Recovered(t.Context(), "It works."); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.openIssues(), []int{1}) {
			t.Errorf("open issues %v, want the release's", f.openIssues())
		}
	})
}
