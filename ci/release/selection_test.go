package release_test

import (
	"fmt"
	"strings"
	"testing"

	"opennebula-kube/ci/release"
)

// releases makes releases of nothing but versions.
func releases(versions ...string) []release.Release {
	var all []release.Release
	for _, v := range versions {
		all = append(all, release.Release{Version: v})
	}
	return all
}

func TestPick(t *testing.T) {
	all := release.Catalog{
		Releases:   releases("6.10.0", "7.0.0", "7.0.1", "7.0.10", "7.0.9", "7.2.0", "7.4.0", "8.0.0"),
		PassedOver: []release.PassedOver{{Directory: "7.6.0", Reason: "nobody has signed it"}},
	}
	for _, test := range []struct {
		name string
		by   release.Selection
		want string
		says []string
	}{
		{name: "the newest of all", want: "8.0.0"},
		{name: "a floor", by: release.Selection{Constraint: ">=7.0.0"}, want: "8.0.0"},
		{name: "a range", by: release.Selection{Constraint: ">=7.0.0, <7.4.0"}, want: "7.2.0"},
		{name: "a tilde", by: release.Selection{Constraint: "~7.0"}, want: "7.0.10"},
		{name: "a caret", by: release.Selection{Constraint: "^7.0.0"}, want: "7.4.0"},
		{name: "an alternative", by: release.Selection{Constraint: "6.x || 7.0.x"}, want: "7.0.10"},
		{name: "a line, by number and not by letter", by: release.Selection{Line: "7.0"}, want: "7.0.10"},
		{name: "a line within a range", by: release.Selection{Line: "7.0", Constraint: "<7.0.9"}, want: "7.0.1"},
		{name: "a version", by: release.Selection{Version: "7.0.1"}, want: "7.0.1"},
		{name: "a version within line and range", by: release.Selection{Version: "7.0.1", Line: "7.0", Constraint: ">=7.0.0"}, want: "7.0.1"},
		{name: "a range above all", by: release.Selection{Constraint: ">=9"},
			says: []string{"none is of constraint >=9", "upstream has 6.10.0, 7.0.0, 7.0.1,", "8.0.0"}},
		{name: "a line that is not there", by: release.Selection{Line: "7.6"}, says: []string{"none is of line 7.6", "7.4.0", "passed over: 7.6.0: nobody has signed it"}},
		{name: "a version that is not there", by: release.Selection{Version: "7.0.2"}, says: []string{"none is of version 7.0.2", "7.0.10"}},
		{name: "a version outside the range", by: release.Selection{Version: "6.10.0", Constraint: ">=7.0.0"},
			says: []string{"none is of version 6.10.0, constraint >=7.0.0"}},
		{name: "a version of another line", by: release.Selection{Version: "7.2.0", Line: "7.0"}, says: []string{"version 7.2.0, line 7.0"}},
		{name: "no range", by: release.Selection{Constraint: "newest"}, says: []string{`version constraint "newest"`, ">=7.0.0"}},
		{name: "no line", by: release.Selection{Line: "7"}, says: []string{`release line "7"`, "X.Y"}},
		{name: "a version for a line", by: release.Selection{Line: "7.0.1"}, says: []string{`release line "7.0.1"`, "X.Y"}},
		{name: "a line for a version", by: release.Selection{Version: "7.0"}, says: []string{`version "7.0"`, "X.Y.Z"}},
		{name: "a version with a v", by: release.Selection{Version: "v7.0.1"}, says: []string{`version "v7.0.1"`, "X.Y.Z"}},
		{name: "a pre-release", by: release.Selection{Version: "7.1.80"}, says: []string{`version "7.1.80" is a pre-release`, "80"}},
		{name: "a semver pre-release", by: release.Selection{Version: "7.0.1-rc1"}, says: []string{"is a pre-release"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.by.Pick(all)
			if test.want != "" && (err != nil || got.Version != test.want) {
				t.Fatalf("got %s, %v, want %s", got.Version, err, test.want)
			}
			if test.want == "" && err == nil {
				t.Fatalf("got %s, want an error", got.Version)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got error %q, want %q in it", err, part)
				}
			}
		})
	}
}

// Of what was passed over, an error names what the selection is about.
func TestPickNamesWhatWasPassedOver(t *testing.T) {
	all := release.Catalog{Releases: releases("7.0.1")}
	for _, d := range []string{"6.8", "7.0.9", "7.2", "7.2.0", "7.2.1", "7.4", "7.4.0", "7.4.1", "7.6.0", "7.8.0", "7.10.0"} {
		all.PassedOver = append(all.PassedOver, release.PassedOver{Directory: d, Reason: "broken"})
	}
	for _, test := range []struct {
		by   release.Selection
		want string
	}{
		{release.Selection{Version: "7.2.0"}, "; passed over: 7.2: broken; 7.2.0: broken"},
		{release.Selection{Line: "7.2"}, "; passed over: 7.2: broken; 7.2.0: broken; 7.2.1: broken"},
		{release.Selection{Constraint: ">=7.6.0", Line: "7.6"}, "; passed over: 7.6.0: broken"},
		{release.Selection{Constraint: ">7.2.0"}, "; passed over: 4 others; 7.4.0: broken; 7.4.1: broken; 7.6.0: broken; 7.8.0: broken; 7.10.0: broken"},
		{release.Selection{Line: "8.0"}, "upstream has 7.0.1"},
	} {
		if _, err := test.by.Pick(all); err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want %q at its end", test.by, err, test.want)
		}
	}
}

func TestPickFromNothing(t *testing.T) {
	if got, err := (release.Selection{Constraint: ">=7.0.0"}).Pick(release.Catalog{}); err == nil || !strings.Contains(err.Error(), "no release that can be installed") {
		t.Errorf("got %+v, error %v, want an error that says that upstream has none", got, err)
	}
}

func TestPickFromMany(t *testing.T) {
	var all release.Catalog
	for i := range 40 {
		all.Releases = append(all.Releases, releases(fmt.Sprintf("7.%d.0", i))...)
	}
	_, err := release.Selection{Line: "8.0"}.Pick(all)
	if want := "upstream has 28 older ones, 7.28.0, 7.29.0"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want %q in it", err, want)
	}
}

func TestPickFromInvalid(t *testing.T) {
	if got, err := (release.Selection{}).Pick(release.Catalog{Releases: releases("7.0")}); err == nil || !strings.Contains(err.Error(), `"7.0"`) {
		t.Errorf("got %+v, error %v, want one that names the version", got, err)
	}
}
