package release_test

import (
	"strings"
	"testing"

	"opennebula-kube/ci/release"
)

func TestCheckPublished(t *testing.T) {
	all := release.Catalog{
		Releases:   releases("7.0.0", "7.0.1", "7.2.0"),
		PassedOver: []release.PassedOver{{Directory: "7.4.0", Reason: "nobody has signed it"}},
	}
	for _, test := range []struct {
		name   string
		by     release.Selection
		target string
		tags   string
		says   string // "" for no error
	}{
		{name: "nothing published", target: "7.2.0"},
		{name: "the same", target: "7.2.0", tags: "7.2.0-1 7.2.0 7.2 7 latest"},
		{name: "less", target: "7.2.0", tags: "7.0.1-3 7.0.1"},
		{name: "more", target: "7.2.0", tags: "7.2.0 7.2.1-1", says: "the newest release upstream is 7.2.0, but 7.2.1 is published already: upstream"},
		{name: "a later line", target: "7.2.0", tags: "7.4.1-1 7.2.0", says: "newest release upstream is 7.2.0, but 7.4.1 is published"},
		{name: "the highest of several", target: "7.2.0", tags: "7.4.1-1 7.10.0-1 7.6.0-1", says: "but 7.10.0 is published"},
		{name: "what was passed over", target: "7.2.0", tags: "7.4.0-1", says: "7.4.0 is published already and was passed over upstream (nobody has signed it): upstream"},
		{name: "what to do", target: "7.2.0", tags: "7.4.1-1", says: "(--upstream), or ask for the older version if you mean it (--version 7.2.0)"},
		{name: "a lower line is what it was", target: "7.0.1", tags: "7.4.0-1 7.2.0-1 7.0.1-1"},
		{name: "a lower line has less", target: "7.0.1", tags: "7.0.2-1", says: "newest release upstream is 7.0.1, but 7.0.2 is published"},
		{name: "a line that was asked for", by: release.Selection{Line: "7.0"}, target: "7.0.1", tags: "7.4.0-1 7.0.1-1"},
		{name: "a line that was asked for and has less", by: release.Selection{Line: "7.0"}, target: "7.0.1", tags: "7.0.2-1", says: "but 7.0.2 is published"},
		{name: "a version that was asked for", by: release.Selection{Version: "7.0.0"}, target: "7.0.0", tags: "7.0.1-1 7.4.0-1"},
		{name: "outside of the range", by: release.Selection{Constraint: "<7.4.0"}, target: "7.2.0", tags: "7.4.0-1"},
		{name: "in the range", by: release.Selection{Constraint: "<7.4.0"}, target: "7.2.0", tags: "7.4.0-1 7.2.9-1", says: "but 7.2.9 is published"},
		{name: "pre-releases and tags of others", target: "7.2.0", tags: "7.3.80-1 8 9.0 v9.0.0 nightly"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.by.CheckPublished(release.Release{Version: test.target}, all, strings.Fields(test.tags))
			switch {
			case test.says == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("got error %v, want %q in it", err, test.says)
			}
		})
	}
}
