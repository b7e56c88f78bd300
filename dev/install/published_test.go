//go:build linux

package install_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/registry"
)

// testPublished installs what is published, and upgrades to what is published next, without a value for the image.
func testPublished(t *testing.T, c *cluster) {
	r := newRelease(t, c, "published", append(frugal(), "mariadb.enabled=false")...)
	r.values = slices.DeleteFunc(r.values, func(value string) bool { return strings.Contains(value, "image.") })
	r.helm("install", r.publishChart(older), "--plain-http", "--create-namespace")
	r.wantReleasedImage(older)
	r.helm("upgrade", r.publishChart(newer), "--plain-http", "--reuse-values")
	r.wantReleasedImage(newer)
	r.helm("test")
}

// publishChart publishes the chart with the image of a version, as its next version, and returns where.
func (r *release) publishChart(version string) string {
	r.t.Helper()
	charts := strings.TrimSuffix(r.repository, "/opennebula") + "/published/opennebula"
	to, err := registry.Open(charts)
	if err != nil {
		r.t.Fatal(err)
	}
	image := helmrepo.Image{Repository: r.repository, Tag: version, Digest: r.digests[version]}
	pack := func(of string) (helmrepo.Archive, error) {
		return helmrepo.Package(chart, helmrepo.Release{Version: of, AppVersion: version, Date: time.Unix(0, 0), Image: &image})
	}
	places := []helmrepo.Place{helmrepo.OCI{Repository: to}}
	counted, err := helmrepo.Count(r.t.Context(), places, pack)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, _, err := helmrepo.Publish(r.t.Context(), places, counted, pack); err != nil {
		r.t.Fatal(err)
	}
	return "oci://" + charts
}

// wantReleasedImage checks that the front-end's pod runs exactly the image of a version.
func (r *release) wantReleasedImage(version string) {
	r.t.Helper()
	pod, err := r.client.CoreV1().Pods(r.namespace).Get(r.t.Context(), front, meta.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	want := r.repository + ":" + version + "@" + r.digests[version]
	for _, container := range pod.Spec.Containers {
		if container.Image != want {
			r.t.Errorf("container %s has the image %s, want %s", container.Name, container.Image, want)
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if !strings.HasSuffix(status.ImageID, r.digests[version]) {
			r.t.Errorf("container %s runs %s, want %s", status.Name, status.ImageID, want)
		}
	}
	if len(pod.Status.ContainerStatuses) == 0 {
		r.t.Error("no container runs")
	}
}
