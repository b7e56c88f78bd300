package container_test

import "testing"

// TestConditions runs the image in what a cluster can have around it. One build serves for all; most of them wait most of the time, so they
// do that together.
func TestConditions(t *testing.T) {
	built := newImages(t)
	for _, version := range []string{middle, newest} {
		built.get(t, version)
	}
	t.Run("outage", func(t *testing.T) { testOutage(t, built) })
	for name, test := range map[string]func(*testing.T, *images){
		"networks": testNetworks, "capabilities": testCapabilities, "owners": testOwners, "pod": testPod,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, built)
		})
	}
}
