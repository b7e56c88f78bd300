package release

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"
	"pault.ag/go/debian/version"
)

// parallel is how many directories are looked into at once: enough to hide the way to the server and back, few enough to be polite.
const parallel = 8

// Releases returns all releases from major version 7 on that can be installed on Ubuntu 24.04, the lowest first. The listing proposes
// and the index decides: a version counts where the Packages index of its directory has package opennebula in that version. A listed
// version that has no index, or whose index lacks it, is left out. Whatever keeps the answer from being complete is an error, which
// names the address: a version is never missing because a server had a bad day.
func (u *Upstream) Releases(ctx context.Context) ([]Release, error) {
	directories, err := u.listing(ctx)
	if err != nil {
		return nil, err
	}
	found := make([][]Release, len(directories))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, d := range directories {
		group.Go(func() (err error) {
			found[i], err = u.releases(ctx, d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return merge(slices.Concat(found...)), nil
}

// releases returns what one directory has: for a version that version or nothing, for a line any number of its versions.
func (u *Upstream) releases(ctx context.Context, d directory) ([]Release, error) {
	r, err := u.repository(ctx, d)
	if err != nil {
		return nil, err
	}
	found := map[string]*Release{}
	packaged := map[string]version.Version{}
	for _, architecture := range r.architectures {
		in, err := u.index(ctx, d, r, architecture)
		if err != nil {
			return nil, err
		}
		if in == nil {
			continue
		}
		for name, v := range in.versions {
			release := found[name]
			if release == nil {
				release = &Release{Version: name, Directory: d.name, Date: r.date, Indexes: map[string]string{}}
				found[name], packaged[name] = release, v
			}
			release.Architectures = append(release.Architectures, architecture)
			release.Indexes[architecture] = in.digest
			if r.date.IsZero() && release.Date.Before(in.modified) {
				release.Date = in.modified.UTC()
			}
			if version.Compare(v, packaged[name]) < 0 {
				packaged[name] = v
			}
		}
	}
	var releases []Release
	for name, release := range found {
		if release.Date.IsZero() {
			return nil, fmt.Errorf("find the date of release %s in %s: the repository's Release file has no field Date, and its package "+
				"index was sent without a Last-Modified header", name, u.suite(d))
		}
		release.Line = lineOf(semver.MustParse(name))
		release.PackageVersion = packaged[name].String()
		releases = append(releases, *release)
	}
	return releases, nil
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
