//go:build linux

package install_test

import (
	"strings"
	"testing"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestInstall installs the chart in several ways, on one cluster.
func TestInstall(t *testing.T) {
	c := newCluster(t)
	// It restarts the node, which is to have nothing else on it.
	t.Run("SQLite", func(t *testing.T) { testSQLite(t, c) })
	t.Run("MariaDB", func(t *testing.T) { testMariaDB(t, c) })
}

// testSQLite upgrades OpenNebula, restarts the node, and uninstalls: what was made stays.
func testSQLite(t *testing.T, c *cluster) {
	r := newRelease(t, c, "sqlite", append(frugal(), "mariadb.enabled=false")...)
	r.install(older)
	r.helm("test")
	password := r.password()
	if !strings.Contains(r.oned("oneuser", "show", "0"), "oneadmin") {
		t.Error("oneuser show 0 does not show oneadmin")
	}
	if got := r.oned("cat", "/var/lib/one/.one/one_auth"); strings.TrimSpace(got) != "oneadmin:"+password {
		t.Error("oneadmin has another password than the Secret")
	}
	fqdn := front + "." + name + "-headless." + r.namespace + ".svc.cluster.local"
	if got := r.oned("cat", "/etc/one/oned.conf"); !strings.Contains(got, fqdn) {
		t.Errorf("oned.conf does not have the name %s:\n%s", fqdn, got)
	}
	r.oned("oneuser", "create", "kept", "secret")

	r.upgrade(newer)
	r.check("the upgrade", password)
	r.helm("test")

	c.restart(t)
	r.ready(front)
	r.check("a restart of the node", password)

	r.helm("uninstall", "--wait")
	if _, err := c.client.CoreV1().PersistentVolumeClaims(r.namespace).Get(t.Context(), "data-"+front, meta.GetOptions{}); err != nil {
		t.Errorf("after uninstall: %v", err)
	}
	if got := r.password(); got != password {
		t.Error("after uninstall the Secret has another password")
	}
	// An installation of the same name goes on with what has stayed.
	r.install(newer)
	r.check("another install", password)
}

// check wants the newer version, the password and the user that was made.
func (r *release) check(after, password string) {
	r.t.Helper()
	if got := r.password(); got != password {
		r.t.Errorf("after %s the Secret has another password", after)
	}
	if got := r.oned("onedb", "version", "-v"); !strings.Contains(got, "Database version: "+newer) {
		r.t.Errorf("after %s onedb version prints %q", after, got)
	}
	if got := r.oned("oneuser", "show", "2"); !strings.Contains(got, "kept") {
		r.t.Errorf("after %s oneuser show 2 prints %q", after, got)
	}
}
