package trivy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), Report)
	if err := os.WriteFile(path, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	if data, err := readReport(path, 5); err != nil || string(data) != "12345" {
		t.Errorf("readReport = %q, %v", data, err)
	}
	if _, err := readReport(path, 4); err == nil || !strings.Contains(err.Error(), "larger than 4 bytes") {
		t.Errorf("error %v", err)
	}
}

func TestReadReportFails(t *testing.T) {
	dir := t.TempDir()
	for path, says := range map[string]string{
		filepath.Join(dir, Report):                    "wrote no report",
		filepath.Join(dir, "no", "such", "directory"): "wrote no report",
		dir: dir,
	} {
		if data, err := ReadReport(path); err == nil || data != nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q, error %v, want one that says %q", path, data, err, says)
		}
	}
}
