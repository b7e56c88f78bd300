package trivy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironment(t *testing.T) {
	got := Environment([]string{
		"PATH=/bin", "HOME=/root", "https_proxy=http://p", "SSL_CERT_FILE=/c", "GITHUB_TOKEN=x", "TRIVY_PASSWORD=x", "PATHOLOGY=x",
	}, "/work")
	if diff := cmp.Diff([]string{"HOME=/work", "TMPDIR=/work", "PATH=/bin", "https_proxy=http://p", "SSL_CERT_FILE=/c"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// option returns the value of an option, which has to be given once.
func option(t *testing.T, arguments []string, name string) string {
	t.Helper()
	i := slices.Index(arguments, name)
	if i < 0 || i+1 == len(arguments) || slices.Contains(arguments[i+1:], name) {
		t.Fatalf("%s is not given, or more than once: %q", name, arguments)
	}
	return arguments[i+1]
}

func TestArguments(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		flags     []string
		options   map[string]string
		not       []string
	}{
		"database": {
			DatabaseArguments("registry.example/acme/trivy-db@" + digest),
			[]string{"--download-db-only"},
			map[string]string{"--cache-dir": DatabaseDir, "--db-repository": "registry.example/acme/trivy-db@" + digest},
			[]string{"--skip-db-update", "--input", "--scanners"},
		},
		"scan": {
			ScanArguments(digest),
			[]string{"--skip-db-update", "--offline-scan"},
			map[string]string{
				"--cache-dir": DatabaseDir, "--cache-backend": "memory", "--scanners": "vuln", "--format": "json",
				"--output": Output + "/" + Report, "--exit-code": "0", "--input": Input + "@" + digest,
			},
			// What is not judged here is judged by the gate.
			[]string{"--download-db-only", "--db-repository", "--severity", "--ignore-unfixed", "--ignorefile"},
		},
		"SBOM": {
			SBOMArguments(digest),
			[]string{"--offline-scan"},
			map[string]string{"--cache-backend": "memory", "--format": "cyclonedx", "--output": Output + "/" + Report, "--input": Input + "@" + digest},
			[]string{"--download-db-only", "--db-repository", "--scanners"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.arguments[0] != "image" {
				t.Errorf("the command is %q", test.arguments[0])
			}
			// Nobody but the database's registry is asked, and Trivy says why it fails.
			for _, flag := range append(test.flags, "--skip-version-check", "--disable-telemetry", "--no-progress") {
				if !slices.Contains(test.arguments, flag) {
					t.Errorf("%s is not given: %q", flag, test.arguments)
				}
			}
			for name, want := range test.options {
				if got := option(t, test.arguments, name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			for _, not := range append(test.not, "--quiet", "--server", "--username", "--password", "--insecure") {
				if slices.ContainsFunc(test.arguments, func(a string) bool { return a == not || strings.HasPrefix(a, not+"=") }) {
					t.Errorf("%s is given: %q", not, test.arguments)
				}
			}
		})
	}
}
