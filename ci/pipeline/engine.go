package pipeline

import (
	"context"

	"opennebula-kube/ci/gate"
)

// Engine does the work that needs more than Go: it builds an image, scans it, lists what is in it, and sends it to a registry.
// It decides nothing. Where it finds its image sources, its caches and its registry credentials is its own affair, told to it
// when it is made.
//
// Every method stops when ctx is done, leaves nothing half done under a tag, and can be called again.
type Engine interface {
	// Build makes one image for all platforms of spec. The same spec gives the same digest.
	Build(ctx context.Context, spec BuildSpec) (Image, error)

	// Pull makes a published image, named by digest (repository@sha256:...), available to Scan and SBOM.
	Pull(ctx context.Context, ref string) (Image, error)

	// Scan looks for known vulnerabilities in one platform of an image. Anything that keeps the scanner from a complete report
	// is an error; vulnerabilities are none.
	Scan(ctx context.Context, image Image, platform string) (gate.Scan, error)

	// SBOM lists what one platform of an image consists of, as CycloneDX JSON.
	SBOM(ctx context.Context, image Image, platform string) ([]byte, error)

	// Push sends an image whole to ref (repository:tag) and returns its digest. It never moves a tag that exists: when ref is
	// there with the same digest nothing is sent, with another digest it is an error.
	Push(ctx context.Context, image Image, ref string) (digest string, err error)
}

// Image is an image that an Engine holds. Only the Engine that returned it can use it.
type Image interface {
	// Digest is the digest that the image has, or will have, in a registry: that of its index when it has several platforms.
	Digest() string
	// Platforms are the platforms that the image has, as os/architecture, sorted.
	Platforms() []string
}
