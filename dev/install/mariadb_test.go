//go:build linux

package install_test

import (
	"strings"
	"testing"
)

// testMariaDB installs with the chart's own values. What is asserted of the image of MariaDB is what the official one does.
func testMariaDB(t *testing.T, c *cluster) {
	r := newRelease(t, c, "mariadb")
	r.install(older)
	r.helm("test")
	for _, c := range []struct{ why, script, want string }{
		{"root is to log in from inside of the container only",
			`mariadb --host=$HOSTNAME --user=root --password="$(cat /run/secrets/mariadb/mariadb-root-password)" --execute="SELECT 1"`, "ERROR 1045"},
		{"root has a password", `mariadb --user=root --execute="SELECT 1"`, "ERROR 1045"},
		{"oneadmin has its own database and no other",
			`mariadb --host=$HOSTNAME --user=oneadmin --password="$(cat /run/secrets/mariadb/mariadb-password)" --execute="SELECT 1 FROM mysql.user"`, "ERROR 1142"},
		{"the root of the file system is read-only", `touch /usr/new`, "Read-only file system"},
	} {
		if out, err := r.tryExec(t.Context(), databasePod, "mariadb", "bash", "-c", c.script); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, and %s prints %q, error %v, want %s", c.why, c.script, out, err, c.want)
		}
	}
}
