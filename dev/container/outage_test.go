package container_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// testOutage takes the database server away from a container that is at work, in the two ways that there are: it refuses, and it
// does not answer. Nothing may be restarted for that, and all is well when it is back.
func testOutage(t *testing.T, built *images) {
	server := newServer(t, built, "secret")
	c := run(t, options{image: built.get(t, middle), volume: t.TempDir(), env: server.env()})
	server.join(t, c)
	c.ready(startLimit)
	wantServices(t, c)
	before := pids(c)
	probe := func(name string) error {
		if out, err := c.exec(asRoot, "one-container", "healthcheck", name); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	wantUnready := func(reason string) {
		t.Helper()
		c.wantEventually(t, "the container to be unready", func() bool {
			err := probe("ready")
			return err != nil && strings.Contains(err.Error(), reason)
		})
	}
	wantBack := func() {
		t.Helper()
		c.ready(startLimit)
		c.mustExec(asOneadmin, "oneuser", "show", "0")
		if after := pids(c); after != before {
			t.Errorf("services were restarted: they were\n%s\nand are\n%s", before, after)
		}
	}
	refuses := func() {
		c.whenEnded() // kill -9
		wantUnready("couldn't be authenticated")
		// As often as Kubernetes asks in some minutes.
		for range 20 {
			if err := probe("live"); err != nil {
				t.Fatal(err)
			}
		}
		server.join(t, c)
		wantBack()
	}
	hangs := func() {
		pid, err := strconv.Atoi(strings.TrimSpace(read(t, server.dir+"/pid")))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		resume := sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		defer resume()
		// Each leaves a call in oned that waits for the database, until there is no room for another.
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() { _ = probe("ready") })
		}
		group.Wait()
		wantUnready("oned does not answer")
		for range 3 {
			if err := probe("live"); err != nil {
				t.Fatal(err)
			}
		}
		resume()
		wantBack()
	}
	onedHangs := func() {
		oned := c.mustExec(asRoot, "sh", "-c", "pgrep -x oned")
		c.mustExec(asRoot, "sh", "-c", "kill -STOP "+oned)
		if err := probe("live"); err == nil || !strings.Contains(err.Error(), "oned does not answer") {
			t.Errorf("live: %v, want it to fail", err)
		}
		c.mustExec(asRoot, "sh", "-c", "kill -CONT "+oned)
		wantBack()
	}
	for _, outage := range []func(){refuses, hangs, onedHangs} {
		outage()
	}
	wantStopped(t, c)
}

// pids are the services and their processes.
func pids(c *container) string {
	c.t.Helper()
	var all []string
	for _, service := range services() {
		all = append(all, service+" "+c.mustExec(asRoot, "supervisorctl", "pid", service))
	}
	return strings.Join(all, "\n")
}
