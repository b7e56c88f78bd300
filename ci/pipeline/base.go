package pipeline

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"

	"opennebula-kube/ci/release"
)

// The build arguments whose defaults in the Dockerfile are the one place that pins them: the base image, and the fingerprint of the key
// that signs the packages.
const (
	baseArgument        = "BASE_IMAGE"
	fingerprintArgument = "UPSTREAM_FINGERPRINT"
)

// DefaultBaseImage reads the base image that a Dockerfile builds on when it is told no other: the default of its argument
// BASE_IMAGE.
func DefaultBaseImage(dockerfile []byte) (string, error) {
	return argumentDefault(dockerfile, baseArgument, "<image>@sha256:<digest>")
}

// DefaultFingerprint reads the fingerprint of the key that has to sign the packages when a Dockerfile is told no other: the default of its
// argument UPSTREAM_FINGERPRINT.
func DefaultFingerprint(dockerfile []byte) (string, error) {
	return argumentDefault(dockerfile, fingerprintArgument, "<40 hexadecimal digits>")
}

func argumentDefault(dockerfile []byte, argument, form string) (string, error) {
	lines := bufio.NewScanner(bytes.NewReader(dockerfile))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "ARG "+argument+"="); ok && value != "" {
			return value, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read the Dockerfile: %w", err)
	}
	return "", fmt.Errorf("read the Dockerfile: no default for %s; it needs a line ARG %[1]s=%s", argument, form)
}

// pinned is the reference of a base image with its digest, whether or not its name had one.
func pinned(base release.Base) string {
	if strings.Contains(base.Name, "@") {
		return base.Name
	}
	return base.Name + "@" + base.Digest
}
