package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"opennebula-kube/dev/sandbox/trivydb"
)

// testScanner keeps the scanner from a report to rely on: none of it may pass for an image without vulnerabilities.
func testScanner(t *testing.T, w *world) {
	t.Run("database too old", func(t *testing.T) {
		w.advisories(t, dawn.AddDate(0, 0, -3), trivydb.Passing()...)
		image, _ := w.repository("old-database")
		w.run(t, slices.Concat([]string{"push"}, w.releaseArgs(image))...).failed(t, "database", "old")
		wantTags(t, image, nil)
	})
	garbage := w.Registry + "/garbage-db:2"
	publish(t, garbage)
	for name, database := range map[string]string{
		"database unreachable": w.Registry + "/no-such-db:2",
		"database is garbage":  garbage,
	} {
		t.Run(name, func(t *testing.T) {
			image, _ := w.repository(strings.ReplaceAll(name, " ", "-"))
			w.run(t, slices.Concat([]string{"push"}, w.releaseArgs(image), []string{"--db-repository", database})...).
				failed(t, "get the vulnerability database "+database)
			wantTags(t, image, nil)
		})
	}

	trivy, err := w.tools.Tool(t.Context(), "trivy")
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.CommandContext(t.Context(), trivy, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	engine := w.engine(t, w.cache)
	for _, c := range []struct{ name, scan, want string }{
		{"killed", `kill -KILL $$`, "ended with status 137"},
		{"fails", `echo "FATAL out of memory" >&2; exit 1`, "FATAL out of memory"},
		{"no report", `exit 0`, "no report"},
		{"empty report", `: > output/report.json`, "report"},
		{"report of another schema", `echo '{"SchemaVersion": 3}' > output/report.json`, "SchemaVersion"},
		{"no operating system detected", `echo '{"SchemaVersion": 2, "ArtifactName": "opennebula", "Results": []}' > output/report.json`, "operating system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			scanner(t, trivy, string(version), c.scan)
			image, _ := w.repository("scanner-" + strings.ReplaceAll(c.name, " ", "-"))
			report, err := only(w.direct(t, engine, image).Push(t.Context(), w.options()))
			wantError(t, report, err, c.want)
			wantTags(t, image, nil)
		})
	}
}

// scanner puts a program on the PATH, until the end of the test, that is Trivy but for how it scans.
func scanner(t *testing.T, trivy, version, scan string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in
--version) cat <<'EOF'
%s
EOF
;;
*"--format json"*) %s ;;
*) exec '%s' "$@" ;;
esac
`, version, scan, trivy)
	if err := os.WriteFile(filepath.Join(dir, "trivy"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}
