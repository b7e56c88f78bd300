package helmrepo

import (
	"fmt"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// What Artifact Hub reads of a packaged chart, besides what the sources say.
const (
	imagesAnnotation   = "artifacthub.io/images"
	changesAnnotation  = "artifacthub.io/changes"
	securityAnnotation = "artifacthub.io/containsSecurityUpdates"
)

// ociAnnotations begins the names of annotations that tell where a chart comes from.
const ociAnnotations = "org.opencontainers.image."

// Kind is a kind of change, as Artifact Hub has them.
type Kind string

// The kinds of change that a release makes.
const (
	Changed  Kind = "changed"
	Security Kind = "security"
)

// Change is a change since the version before.
type Change struct {
	Kind        Kind   `yaml:"kind"`
	Description string `yaml:"description"`
}

// annotate writes into Chart.yaml what Artifact Hub shows of a version, and where it comes from.
func (of Release) annotate(m *chart.Metadata) error {
	all := maps.Clone(m.Annotations)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, of.Annotations)
	set := func(name string, value any) error {
		text, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("annotation %s: %w", name, err)
		}
		all[name] = string(text)
		return nil
	}
	if image := of.Image; image != nil {
		if err := set(imagesAnnotation, []struct {
			Name      string   `yaml:"name"`
			Image     string   `yaml:"image"`
			Platforms []string `yaml:"platforms,omitempty"`
		}{{m.Name, image.String(), image.Platforms}}); err != nil {
			return err
		}
	}
	if len(of.Changes) > 0 {
		if err := set(changesAnnotation, of.Changes); err != nil {
			return err
		}
		for _, change := range of.Changes {
			if change.Kind == Security {
				all[securityAnnotation] = "true"
			}
		}
	}
	m.Annotations = all
	return nil
}

// descriptive tells whether an annotation describes a version and is no part of what it installs: the image is in the chart's files too, and the
// rest says how the version came about.
func descriptive(annotation string) bool {
	switch annotation {
	case imagesAnnotation, changesAnnotation, securityAnnotation:
		return true
	}
	return strings.HasPrefix(annotation, ociAnnotations)
}
