package helmrepo_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/yaml"

	"opennebula-kube/ci/helmrepo"
)

const (
	releasedDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	usersDigest    = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// released is a release with its image.
func released(digest string) helmrepo.Release {
	return helmrepo.Release{
		AppVersion: "7.2.0", Date: epoch,
		Image: &helmrepo.Image{Repository: "ghcr.io/acme/opennebula", Tag: "7.2.0-2", Digest: digest},
	}
}

// images are those that a chart runs with these values, besides MariaDB's own, each once. All of its pods are rendered.
func images(t *testing.T, c *chart.Chart, image map[string]any) []string {
	t.Helper()
	values := map[string]any{
		"replicas": 3,
		"backup":   map[string]any{"enabled": true, "persistence": map[string]any{"enabled": true}},
		// With a Secret of the user's no key is made, which takes seconds.
		"auth": map[string]any{"ssh": map[string]any{"existingSecret": "keys"}},
	}
	if image != nil {
		values["image"] = image
	}
	found, places := map[string]bool{}, 0
	for _, text := range renderChart(t, c, values) {
		for _, match := range regexp.MustCompile(`(?m)^\s*(?:- )?image: "?([^"\s]+)"?$`).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(match[1], "/mariadb:") {
				found[match[1]] = true
				places++
			}
		}
	}
	if places != 5 {
		t.Errorf("the image is in %d places, want 5: two init containers, OpenNebula's own, the backup's and the test's", places)
	}
	return slices.Sorted(maps.Keys(found))
}

// A packaged chart runs exactly the image that was released with it, and what a user sets wins.
func TestChartImage(t *testing.T) {
	for name, c := range map[string]struct {
		image map[string]any
		// packaged and sources are the image of the packaged chart, and of one that no image was released with.
		packaged, sources string
	}{
		"nothing": {
			nil, "ghcr.io/acme/opennebula:7.2.0-2@" + releasedDigest, "ghcr.io/opennebula-kube/opennebula:7.2.0",
		},
		"empty strings": {
			map[string]any{"repository": "", "tag": "", "digest": ""},
			"ghcr.io/acme/opennebula:7.2.0-2@" + releasedDigest, "ghcr.io/opennebula-kube/opennebula:7.2.0",
		},
		"repository": {
			map[string]any{"repository": "m.example.org/o"}, "m.example.org/o:7.2.0-2@" + releasedDigest, "m.example.org/o:7.2.0",
		},
		"tag": {
			map[string]any{"tag": "7.0.2-1"}, "ghcr.io/acme/opennebula:7.0.2-1", "ghcr.io/opennebula-kube/opennebula:7.0.2-1",
		},
		"the released tag": {
			map[string]any{"tag": "7.2.0-2"}, "ghcr.io/acme/opennebula:7.2.0-2", "ghcr.io/opennebula-kube/opennebula:7.2.0-2",
		},
		"digest": {
			map[string]any{"digest": usersDigest}, "ghcr.io/acme/opennebula@" + usersDigest, "ghcr.io/opennebula-kube/opennebula@" + usersDigest,
		},
		"repository and tag": {
			map[string]any{"repository": "m.example.org/o", "tag": "7.0.2-1"}, "m.example.org/o:7.0.2-1", "m.example.org/o:7.0.2-1",
		},
		"repository and digest": {
			map[string]any{"repository": "m.example.org/o", "digest": usersDigest}, "m.example.org/o@" + usersDigest, "m.example.org/o@" + usersDigest,
		},
		"tag and digest": {
			map[string]any{"tag": "7.0.2-1", "digest": usersDigest},
			"ghcr.io/acme/opennebula:7.0.2-1@" + usersDigest, "ghcr.io/opennebula-kube/opennebula:7.0.2-1@" + usersDigest,
		},
		"all": {
			map[string]any{"repository": "m.example.org/o", "tag": "7.0.2-1", "digest": usersDigest},
			"m.example.org/o:7.0.2-1@" + usersDigest, "m.example.org/o:7.0.2-1@" + usersDigest,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{c.packaged}, images(t, packaged(t, released(releasedDigest)), c.image)); diff != "" {
				t.Errorf("packaged:\n%s", diff)
			}
			if diff := cmp.Diff([]string{c.sources}, images(t, packaged(t, helmrepo.Release{AppVersion: "7.2.0", Date: epoch}), c.image)); diff != "" {
				t.Errorf("sources:\n%s", diff)
			}
		})
	}
}

