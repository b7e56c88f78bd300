package pipeline_test

import (
	"strings"
	"testing"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
)

// What the names of the places show to be wrong is said before anything is built.
func TestChartPlaces(t *testing.T) {
	open := func(name string) *registry.Repository {
		if name == "" {
			return nil
		}
		r, err := registry.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const sources = "../../chart/opennebula"
	for _, test := range []struct{ images, chart, dir, want string }{
		{"ghcr.io/acme/opennebula", "ghcr.io/acme/charts/opennebula", sources, ""},
		{"", "ghcr.io/acme/charts/opennebula", sources, ""},
		{"ghcr.io/acme/opennebula", "", t.TempDir(), ""},
		{"docker.io/acme/one", "docker.io/acme/opennebula", sources, ""},
		{"ghcr.io/acme/opennebula", "ghcr.io/Acme/opennebula", sources, "ghcr.io/acme/opennebula would have the image and the chart"},
		{"docker.io/acme/opennebula", "index.docker.io/acme/opennebula", sources, "would have the image and the chart"},
		{"ghcr.io/acme/opennebula", "ghcr.io/acme/charts", sources, "ghcr.io/acme/charts: the repository's name must end in the chart's"},
		{"ghcr.io/acme/opennebula", "ghcr.io/acme/charts/opennebula", t.TempDir(), "Chart.yaml"},
	} {
		err := pipeline.ChartOptions{Dir: test.dir, Registry: open(test.chart)}.Check(open(test.images))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("image %s, chart %s: error %v, want %q", test.images, test.chart, err, test.want)
		}
	}
}
