package container_test

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// few are services enough for what users write: a start of all of them takes longer, and the others keep nothing.
const few = "OPENNEBULA_SERVICES=oned,hem"

// moment is when a container is ended.
type moment struct {
	name string
	// until waits for it. What it returns is known to be written, and has to be there ever after.
	until func(t *testing.T, c *container, names *namer) (written []string)
	// end waits for what goes on while the container ends.
	end func() (written []string)
}

// namer makes names that were not there before.
type namer struct{ last int }

func (n *namer) next() string {
	n.last++
	return fmt.Sprintf("user-%d", n.last)
}

// testRestarts starts one volume a hundred times, and ends each start at another moment, by turns with SIGTERM and SIGKILL. Nothing that was
// acknowledged may be lost, and no key or password may change.
func testRestarts(t *testing.T, built *images) {
	t.Helper()
	const starts = 100
	volume := t.TempDir()
	if err := os.Chmod(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	var identity map[string]string
	var users []string
	names := new(namer)
	for i := range starts {
		all := moments()
		m := all[i/2%len(all)]
		signal := []string{"TERM", "KILL"}[i%2]
		env := []string{few}
		if i == 0 || i%25 == 24 {
			// From the first to the last thing that there is.
			env, m = nil, all[len(all)-1]
		}
		if !t.Run(fmt.Sprintf("%d %s %s", i, m.name, signal), func(t *testing.T) {
			setTimes(t, volume, []int{1980, 2060}[i%2])
			c := run(t, options{image: built.get(t, middle), volume: volume, env: env, files: stale()})
			users = append(users, m.until(t, c, names)...)
			c.signal(signal)
			status := c.wait(startLimit)
			if want := map[string]int{"TERM": 0, "KILL": 137}[signal]; status != want {
				t.Errorf("status %d after SIG%s, want %d", status, signal, want)
			}
			if strings.Contains(c.log(), "SIGKILL") {
				t.Error("a service had to be killed: it was not told to stop")
			}
			if m.end != nil {
				users = append(users, m.end()...)
			}
			if identity == nil {
				identity = identityOf(t, volume)
			}
			if diff := cmp.Diff(identity, identityOf(t, volume)); diff != "" {
				t.Errorf("credentials, keys and configuration on the volume (-first +now):\n%s", diff)
			}
			wantUsers(t, volume, users)
		}) {
			t.Fatal("the starts after this one build on it")
		}
	}
	c := run(t, options{image: built.get(t, middle), volume: volume})
	c.ready(startLimit)
	wantServices(t, c)
	wantPorts(t, c, built.get(t, middle).config)
	wantScheduler(t, c)
	wantOverride(t, c)
	last := users[len(users)-1]
	id := c.mustExec(asOneadmin, "sqlite3", "/var/lib/one/one.db", fmt.Sprintf("SELECT oid FROM user_pool WHERE name = '%s'", last))
	if out := c.mustExec(asOneadmin, "oneuser", "show", id); !strings.Contains(out, last) {
		t.Errorf("oneuser show prints %q, want %s", out, last)
	}
	t.Logf("%d users", len(users))
	if len(users) < starts/4 {
		t.Errorf("only %d users were made in %d starts", len(users), starts)
	}
	wantStopped(t, c)
}

// stale is what a container that was killed and is started again has in its own layer.
func stale() map[string]string {
	return map[string]string{"/run/lock/one/one": "", "/run/one/oned.pid": "1", "/run/supervisord.pid": "1", "/run/one-container/stopping": ""}
}

// moments are from early to late in the life of a container.
func moments() []moment {
	inLayer := func(path string) func(*testing.T, *container, *namer) []string {
		return func(t *testing.T, c *container, _ *namer) []string {
			c.poll(path, func() bool { return exists(filepath.Join(c.upper, path)) })
			return nil
		}
	}
	logged := func(text string) func(*testing.T, *container, *namer) []string {
		return func(t *testing.T, c *container, _ *namer) []string {
			c.poll(text, func() bool { return strings.Contains(c.log(), text) })
			return nil
		}
	}
	writing := &writer{}
	return []moment{
		{name: "directories are made", until: inLayer("run/sshd")},
		{name: "the configuration is written", until: inLayer("etc/one/oned.conf")},
		{name: "the services are chosen", until: inLayer("run/one-container/services/oned.conf")},
		{name: "supervisord runs", until: logged("supervisord started")},
		{name: "oned is started", until: logged("spawned: 'oned'")},
		{name: "ready", until: func(_ *testing.T, c *container, _ *namer) []string {
			c.ready(startLimit)
			return nil
		}},
		{name: "in the middle of writes", until: func(t *testing.T, c *container, names *namer) []string {
			c.ready(startLimit)
			writing.start(t, c, names)
			return nil
		}, end: func() []string { return writing.wait() }},
		{name: "after a write", until: func(_ *testing.T, c *container, names *namer) []string {
			c.ready(startLimit)
			name := names.next()
			c.mustExec(asOneadmin, "oneuser", "create", name, "secret")
			return []string{name}
		}},
	}
}

// writer makes users one after the other until its container ends.
type writer struct {
	acknowledged chan string
}

func (w *writer) start(t *testing.T, c *container, names *namer) {
	t.Helper()
	first := names.last + 1
	const loop = `n=$1; while oneuser create user-$n secret > /dev/null; do echo user-$n; n=$((n + 1)); done`
	cmd := exec.Command("runc", "--root", c.state, "exec", "--user", asOneadmin, "--env", "HOME=/var/lib/one", c.id, "sh", "-c", loop, "sh", fmt.Sprint(first))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.acknowledged = make(chan string, 10000)
	several := make(chan struct{})
	go func() {
		defer close(w.acknowledged)
		lines := bufio.NewScanner(out)
		for n := 1; lines.Scan(); n++ {
			w.acknowledged <- lines.Text()
			if n == 3 {
				close(several)
			}
		}
		_ = cmd.Wait()
	}()
	// The last one may have been made without being acknowledged.
	names.last += 10000
	select {
	case <-several:
	case <-time.After(startLimit):
		t.Fatal("no user was made")
	}
}

func (w *writer) wait() []string {
	var all []string
	for name := range w.acknowledged {
		all = append(all, name)
	}
	return all
}

// poll waits for something that may be over soon.
func (c *container) poll(what string, is func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(startLimit); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// identityOf is what must never change by itself: credentials, keys, and the configuration of the drivers.
func identityOf(t *testing.T, volume string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, dir := range []string{".one", ".ssh", ".one-container", "remotes/etc"} {
		err := filepath.WalkDir(filepath.Join(volume, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			stat, _ := info.Sys().(*syscall.Stat_t)
			what := fmt.Sprintf("%s of %d:%d", info.Mode(), stat.Uid, stat.Gid)
			if info.Mode().IsRegular() {
				what += " " + read(t, path)
			}
			all[strings.TrimPrefix(path, volume)] = what
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// wantUsers checks that users are in the database, which has to be whole.
func wantUsers(t *testing.T, volume string, users []string) {
	t.Helper()
	out, err := exec.Command("sqlite3", filepath.Join(volume, "one.db"), "PRAGMA integrity_check; SELECT name FROM user_pool").CombinedOutput()
	if err != nil {
		t.Fatalf("read the database: %v: %s", err, out)
	}
	has := strings.Fields(string(out))
	if len(has) == 0 || has[0] != "ok" {
		t.Errorf("the database is damaged: %s", out)
	}
	for _, user := range users {
		if !slices.Contains(has, user) {
			t.Errorf("%s was made and is lost", user)
		}
	}
}

// setTimes dates all files on a volume as a clock would that is years off.
func setTimes(t *testing.T, volume string, year int) {
	t.Helper()
	at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	err := filepath.WalkDir(volume, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chtimes(path, at, at)
	})
	if err != nil {
		t.Fatal(err)
	}
}
