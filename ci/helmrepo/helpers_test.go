package helmrepo_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/repo/v1"

	"opennebula-kube/ci/helmrepo"
)

var (
	epoch = time.Date(2025, 10, 22, 9, 30, 0, 0, time.UTC)
	now   = time.Date(2026, 8, 1, 12, 0, 0, 250_000_000, time.UTC)
)

const baseURL = "https://acme.github.io/charts"

// tree writes files by their paths into a new directory.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	return dir
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// content is all files below a directory by their paths.
func content(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// chartFiles is a chart with something of everything that a chart may have.
func chartFiles(name, version string) map[string]string {
	return map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: " + name + "\nversion: " + version + "\nappVersion: 0.0.0\n" +
			"description: \"A chart: with 'quotes', #signs and ünïcode\"\nhome: https://example.org\n" +
			"sources:\n- https://example.org/source\n- https://example.org/other\n" +
			"maintainers:\n- name: Ada\n  email: ada@example.org\n- name: Bob\n" +
			"annotations:\n  example.org/note: |\n    two\n    lines\n  org.opencontainers.image.title: not the title\n",
		"values.yaml":             "# -- said to the user\nreplicas: 1\n",
		"values.schema.json":      `{"type": "object"}`,
		"templates/config.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n",
		"README.md":               "# Read me\n",
		".helmignore":             "*.bak\n/secret/\n",
		"values.yaml.bak":         "old",
		"secret/key":              "private",
		"charts/zeta/Chart.yaml":  "apiVersion: v2\nname: zeta\nversion: 1.0.0\nappVersion: 9.9.9\n",
		"charts/alpha/Chart.yaml": "apiVersion: v2\nname: alpha\nversion: 2.0.0\n",
		"charts/mid/Chart.yaml":   "apiVersion: v2\nname: mid\nversion: 3.0.0\n",
	}
}

// archive packages a chart.
func archive(t testing.TB, name, version string) helmrepo.Archive {
	t.Helper()
	return archiveFor(t, name, version, "7.0.1")
}

func archiveFor(t testing.TB, name, version, appVersion string) helmrepo.Archive {
	t.Helper()
	a, err := helmrepo.Package(tree(t, chartFiles(name, version)), helmrepo.Release{AppVersion: appVersion, Date: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// minimal is an archive whose entry in an index is short.
func minimal(t testing.TB, name, version string) helmrepo.Archive {
	t.Helper()
	dir := tree(t, map[string]string{"Chart.yaml": "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n"})
	a, err := helmrepo.Package(dir, helmrepo.Release{AppVersion: "7.0.1", Date: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// load reads an index as Helm does.
func load(t testing.TB, index []byte) *repo.IndexFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.yaml")
	if err := os.WriteFile(path, index, 0o644); err != nil {
		t.Fatal(err)
	}
	loaded, err := repo.LoadIndexFile(path)
	if err != nil {
		t.Fatalf("Helm cannot load the index: %v\n%s", err, index)
	}
	return loaded
}
