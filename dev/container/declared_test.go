package container_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// wantPorts checks that the image declares the ports that something listens on, and no others.
func wantPorts(t *testing.T, c *container, config v1.Config) {
	t.Helper()
	// There is no stand-in for gRPC and for onemonitord.
	want := []string{"2634", "4124/tcp", "4124/udp"}
	for _, port := range []string{"22", "2474", "2616", "2633", "5030"} {
		c.mustExec(asOneadmin, "bash", "-c", ": < /dev/tcp/127.0.0.1/"+port)
		want = append(want, port)
	}
	var declared []string
	for port := range config.ExposedPorts {
		declared = append(declared, port)
	}
	for i, port := range want {
		if !strings.Contains(port, "/") {
			want[i] += "/tcp"
		}
	}
	slices.Sort(want)
	slices.Sort(declared)
	if diff := cmp.Diff(want, declared); diff != "" {
		t.Errorf("ports that the image declares (-want +got):\n%s", diff)
	}
}

// wantScheduler checks that start-up leaves the section of the scheduler as it is: without it no machine is ever placed.
func wantScheduler(t *testing.T, c *container) {
	t.Helper()
	section := func(path string) string { return c.mustExec(asRoot, "sed", "-n", `/^SCHED_MAD/,/]/p`, path) }
	if got, want := section("/etc/one/oned.conf"), section("/usr/share/one-container/etc/oned.conf"); want == "" || got != want {
		t.Errorf("the section of the scheduler is %q, want %q as installed", got, want)
	}
}

// wantOverride checks that oned and its drivers find OpenNebula's own programs first.
func wantOverride(t *testing.T, c *container) {
	t.Helper()
	const want = "PATH=/usr/lib/one/sh/override:"
	out := c.mustExec(asOneadmin, "sh", "-c", `for p in /proc/[0-9]*; do if [ "$(cat $p/comm)" = oned ]; then tr '\0' '\n' < $p/environ; fi; done 2> /dev/null; true`)
	if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return strings.HasPrefix(line, want) }) {
		t.Errorf("oned runs with %q, want %s", out, want)
	}
}
