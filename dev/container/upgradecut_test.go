package container_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// counted stands before onedb and the clients of a database in the PATH. It counts their calls from the first of onedb on, with which the
// upgrade begins, and keeps the call of a number from happening for as long as the container lives.
const counted = `#!/bin/sh
case $0 in */onedb) [ -d /tmp/begun ] || mkdir /tmp/begun ;; esac
if [ -d /tmp/begun ]; then
    n=1
    while ! mkdir /tmp/call.$n 2> /dev/null; do n=$((n + 1)); done
    [ $n -ne %d ] || exec sleep 3600
fi
exec /usr/bin/${0##*/} "$@"
`

func testUpgradeCutOffSQLite(t *testing.T, built *images) {
	t.Helper()
	testUpgradeCutOff(t, &installation{built: built, volume: t.TempDir(), programs: []string{"sqlite3", "onedb"}}, middle, newest)
}

func testUpgradeCutOffMariaDB(t *testing.T, built *images) {
	t.Helper()
	server := newServer(t, built, "secret")
	testUpgradeCutOff(t, &installation{
		built: built, volume: t.TempDir(), programs: []string{"mariadb", "mariadb-dump", "onedb"}, server: server, env: server.env(),
	}, middle)
}

// testUpgradeCutOff upgrades a volume of 7.0 to one version after the other, and kills the container before each call that start-up, the migrators and oned
// make to the database: before and after the backup, in the middle of a migration, and so on. The next start has to complete, with what
// there was before.
func testUpgradeCutOff(t *testing.T, first *installation, versions ...string) {
	t.Helper()
	oned := first.start(t, oldest, 0)
	oned.ready(startLimit)
	oned.mustExec(asOneadmin, "oneuser", "create", "kept", "secret")
	identity := identityOf(t, first.volume)
	oned.signal("TERM")
	if status := oned.wait(stopLimit); status != 0 {
		t.Fatalf("stopped, the container has status %d", status)
	}
	cuts := 0
	for call, done := 1, map[string]bool{}; len(done) < len(versions); call++ {
		t.Run(fmt.Sprint(call), func(t *testing.T) {
			i := first.copy(t)
			for _, version := range versions {
				if !done[version] {
					if i.cutOff(t, version, call) {
						cuts++
					} else {
						done[version] = true
					}
				}
				c := i.start(t, version, 0)
				c.ready(startLimit)
				i.check(t, c, version, identity)
				c.signal("KILL")
				c.wait(stopLimit)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d cuts", cuts)
	if cuts < 20 {
		t.Errorf("only %d cuts", cuts)
	}
}

// installation is a volume with its database.
type installation struct {
	built  *images
	volume string
	server *server
	env    []string
	// programs are the clients of the database.
	programs []string
}

// start starts a version, without the call of a number if that is not 0.
func (i *installation) start(t *testing.T, version string, without int) *container {
	t.Helper()
	files := make(map[string]string)
	for _, program := range i.programs {
		files["/usr/local/sbin/"+program] = fmt.Sprintf(counted, without)
	}
	c := run(t, options{image: i.built.get(t, version), volume: i.volume, env: append([]string{few}, i.env...), files: files})
	if i.server != nil {
		i.server.join(t, c)
	}
	return c
}

// cutOff kills a start before a call. It returns false when there is no such call before oned works.
func (i *installation) cutOff(t *testing.T, version string, call int) bool {
	t.Helper()
	c := i.start(t, version, call)
	reached := func() bool { return exists(filepath.Join(c.upper, "tmp", fmt.Sprintf("call.%d", call))) }
	c.wantEventually(t, "the call, or for oned to work", func() bool {
		if reached() {
			return true
		}
		if !strings.Contains(c.log(), "spawned: 'oned'") {
			return false
		}
		_, err := c.exec(asRoot, "one-container", "healthcheck", "ready")
		return err == nil
	})
	c.signal("KILL")
	c.wait(stopLimit)
	return reached()
}

// check compares what there is after an upgrade with what there was before.
func (i *installation) check(t *testing.T, c *container, version string, before map[string]string) {
	t.Helper()
	if out := c.mustExec(asOneadmin, "onedb", "version", "-v"); !strings.Contains(out, "Shared tables version:   "+version) {
		t.Errorf("onedb version prints %q, want %s", out, version)
	}
	if out := c.mustExec(asOneadmin, "oneuser", "show", "2"); !strings.Contains(out, "kept") {
		t.Errorf("oneuser show 2 prints %q, want the user that was made", out)
	}
	if got := read(t, filepath.Join(i.volume, "remotes/VERSION")); got != version+"\n" {
		t.Errorf("drivers of %q, want %s", got, version)
	}
	after := identityOf(t, i.volume)
	for path, want := range before {
		// OpenNebula's own files are those of the version, as long as nobody has changed them.
		if path == "/.one-container/drivers.json" || strings.Contains(want, "Stands in for a file of OpenNebula's") {
			continue
		}
		if after[path] != want {
			t.Errorf("%s was %q and is %q", path, want, after[path])
		}
	}
	backups, err := filepath.Glob(filepath.Join(i.volume, "backups/database/*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(backups) == 0 || slices.ContainsFunc(backups, func(path string) bool { return filepath.Ext(path) != ".backup" }) {
		t.Errorf("backups %q, want whole ones and nothing else", backups)
	}
}

// waitOrReady returns the exit status of a container that ends, -1 when it works instead.
func (c *container) waitOrReady(t *testing.T) int {
	t.Helper()
	status := -1
	c.wantEventually(t, "its end, or for it to work", func() bool {
		select {
		case end := <-c.ended:
			c.ended <- end
			status = c.wait(stopLimit)
			return true
		default:
		}
		_, err := c.exec(asRoot, "one-container", "healthcheck", "ready")
		return err == nil
	})
	if status < 0 {
		c.signal("KILL")
		c.wait(stopLimit)
	}
	return status
}

// copy is another installation with all that this one has.
func (i *installation) copy(t *testing.T) *installation {
	t.Helper()
	c := *i
	c.volume = t.TempDir()
	errs := []error{copyAll(i.volume, c.volume)}
	if i.server != nil {
		c.server = &server{dir: t.TempDir(), password: i.server.password}
		errs = append(errs, copyAll(i.server.dir, c.server.dir))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return &c
}

func copyAll(from, to string) error {
	out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// testUpgradeOnFullVolume upgrades on volumes that have room for nothing, for a part of the backup, and for the backup and not for what comes
// after it. Each start ends with what to do, or completes; with room, the next one does, and nothing is lost.
func testUpgradeOnFullVolume(t *testing.T, built *images) {
	t.Helper()
	first := &installation{built: built, volume: t.TempDir()}
	oned := first.start(t, oldest, 0)
	oned.ready(startLimit)
	oned.mustExec(asOneadmin, "oneuser", "create", "kept", "secret")
	identity := identityOf(t, first.volume)
	oned.signal("TERM")
	oned.wait(stopLimit)
	failed := 0
	for _, room := range []int{0, 8, 16, 32, 48, 64, 96, 128} {
		t.Run(fmt.Sprintf("%d KiB", room), func(t *testing.T) {
			i := *first
			i.volume = newTmpfs(t, "size=64m")
			if err := copyAll(first.volume, i.volume); err != nil {
				t.Fatal(err)
			}
			fill(t, i.volume, int64(room)<<10)
			bad := i.start(t, middle, 0)
			if status := bad.waitOrReady(t); status >= 0 {
				failed++
				if status != 1 {
					t.Errorf("status %d, want 1", status)
				}
				bad.wantLog("error: failed to ", "make room on ")
			}
			if err := os.Remove(filepath.Join(i.volume, ballast)); err != nil {
				t.Fatal(err)
			}
			good := i.start(t, middle, 0)
			good.ready(startLimit)
			i.check(t, good, middle, identity)
		})
	}
	if failed < 4 {
		t.Errorf("only %d starts failed: the volumes were not full", failed)
	}
}

// testVolumeFillsUp fills the volume while oned runs: what it cannot write it does not acknowledge, it can be started again, and works on when
// there is room.
func testVolumeFillsUp(t *testing.T, built *images) {
	t.Helper()
	i := &installation{built: built, volume: newTmpfs(t, "size=64m")}
	c := i.start(t, middle, 0)
	c.ready(startLimit)
	c.mustExec(asOneadmin, "oneuser", "create", "kept", "secret")
	fill(t, i.volume, 0)
	var kept []string
	full := func(name string) bool {
		_, err := c.exec(asOneadmin, "oneuser", "create", name, "secret")
		if err == nil {
			kept = append(kept, name)
		}
		return err != nil
	}
	for n := 0; !full(fmt.Sprintf("more-%d", n)); n++ {
		if n > 1000 {
			t.Fatal("the volume does not fill up")
		}
	}
	identity := identityOf(t, i.volume)
	c.mustExec(asRoot, "one-container", "healthcheck", "ready")
	c.signal("KILL")
	c.wait(stopLimit)

	c = i.start(t, middle, 0)
	c.ready(startLimit)
	if !full("none") {
		t.Error("a user was made on a volume that is full")
	}
	if err := os.Remove(filepath.Join(i.volume, ballast)); err != nil {
		t.Fatal(err)
	}
	c.mustExec(asOneadmin, "oneuser", "create", "last", "secret")
	wantUsers(t, i.volume, append(kept, "kept", "last"))
	for path, want := range identity {
		if got := identityOf(t, i.volume)[path]; got != want {
			t.Errorf("%s was %q and is %q", path, want, got)
		}
	}
	c.signal("TERM")
	if status := c.wait(stopLimit); status != 0 {
		t.Errorf("stopped, the container has status %d, want 0", status)
	}
}
