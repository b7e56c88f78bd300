package release

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/Masterminds/semver/v3"
)

// Latest is the tag of the highest release of all.
const Latest = "latest"

var revisionPattern = regexp.MustCompile(`^([0-9]+\.[0-9]+\.[0-9]+)(?:-([1-9][0-9]*))?$`)

// parseTag reads a tag of ours that stands for a version: 7.0.1, or 7.0.1-2 with a revision. The revision is 0 when it has none. All
// others, those of pre-releases among them, are somebody else's.
func parseTag(tag string) (v *semver.Version, revision int, ok bool) {
	parts := revisionPattern.FindStringSubmatch(tag)
	if parts == nil {
		return nil, 0, false
	}
	v, err := semver.StrictNewVersion(parts[1])
	if err != nil || !isRelease(v) {
		return nil, 0, false
	}
	if parts[2] != "" {
		if revision, err = strconv.Atoi(parts[2]); err != nil {
			return nil, 0, false
		}
	}
	return v, revision, true
}

// RevisionTag is the tag of one revision of a version, such as 7.0.1-2. It is never moved.
func RevisionTag(version string, revision int) string { return fmt.Sprintf("%s-%d", version, revision) }

// NewestRevision finds the tag of the highest revision of a version (X.Y.Z) among the tags of a repository.
func NewestRevision(version string, tags []string) (tag string, found bool) {
	n := newestRevision(version, tags)
	if n == 0 {
		return "", false
	}
	return RevisionTag(version, n), true
}

func newestRevision(version string, tags []string) int {
	newest := 0
	for _, tag := range tags {
		if v, n, ok := parseTag(tag); ok && v.String() == version {
			newest = max(newest, n)
		}
	}
	return newest
}

// Before finds, among the tags of a repository, that of what an installation of a version (X.Y.Z) most likely runs before it: the highest
// revision of the highest version below or, when there is none, of the version itself.
func Before(version string, tags []string) (tag string, found bool) {
	of, err := semver.StrictNewVersion(version)
	if err != nil {
		return "", false
	}
	before := of
	for _, tag := range tags {
		v, revision, ok := parseTag(tag)
		if ok && revision > 0 && v.LessThan(of) && (before == of || v.GreaterThan(before)) {
			before = v
		}
	}
	return NewestRevision(before.String(), tags)
}

// CandidateTags returns the tags that may ever stand for a release, without a look at what else there is: 7.0.1, 7.0, 7 and latest.
// A version that is not of the form X.Y.Z has none.
func CandidateTags(r Release) []string {
	v, err := r.semver()
	if err != nil {
		return nil
	}
	return []string{v.String(), lineOf(v), strconv.FormatUint(v.Major(), 10), Latest}
}

// MovingTags returns those of the release's candidate tags that it may hold: its version always, its line, its major version and latest
// when it is the highest there. What counts is every version that upstream has or that the registry has a tag of, so that a tag never
// moves to a lower version, not even when upstream takes one back.
func MovingTags(r Release, all []Release, tags []string) []string {
	v, err := r.semver()
	if err != nil {
		return nil
	}
	inLine, inMajor, overall := true, true, true
	consider := func(other *semver.Version) {
		if !other.GreaterThan(v) {
			return
		}
		overall = false
		if other.Major() == v.Major() {
			inMajor = false
			if other.Minor() == v.Minor() {
				inLine = false
			}
		}
	}
	for _, other := range all {
		if o, err := other.semver(); err == nil {
			consider(o)
		}
	}
	for _, tag := range tags {
		if o, _, ok := parseTag(tag); ok {
			consider(o)
		}
	}
	candidates := CandidateTags(r)
	moving := []string{candidates[0]}
	for i, ok := range []bool{inLine, inMajor, overall} {
		if ok {
			moving = append(moving, candidates[i+1])
		}
	}
	return moving
}
