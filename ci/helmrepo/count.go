package helmrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"sigs.k8s.io/yaml"
)

// Pack packages one and the same chart in a version; an empty one is that of Chart.yaml.
type Pack func(version string) (Archive, error)

// rounds bounds how often a chart is counted anew because somebody else has published its version meanwhile.
const rounds = 5

// Count returns the archive that all places are to have, which pack makes unless it is published. The version in Chart.yaml is the lowest one. Of
// the versions from there on the highest counts, in whichever places it is: when its content is that of the chart, it is the version, and the
// archive is the published one; when it is not, or its archive is lost, or places differ in it, the version is the next patch above it.
//
// Versions that are not of the form 1.2.3, and what is not this chart, are passed over. Nothing is published.
func Count(ctx context.Context, places []Place, pack Pack) (Archive, error) {
	return count(ctx, places, pack, nil)
}

// Publish puts an archive that Count has returned into all places, and returns it with what became of it in each. When somebody else has
// published the version meanwhile it counts again, and gives up after some rounds: the archive is the one that was published in the end. What was
// published before an error is returned with it; the next run goes on from there.
func Publish(ctx context.Context, places []Place, counted Archive, pack Pack) (Archive, []Result, error) {
	refused := map[string]string{}
	for round := 1; ; round++ {
		results, err := publishAll(ctx, places, counted)
		if !errors.Is(err, ErrVersionTaken) || round == rounds {
			return counted, results, err
		}
		refused[counted.Version] = counted.Digest
		again, countErr := count(ctx, places, pack, refused)
		if countErr != nil {
			return counted, results, errors.Join(err, countErr)
		}
		counted = again
	}
}

func publishAll(ctx context.Context, places []Place, a Archive) ([]Result, error) {
	var results []Result
	for _, place := range places {
		result, err := place.Publish(ctx, a)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	return results, nil
}

// count is Count, but for archives that some place has refused: their digests by their versions.
func count(ctx context.Context, places []Place, pack Pack, refused map[string]string) (Archive, error) {
	lowest, err := pack("")
	if err != nil || len(places) == 0 {
		return lowest, err
	}
	from, err := semver.StrictNewVersion(lowest.Version)
	if err != nil {
		return Archive{}, fmt.Errorf("version %q of the chart: %w", lowest.Version, err)
	}
	listed, err := list(ctx, places, lowest.Name)
	if err != nil {
		return Archive{}, err
	}
	next := from
	for _, v := range listed.atLeast(from) {
		content, err := read(ctx, listed[v.Original()], lowest.Name, v.Original())
		if errors.Is(err, ErrForeign) {
			continue
		}
		if err != nil && !errors.Is(err, ErrLost) {
			return Archive{}, err
		}
		if err == nil && content.Digest != refused[content.Version] {
			same, err := content.same(lowest)
			if same || err != nil {
				return content, err
			}
		}
		next = v
		break
	}
	for listed[next.String()] != nil || refused[next.String()] != "" {
		if next.Prerelease() != "" || next.Metadata() != "" {
			return Archive{}, fmt.Errorf("count the chart's version: %w: %s is published with other content, and only versions of the form 1.2.3 are "+
				"counted; raise `version` in the chart's Chart.yaml", ErrVersionTaken, next)
		}
		above := next.IncPatch()
		next = &above
	}
	return pack(next.String())
}

// listing is which places list a version.
type listing map[string][]Place

func list(ctx context.Context, places []Place, chart string) (listing, error) {
	all := listing{}
	for _, place := range places {
		versions, err := place.Versions(ctx, chart)
		if err != nil {
			return nil, fmt.Errorf("count the chart's version: %w", err)
		}
		slices.Sort(versions)
		for _, version := range slices.Compact(versions) {
			if _, err := semver.StrictNewVersion(version); err == nil {
				all[version] = append(all[version], place)
			}
		}
	}
	return all, nil
}

// atLeast returns the versions from one on, the highest first. All are of the form 1.2.3, but that one.
func (l listing) atLeast(from *semver.Version) []*semver.Version {
	var versions []*semver.Version
	for text := range l {
		v := semver.MustParse(text)
		if v.Original() == from.Original() || v.GreaterThan(from) && v.Prerelease() == "" && v.Metadata() == "" {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, func(a, b *semver.Version) int { return b.Compare(a) })
	return versions
}

// read returns the archive that all of these places have of a version, which some may have lost. It is ErrForeign when none of them has that chart,
// and ErrLost when there is no archive, or not the same in all.
func read(ctx context.Context, places []Place, chart, version string) (Archive, error) {
	var found Archive
	foreign := 0
	for _, place := range places {
		a, err := place.Read(ctx, chart, version)
		switch {
		case errors.Is(err, ErrForeign):
			foreign++
		case errors.Is(err, ErrLost):
		case err != nil:
			return Archive{}, fmt.Errorf("count the chart's version: %w", err)
		case found.Digest == "" || found.Digest == a.Digest:
			found = a
		default:
			return Archive{}, fmt.Errorf("%w: places have other archives of %s %s", ErrLost, chart, version)
		}
	}
	switch {
	case foreign == len(places):
		return Archive{}, ErrForeign
	case foreign > 0 || found.Digest == "":
		return Archive{}, ErrLost
	}
	return found, nil
}

// same tells whether two archives install the same: all files are, but for what Chart.yaml says of the version itself.
func (a Archive) same(b Archive) (bool, error) {
	one, err := a.content()
	if err != nil {
		return false, err
	}
	other, err := b.content()
	if err != nil {
		return false, err
	}
	return reflect.DeepEqual(one, other), nil
}

// content is what an archive says, by its files.
func (a Archive) content() (map[string]any, error) {
	files, err := archive.LoadArchiveFiles(bytes.NewReader(a.Data))
	if err != nil {
		return nil, fmt.Errorf("chart archive %s: %w", a.Filename, err)
	}
	content := make(map[string]any, len(files))
	for _, file := range files {
		content[file.Name] = string(file.Data)
	}
	var metadata map[string]any
	text, _ := content[chartutil.ChartfileName].(string)
	if err := yaml.Unmarshal([]byte(text), &metadata); err != nil {
		return nil, fmt.Errorf("chart archive %s: %s: %w", a.Filename, chartutil.ChartfileName, err)
	}
	delete(metadata, "version")
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		maps.DeleteFunc(annotations, func(name string, _ any) bool { return descriptive(name) })
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
	content[chartutil.ChartfileName] = metadata
	return content, nil
}
