// Package trivy knows how the scanner is called and what it leaves: the arguments for each task, the environment that it may see,
// and the vulnerability database. Running it is an engine's business.
package trivy

import (
	"slices"
	"strings"
)

// Directories in the one that Trivy runs in.
const (
	// Input has the OCI layout to look at.
	Input = "opennebula"
	// DatabaseDir has the vulnerability database: it is Trivy's cache directory.
	DatabaseDir = "database"
	// Output is where the report is written to, as the file Report.
	Output = "output"
	Report = "report.json"
)

// common keeps Trivy from talking to anybody but the database's registry. Not --quiet: it would hide why Trivy fails.
func common() []string {
	return []string{"image", "--no-progress", "--skip-version-check", "--disable-telemetry", "--timeout", "30m"}
}

// DatabaseArguments make Trivy download the vulnerability database repository into DatabaseDir.
func DatabaseArguments(repository string) []string {
	return append(common(), "--cache-dir", DatabaseDir, "--download-db-only", "--db-repository", repository)
}

// ScanArguments make Trivy look for vulnerabilities in the image that has the digest, with the one in DatabaseDir, and for
// nothing else: its scanner for secrets takes OpenNebula's SSH material for leaks. What it finds in the layers is kept in memory,
// because its cache on disk takes one process at a time.
func ScanArguments(digest string) []string {
	return append(common(),
		"--cache-dir", DatabaseDir, "--skip-db-update", "--cache-backend", "memory", "--offline-scan",
		"--scanners", "vuln", "--format", "json", "--output", Output+"/"+Report, "--exit-code", "0",
		"--input", Input+"@"+digest)
}

// SBOMArguments make Trivy list what the image that has the digest consists of, as CycloneDX. It needs no database.
func SBOMArguments(digest string) []string {
	return append(common(), "--cache-dir", "cache", "--cache-backend", "memory", "--offline-scan",
		"--format", "cyclonedx", "--output", Output+"/"+Report, "--input", Input+"@"+digest)
}

// Environment is all that Trivy gets of an environment: it must not see the secrets of a release. Its home, where it would look for
// registry credentials, is the directory home, which has to have none.
func Environment(environ []string, home string) []string {
	kept := []string{"PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
	env := []string{"HOME=" + home, "TMPDIR=" + home}
	for _, kv := range environ {
		if key, _, _ := strings.Cut(kv, "="); slices.Contains(kept, key) {
			env = append(env, kv)
		}
	}
	return env
}
