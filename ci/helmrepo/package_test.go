package helmrepo_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"opennebula-kube/ci/helmrepo"
)

func TestPackage(t *testing.T) {
	dir := tree(t, chartFiles("opennebula", "0.2.0"))
	before := content(t, dir)
	a, err := helmrepo.Package(dir, helmrepo.Release{AppVersion: "7.0.1", Date: epoch})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, content(t, dir)); diff != "" {
		t.Errorf("the sources have changed:\n%s", diff)
	}
	sum := sha256.Sum256(a.Data)
	want := helmrepo.Archive{
		Name: "opennebula", Version: "0.2.0", AppVersion: "7.0.1", Filename: "opennebula-0.2.0.tgz",
		Data: a.Data, Digest: hex.EncodeToString(sum[:]),
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}

	c, err := loader.LoadArchive(bytes.NewReader(a.Data))
	if err != nil {
		t.Fatal(err)
	}
	if c.Metadata.Version != "0.2.0" || c.Metadata.AppVersion != "7.0.1" {
		t.Errorf("Helm reads version %s, appVersion %s", c.Metadata.Version, c.Metadata.AppVersion)
	}
	for _, dependency := range c.Dependencies() {
		if dependency.Name() == "zeta" && dependency.AppVersion() != "9.9.9" {
			t.Errorf("a subchart's appVersion has become %s", dependency.AppVersion())
		}
	}

	var names []string
	for _, header := range headers(t, a.Data) {
		names = append(names, header.Name)
		if !header.ModTime.Equal(epoch) {
			t.Errorf("%s is dated %s", header.Name, header.ModTime)
		}
	}
	slices.Sort(names)
	wantNames := []string{
		"opennebula/.helmignore", "opennebula/Chart.yaml", "opennebula/README.md",
		"opennebula/charts/alpha/Chart.yaml", "opennebula/charts/mid/Chart.yaml", "opennebula/charts/zeta/Chart.yaml",
		"opennebula/templates/config.yaml", "opennebula/values.schema.json", "opennebula/values.yaml",
	}
	if diff := cmp.Diff(wantNames, names); diff != "" {
		t.Errorf("files in the archive:\n%s", diff)
	}
}

func headers(t *testing.T, archive []byte) []*tar.Header {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var all []*tar.Header
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, header)
	}
}

func TestPackageIsReproducible(t *testing.T) {
	files := chartFiles("opennebula", "0.2.0")
	files["Chart.lock"] = "dependencies: []\ndigest: sha256:0\ngenerated: \"2020-01-01T00:00:00+02:00\"\n"
	first, err := helmrepo.Package(tree(t, files), helmrepo.Release{AppVersion: "7.0.1", Date: epoch})
	if err != nil {
		t.Fatal(err)
	}
	// Helm's loader puts subcharts into another order each time: three of them come out the same by chance in one of six runs.
	for range 10 {
		dir := tree(t, files)
		long := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
		if err := os.Chtimes(filepath.Join(dir, "values.yaml"), long, long); err != nil {
			t.Fatal(err)
		}
		again, err := helmrepo.Package(dir, helmrepo.Release{AppVersion: "7.0.1", Date: epoch.In(time.FixedZone("elsewhere", 3600)).Add(300 * time.Millisecond)})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Data, again.Data) {
			t.Fatal("two archives of the same sources, appVersion and second differ")
		}
	}
	for name, change := range map[string]func() (helmrepo.Archive, error){
		"appVersion": func() (helmrepo.Archive, error) {
			return helmrepo.Package(tree(t, files), helmrepo.Release{AppVersion: "7.0.2", Date: epoch})
		},
		"epoch": func() (helmrepo.Archive, error) {
			return helmrepo.Package(tree(t, files), helmrepo.Release{AppVersion: "7.0.1", Date: epoch.Add(time.Hour)})
		},
	} {
		other, err := change()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(first.Data, other.Data) {
			t.Errorf("another %s gives the same archive", name)
		}
	}
}

func TestPackageFaults(t *testing.T) {
	const head = "apiVersion: v2\nname: opennebula\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no chart":            {map[string]string{"README.md": "x"}, "Chart.yaml file is missing"},
		"broken Chart.yaml":   {files: map[string]string{"Chart.yaml": "name: [\n"}, want: "cannot load Chart.yaml"},
		"no version":          {map[string]string{"Chart.yaml": head}, "version is required"},
		"half a version":      {map[string]string{"Chart.yaml": head + "version: \"0.1\"\n"}, `version "0.1" in Chart.yaml`},
		"name with a path":    {map[string]string{"Chart.yaml": "apiVersion: v2\nname: ../x\nversion: 0.1.0\n"}, "invalid"},
		"broken values":       {map[string]string{"Chart.yaml": head + "version: 0.1.0\n", "values.yaml": "a: ]\n"}, "values.yaml"},
		"broken schema":       {map[string]string{"Chart.yaml": head + "version: 0.1.0\n", "values.schema.json": "{"}, "values.schema.json"},
		"lacking dependency":  {map[string]string{"Chart.yaml": head + "version: 0.1.0\ndependencies:\n- name: mariadb\n  version: 1.x\n  repository: https://example.org\n"}, "dependency mariadb 1.x"},
		"broken subchart tgz": {map[string]string{"Chart.yaml": head + "version: 0.1.0\n", "charts/mariadb-1.0.0.tgz": "no archive"}, "mariadb-1.0.0.tgz"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, test.files)
			_, err := helmrepo.Package(dir, helmrepo.Release{AppVersion: "7.0.1", Date: epoch})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want one with %q that names %s", err, test.want, dir)
			}
		})
	}
	dir := tree(t, chartFiles("opennebula", "0.1.0"))
	if _, err := helmrepo.Package(dir, helmrepo.Release{Date: epoch}); err == nil || !strings.Contains(err.Error(), "no appVersion given") {
		t.Errorf("without appVersion: %v", err)
	}
	if _, err := helmrepo.Package(dir, helmrepo.Release{AppVersion: "7.0.1"}); err == nil || !strings.Contains(err.Error(), "no date given") {
		t.Errorf("without a date: %v", err)
	}
	if _, err := helmrepo.Package(filepath.Join(dir, "none"), helmrepo.Release{AppVersion: "7.0.1", Date: epoch}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory that does not exist: %v", err)
	}
}

func TestLint(t *testing.T) {
	files := chartFiles("opennebula", "0.1.0")
	files["templates/broken.yaml"] = "{{ .Values.missing.deep }}\n"
	messages, err := helmrepo.Lint(tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(messages, func(m helmrepo.Message) bool {
		return m.Severity == helmrepo.Error && strings.Contains(m.String(), "broken.yaml")
	}) {
		t.Errorf("no error about the broken template: %v", messages)
	}
	if messages, err := helmrepo.Lint(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory without a chart: %v, %v", messages, err)
	}
}
