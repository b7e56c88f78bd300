package container_test

import "testing"

// TestInterruptions ends containers at all moments, and fills their volumes.
func TestInterruptions(t *testing.T) {
	built := newImages(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, built *images)
	}{
		{"restarts", testRestarts},
		{"upgrade with SQLite", testUpgradeCutOffSQLite},
		{"upgrade with MariaDB", testUpgradeCutOffMariaDB},
		{"upgrade on a full volume", testUpgradeOnFullVolume},
		{"volume fills up", testVolumeFillsUp},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, built) })
	}
}
