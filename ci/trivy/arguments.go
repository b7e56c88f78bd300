// Package trivy knows how the scanner is called and what it leaves: the arguments for each task, the environment that it may see,
// and the vulnerability database in its cache directory. Running it is an engine's business.
package trivy

import (
	"slices"
	"strings"
)

const (
	// Input is the name of the directory, in the one that Trivy runs in, with the OCI layout to look at.
	Input = "opennebula"
	// Report is the name of the file, in the same place, that it writes.
	Report = "report.json"
)

// common keeps Trivy from talking to anybody but the database's registry. Not --quiet: it would hide why Trivy fails.
func common() []string {
	return []string{"image", "--no-progress", "--skip-version-check", "--disable-telemetry", "--timeout", "30m"}
}

// DatabaseArguments make Trivy download the vulnerability database repository into cacheDir.
func DatabaseArguments(cacheDir, repository string) []string {
	return append(common(), "--cache-dir", cacheDir, "--download-db-only", "--db-repository", repository)
}

// ScanArguments make Trivy look for vulnerabilities in the image that has the digest, with the database in cacheDir, and for
// nothing else: its scanner for secrets takes OpenNebula's SSH material for leaks. What it finds in the layers is kept in memory,
// because its cache on disk takes one process at a time.
func ScanArguments(cacheDir, digest string) []string {
	return append(common(),
		"--cache-dir", cacheDir, "--skip-db-update", "--cache-backend", "memory", "--offline-scan",
		"--scanners", "vuln", "--format", "json", "--output", Report, "--exit-code", "0",
		"--input", Input+"@"+digest)
}

// SBOMArguments make Trivy list what the image that has the digest consists of, as CycloneDX. It needs no database.
func SBOMArguments(digest string) []string {
	return append(common(), "--cache-dir", "cache", "--cache-backend", "memory", "--offline-scan",
		"--format", "cyclonedx", "--output", Report, "--input", Input+"@"+digest)
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
