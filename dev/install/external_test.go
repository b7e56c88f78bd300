//go:build linux

package install_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testExternalDatabase installs the chart in an earlier version, with a database that is there already, and upgrades it.
func testExternalDatabase(t *testing.T, c *cluster) {
	earlier := packageEarlier(t, c)
	r := newRelease(t, c, "external", append(frugal(), "mariadb.enabled=false",
		"externalDatabase.host=db-mariadb", "externalDatabase.user=cloud", "externalDatabase.database=front_end",
		"externalDatabase.existingSecret=db-mariadb", "externalDatabase.existingSecretPasswordKey=mariadb-password")...)
	server := func(command, chart string) {
		t.Helper()
		out, err := c.helm(t, r.namespace, command, "db", chart, "--create-namespace", "--wait", "--timeout", "5m",
			"--set", "mariadb.image.registry="+c.mariadb.Registry, "--set", "mariadb.image.tag="+c.mariadb.Tag,
			"--set", "mariadb.image.digest="+c.mariadb.Digest, "--set", "mariadb.auth.username=cloud", "--set", "mariadb.auth.database=front_end",
			"--set", "mariadb.networkPolicy.enabled=false", "--set", "mariadb.primary.resources.requests.memory=128Mi",
			"--set", "mariadb.primary.resources.requests.cpu=50m")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	server("install", serverChart(t, earlier.dir))
	r.helm("install", earlier.archive, "--set", "image.tag="+older)
	r.helm("test")
	r.create("kept")
	before, password := r.identity(), r.secret("db-mariadb", "mariadb-password")

	server("upgrade", serverChart(t, chart))
	if r.secret("db-mariadb", "mariadb-password") != password {
		t.Error("after an upgrade of its chart the database has another password")
	}
	r.upgrade(newer)
	r.wantIdentity("the upgrade", before)
	r.wantUser("the upgrade", "kept")
	r.helm("test")
}

// serverChart makes a chart that installs MariaDB's chart, a library, by itself, and returns its directory.
func serverChart(t *testing.T, chart string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "charts/mariadb"), os.DirFS(filepath.Join(chart, "charts/mariadb"))); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range []string{"secret", "service", "serviceaccount", "statefulset"} {
		fmt.Fprintf(&all, "{{ include \"mariadb.%s\" .Subcharts.mariadb }}\n---\n", name)
	}
	for name, content := range map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: db\nversion: 1.0.0\n", "templates/mariadb.yaml": all.String(),
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// chartCopy is a chart of an earlier version.
type chartCopy struct{ dir, archive string }

// packageEarlier packages the chart as if it were of an earlier version, and MariaDB's in it too.
func packageEarlier(t *testing.T, c *cluster) chartCopy {
	t.Helper()
	const version = "0.0.1"
	earlier := chartCopy{dir: filepath.Join(t.TempDir(), "opennebula")}
	if err := os.CopyFS(earlier.dir, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Chart.yaml", "charts/mariadb/Chart.yaml"} {
		file := filepath.Join(earlier.dir, name)
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lowered := regexp.MustCompile(`(?m)^version: .*`).ReplaceAll(content, []byte("version: "+version))
		if err := os.WriteFile(file, lowered, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if out, err := c.helm(t, "default", "package", earlier.dir, "--destination", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	earlier.archive = filepath.Join(dir, "opennebula-"+version+".tgz")
	return earlier
}
