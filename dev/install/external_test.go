//go:build linux

package install_test

import (
	"os"
	"path/filepath"
	"regexp"
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
			"--set", "image.registry="+c.mariadb.Registry, "--set", "image.tag="+c.mariadb.Tag, "--set", "image.digest="+c.mariadb.Digest,
			"--set", "auth.username=cloud", "--set", "auth.database=front_end", "--set", "networkPolicy.enabled=false",
			"--set", "primary.resources.requests.memory=128Mi", "--set", "primary.resources.requests.cpu=50m")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	server("install", filepath.Join(earlier.dir, "charts/mariadb"))
	r.helm("install", earlier.archive, "--set", "image.tag="+older)
	r.helm("test")
	r.create("kept")
	before, password := r.identity(), r.secret("db-mariadb", "mariadb-password")

	server("upgrade", filepath.Join(chart, "charts/mariadb"))
	if r.secret("db-mariadb", "mariadb-password") != password {
		t.Error("after an upgrade of its chart the database has another password")
	}
	r.upgrade(newer)
	r.wantIdentity("the upgrade", before)
	r.wantUser("the upgrade", "kept")
	r.helm("test")
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
