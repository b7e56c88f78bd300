package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opennebula-kube/ci/gate"
	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/release"
	"opennebula-kube/dev/sandbox/trivydb"
)

// testGate has vulnerabilities over the threshold in the image: what is visible in the registry afterwards is what counts.
func testGate(t *testing.T, w *world) {
	w.advisories(t, dawn, trivydb.Critical()...)
	var blocking []gate.Finding

	t.Run("blocks", func(t *testing.T) {
		image, charts := w.repository("blocked")
		o := w.run(t, slices.Concat([]string{"release"}, w.releaseArgs(image), []string{"--chart-registry", charts})...).
			failed(t, "the gate did not pass")
		if !errors.Is(o.err, pipeline.ErrGate) {
			t.Errorf("error %v is not ErrGate", o.err)
		}
		wantTags(t, image, nil)
		wantTags(t, charts, nil)
		if o.report.Gate == nil || o.report.Gate.Passed || o.report.Image != nil || o.report.Chart != nil {
			t.Fatalf("release.json claims a release: %+v", o.report)
		}
		blocking = o.report.Gate.Blocking
		for _, advisory := range trivydb.Critical() {
			if !slices.ContainsFunc(blocking, func(f gate.Finding) bool { return f.ID == advisory.ID }) {
				t.Errorf("%s does not block: %+v", advisory.ID, blocking)
			}
			for _, name := range []string{"gate.json", "gate.txt", "gate.md", "gate.sarif", "trivy-" + strings.ReplaceAll(platform(), "/", "-") + ".json"} {
				if !strings.Contains(string(o.file(t, name)), advisory.ID) {
					t.Errorf("%s does not name %s", name, advisory.ID)
				}
			}
		}
		if !strings.Contains(o.stdout, "FAILED") {
			t.Errorf("the summary does not say that the gate failed:\n%s", o.stdout)
		}
	})
	if len(blocking) == 0 {
		t.Fatal("nothing blocks, so that there is nothing to let through")
	}

	t.Run("lets exceptions through", func(t *testing.T) {
		image, _ := w.repository("excepted")
		file := exceptions(t, blocking, dawn)
		args := slices.Concat([]string{"push"}, w.releaseArgs(image), []string{"--exceptions", file})
		o := w.run(t, args...).passed(t).planned(t, release.Build)
		if got := len(o.report.Gate.Excepted); got != len(blocking) || len(o.report.Gate.Blocking) != 0 {
			t.Errorf("%d findings were let through, want %d: %+v", got, len(blocking), o.report.Gate)
		}
		wantTags(t, image, at(o.report.Image.Digest, "7.2.0-1", "7.2.0", "7.2", "7", "latest"))
		// An excepted vulnerability that has a fix is no reason to rebuild each day.
		w.run(t, args...).passed(t).planned(t, release.Nothing)
	})

	t.Run("names exceptions that have expired", func(t *testing.T) {
		image, _ := w.repository("expired")
		file := exceptions(t, blocking, dawn.AddDate(0, 0, -1))
		o := w.run(t, slices.Concat([]string{"push"}, w.releaseArgs(image), []string{"--exceptions", file})...).
			failed(t, "the gate did not pass")
		wantTags(t, image, nil)
		if len(o.report.Gate.Expired) != len(blocking) || len(o.report.Gate.Excepted) != 0 {
			t.Errorf("the verdict is %+v", o.report.Gate)
		}
		text := string(o.file(t, "gate.txt"))
		for _, exception := range o.report.Gate.Expired {
			if !strings.Contains(text, fmt.Sprintf("/%s:%d ", filepath.Base(file), exception.Line)) {
				t.Errorf("the table does not name the exception in line %d:\n%s", exception.Line, text)
			}
		}
	})

	t.Run("takes no exceptions that it does not understand", func(t *testing.T) {
		image, _ := w.repository("garbled")
		file := filepath.Join(t.TempDir(), "exceptions.yaml")
		if err := os.WriteFile(file, []byte("exceptions:\n  - id: CVE-2099-9001\n    package: openssl\n    expires: 2099-01-01\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		w.run(t, slices.Concat([]string{"push"}, w.releaseArgs(image), []string{"--exceptions", file})...).failed(t, file+":2", "reason")
		wantTags(t, image, nil)
	})
}

// exceptions writes an exceptions file for findings that is good until the end of a day.
func exceptions(t *testing.T, findings []gate.Finding, expires time.Time) string {
	t.Helper()
	text := "exceptions:\n"
	for _, finding := range findings {
		text += fmt.Sprintf("  - id: %s\n    package: %s\n    reason: Invented.\n    expires: %s\n", finding.ID, finding.Package, expires.Format(time.DateOnly))
	}
	path := filepath.Join(t.TempDir(), "exceptions.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
