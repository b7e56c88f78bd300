//go:build linux

package install_test

import (
	"strings"
	"testing"
)

// testSQLite upgrades OpenNebula and cuts the node's power.
func testSQLite(t *testing.T, c *cluster) {
	r := newRelease(t, c, "sqlite", append(frugal(), "mariadb.enabled=false")...)
	r.install(older)
	r.helm("test")
	fqdn := front + "." + name + "-headless." + r.namespace + ".svc.cluster.local"
	if got := r.oned("cat", "/etc/one/oned.conf"); !strings.Contains(got, fqdn) {
		t.Errorf("oned.conf does not have the name %s:\n%s", fqdn, got)
	}
	r.create("kept")
	before := r.identity()

	r.upgrade(newer)
	r.wantIdentity("the upgrade", before)
	r.wantUser("the upgrade", "kept")
	r.helm("test")

	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.ready(front)
	r.wantIdentity("a restart of the node", before)
	r.wantUser("a restart of the node", "kept")
}
