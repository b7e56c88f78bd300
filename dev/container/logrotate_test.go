package container_test

import (
	"fmt"
	"strings"
	"testing"
)

// wantRotation fills a log, and wants it rotated, its rotated files few, and each of its lines in the container's log, once.
func wantRotation(t *testing.T, c *container) {
	t.Helper()
	const log = "/var/log/one/oned.log"
	written := 0
	write := func(lines int) {
		c.mustExec(asOneadmin, "sh", "-c", fmt.Sprintf(`i=%d; while [ $i -lt %d ]; do printf 'rotated line %%05d %%01000d\n' $i 0; i=$((i+1)); done >> %s`,
			written, written+lines, log))
		written += lines
	}
	list := func() string {
		return strings.Join(strings.Fields(c.mustExec(asRoot, "sh", "-c", "cd /var/log/one; ls -d oned.log*")), " ")
	}
	// Rotations come no faster than the log is read.
	followed := func() {
		last := fmt.Sprintf("oned: rotated line %05d ", written-1)
		c.wantEventually(t, "the last line", func() bool { return strings.Contains(c.log(), last) })
	}
	// Of virtual machines, of a service, of a hook, and one that FireEdge has left.
	c.mustExec(asOneadmin, "sh", "-c", `cd /var/log/one; mkdir -p oneflow
		for log in 3 oneflow/5 autostart-vm fireedge1; do head -c 11000000 /dev/zero | tr '\0' x | fold -w 1000 > $log.log; echo >> $log.log; done; echo small > 4.log`)
	others := func() string {
		return strings.Join(strings.Fields(c.mustExec(asRoot, "sh", "-c", "cd /var/log/one; find 3.* 4.* oneflow autostart* fireedge1* -type f -size +0 | sort")), " ")
	}
	write(11000)
	// It looks at the logs when it starts.
	c.mustExec(asRoot, "supervisorctl", "restart", "logrotate")
	c.wantEventually(t, "the log to be rotated for its size", func() bool { return list() == "oned.log oned.log.1" })
	c.wantEventually(t, "the other logs to be rotated for their size", func() bool {
		return others() == "3.log.1 4.log autostart-vm.log.1 oneflow/5.log.1"
	})
	want := []string{"oned.log oned.log.1 oned.log.2.gz", "oned.log oned.log.1 oned.log.2.gz oned.log.3.gz"}
	all := "oned.log oned.log.1 oned.log.2.gz oned.log.3.gz oned.log.4.gz oned.log.5.gz"
	for i := range 6 {
		write(1)
		followed()
		write(10)
		c.mustExec(asOneadmin, "/usr/sbin/logrotate", "--force", "--state", "/var/log/one/.logrotate.status", "/usr/share/one-container/logrotate.conf")
		if got := list(); i < len(want) && got != want[i] || i > 3 && got != all {
			t.Errorf("after rotation %d there are %s", i+2, got)
		}
	}
	followed()
	// However often they are rotated, a machine and a service keep two files.
	for range 3 {
		c.mustExec(asOneadmin, "sh", "-c", "cd /var/log/one; for log in 3 4 oneflow/5; do echo more >> $log.log; done")
		c.mustExec(asOneadmin, "/usr/sbin/logrotate", "--force", "--state", "/var/log/one/.logrotate.status", "/usr/share/one-container/logrotate.conf")
	}
	if got := c.mustExec(asRoot, "sh", "-c", "cd /var/log/one; echo 3.* 4.* oneflow/*"); got != "3.log 3.log.1 4.log 4.log.1 oneflow/5.log oneflow/5.log.1" {
		t.Errorf("after more rotations there are %s", got)
	}
	c.mustExec(asOneadmin, "one-container", "rotate")
	write(1)
	followed()
	times := make(map[string]int)
	for line := range strings.Lines(c.log()) {
		if number, ok := strings.CutPrefix(line, "oned: rotated line "); ok {
			times[number[:5]]++
		}
	}
	for i := range written {
		if n := times[fmt.Sprintf("%05d", i)]; n != 1 {
			t.Fatalf("line %d of %d is in the container's log %d times", i, written, n)
		}
	}
}
