package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"pault.ag/go/debian/version"

	"opennebula-kube/ci/release"
)

// BuildSpec is everything that the content of an image depends on besides the sources of the image itself.
type BuildSpec struct {
	// Version is the OpenNebula release to install, such as 7.0.1.
	Version string
	// Upstream is the address that packages come from, such as https://downloads.opennebula.io.
	Upstream string
	// UpstreamFingerprint is the fingerprint of the key that signs the packages; empty is OpenNebula's, the Dockerfile's default.
	UpstreamFingerprint string
	// Directory is the directory under <Upstream>/repo/ that has the packages; empty is the one named after Version.
	Directory string
	// PackageVersion is the exact version of the packages, such as 7.0.1-1; empty is the newest packaging of Version.
	PackageVersion string
	// BaseImage is the image to build on, pinned by digest.
	BaseImage string
	// Platforms are the platforms to build for, as os/architecture.
	Platforms []string
	// Epoch is the time that everything in the image is dated, so that the same input gives the same digest.
	Epoch time.Time
	// Labels are the labels of the image.
	Labels map[string]string
	// NoCache builds every step anew: packages may have changed behind an unchanged Dockerfile.
	NoCache bool
}

// IndexAnnotations are the annotations of the index of an image for several platforms: what the labels say in the words of OCI. Registries
// show those of the index, and GitHub finds the repository that a package belongs to there.
func (s BuildSpec) IndexAnnotations() map[string]string {
	annotations := maps.Clone(s.Labels)
	maps.DeleteFunc(annotations, func(name, _ string) bool { return !strings.HasPrefix(name, ociLabels) })
	return annotations
}

// Check rejects what would build something else than the caller means.
func (s BuildSpec) Check() error {
	switch {
	case s.Version == "":
		return errors.New("no version given")
	case s.Upstream == "":
		return errors.New("no upstream given")
	case s.Epoch.IsZero():
		return errors.New("no epoch given: two builds would differ")
	case len(s.Platforms) == 0:
		return errors.New("no platform given")
	}
	if s.PackageVersion != "" {
		// What apt takes for a pattern, such as 7.0.1-*, is not a version.
		if packaged, err := version.Parse(s.PackageVersion); err != nil || packaged.Version != s.Version {
			return fmt.Errorf("package version %q is not a packaging of OpenNebula %s, such as %[2]s-1", s.PackageVersion, s.Version)
		}
	}
	if s.UpstreamFingerprint != "" {
		if err := release.CheckFingerprint(s.UpstreamFingerprint); err != nil {
			return err
		}
	}
	if _, err := name.NewDigest(s.BaseImage); err != nil {
		return fmt.Errorf("base image %q is not pinned by digest (name@sha256:...): %w", s.BaseImage, err)
	}
	return nil
}

// Arguments are the Dockerfile's build arguments, by name. Those whose default is meant are left out.
func (s BuildSpec) Arguments() map[string]string {
	arguments := map[string]string{
		baseArgument:        s.BaseImage,
		"UPSTREAM":          strings.TrimRight(s.Upstream, "/"),
		"VERSION":           s.Version,
		"DIRECTORY":         cmp.Or(s.Directory, s.Version),
		"SOURCE_DATE_EPOCH": strconv.FormatInt(s.Epoch.Unix(), 10),
	}
	if s.PackageVersion != "" {
		arguments["PACKAGE_VERSION"] = s.PackageVersion
	}
	if s.UpstreamFingerprint != "" {
		arguments[fingerprintArgument] = strings.ToUpper(s.UpstreamFingerprint)
	}
	return arguments
}
