// Package figures tells how large a released image is and what it is made of, out of the files that a release leaves and the registry.
package figures

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
)

// Write writes the layers, packages and findings of the image of the highest line that a release is about. Directory dir is where the
// release has left its report, lists of contents and verdict; the layers are read whole from the registry that the report names.
func Write(ctx context.Context, out io.Writer, dir string, options ...registry.Option) error {
	var reports pipeline.Reports
	if err := read(filepath.Join(dir, "release.json"), &reports); err != nil {
		return err
	}
	if len(reports) == 0 || reports[len(reports)-1].Image == nil {
		return fmt.Errorf("%s names no image: it is of a run that released none, such as a dry run", filepath.Join(dir, "release.json"))
	}
	report := reports[len(reports)-1]
	made := filepath.Join(dir, report.Line)
	name := report.Image.Repository + "@" + report.Image.Digest
	artifact, err := registry.Fetch(ctx, name, options...)
	if err != nil {
		return err
	}
	images, err := registry.Images(artifact)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	fmt.Fprintf(out, "OpenNebula %s, %s\n", report.Version, name)
	for _, platform := range report.Image.Platforms {
		image, ok := images[platform]
		if !ok {
			return fmt.Errorf("%s has no platform %s, though %s says so", name, platform, filepath.Join(dir, "release.json"))
		}
		layers, err := readLayers(image)
		if err != nil {
			return fmt.Errorf("read the layers of %s for %s: %w", name, platform, err)
		}
		packages, err := countPackages(filepath.Join(made, "sbom-"+strings.ReplaceAll(platform, "/", "-")+".cdx.json"))
		if err != nil {
			return err
		}
		if err := writeLayers(out, platform, layers); err != nil {
			return err
		}
		fmt.Fprintf(out, "packages: %s\n", packages)
	}
	var verdict gate.Verdict
	if err := read(filepath.Join(made, "gate.json"), &verdict); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "findings: %s\n", findings(verdict))
	return err
}

func read(file string, value any) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: name the directory that a release has written its files to", err)
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

func writeLayers(out io.Writer, platform string, layers []layer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(l layer) {
		fmt.Fprintf(w, "%s\t%s\t%d\t  %s\n", size(l.compressed), size(l.unpacked), l.files, l.content)
	}
	fmt.Fprintf(w, "\nCOMPRESSED\tUNPACKED\tFILES\t  LAYER\n")
	total := layer{content: "all of " + platform}
	for _, l := range layers {
		total.compressed, total.unpacked, total.files = total.compressed+l.compressed, total.unpacked+l.unpacked, total.files+l.files
		row(l)
	}
	row(total)
	return w.Flush()
}

func size(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

// countPackages counts the packages in a list of contents, by their kind.
func countPackages(sbom string) (string, error) {
	var bom struct{ Components []struct{ PURL string } }
	if err := read(sbom, &bom); err != nil {
		return "", err
	}
	counts := make(map[string]int)
	for _, component := range bom.Components {
		if kind, _, ok := strings.Cut(strings.TrimPrefix(component.PURL, "pkg:"), "/"); ok {
			counts[kind]++
		}
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(kinds, ", "), nil
}

// findings counts what the scanner has found, on all platforms together.
func findings(verdict gate.Verdict) string {
	var counts []string
	for _, severity := range gate.Severities() {
		counts = append(counts, fmt.Sprintf("%d %s", verdict.Counts[severity], strings.ToLower(string(severity))))
	}
	return strings.Join(counts, ", ")
}
