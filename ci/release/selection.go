package release

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Selection says which releases to take. What is empty selects nothing out; what is given must all hold.
type Selection struct {
	// Constraint is a range of versions as Masterminds/semver reads them, such as ">=7.0.0" or "~7.0".
	Constraint string
	// Line is a release line, such as 7.0.
	Line string
	// Version is one version, X.Y.Z.
	Version string
}

// Pick returns the newest of all releases that the selection admits. That there is none is an error that says what there is, and what was
// passed over.
func (s Selection) Pick(all Catalog) (Release, error) {
	newest, err := s.Newest(all)
	if err != nil {
		return Release{}, err
	}
	return newest[len(newest)-1], nil
}

// Newest returns, of each line, the newest release that the selection admits, the lowest line first. That there is none is an error that
// says what there is, and what was passed over.
func (s Selection) Newest(all Catalog) ([]Release, error) {
	admits, err := s.parse()
	if err != nil {
		return nil, err
	}
	type versioned struct {
		Release
		version *semver.Version
	}
	newest := map[string]versioned{}
	for _, r := range all.Releases {
		v, err := r.semver()
		if err != nil {
			return nil, err
		}
		if known, ok := newest[lineOf(v)]; admits(v) && (!ok || v.GreaterThan(known.version)) {
			newest[lineOf(v)] = versioned{r, v}
		}
	}
	if len(newest) == 0 {
		return nil, s.nothing(all)
	}
	sorted := slices.SortedFunc(maps.Values(newest), func(a, b versioned) int { return a.version.Compare(b.version) })
	releases := make([]Release, len(sorted))
	for i, r := range sorted {
		releases[i] = r.Release
	}
	return releases, nil
}

func (s Selection) parse() (admits func(*semver.Version) bool, err error) {
	var constraint *semver.Constraints
	if s.Constraint != "" {
		if constraint, err = semver.NewConstraint(s.Constraint); err != nil {
			return nil, fmt.Errorf("version constraint %q: %w; write a range such as >=7.0.0 or >=7.0.0, <7.4.0", s.Constraint, err)
		}
	}
	if s.Line != "" && !isLine(s.Line) {
		return nil, fmt.Errorf("release line %q: not of the form X.Y, such as 7.0", s.Line)
	}
	var version *semver.Version
	if s.Version != "" {
		if version, err = semver.StrictNewVersion(s.Version); err != nil {
			return nil, fmt.Errorf("version %q: not of the form X.Y.Z, such as 7.0.1: %w", s.Version, err)
		}
		if !isRelease(version) {
			return nil, fmt.Errorf("version %q is a pre-release, which is never taken: a release has no suffix, and a patch number below %d",
				s.Version, firstPreRelease)
		}
	}
	return func(v *semver.Version) bool {
		return (constraint == nil || constraint.Check(v)) && (s.Line == "" || lineOf(v) == s.Line) && (version == nil || v.Equal(version))
	}, nil
}

// nothing is the error of a selection that admits none of all.
func (s Selection) nothing(all Catalog) error {
	passedOver := ""
	if meant := s.among(all.PassedOver); len(meant) > 0 {
		passedOver = "; passed over: " + describe(meant)
	}
	if len(all.Releases) == 0 {
		return errors.New("select a release: upstream has no release that can be installed on Ubuntu 24.04; check its address" + passedOver)
	}
	var asked []string
	for _, part := range []struct{ name, value string }{{"version", s.Version}, {"line", s.Line}, {"constraint", s.Constraint}} {
		if part.value != "" {
			asked = append(asked, part.name+" "+part.value)
		}
	}
	names := make([]string, len(all.Releases))
	for i, r := range all.Releases {
		names[i] = r.Version
	}
	// The end of the list has the newest, which is what a wrong selection mostly is about.
	const shown = 12
	prefix := ""
	if len(names) > shown {
		prefix = fmt.Sprintf("%d older ones, ", len(names)-shown)
		names = names[len(names)-shown:]
	}
	return fmt.Errorf("select a release: none is of %s; upstream has %s%s%s", strings.Join(asked, ", "), prefix, strings.Join(names, ", "),
		passedOver)
}

// among returns what was passed over of what the selection means: versions that it admits, and lines that may have one.
func (s Selection) among(all []PassedOver) []PassedOver {
	admits, err := s.parse()
	if err != nil {
		return nil
	}
	var meant []PassedOver
	for _, p := range all {
		d, ok := parseDirectory(p.Directory + "/")
		switch {
		case !ok:
		case d.line && (s.Line == "" || s.Line == d.name) && (s.Version == "" || strings.HasPrefix(s.Version, d.name+".")):
			meant = append(meant, p)
		case !d.line && admits(d.version):
			meant = append(meant, p)
		}
	}
	return meant
}
