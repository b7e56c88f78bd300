package pipeline

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"

	"opennebula-kube/ci/release"
)

// baseArgument is the build argument that names the base image. The Dockerfile's default is the one place that pins it.
const baseArgument = "BASE_IMAGE"

// DefaultBaseImage reads the base image that a Dockerfile builds on when it is told no other: the default of its argument
// BASE_IMAGE.
func DefaultBaseImage(dockerfile []byte) (string, error) {
	lines := bufio.NewScanner(bytes.NewReader(dockerfile))
	for lines.Scan() {
		if ref, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "ARG "+baseArgument+"="); ok && ref != "" {
			return ref, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read the Dockerfile: %w", err)
	}
	return "", fmt.Errorf("read the Dockerfile: no default for the base image; it needs a line ARG %s=<image>@sha256:<digest>", baseArgument)
}

// pinned is the reference of a base image with its digest, whether or not its name had one.
func pinned(base release.Base) string {
	if strings.Contains(base.Name, "@") {
		return base.Name
	}
	return base.Name + "@" + base.Digest
}
