package helmrepo

import (
	"errors"
	"fmt"
)

// ErrVersionTaken is the error for a version that is published already, with other content than the archive's.
var ErrVersionTaken = errors.New("chart version is taken")

// Result is where an archive is published.
type Result struct {
	// Location is the path of the archive, or its reference (oci://repository:tag).
	Location string `json:"location"`
	// Digest is that of the archive, or of its manifest in the registry, as sha256:<hexadecimal>.
	Digest string `json:"digest"`
	// Published is false when all of it was there already and nothing was written.
	Published bool `json:"published"`
}

// taken is ErrVersionTaken with what was found.
func (a Archive) taken(format string, args ...any) error {
	return fmt.Errorf("publish chart %s %s: %w: %s; run again to have its version counted anew",
		a.Name, a.Version, ErrVersionTaken, fmt.Sprintf(format, args...))
}
