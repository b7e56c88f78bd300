package release

import (
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// CheckPublished tells whether upstream has fallen behind the registry. The target is the newest release of its line that the selection
// admits; all are the releases that there are, tags those of the repository. The error is that the registry has a higher version which the
// selection admits: of the same line or, when upstream has no higher release than the target, of any line. Such an upstream is an old copy,
// or has taken a release back: there is something to do about it, whatever is published.
func (s Selection) CheckPublished(target Release, all Catalog, tags []string) error {
	admits, err := s.parse()
	if err != nil {
		return err
	}
	newest, err := target.semver()
	if err != nil {
		return err
	}
	highest := true
	for _, r := range all.Releases {
		v, err := r.semver()
		if err != nil {
			return err
		}
		highest = highest && !(admits(v) && v.GreaterThan(newest))
	}
	var published *semver.Version
	for _, tag := range tags {
		v, _, ok := parseTag(tag)
		if ok && admits(v) && v.GreaterThan(newest) && (highest || lineOf(v) == lineOf(newest)) && (published == nil || v.GreaterThan(published)) {
			published = v
		}
	}
	if published == nil {
		return nil
	}
	return fmt.Errorf("the newest release upstream is %s, but %s is published already%s: upstream is an old copy or has taken %[2]s back; "+
		"use an upstream that is up to date (--upstream), or ask for the older version if you mean it (--version %[1]s)",
		target.Version, published, all.why(published))
}

// why tells why a version was passed over, if it was.
func (c Catalog) why(v *semver.Version) string {
	for _, p := range c.PassedOver {
		if p.Directory == v.String() {
			return " and was passed over upstream (" + p.Reason + ")"
		}
	}
	return ""
}
