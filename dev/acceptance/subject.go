// Package acceptance says which OpenNebula the acceptance tests take through its life: that of an upstream which the environment names,
// or the stand-in of a sandbox. The tests themselves know neither: they are in dev/container, for the image, and in dev/install, for the
// chart.
package acceptance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/registry"
	"opennebula-kube/ci/release"
)

// Environment variables that name the subject.
const (
	upstreamVariable    = "ACCEPTANCE_UPSTREAM"
	fingerprintVariable = "ACCEPTANCE_UPSTREAM_FINGERPRINT"
	baseVariable        = "ACCEPTANCE_BASE_IMAGE"
	versionsVariable    = "ACCEPTANCE_VERSIONS"
)

// Subject is an OpenNebula to test.
type Subject struct {
	// Upstream is the address that the packages come from.
	Upstream string
	// Fingerprint is that of the key that signs them.
	Fingerprint string
	// BaseImage is the image to build on, by digest.
	BaseImage string
	// Versions are those to install, the lowest first: each is upgraded to the next.
	Versions []string
}

// FromEnvironment reads which subject the environment names: ACCEPTANCE_UPSTREAM is its address. ACCEPTANCE_UPSTREAM_FINGERPRINT is that
// of OpenNebula's key by default, ACCEPTANCE_BASE_IMAGE the image that the Dockerfile below root pins, and ACCEPTANCE_VERSIONS, with blanks
// between them, the highest version of each release line. It returns otherwise when no address is named.
func FromEnvironment(ctx context.Context, getenv func(string) string, root string, otherwise Subject) (Subject, error) {
	s := Subject{Upstream: strings.TrimRight(getenv(upstreamVariable), "/"), Fingerprint: getenv(fingerprintVariable)}
	if s.Upstream == "" {
		for _, name := range []string{fingerprintVariable, baseVariable, versionsVariable} {
			if getenv(name) != "" {
				return Subject{}, fmt.Errorf("%s is set and %s is not: name the upstream too", name, upstreamVariable)
			}
		}
		return otherwise, nil
	}
	dockerfile, err := os.ReadFile(filepath.Join(root, "image", "Dockerfile"))
	if err != nil {
		return Subject{}, fmt.Errorf("find what the acceptance tests need: %w", err)
	}
	if s.Fingerprint == "" {
		if s.Fingerprint, err = pipeline.DefaultFingerprint(dockerfile); err != nil {
			return Subject{}, err
		}
	}
	if s.BaseImage, err = base(ctx, getenv(baseVariable), dockerfile); err != nil {
		return Subject{}, fmt.Errorf("find the base image of the acceptance tests: %w", err)
	}
	if s.Versions, err = versions(ctx, s.Upstream, s.Fingerprint, strings.Fields(getenv(versionsVariable))); err != nil {
		return Subject{}, fmt.Errorf("find the versions of the acceptance tests: %w", err)
	}
	return s, nil
}

// base pins an image by its digest.
func base(ctx context.Context, ref string, dockerfile []byte) (string, error) {
	if ref == "" {
		var err error
		if ref, err = pipeline.DefaultBaseImage(dockerfile); err != nil {
			return "", err
		}
	}
	if strings.Contains(ref, "@") {
		return ref, nil
	}
	digest, err := registry.Resolve(ctx, ref)
	return ref + "@" + digest, err
}

// versions sorts the versions that are asked for. None are the highest of each line.
func versions(ctx context.Context, upstream, fingerprint string, asked []string) ([]string, error) {
	from, err := release.NewUpstream(upstream, fingerprint)
	if err != nil {
		return nil, err
	}
	all, err := from.Releases(ctx)
	if err != nil {
		return nil, err
	}
	if len(all.Releases) == 0 {
		return nil, fmt.Errorf("%s has no release: look at the address; passed over: %v", upstream, all.PassedOver)
	}
	highest := make(map[string]string)
	var has []string
	for _, r := range all.Releases {
		has = append(has, r.Version)
		highest[r.Line] = r.Version
	}
	if len(asked) == 0 {
		for _, version := range highest {
			asked = append(asked, version)
		}
	}
	for _, version := range asked {
		if !slices.Contains(has, version) {
			return nil, fmt.Errorf("%s has no release %q: it has %s; passed over: %v", upstream, version, strings.Join(has, ", "), all.PassedOver)
		}
	}
	return sorted(asked)
}

// sorted has the lowest version first, and each once.
func sorted(texts []string) ([]string, error) {
	var all []*semver.Version
	for _, text := range texts {
		v, err := semver.StrictNewVersion(text)
		if err != nil {
			return nil, fmt.Errorf("version %q: %w; write it as 7.0.1", text, err)
		}
		all = append(all, v)
	}
	slices.SortFunc(all, (*semver.Version).Compare)
	var versions []string
	for _, v := range all {
		versions = append(versions, v.String())
	}
	return slices.Compact(versions), nil
}
