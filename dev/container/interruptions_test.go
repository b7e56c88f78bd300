package container_test

import "testing"

// TestInterruptions ends containers at all moments, and fills their volumes. They wait most of the time, so they do that together.
func TestInterruptions(t *testing.T) {
	built := newImages(t)
	for _, version := range []string{oldest, middle, newest} {
		built.get(t, version)
	}
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
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, built)
		})
	}
}
