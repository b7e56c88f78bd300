// Package release decides what to release: it reads which OpenNebula releases upstream offers for Ubuntu 24.04, compares the chosen
// one with what the registry has, and says what is to be done and why.
package release

import (
	"fmt"
	"regexp"
	"time"

	"github.com/Masterminds/semver/v3"
)

const (
	// firstMajor is the oldest major version that the image and the chart are made for. Older ones are still listed upstream, and
	// asking for their indexes would be for nothing.
	firstMajor = 7
	// firstPreRelease is the patch number from which on OpenNebula numbers its pre-releases: 7.1.80 comes before 7.2.0.
	firstPreRelease = 80
)

// Release is one OpenNebula version that can be installed on Ubuntu 24.04.
type Release struct {
	// Version is the version as X.Y.Z.
	Version string `json:"version"`
	// Line is the release line, X.Y.
	Line string `json:"line"`
	// Directory is the name of the directory under <upstream>/repo/ that has the packages: the version, or the line when upstream has
	// no directory for the version.
	Directory string `json:"directory"`
	// Date is when upstream made the release's repository, in UTC, to the second.
	Date time.Time `json:"date"`
	// Architectures are the Debian names of the architectures that the release is installable on, sorted.
	Architectures []string `json:"architectures"`
	// Indexes are the digests (sha256:...) of the uncompressed Packages indexes, by architecture.
	Indexes map[string]string `json:"indexes"`
	// PackageVersion is the Debian version of package opennebula, such as 7.0.1-1. Where architectures differ it is the lowest: a newer
	// packaging counts once all of them have it.
	PackageVersion string `json:"packageVersion"`
}

// semver is the release's version, parsed. Upstream makes releases of valid versions only; one made by hand may fail.
func (r Release) semver() (*semver.Version, error) {
	v, err := semver.StrictNewVersion(r.Version)
	if err != nil {
		return nil, fmt.Errorf("release %q: its version is not of the form X.Y.Z: %w", r.Version, err)
	}
	return v, nil
}

// lineOf is the release line of a version, such as 7.0.
func lineOf(v *semver.Version) string { return fmt.Sprintf("%d.%d", v.Major(), v.Minor()) }

// isLine tells whether s has the form of a release line.
func isLine(s string) bool { return linePattern.MatchString(s) }

var linePattern = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$`)

// isRelease tells releases from pre-releases, of which OpenNebula has a kind of its own.
func isRelease(v *semver.Version) bool {
	return v.Prerelease() == "" && v.Metadata() == "" && v.Patch() < firstPreRelease
}
