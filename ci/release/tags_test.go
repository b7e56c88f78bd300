package release_test

import (
	"strings"
	"testing"

	"opennebula-kube/ci/release"
)

func TestMovingTags(t *testing.T) {
	for _, test := range []struct {
		name, version, upstream, registry, want string
	}{
		{"the only one", "7.0.1", "7.0.1", "", "7.0.1 7.0 7 latest"},
		{"the highest of all", "7.2.0", "7.0.1 7.2.0", "", "7.2.0 7.2 7 latest"},
		{"the highest of an older line", "7.0.1", "7.0.0 7.0.1 7.2.0", "", "7.0.1 7.0"},
		{"not the highest of its line", "7.0.0", "7.0.0 7.0.1 7.2.0", "", "7.0.0"},
		{"the highest of an older major version", "7.4.0", "7.0.0 7.4.0 8.0.0", "", "7.4.0 7.4 7"},
		{"by number and not by letter", "7.0.9", "7.0.9 7.0.10", "", "7.0.9"},
		{"a line of two digits", "7.10.0", "7.2.0 7.10.0", "", "7.10.0 7.10 7 latest"},
		{"a higher version in the registry alone", "7.0.1", "7.0.1", "7.2.0-1 7.2.0 7.2", "7.0.1 7.0"},
		{"a higher version in the registry, by its revision only", "7.0.1", "7.0.1", "7.0.2-1", "7.0.1"},
		{"a higher version in the registry, by its tag only", "7.0.1", "7.0.1", "7.0.2", "7.0.1"},
		{"a higher major version in the registry", "7.0.1", "7.0.1", "8.0.0-3", "7.0.1 7.0 7"},
		{"its own revisions", "7.0.1", "7.0.1", "7.0.1-1 7.0.1-2 7.0.1 7.0 7 latest", "7.0.1 7.0 7 latest"},
		{"tags of others", "7.0.1", "7.0.1", "9.0 9 9.0.0-rc1 9.0.0-0 9.0.0-01 v9.0.0 9.0.0-1-amd64 sha256-abc.sig buildcache 9.01.0 9.1.80 9.1.80-1 " +
			"9.0.0-99999999999999999999", "7.0.1 7.0 7 latest"},
		{"no version", "7.0", "7.0.1", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := release.MovingTags(release.Release{Version: test.version}, releases(strings.Fields(test.upstream)...), strings.Fields(test.registry))
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
		})
	}
}

func TestCandidateTags(t *testing.T) {
	if got := strings.Join(release.CandidateTags(release.Release{Version: "7.10.2"}), " "); got != "7.10.2 7.10 7 latest" {
		t.Errorf("got %s, want 7.10.2 7.10 7 latest", got)
	}
}

func TestNewestRevision(t *testing.T) {
	for _, test := range []struct{ tags, want string }{
		{"", ""},
		{"7.0.1 7.0 7 latest", ""},
		{"7.0.1-1", "7.0.1-1"},
		{"7.0.1-9 7.0.1-10 7.0.1-2", "7.0.1-10"},
		{"7.0.1-1 7.0.1-4", "7.0.1-4"},
		{"7.0.1-2 7.0.10-3 17.0.1-5 7.0.1-rc9 7.0.1-07 7.0.1-8x", "7.0.1-2"},
	} {
		got, found := release.NewestRevision("7.0.1", strings.Fields(test.tags))
		if got != test.want || found != (test.want != "") {
			t.Errorf("%q: got %q, %t, want %q", test.tags, got, found, test.want)
		}
	}
}

func TestBefore(t *testing.T) {
	tags := []string{"7.0.1-1", "7.0.1-2", "7.0.1-10", "7.0.1", "7.2.0-1", "7.4.0-3", "7.0", "7", "latest", "7.3.0", "7.1.80-1", "8.0.0-x", "7.0.0-1"}
	for version, want := range map[string]string{
		"7.4.0": "7.2.0-1", "7.3.0": "7.2.0-1", "7.2.0": "7.0.1-10", "7.0.1": "7.0.0-1", "7.0.0": "7.0.0-1", "9.0.0": "7.4.0-3", "6.10.0": "", "7.0": "",
	} {
		if got, found := release.Before(version, tags); got != want || found != (want != "") {
			t.Errorf("before %s comes %q, %v; want %q", version, got, found, want)
		}
	}
}
