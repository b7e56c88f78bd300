package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"opennebula-kube/ci/helmrepo"
)

// chart packages the chart for the release and publishes it. A chart stands for the newest OpenNebula that it installs, so it is
// released with the highest release only.
func (r *run) chart(ctx context.Context, t target) error {
	options := r.options.Chart
	if !t.latest {
		why := fmt.Sprintf("a release higher than %s exists, and the chart goes with the highest", t.Version)
		r.skip("package", why)
		r.skip("publish", why)
		return nil
	}
	var archive helmrepo.Archive
	if err := r.stage("package", options.Dir, func() (detail string, err error) {
		if archive, err = helmrepo.Package(options.Dir, t.Version, t.Date); err != nil {
			return "", err
		}
		r.report.keep(archive.Filename, archive.Data)
		r.report.Chart = &ChartReport{
			Name: archive.Name, Version: archive.Version, AppVersion: archive.AppVersion, Digest: archive.Digest,
		}
		return fmt.Sprintf("%s %s for OpenNebula %s", archive.Name, archive.Version, archive.AppVersion), nil
	}); err != nil {
		return err
	}
	switch {
	case !options.places():
		r.skip("publish", "no place to publish the chart to was given")
		return nil
	case r.options.DryRun:
		r.skip("publish", "dry run")
		return nil
	}
	return r.stage("publish", archive.Filename, func() (string, error) {
		results, err := options.Publish(ctx, archive, r.Now().UTC())
		r.report.Chart.Published = results
		lines := make([]string, len(results))
		for i, result := range results {
			lines[i] = PublishedLine(result)
		}
		return strings.Join(lines, ", "), err
	})
}

// places tells whether there is a place to publish the chart to.
func (o ChartOptions) places() bool {
	return o.Registry != nil || o.RepositoryDir != "" || o.Pages != nil
}

// Publish puts a packaged chart wherever the options say, the chart repositories first, for they are easier to mend than a registry. What was
// published before an error is returned with it.
func (o ChartOptions) Publish(ctx context.Context, archive helmrepo.Archive, now time.Time) ([]helmrepo.Result, error) {
	if !o.places() {
		return nil, errors.New("publish the chart: no place to publish to was given; name an OCI repository, " +
			"the directory of a chart repository, or a branch that is served as one")
	}
	var results []helmrepo.Result
	if o.RepositoryDir != "" {
		result, err := helmrepo.PublishDirectory(o.RepositoryDir, archive, o.RepositoryURL, now)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	if o.Pages != nil {
		result, err := o.Pages.Publish(ctx, archive, o.RepositoryURL, now)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	if o.Registry != nil {
		result, err := helmrepo.PublishOCI(ctx, o.Registry, archive)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	return results, nil
}

// PublishedLine says in a line what became of a chart in one place.
func PublishedLine(result helmrepo.Result) string {
	if result.Published {
		return result.Location
	}
	return result.Location + " (was there already)"
}
