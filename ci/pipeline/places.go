package pipeline

import (
	"fmt"

	"opennebula-kube/ci/helmrepo"
	"opennebula-kube/ci/registry"
)

// Check is an error when the chart cannot be published where the options say, as far as names tell: it is there to stop a run before it builds. images is
// where the image goes, nil for nowhere.
func (o ChartOptions) Check(images *registry.Repository) error {
	if o.Registry == nil {
		return nil
	}
	if images != nil && o.Registry.Same(images) {
		return fmt.Errorf("%s would have the image and the chart, whose tags would be each other's: give the chart another repository, such as "+
			"ghcr.io/<owner>/charts/opennebula (--chart-registry); on Docker Hub, which has no such levels, name the image's otherwise (--registry)",
			images.Name())
	}
	name, err := helmrepo.ChartName(o.Dir)
	if err != nil {
		return err
	}
	if err := helmrepo.CheckOCI(o.Registry.Name(), name); err != nil {
		return fmt.Errorf("publish the chart to %s: %w", o.Registry.Name(), err)
	}
	return nil
}