// A part of another chart runs the image that it was released with, too.
func TestChartImageBelowAnother(t *testing.T) {
	umbrella := &chart.Chart{Metadata: &chart.Metadata{APIVersion: "v2", Name: "cloud", Version: "1.0.0"}, Values: map[string]any{}}
	umbrella.AddDependency(packaged(t, released(releasedDigest)))
	for _, c := range []struct {
		values map[string]any
		want   string
	}{
		{map[string]any{}, "ghcr.io/acme/opennebula:7.2.0-2@" + releasedDigest},
		{map[string]any{"image": map[string]any{"repository": "m.example.org/o"}}, "m.example.org/o:7.2.0-2@" + releasedDigest},
		{map[string]any{"image": map[string]any{"tag": "7.0.2-1"}}, "ghcr.io/acme/opennebula:7.0.2-1"},
	} {
		set := renderChart(t, umbrella, map[string]any{"opennebula": c.values})["cloud/charts/opennebula/templates/statefulset.yaml"]
		if !strings.Contains(set, `image: "`+c.want+`"`) {
			t.Errorf("want %s:\n%s", c.want, set)
		}
	}
}

// `helm upgrade --reuse-values` takes all values of the older chart, its defaults too: the image is the newer chart's all the same.
func TestChartImageWithReusedValues(t *testing.T) {
	older, newer := packaged(t, released(releasedDigest)), released(usersDigest)
	newer.Image.Tag = "7.2.0-3"
	for want, image := range map[string]map[string]any{
		"ghcr.io/acme/opennebula:7.2.0-3@" + usersDigest: {},
		"m.example.org/o:7.2.0-3@" + usersDigest:         {"repository": "m.example.org/o"},
		"ghcr.io/acme/opennebula:7.0.2-1":                {"tag": "7.0.2-1"},
	} {
		reused, err := util.CoalesceValues(older, map[string]any{"image": image})
		if err != nil {
			t.Fatal(err)
		}
		c := packaged(t, newer)
		c.Values = reused
		if diff := cmp.Diff([]string{want}, images(t, c, nil)); diff != "" {
			t.Error(diff)
		}
	}
}

// What Artifact Hub shows is valid, and neither changes nor the project count as other content.
func TestPackageAnnotations(t *testing.T) {
	of := released(releasedDigest)
	of.Image.Platforms = []string{"linux/amd64", "linux/arm64"}
	of.Changes = []helmrepo.Change{
		{Kind: helmrepo.Changed, Description: "Image 7.2.0-2: base image has changed from \"a: b\" to # c"},
		{Kind: helmrepo.Security, Description: "Image 7.2.0-2: a fix exists now for CVE-2026-1"},
	}
	of.Annotations = map[string]string{"org.opencontainers.image.revision": "0123"}
	annotations := packaged(t, of).Metadata.Annotations
	var images []struct {
		Name, Image string
		Platforms   []string
	}
	var changes []struct{ Kind, Description string }
	must(t, yaml.UnmarshalStrict([]byte(annotations["artifacthub.io/images"]), &images))
	must(t, yaml.UnmarshalStrict([]byte(annotations["artifacthub.io/changes"]), &changes))
	if len(images) != 1 || images[0].Name != "opennebula" || images[0].Image != "ghcr.io/acme/opennebula:7.2.0-2@"+releasedDigest ||
		!slices.Equal(images[0].Platforms, of.Image.Platforms) {
		t.Errorf("images %+v", images)
	}
	if len(changes) != 2 || changes[0].Kind != "changed" || changes[0].Description != of.Changes[0].Description || changes[1].Kind != "security" {
		t.Errorf("changes %+v", changes)
	}
	for name, want := range map[string]string{
		"artifacthub.io/containsSecurityUpdates": "true", "artifacthub.io/license": "Apache-2.0", "artifacthub.io/operator": "false",
		"org.opencontainers.image.revision": "0123",
	} {
		if annotations[name] != want {
			t.Errorf("annotation %s is %q, want %q", name, annotations[name], want)
		}
	}

	p := newPlaces(t)
	first, _ := publishes(t, p.all(), func(version string) (helmrepo.Archive, error) {
		of.Version = version
		return helmrepo.Package(chartDir, of)
	})
	// The next run finds the image released, and knows of no change.
	later := released(releasedDigest)
	if _, told := packaged(t, later).Metadata.Annotations["artifacthub.io/containsSecurityUpdates"]; told {
		t.Error("a release without a fix contains security updates")
	}
	second, _ := publishes(t, p.all(), func(version string) (helmrepo.Archive, error) {
		later.Version = version
		return helmrepo.Package(chartDir, later)
	})
	if second.Version != first.Version || second.Digest != first.Digest {
		t.Errorf("version %s, then %s", first.Version, second.Version)
	}
}

func TestPackageImageFaults(t *testing.T) {
	for want, change := range map[string]func(*helmrepo.Image){
		"repository of the released image": func(i *helmrepo.Image) { i.Repository = "opennebula" },
		"tag of the released image":        func(i *helmrepo.Image) { i.Tag = "a b" },
		"digest of the released image":     func(i *helmrepo.Image) { i.Digest = "sha256:short" },
	} {
		of := released(releasedDigest)
		change(of.Image)
		if _, err := helmrepo.Package(chartDir, of); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if _, err := helmrepo.Package(tree(t, chartFiles("opennebula", "0.1.0")), released(releasedDigest)); err == nil || !strings.Contains(err.Error(), "files/image.yaml") {
		t.Errorf("a chart that cannot refer to an image: %v", err)
	}
}
