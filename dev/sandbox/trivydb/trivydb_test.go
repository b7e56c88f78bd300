package trivydb_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"opennebula-kube/dev/sandbox/trivydb"
)

var updated = time.Date(2026, 8, 1, 6, 0, 0, 0, time.UTC)

// unpack writes the files of a database image to a directory, as Trivy does with its download.
func unpack(t *testing.T, image v1.Image) string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 1 {
		t.Fatalf("%d layers, want 1", len(layers))
	}
	if mediaType, err := layers[0].MediaType(); err != nil || mediaType != trivydb.LayerType {
		t.Errorf("layer of type %s (%v), want %s", mediaType, err, trivydb.LayerType)
	}
	compressed, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer compressed.Close()
	zip, err := gzip.NewReader(compressed)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(zip); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, header.Name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImage(t *testing.T) {
	image, err := trivydb.Image([]trivydb.Advisory{
		{ID: "CVE-2099-0002", SourcePackage: "zlib", Severity: "HIGH", Title: "zlib: no fix"},
		{ID: "CVE-2099-0001", SourcePackage: "openssl", FixedVersion: "3.0.99-1", Severity: "CRITICAL", Title: "openssl: fixed"},
	}, updated)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Config.MediaType != trivydb.ConfigType {
		t.Errorf("config of type %s, want %s", manifest.Config.MediaType, trivydb.ConfigType)
	}
	dir := unpack(t, image)
	meta, err := metadata.NewClient(dir).Get()
	if err != nil {
		t.Fatal(err)
	}
	want := metadata.Metadata{Version: 2, UpdatedAt: updated, NextUpdate: updated.Add(24 * time.Hour)}
	if diff := cmp.Diff(want, meta); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}

	if err := db.Init(dir); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	source := &dbtypes.DataSource{
		ID: "debian", Name: "Debian Security Tracker", URL: "https://salsa.debian.org/security-tracker-team/security-tracker",
	}
	for pkg, want := range map[string][]dbtypes.Advisory{
		"openssl": {{VulnerabilityID: "CVE-2099-0001", FixedVersion: "3.0.99-1", DataSource: source}},
		"zlib":    {{VulnerabilityID: "CVE-2099-0002", Status: dbtypes.StatusAffected, DataSource: source}},
		"bash":    nil,
	} {
		got, err := db.Config{}.GetAdvisories("debian 12", pkg)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("advisories for %s (-want +got):\n%s", pkg, diff)
		}
	}
	vulnerability, err := db.Config{}.GetVulnerability("CVE-2099-0001")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dbtypes.Vulnerability{
		Title: "openssl: fixed", Severity: "CRITICAL",
		VendorSeverity: dbtypes.VendorSeverity{"debian": dbtypes.SeverityCritical},
		References:     []string{"https://security-tracker.debian.org/tracker/CVE-2099-0001"},
	}, vulnerability); diff != "" {
		t.Errorf("vulnerability (-want +got):\n%s", diff)
	}
}

func TestImageIsReproducible(t *testing.T) {
	advisories := append(trivydb.Passing(), trivydb.Critical()...)
	digest := func(advisories []trivydb.Advisory, updatedAt time.Time) v1.Hash {
		t.Helper()
		image, err := trivydb.Image(advisories, updatedAt)
		if err != nil {
			t.Fatal(err)
		}
		d, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := digest(advisories, updated)
	shuffled := append(trivydb.Critical(), trivydb.Passing()...)
	if second := digest(shuffled, updated); second != first {
		t.Errorf("the same advisories gave %s and %s", first, second)
	}
	if older := digest(advisories, updated.Add(-time.Hour)); older == first {
		t.Error("another time gave the same digest")
	}
}

func TestImageRejects(t *testing.T) {
	for name, advisory := range map[string]trivydb.Advisory{
		"no ID":            {SourcePackage: "zlib", Severity: "LOW"},
		"no package":       {ID: "CVE-2099-0001", Severity: "LOW"},
		"unknown severity": {ID: "CVE-2099-0001", SourcePackage: "zlib", Severity: "SEVERE"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := trivydb.Image([]trivydb.Advisory{advisory}, updated); err == nil {
				t.Error("no error")
			}
		})
	}
}
