package gate

import "time"

// Scan is what a scanner said about one platform of an image.
type Scan struct {
	// Platform is the platform that was scanned, as os/architecture.
	Platform string
	// Report is Trivy's JSON report, as Trivy wrote it.
	Report []byte
	// DatabaseUpdatedAt is when the vulnerability database that the scanner used was made.
	DatabaseUpdatedAt time.Time
}
