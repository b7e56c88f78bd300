package container_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// selftestLimit is how long a test of the image by itself may take, on a machine that is busy.
const selftestLimit = 5 * time.Minute

// command has a container run another command than the image's own.
func command(args ...string) func(*specs.Spec) {
	return func(spec *specs.Spec) { spec.Process.Args = args }
}

// TestSelftest tests the image by itself as a user and the pipeline do.
func TestSelftest(t *testing.T) {
	built := newImages(t)
	volume := t.TempDir()
	test := func(t *testing.T, o options) *container {
		t.Helper()
		o.volume = volume
		if o.adjust == nil {
			o.adjust = command(append(slices.Clone(o.image.config.Entrypoint), "selftest")...)
		}
		return run(t, o)
	}
	passes := func(t *testing.T, c *container) {
		t.Helper()
		if status := c.wait(selftestLimit); status != 0 {
			t.Fatalf("status %d: %s", status, c.log())
		}
		lines := strings.Split(strings.TrimSpace(c.log()), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "selftest: passed after ") {
			t.Errorf("the last line is %q", last)
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, "selftest: ") {
				t.Errorf("it prints %q, which is not its own", line)
			}
		}
		c.wantLog("place and start a virtual machine", "deploy and undeploy a OneFlow service", "run a hook", "stop the services")
		wantNothingLeft(t, built.get(t, newest), volume)
	}
	fails := func(t *testing.T, c *container, want string) {
		t.Helper()
		if status := c.wait(selftestLimit); status != 1 {
			t.Errorf("status %d, want 1", status)
		}
		lines := strings.Split(strings.TrimSpace(c.log()), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "error: selftest: ") || !strings.Contains(last, want) {
			t.Errorf("the last line is %q, want an error with %q", last, want)
		}
	}
	for _, step := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"an empty volume and a root file system that cannot be written to", func(t *testing.T) {
			passes(t, test(t, options{image: built.get(t, oldest), readOnly: true}))
		}},
		{"once more below an init", func(t *testing.T) {
			c := test(t, options{image: built.get(t, oldest), adjust: command("sh", "-c", "one-container selftest; exit $?")})
			passes(t, c)
		}},
		{"killed in an upgrade and later", func(t *testing.T) {
			image := built.get(t, middle)
			for _, when := range []string{"start the services", "monitor a host", "call OneGate", "deploy and undeploy"} {
				c := test(t, options{image: image})
				c.wantEventually(t, when, func() bool { return strings.Contains(c.log(), when) })
				c.signal("KILL")
				c.wait(stopLimit)
			}
			passes(t, test(t, options{image: image}))
		}},
		{"an upgrade", func(t *testing.T) {
			passes(t, test(t, options{image: built.get(t, newest)}))
		}},
		{"a database on a server", func(t *testing.T) {
			server, image := newServer(t, built, "hush"), built.get(t, newest)
			c := run(t, options{image: image, volume: t.TempDir(), env: server.env(), adjust: command(append(slices.Clone(image.config.Entrypoint), "selftest")...)})
			c.whenEnded = server.start(t, network{c.networkPath(t)}, "127.0.0.1")
			if status := c.wait(selftestLimit); status != 0 {
				t.Errorf("status %d", status)
			}
			c.wantLog("selftest: passed after ")
		}},
		{"asked to stop", func(t *testing.T) {
			c := test(t, options{image: built.get(t, newest)})
			c.wantEventually(t, "a step", func() bool { return strings.Contains(c.log(), "monitor a host") })
			c.signal("TERM")
			fails(t, c, "the test was asked to stop when it was to ")
		}},
		{"oned that does not start", func(t *testing.T) {
			c := test(t, options{image: built.get(t, newest), env: []string{"OPENNEBULA_CONFIG=oned.conf HM_MAD/EXECUTABLE = one_none"}})
			fails(t, c, "the services ended when the test was to start the services: ")
			c.wantLog("selftest: the last lines of the services' log:\n", "\noned: ")
		}},
		{"settings that leave services out", func(t *testing.T) {
			fails(t, test(t, options{image: built.get(t, newest), env: []string{"OPENNEBULA_SERVICES=oned"}}), "OPENNEBULA_SERVICES is set")
		}},
		{"beside services that run", func(t *testing.T) {
			c := run(t, options{image: built.get(t, newest), volume: volume})
			c.ready(startLimit)
			out, err := c.exec(asRoot, "one-container", "selftest")
			if err == nil || !strings.Contains(out, "another process runs OpenNebula's services in this container") {
				t.Errorf("%v: %s", err, out)
			}
			c.mustExec(asRoot, "one-container", "healthcheck", "ready")
			wantStopped(t, c)
		}},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

// wantNothingLeft looks in the database for what a test may have left; records of virtual machines that are over stay.
func wantNothingLeft(t *testing.T, image image, volume string) {
	t.Helper()
	var queries []string
	for _, table := range []string{"host_pool", "image_pool", "datastore_pool", "template_pool", "document_pool", "hook_pool"} {
		queries = append(queries, fmt.Sprintf("SELECT '%s', name FROM %s WHERE name LIKE 'one_exercise_%%'", table, table))
	}
	queries = append(queries, "SELECT 'vm_pool', name FROM vm_pool WHERE state <> 6")
	c := run(t, options{image: image, volume: volume, adjust: command("sqlite3", "/var/lib/one/one.db", strings.Join(queries, " UNION ALL ")+";")})
	if status, left := c.wait(stopLimit), strings.TrimSpace(c.log()); status != 0 || left != "" {
		t.Errorf("status %d, in the database are left:\n%s", status, left)
	}
	if left, err := os.ReadDir(volume + "/vms"); err != nil || len(left) > 0 {
		t.Errorf("in vms are left %v, %v", left, err)
	}
}
