//go:build linux

package install_test

import (
	"testing"
)

// TestInstall installs the chart in several ways, on one cluster.
func TestInstall(t *testing.T) {
	store := newObjectStore(t)
	c := newCluster(t, store.address)
	// It restarts the node, which is to have nothing else on it.
	t.Run("SQLite", func(t *testing.T) { testSQLite(t, c) })
	t.Run("together", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"MariaDB":           func(t *testing.T) { testMariaDB(t, c) },
			"external database": func(t *testing.T) { testExternalDatabase(t, c) },
			"backup to claim":   func(t *testing.T) { testBackupToClaim(t, c) },
			"published chart":   func(t *testing.T) { testPublished(t, c) },
			"backup to S3":      func(t *testing.T) { testBackupToS3(t, c, store) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		}
	})
}
