package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"
	"pault.ag/go/debian/version"
)

// parallel is how many directories are looked into at once: enough to hide the way to the server and back, few enough to be polite.
const parallel = 8

// Catalog is what an upstream has.
type Catalog struct {
	// Releases are the releases that can be installed on Ubuntu 24.04, the lowest version first.
	Releases []Release
	// PassedOver are the listed directories, or versions in them, that are not releases, the lowest version first.
	PassedOver []PassedOver
}

// PassedOver is something that an upstream lists and that is not a release.
type PassedOver struct {
	// Directory is its directory under <upstream>/repo/: a version or a line.
	Directory string `json:"directory"`
	// Reason says why, such as "no signed repository for Ubuntu 24.04 (InRelease)".
	Reason string `json:"reason"`

	unsigned bool
}

// String is the directory and the reason, for people.
func (p PassedOver) String() string { return p.Directory + ": " + p.Reason }

// Releases reads which releases from major version 7 on can be installed on Ubuntu 24.04. The listing proposes, the index of packages
// decides, and the pinned key vouches for both the version and its packages: a version is a release when the Packages index of its
// directory has package opennebula in that version, the directory's InRelease file has the checksum of that index, and the key, or a
// subkey of it, has signed InRelease. Everything else that is listed is passed over, with a reason. Whatever may be otherwise the next
// time is an error, which names the address: a version is never missing because a server had a bad day. That the upstream lacks the key, or
// that the key has signed nothing there, is an error too.
func (u *Upstream) Releases(ctx context.Context) (Catalog, error) {
	directories, err := u.listing(ctx)
	if err != nil {
		return Catalog{}, err
	}
	key, err := u.pinnedKey(ctx)
	if err != nil {
		return Catalog{}, err
	}
	found := make([]Catalog, len(directories))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, d := range directories {
		group.Go(func() (err error) {
			found[i], err = u.releases(ctx, d, key)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Catalog{}, err
	}
	var all Catalog
	for _, c := range found {
		all.Releases = append(all.Releases, c.Releases...)
		all.PassedOver = append(all.PassedOver, c.PassedOver...)
	}
	all.Releases = merge(all.Releases)
	if len(all.Releases) == 0 && slices.ContainsFunc(all.PassedOver, func(p PassedOver) bool { return p.unsigned }) {
		return Catalog{}, fmt.Errorf("find a release at %s: the key %s vouches for none of the %d versions that are listed (%s); "+
			"beside that key, %s has %s; %s", u.base, u.fingerprint, len(directories), describe(all.PassedOver), keyFile,
			list(key.others, "no other"), adviceOtherKey)
	}
	return all, nil
}

// describe lists the highest of what was passed over.
func describe(all []PassedOver) string {
	const shown = 5
	prefix := ""
	if len(all) > shown {
		prefix = fmt.Sprintf("%d others; ", len(all)-shown)
		all = all[len(all)-shown:]
	}
	texts := make([]string, len(all))
	for i, p := range all {
		texts[i] = p.String()
	}
	return prefix + strings.Join(texts, "; ")
}

// releases returns what one directory has: for a version that version or nothing, for a line any number of its versions.
func (u *Upstream) releases(ctx context.Context, d directory, key *pinnedKey) (Catalog, error) {
	indexes, date, err := u.indexes(ctx, d, key)
	var unfit *unfitError
	if errors.As(err, &unfit) {
		return Catalog{PassedOver: []PassedOver{{Directory: d.name, Reason: unfit.reason, unsigned: unfit.unsigned}}}, nil
	}
	if err != nil {
		return Catalog{}, err
	}
	releases := map[string]*Release{}
	packagings := map[string][]version.Version{} // of a release, that all its architectures have
	for _, architecture := range supported() {
		in := indexes[architecture]
		if in == nil {
			continue
		}
		for name, has := range in.versions {
			r := releases[name]
			if r == nil {
				r = &Release{Version: name, Line: lineOf(semver.MustParse(name)), Directory: d.name, Date: date, Indexes: map[string]string{}}
				releases[name], packagings[name] = r, has
			}
			r.Architectures = append(r.Architectures, architecture)
			r.Indexes[architecture] = in.digest
			packagings[name] = slices.DeleteFunc(packagings[name], func(v version.Version) bool { return !slices.Contains(has, v) })
		}
	}
	var found Catalog
	for name, r := range releases {
		if len(packagings[name]) == 0 {
			found.PassedOver = append(found.PassedOver, PassedOver{Directory: d.name, Reason: fmt.Sprintf("%s has no package version of %s in "+
				"common; upstream may be in the middle of an update", strings.Join(r.Architectures, " and "), name)})
			continue
		}
		r.PackageVersion = slices.MaxFunc(packagings[name], version.Compare).String()
		found.Releases = append(found.Releases, *r)
	}
	if len(releases) == 0 {
		found.PassedOver = []PassedOver{{Directory: d.name, Reason: "its package indexes have no package " + packageName + " " + d.name}}
	}
	slices.SortFunc(found.PassedOver, func(a, b PassedOver) int { return cmp.Compare(a.Reason, b.Reason) })
	return found, nil
}

// indexes reads the indexes that the pinned key vouches for, by architecture, and the date of the repository. The error is an unfitError
// when there is none.
func (u *Upstream) indexes(ctx context.Context, d directory, key *pinnedKey) (map[string]*index, time.Time, error) {
	r, err := u.repository(ctx, d, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	found := map[string]*index{}
	for _, architecture := range r.architectures {
		in, err := u.index(ctx, d, r, architecture)
		if err != nil {
			return nil, time.Time{}, err
		}
		if in != nil {
			found[architecture] = in
		}
	}
	if len(found) == 0 {
		return nil, time.Time{}, &unfitError{reason: "InRelease has no checksum of a package index for " + strings.Join(supported(), " or ")}
	}
	return found, r.date, nil
}

// merge sorts releases by version and keeps one of each: that of its own directory rather than that of its line's.
func merge(all []Release) []Release {
	rank := func(r Release) int {
		if r.Directory == r.Version {
			return 0
		}
		return 1
	}
	slices.SortFunc(all, func(a, b Release) int {
		return cmp.Or(semver.MustParse(a.Version).Compare(semver.MustParse(b.Version)), rank(a)-rank(b))
	})
	return slices.CompactFunc(all, func(a, b Release) bool { return a.Version == b.Version })
}
