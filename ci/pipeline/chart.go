package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// chart packages the chart for the release and its image, and publishes it. Without an image it refers to the one that its sources name. A
// chart stands for the newest OpenNebula that it installs, so it is released with the highest release only.
func (r *run) chart(ctx context.Context, t target, image *ImageReport) error {
	options := r.options.Chart
	if !t.latest {
		why := fmt.Sprintf("a release higher than %s exists, and the chart goes with the highest", t.Version)
		r.skip("package", why)
		r.skip("publish", why)
		return nil
	}
	what := chartRelease(t.Release, image)
	what.Annotations, what.Changes = r.options.Project.labels(), chartChanges(*r.report.Plan)
	places, pack := options.places(r.Now().UTC()), options.pack(what)
	var archive helmrepo.Archive
	if err := r.stage("package", options.Dir, func() (detail string, err error) {
		if archive, err = helmrepo.Count(ctx, places, pack); err != nil {
			return "", err
		}
		r.packaged(archive)
		return fmt.Sprintf("%s %s for OpenNebula %s", archive.Name, archive.Version, archive.AppVersion), nil
	}); err != nil {
		return err
	}
	switch {
	case len(places) == 0:
		r.skip("publish", "no place to publish the chart to was given")
		return nil
	case r.options.DryRun:
		r.skip("publish", "dry run")
		return nil
	}
	return r.stage("publish", archive.Filename, func() (string, error) {
		published, results, err := helmrepo.Publish(ctx, places, archive, pack)
		r.packaged(published)
		r.report.Chart.Published = results
		lines := make([]string, len(results))
		for i, result := range results {
			lines[i] = PublishedLine(result)
		}
		return strings.Join(lines, ", "), err
	})
}

// packaged keeps an archive for the report, in the place of the one before.
func (r *run) packaged(archive helmrepo.Archive) {
	if before := r.report.Chart; before != nil {
		r.report.Files = slices.DeleteFunc(r.report.Files, func(f File) bool { return f.Name == before.Name+"-"+before.Version+".tgz" })
	}
	r.report.keep(archive.Filename, archive.Data)
	r.report.Chart = &ChartReport{
		Name: archive.Name, Version: archive.Version, AppVersion: archive.AppVersion, Digest: archive.Digest,
	}
}

// chartRelease is what a chart is packaged for: a release and its image.
func chartRelease(of release.Release, image *ImageReport) helmrepo.Release {
	packaged := helmrepo.Release{AppVersion: of.Version, Date: of.Date}
	if image != nil {
		packaged.Image = &helmrepo.Image{Repository: image.Repository, Tag: image.Tags[0], Digest: image.Digest, Platforms: image.Platforms}
	}
	return packaged
}

// chartChanges tells what a new image changes for those who use the chart. A plan that makes none knows of no change.
func chartChanges(plan release.Plan) []helmrepo.Change {
	var changes []helmrepo.Change
	switch plan.Action {
	case release.Build:
		changes = append(changes, helmrepo.Change{Kind: helmrepo.Changed, Description: "OpenNebula " + plan.Release.Version})
	case release.Rebuild:
		for _, reason := range plan.Reasons {
			changes = append(changes, helmrepo.Change{Kind: helmrepo.Changed, Description: "Image " + plan.RevisionTag() + ": " + reason})
		}
		if len(plan.Fixes) > 0 {
			changes[len(changes)-1].Kind = helmrepo.Security // the last reason tells of them
		}
	}
	return changes
}

// pack packages the chart for a release in whichever version it is given.
func (o ChartOptions) pack(of helmrepo.Release) helmrepo.Pack {
	return func(version string) (helmrepo.Archive, error) {
		of.Version = version
		return helmrepo.Package(o.Dir, of)
	}
}

// places are where the chart is published, the chart repositories first, for they are easier to mend than a registry.
func (o ChartOptions) places(now time.Time) []helmrepo.Place {
	var places []helmrepo.Place
	if o.RepositoryDir != "" {
		places = append(places, helmrepo.Directory{Dir: o.RepositoryDir, URL: o.RepositoryURL, Now: now})
	}
	if o.Pages != nil {
		places = append(places, helmrepo.Branch{Pages: o.Pages, URL: o.RepositoryURL, Now: now})
	}
	if o.Registry != nil {
		places = append(places, helmrepo.OCI{Repository: o.Registry})
	}
	return places
}

// Package packages the chart for a release whose image is in a repository, as its newest revision there. With no repository the chart refers to
// the image that its sources name. The version is that of Chart.yaml.
func (o ChartOptions) Package(ctx context.Context, of release.Release, images *registry.Repository) (helmrepo.Archive, error) {
	what, err := releaseOf(ctx, of, images)
	if err != nil {
		return helmrepo.Archive{}, err
	}
	return o.pack(what)("")
}

// Publish packages the chart as Package does and publishes it in the version that counts (see helmrepo.Count), wherever the options say. What was
// published before an error is returned with it.
func (o ChartOptions) Publish(ctx context.Context, of release.Release, images *registry.Repository, now time.Time) ([]helmrepo.Result, error) {
	places := o.places(now)
	if len(places) == 0 {
		return nil, errors.New("publish the chart: no place to publish to was given; name an OCI repository, " +
			"the directory of a chart repository, or a branch that is served as one")
	}
	what, err := releaseOf(ctx, of, images)
	if err != nil {
		return nil, err
	}
	pack := o.pack(what)
	archive, err := helmrepo.Count(ctx, places, pack)
	if err != nil {
		return nil, err
	}
	_, results, err := helmrepo.Publish(ctx, places, archive, pack)
	return results, err
}

// releaseOf finds the released image of a release.
func releaseOf(ctx context.Context, of release.Release, images *registry.Repository) (helmrepo.Release, error) {
	if images == nil {
		return chartRelease(of, nil), nil
	}
	state, err := (&Pipeline{Images: images}).state(ctx, of)
	if err != nil {
		return helmrepo.Release{}, err
	}
	tag, found := release.NewestRevision(of.Version, state.Tags)
	if state.Published == nil || !found {
		return helmrepo.Release{}, fmt.Errorf("find the image that the chart is to refer to: %s has no released image of OpenNebula %s; release it first",
			images.Name(), of.Version)
	}
	return chartRelease(of, &ImageReport{Repository: images.Name(), Digest: state.Published.Digest, Tags: []string{tag}, Platforms: state.Published.Platforms}), nil
}

// PublishedLine says in a line what became of a chart in one place.
func PublishedLine(result helmrepo.Result) string {
	if result.Published {
		return result.Location
	}
	return result.Location + " (was there already)"
}
