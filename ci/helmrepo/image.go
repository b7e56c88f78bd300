package helmrepo

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// imageFile is the file of a chart that names the image which the chart runs unless values name another. It is not part of the values:
// templates have to tell what was released from what a user has set, and `helm upgrade --reuse-values` keeps the values of the older chart.
const imageFile = "files/image.yaml"

// Image is a released image.
type Image struct {
	// Repository is where it is, such as ghcr.io/acme/opennebula.
	Repository string `yaml:"repository"`
	// Tag is the tag of its revision, such as 7.2.0-2.
	Tag string `yaml:"tag"`
	// Digest is the digest of its manifest or index.
	Digest string `yaml:"digest"`
	// Platforms are those that it is for, as os/architecture; they are told to Artifact Hub.
	Platforms []string `yaml:"-"`
}

// String is the image as Kubernetes takes it.
func (i Image) String() string { return i.Repository + ":" + i.Tag + "@" + i.Digest }

// writeTo has the chart refer to the image.
func (i Image) writeTo(c *chart.Chart) error {
	if err := i.check(); err != nil {
		return err
	}
	at := slices.IndexFunc(c.Files, func(f *common.File) bool { return f.Name == imageFile })
	if at < 0 {
		return fmt.Errorf("the chart has no %s to write the released image %s to: its templates would run another", imageFile, i)
	}
	var text bytes.Buffer
	text.WriteString("# The image that this chart was released with; it runs unless values name another.\n")
	if err := yaml.NewEncoder(&text).Encode(i); err != nil {
		return fmt.Errorf("write %s: %w", imageFile, err)
	}
	c.Files[at].Data = text.Bytes()
	return nil
}

// check refuses what cannot be pulled.
func (i Image) check() error {
	if _, err := name.NewRepository(i.Repository, name.StrictValidation); err != nil {
		return fmt.Errorf("repository of the released image: %w; name it whole, such as ghcr.io/acme/opennebula", err)
	}
	if _, err := name.NewTag(i.Repository+":"+i.Tag, name.StrictValidation); err != nil {
		return fmt.Errorf("tag of the released image %s: %w", i.Repository, err)
	}
	if _, err := name.NewDigest(i.Repository+"@"+i.Digest, name.StrictValidation); err != nil {
		return fmt.Errorf("digest of the released image %s: %w", i.Repository, err)
	}
	return nil
}
