package container_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// wantQuietProbes makes probes, which must not leave a line in any log.
func wantQuietProbes(t *testing.T, c *container) {
	t.Helper()
	wantServices(t, c)
	files := func() string {
		return c.mustExec(asRoot, "sh", "-c", "cd /var/log/one && for file in *.log *.error; do [ ! -e $file ] || sed s/^/$file:/ $file; done")
	}
	// What is written before a mark is in the container's log when the mark is.
	mark := func(name string) int {
		logs := map[string]string{"oned": "oned", "hem": "onehem", "oneflow": "oneflow", "onegate": "onegate", "fireedge": "fireedge"}
		for _, log := range logs {
			c.mustExec(asOneadmin, "sh", "-c", "echo "+name+" >> /var/log/one/"+log+".log")
		}
		c.wantEventually(t, "the logs to be followed", func() bool {
			for service := range logs {
				if !strings.Contains(c.log(), service+": "+name+"\n") {
					return false
				}
			}
			return true
		})
		return len(c.log())
	}
	from := mark("before the probes")
	before := files()
	for _, probe := range []string{"live", "startup", "ready"} {
		c.mustExec(asRoot, "bash", "-c", "set -e; for ((i = 0; i < 10; i++)); do one-container healthcheck "+probe+"; done")
	}
	if after := files(); after != before {
		t.Errorf("probes leave in /var/log/one: %s", strings.TrimPrefix(after, before))
	}
	to := mark("after the probes")
	for line := range strings.Lines(c.log()[from:to]) {
		if !strings.HasSuffix(line, ": after the probes\n") {
			t.Errorf("probes leave in the container's log: %s", line)
		}
	}
}

// wantCheapProbe checks what a probe costs, for it is made every few seconds on every node: its own processor time, and that of all that it
// asks.
func wantCheapProbe(t *testing.T, c *container) {
	t.Helper()
	const limit, times = 20 * time.Millisecond, 20
	// The kernel counts in hundredths of a second.
	script := fmt.Sprintf(`busy() { cat /proc/[0-9]*/stat 2> /dev/null | awk '{ n += $14 + $15 } END { print n }'; }
		TIMEFORMAT='%%U %%S'; before=$(busy); time for ((i = 0; i < %d; i++)); do one-container healthcheck ready || exit; done; echo $(($(busy) - before))`, times)
	best := time.Hour
	for range 3 {
		out := c.mustExec(asRoot, "bash", "-c", script)
		var user, system float64
		var hundredths int
		if _, err := fmt.Sscan(out, &user, &system, &hundredths); err != nil {
			t.Fatalf("read the times of probes from %q: %v", out, err)
		}
		all := time.Duration((user+system)*float64(time.Second)) + time.Duration(hundredths)*10*time.Millisecond
		best = min(best, all/times)
	}
	t.Logf("a probe takes %s of processor time, in the services too", best)
	if best >= limit {
		t.Errorf("a probe takes %s of processor time, in the services too; want less than %s", best, limit)
	}
}
