// Package helmrepo packages a Helm chart and publishes it: to a directory that is served as a chart repository, and to an OCI registry.
// A version that is published keeps its content for ever; publishing the same content again changes nothing.
package helmrepo

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/chart/v2/util"
)

// Archive is a packaged chart.
type Archive struct {
	// Name, Version and AppVersion are what the Chart.yaml in Data says.
	Name, Version, AppVersion string
	// Filename is <name>-<version>.tgz, the name that Helm gives to an archive.
	Filename string
	// Data is the archive itself.
	Data []byte
	// Digest is the SHA-256 of Data in hexadecimal, as a chart repository's index has it.
	Digest string
}

// Release is what a chart is packaged for.
type Release struct {
	// Version is the chart's own. Empty is the one in Chart.yaml.
	Version string
	// AppVersion is the version of OpenNebula that the chart installs. It replaces the one in Chart.yaml.
	AppVersion string
	// Date dates everything in the archive.
	Date time.Time
	// Image is the image that the chart runs unless values name another. Nil keeps the one that the sources name.
	Image *Image
	// Changes are those since the version before, as far as they are known.
	Changes []Change
	// Annotations are added to those of Chart.yaml.
	Annotations map[string]string
}

// Package makes the archive of the chart in chartDir, with Helm's own loader (.helmignore is obeyed) and writer. AppVersion and Date must
// be set: the same sources and the same release give the same bytes. Nothing in chartDir is changed.
//
// A dependency that Chart.yaml declares and charts/ lacks is an error, as is a version that is not a full semantic version.
func Package(chartDir string, of Release) (Archive, error) {
	archive, err := pack(chartDir, of)
	if err != nil {
		return Archive{}, fmt.Errorf("package chart %s: %w", chartDir, err)
	}
	return archive, nil
}

func pack(chartDir string, of Release) (Archive, error) {
	switch {
	case of.AppVersion == "":
		return Archive{}, errors.New("no appVersion given: it is the version of OpenNebula that the chart installs")
	case of.Date.IsZero():
		return Archive{}, errors.New("no date given: without one the archive would carry today's date and differ each time")
	}
	c, err := load(chartDir)
	if err != nil {
		return Archive{}, err
	}
	c.Metadata.AppVersion = of.AppVersion
	if of.Version != "" {
		c.Metadata.Version = of.Version
	}
	if of.Image != nil {
		if err := of.Image.writeTo(c); err != nil {
			return Archive{}, err
		}
	}
	if err := of.annotate(c.Metadata); err != nil {
		return Archive{}, err
	}
	sortDependencies(c)
	c.StampModTimes(of.Date)
	data, err := save(c)
	if err != nil {
		return Archive{}, err
	}
	archive := archiveOf(c.Metadata, data)
	// Helm's writer ignores errors when it closes the file: what a full disk cut off is found here.
	if _, err := archive.open(); err != nil {
		return Archive{}, err
	}
	return archive, nil
}

// archiveOf is the archive with a chart of this metadata.
func archiveOf(m *chart.Metadata, data []byte) Archive {
	sum := sha256.Sum256(data)
	return Archive{
		Name: m.Name, Version: m.Version, AppVersion: m.AppVersion, Filename: filename(m), Data: data, Digest: hex.EncodeToString(sum[:]),
	}
}

func load(chartDir string) (*chart.Chart, error) {
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		return nil, err
	}
	if _, err := semver.StrictNewVersion(c.Metadata.Version); err != nil {
		return nil, fmt.Errorf("version %q in Chart.yaml is not of the form 1.2.3: %w", c.Metadata.Version, err)
	}
	for _, want := range c.Metadata.Dependencies {
		if !slices.ContainsFunc(c.Dependencies(), func(have *chart.Chart) bool { return have.Name() == want.Name }) {
			return nil, fmt.Errorf("dependency %s %s of Chart.yaml is not in charts/: run `helm dependency build %s`",
				want.Name, want.Version, chartDir)
		}
	}
	return c, nil
}

// ChartName is the name of the chart in chartDir, which can be packaged as far as its files tell.
func ChartName(chartDir string) (string, error) {
	c, err := load(chartDir)
	if err != nil {
		return "", fmt.Errorf("read chart %s: %w", chartDir, err)
	}
	return c.Metadata.Name, nil
}

// sortDependencies gives subcharts an order: Helm's loader keeps them in a map and returns them in another order each time.
func sortDependencies(c *chart.Chart) {
	dependencies := slices.SortedFunc(slices.Values(c.Dependencies()), func(a, b *chart.Chart) int {
		return cmp.Or(strings.Compare(a.Metadata.Name, b.Metadata.Name), strings.Compare(a.Metadata.Version, b.Metadata.Version))
	})
	c.SetDependencies(dependencies...)
	for _, dependency := range dependencies {
		sortDependencies(dependency)
	}
}

// save has Helm write the archive; Helm can write to a directory only.
func save(c *chart.Chart) (data []byte, err error) {
	dir, err := os.MkdirTemp("", "helmrepo-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path, err := util.Save(c, dir)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func filename(m *chart.Metadata) string { return m.Name + "-" + m.Version + ".tgz" }

// open reads the chart in the archive and checks that the archive is what it says of itself.
func (a Archive) open() (*chart.Chart, error) {
	if sum := sha256.Sum256(a.Data); hex.EncodeToString(sum[:]) != a.Digest {
		return nil, fmt.Errorf("chart archive %s: its SHA-256 is %x, not %s", a.Filename, sum, a.Digest)
	}
	c, err := loader.LoadArchive(bytes.NewReader(a.Data))
	if err != nil {
		return nil, fmt.Errorf("chart archive %s: %w", a.Filename, err)
	}
	if m := c.Metadata; m.Name != a.Name || m.Version != a.Version || m.AppVersion != a.AppVersion || filename(m) != a.Filename {
		return nil, fmt.Errorf("chart archive %s: it is said to hold %s %s (appVersion %s) and holds %s %s (appVersion %s)",
			a.Filename, a.Name, a.Version, a.AppVersion, m.Name, m.Version, m.AppVersion)
	}
	return c, nil
}
