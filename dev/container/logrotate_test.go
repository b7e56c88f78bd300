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
	write(11000)
	// It looks at the logs when it starts.
	c.mustExec(asRoot, "supervisorctl", "restart", "logrotate")
	c.wantEventually(t, "the log to be rotated for its size", func() bool { return list() == "oned.log oned.log.1" })
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
