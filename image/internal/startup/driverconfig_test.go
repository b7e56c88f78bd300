package startup

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/settings"
)

// upgrade installs a version whose configuration of the drivers has these files besides the one that all versions have.
func (m *machine) upgrade(version string, files map[string]string) {
	m.t.Helper()
	m.install(version)
	for name, content := range files {
		m.write(installedDrivers+"/etc/"+name, content)
	}
}

// tree is the content of all files below a directory.
func (m *machine) tree(dir string) map[string]string {
	m.t.Helper()
	all := make(map[string]string)
	for path, what := range m.volume() {
		name, below := strings.CutPrefix(path, dir+"/")
		if _, content, _ := strings.Cut(what, "} "); below && !strings.HasPrefix(what, "d") {
			all[name] = content
		}
	}
	return all
}

// configuration is what the drivers have, without the file that all versions have.
func (m *machine) driverFiles() map[string]string {
	m.t.Helper()
	all := m.tree(driverDir + "/etc")
	delete(all, "vnm/OpenNebulaNetwork.conf")
	return all
}

func (m *machine) wantFiles(what string, want, got map[string]string) {
	m.t.Helper()
	if want == nil {
		want = map[string]string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		m.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

type texts = map[string]string

func TestDriverConfiguration(t *testing.T) {
	t.Parallel()
	const file = driverDir + "/etc/a/x.conf"
	for _, c := range []struct {
		name string
		// old, next and last are what three versions have; change is what somebody does while the first of them runs.
		old, next, last texts
		change          func(m *machine)
		// afterNext and afterLast are what is there then, offered what is put aside in all.
		afterNext, afterLast, offered texts
		logged                        []string
	}{
		{
			name: "nobody changes it", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "1"}, last: texts{"a/x.conf": "1"},
			afterNext: texts{"a/x.conf": "1"}, afterLast: texts{"a/x.conf": "1"},
		},
		{
			name: "OpenNebula changes it", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "2"}, last: texts{"a/x.conf": "3"},
			afterNext: texts{"a/x.conf": "2"}, afterLast: texts{"a/x.conf": "3"},
		},
		{
			name: "somebody changes it", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "1"}, last: texts{"a/x.conf": "1"},
			change:    func(m *machine) { m.write(file, "mine") },
			afterNext: texts{"a/x.conf": "mine"}, afterLast: texts{"a/x.conf": "mine"},
		},
		{
			name: "both change it", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "2"}, last: texts{"a/x.conf": "2"},
			change:    func(m *machine) { m.write(file, "mine") },
			afterNext: texts{"a/x.conf": "mine"}, afterLast: texts{"a/x.conf": "mine"}, offered: texts{"7.2.0/a/x.conf": "2"},
			logged: []string{file + " is not what OpenNebula put there, and OpenNebula 7.2.0 has another one: it is kept, and OpenNebula's is " +
				offeredDir + "/7.2.0/a/x.conf; compare them"},
		},
		{
			name: "both change it, and OpenNebula again", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "2"}, last: texts{"a/x.conf": "3"},
			change:    func(m *machine) { m.write(file, "mine") },
			afterNext: texts{"a/x.conf": "mine"}, afterLast: texts{"a/x.conf": "mine"},
			offered: texts{"7.2.0/a/x.conf": "2", "7.4.0/a/x.conf": "3"}, logged: []string{"OpenNebula 7.2.0 has another one", "OpenNebula 7.4.0 has another one"},
		},
		{
			name: "both make the same of it", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "2"}, last: texts{"a/x.conf": "3"},
			change:    func(m *machine) { m.write(file, "2") },
			afterNext: texts{"a/x.conf": "2"}, afterLast: texts{"a/x.conf": "3"},
		},
		{
			name: "somebody changes it back", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "2"}, last: texts{"a/x.conf": "3"},
			change:    func(m *machine) { m.write(file, "mine"); m.mustRefresh(); m.write(file, "1") },
			afterNext: texts{"a/x.conf": "2"}, afterLast: texts{"a/x.conf": "3"},
		},
		{
			name: "a mode of somebody's", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "2"}, last: texts{"a/x.conf": "2"},
			change: func(m *machine) {
				if err := os.Chmod(m.host.Path(file), 0o755); err != nil {
					m.t.Fatal(err)
				}
			},
			afterNext: texts{"a/x.conf": "1"}, afterLast: texts{"a/x.conf": "1"}, offered: texts{"7.2.0/a/x.conf": "2"}, logged: []string{"is kept"},
		},
		{
			name: "a new one", next: texts{"b/c/y.conf": "2"}, last: texts{"b/c/y.conf": "3"},
			afterNext: texts{"b/c/y.conf": "2"}, afterLast: texts{"b/c/y.conf": "3"},
		},
		{
			name: "a new one of a name that somebody has taken", next: texts{"a/x.conf": "2"}, last: texts{"a/x.conf": "2"},
			change:    func(m *machine) { m.write(file, "mine") },
			afterNext: texts{"a/x.conf": "mine"}, afterLast: texts{"a/x.conf": "mine"}, offered: texts{"7.2.0/a/x.conf": "2"}, logged: []string{"7.2.0 has another one"},
		},
		{name: "OpenNebula removes it", old: texts{"a/x.conf": "1"}},
		{
			name: "OpenNebula removes what somebody has changed", old: texts{"a/x.conf": "1"}, change: func(m *machine) { m.write(file, "mine") },
			afterNext: texts{"a/x.conf": "mine"}, afterLast: texts{"a/x.conf": "mine"},
			logged: []string{file + " is not what OpenNebula put there, and OpenNebula 7.2.0 has none: it is kept; remove it"},
		},
		{
			name: "OpenNebula removes it and has it again", old: texts{"a/x.conf": "1"}, last: texts{"a/x.conf": "3"}, afterLast: texts{"a/x.conf": "3"},
		},
		{
			name: "somebody removes it", old: texts{"a/x.conf": "1"}, next: texts{"a/x.conf": "2"}, last: texts{"a/x.conf": "2"},
			change:    func(m *machine) { m.remove(file) },
			afterNext: texts{"a/x.conf": "2"}, afterLast: texts{"a/x.conf": "2"},
		},
		{
			name: "one of somebody's own", change: func(m *machine) { m.write(file, "mine") },
			afterNext: texts{"a/x.conf": "mine"}, afterLast: texts{"a/x.conf": "mine"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "7.0.1")
			m.upgrade("7.0.1", c.old)
			m.boot()
			m.wantFiles("at first", c.old, m.driverFiles())
			if c.change != nil {
				c.change(m)
			}
			m.upgrade("7.2.0", c.next)
			for range 2 {
				m.mustRefresh()
				m.wantFiles("with 7.2.0", c.afterNext, m.driverFiles())
			}
			m.upgrade("7.4.0", c.last)
			for range 2 {
				m.mustRefresh()
				m.wantFiles("with 7.4.0", c.afterLast, m.driverFiles())
			}
			m.wantFiles("put aside", c.offered, m.tree(offeredDir))
			m.wantLogged("is not what OpenNebula put there", c.logged)
		})
	}
}

// wantLogged wants one line of the log that has about in it for each of want, in this order.
func (m *machine) wantLogged(about string, want []string) {
	m.t.Helper()
	var got []string
	for _, line := range m.log {
		if strings.Contains(line, about) {
			got = append(got, line)
		}
	}
	if len(got) != len(want) {
		m.t.Fatalf("%d lines of the log say %q, want %d: %q", len(got), about, len(want), got)
	}
	for i, line := range got {
		if !strings.Contains(line, want[i]) {
			m.t.Errorf("the log says %q, want %q", line, want[i])
		}
	}
}

func (m *machine) remove(path string) {
	m.t.Helper()
	if err := os.Remove(m.host.Path(path)); err != nil {
		m.t.Fatal(err)
	}
}

const (
	tproxyName = "vnm/OpenNebulaNetwork.conf"
	oneProxy   = ":tproxy:\n  - :service_port: 5030\n    :remote_addr: \"gate\"\n    :remote_port: 5030\n"
)

// setProxy sets a proxy to gate:5030, and the value of another key.
func (m *machine) setProxy(keep string) {
	m.settings.TProxy = []settings.TProxy{{ServicePort: 5030, RemoteAddr: "gate", RemotePort: 5030}}
	m.settings.Overrides = []settings.Override{{File: networkConf, Key: ":keep", Value: keep}}
}

func (m *machine) noProxy() { m.settings.TProxy, m.settings.Overrides = nil, nil }

// TestDriverSettings changes the settings and the version: what start-up has made of a file is not what somebody has.
func TestDriverSettings(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.0.1")
	step := func(want string) {
		t.Helper()
		for range 2 {
			m.boot()
			if diff := cmp.Diff(want, m.read(networkConf)); diff != "" {
				t.Fatalf("file (-want +got):\n%s", diff)
			}
		}
	}
	m.upgrade("7.0.1", texts{tproxyName: ":keep: 0\n:of: 7.0\n"})
	m.setProxy("1")
	step(":keep: 1\n:of: 7.0\n" + oneProxy)
	m.setProxy("2")
	step(":keep: 2\n:of: 7.0\n" + oneProxy)
	m.upgrade("7.2.0", texts{tproxyName: ":keep: 0\n:of: 7.2\n"})
	step(":keep: 2\n:of: 7.2\n" + oneProxy)
	m.noProxy()
	step(":keep: 0\n:of: 7.2\n")
	m.setProxy("3")
	step(":keep: 3\n:of: 7.2\n" + oneProxy)
	m.upgrade("7.4.0", texts{tproxyName: ":keep: 0\n:of: 7.4\n"})
	m.noProxy()
	step(":keep: 0\n:of: 7.4\n")
	m.wantFiles("put aside", nil, m.tree(offeredDir))

	// The same with a file that somebody has changed.
	m.write(networkConf, ":keep: 0\n:mine: 1\n")
	m.setProxy("4")
	step(":keep: 4\n:mine: 1\n" + oneProxy)
	m.upgrade("7.6.0", texts{tproxyName: ":keep: 0\n:of: 7.6\n"})
	step(":keep: 4\n:mine: 1\n" + oneProxy)
	m.wantFiles("put aside", texts{"7.6.0/" + tproxyName: ":keep: 0\n:of: 7.6\n"}, m.tree(offeredDir))
	m.noProxy()
	step(":keep: 0\n:mine: 1\n")
	// What somebody has changed after start-up is somebody's altogether.
	m.setProxy("5")
	step(":keep: 5\n:mine: 1\n" + oneProxy)
	m.write(networkConf, strings.Replace(m.read(networkConf), ":mine: 1", ":mine: 2", 1))
	m.noProxy()
	step(":keep: 5\n:mine: 2\n" + oneProxy)
}

func TestDriverSettingsForFilesOfSomebody(t *testing.T) {
	t.Parallel()
	const file = driverDir + "/etc/local.conf"
	m := newMachine(t, "7.2.0")
	m.boot()
	m.write(file, ":a: 1\n")
	m.settings.Overrides = []settings.Override{{File: file, Key: ":a", Value: "2"}}
	m.boot()
	if got := m.read(file); got != ":a: 2\n" {
		t.Errorf("with the setting: %q", got)
	}
	m.settings.Overrides = nil
	m.boot()
	if got := m.read(file); got != ":a: 1\n" {
		t.Errorf("without the setting: %q", got)
	}
}

// TestDriverSettingsWithoutFile wants nothing changed when a setting cannot be made.
func TestDriverSettingsWithoutFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.0.1")
	m.upgrade("7.0.1", texts{"a/x.conf": "1"})
	m.boot()
	before := m.tree(driverDir + "/etc")
	m.upgrade("7.2.0", texts{"a/y.conf": "2"})
	m.remove(installedDrivers + "/etc/" + tproxyName)
	for _, c := range []struct {
		set  func()
		want string
	}{
		{func() { m.setProxy("1") }, "OPENNEBULA_TPROXY: OpenNebula 7.2.0 has no file " + networkConf},
		{func() {
			m.settings.Overrides = []settings.Override{{File: driverDir + "/etc/a/x.conf", Key: ":a", Value: "1"}}
		}, "a/x.conf :a: there is no such file"},
		{func() {
			m.settings.Overrides = []settings.Override{{File: driverDir + "/etc/no.conf", Key: ":a", Value: "1"}}
		}, "no.conf :a: there is no such file"},
	} {
		m.noProxy()
		c.set()
		err := m.start()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "failed to write the configuration of the drivers") {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
		m.wantFiles("files", before, m.tree(driverDir+"/etc"))
	}
}

// TestDriverConfigurationOfEarlierImages starts on volumes of images that never touched what was there, and remembered of it only what
// OpenNebula had.
func TestDriverConfigurationOfEarlierImages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// volume is what is there, after 7.2.0 has been started, whose file is ":of: 7.2\n", and whether start-up remembers so.
		volume    string
		forgotten bool
		proxy     bool
		// upgraded tells that the first start with this image is one of a newer OpenNebula, whose file is ":of: 7.4\n".
		upgraded      bool
		want, offered string
		// without is what is there when the setting is gone.
		without string
	}{
		{name: "unchanged", volume: ":of: 7.2\n", want: ":of: 7.2\n", without: ":of: 7.2\n"},
		{name: "unchanged and upgraded", volume: ":of: 7.2\n", upgraded: true, want: ":of: 7.4\n", without: ":of: 7.4\n"},
		{name: "of an older version", volume: ":of: 7.0\n", want: ":of: 7.0\n", offered: ":of: 7.2\n", without: ":of: 7.0\n"},
		{name: "changed by somebody", volume: ":mine: 1\n", upgraded: true, want: ":mine: 1\n", offered: ":of: 7.4\n", without: ":mine: 1\n"},
		{name: "with a setting", volume: ":of: 7.2\n" + oneProxy, proxy: true, want: ":of: 7.2\n" + oneProxy, without: ":of: 7.2\n"},
		{
			name: "with a setting and upgraded", volume: ":of: 7.2\n" + oneProxy, proxy: true, upgraded: true,
			want: ":of: 7.2\n" + oneProxy, offered: ":of: 7.4\n", without: ":of: 7.2\n" + oneProxy,
		},
		{name: "of another installation", volume: ":mine: 1\n", forgotten: true, want: ":mine: 1\n", offered: ":of: 7.2\n", without: ":mine: 1\n"},
		{name: "equal and of another installation", volume: ":of: 7.2\n", forgotten: true, want: ":of: 7.2\n", without: ":of: 7.2\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "7.2.0")
			m.upgrade("7.2.0", texts{tproxyName: ":of: 7.2\n"})
			m.boot()
			m.remove(ownEditsFile)
			if c.forgotten {
				m.remove(manifestFile)
			}
			m.write(networkConf, c.volume)
			if c.proxy {
				m.setProxy("")
				m.settings.Overrides = nil
			}
			version := "7.2.0"
			if c.upgraded {
				version = "7.4.0"
				m.upgrade(version, texts{tproxyName: ":of: 7.4\n"})
			}
			for range 2 {
				m.mustRefresh()
				if got := m.read(networkConf); got != c.want {
					t.Errorf("file %q, want %q", got, c.want)
				}
			}
			offered, logged := texts{}, []string(nil)
			if c.offered != "" {
				offered, logged = texts{version + "/" + tproxyName: c.offered}, []string{networkConf}
			}
			m.wantFiles("put aside", offered, m.tree(offeredDir))
			m.wantLogged("is not what OpenNebula put there", logged)
			m.noProxy()
			m.mustRefresh()
			if got := m.read(networkConf); got != c.without {
				t.Errorf("without the setting: %q, want %q", got, c.without)
			}
		})
	}
}

// TestManifestStaysReadable wants the manifest to be what earlier images read, which may be started on the volume again.
func TestManifestStaysReadable(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.setProxy("1")
	m.boot()
	var sums map[string]string
	if err := json.Unmarshal([]byte(m.read(manifestFile)), &sums); err != nil {
		t.Fatal(err)
	}
	s := Start{host: m.host}
	installed, err := s.installed(func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	m.wantFiles("manifest", installed, sums)
}

// refresh is the part of a start that is about the drivers.
func (m *machine) refresh() error {
	m.t.Helper()
	s, err := New(m.host, m.settings, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := s.drivers(m.t.Context()); err != nil {
		return err
	}
	return s.driverConfiguration(m.t.Context())
}

func (m *machine) mustRefresh() {
	m.t.Helper()
	if err := m.refresh(); err != nil {
		m.t.Fatal(err)
	}
}

// TestDriverConfigurationCutOff cuts a start off at every one of its effects in turn, and wants the next to come to the same as one that was
// not.
func TestDriverConfigurationCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: some hundred starts")
	}
	t.Parallel()
	withSettings := func(m *machine, value string) {
		m.setProxy(value)
		m.settings.Overrides = append(m.settings.Overrides, settings.Override{File: driverDir + "/etc/settings", Key: ":a", Value: value})
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T) *machine
		// want is what is there after a start, without what is there when the settings are gone.
		want, without, offered texts
	}{
		{"upgrade", func(t *testing.T) *machine {
			m := newMachine(t, "7.0.1")
			m.upgrade("7.0.1", texts{"same": "1", "changed": "1", "mine": "1", "gone": "1", "settings": ":a: 0\n", tproxyName: ":of: 7.0\n:keep: 0\n"})
			withSettings(m, "1")
			m.boot()
			m.write(driverDir+"/etc/mine", "mine")
			m.write(driverDir+"/etc/local", "local")
			m.upgrade("7.2.0", texts{"same": "1", "changed": "2", "mine": "2", "new": "2", "settings": ":a: 0\n:b: 2\n", tproxyName: ":of: 7.2\n:keep: 0\n"})
			withSettings(m, "2")
			return m
		}, texts{
			"same": "1", "changed": "2", "mine": "mine", "local": "local", "new": "2", "settings": ":a: 2\n:b: 2\n", tproxyName: ":of: 7.2\n:keep: 2\n" + oneProxy,
		}, texts{
			"same": "1", "changed": "2", "mine": "mine", "local": "local", "new": "2", "settings": ":a: 0\n:b: 2\n", tproxyName: ":of: 7.2\n:keep: 0\n",
		}, texts{"7.2.0/mine": "2"}},
		{"volume of an earlier image", func(t *testing.T) *machine {
			m := newMachine(t, "7.2.0")
			m.upgrade("7.2.0", texts{"old": "2", tproxyName: ":of: 7.2\n:keep: 0\n", "settings": ":a: 0\n"})
			m.boot()
			m.remove(ownEditsFile)
			m.write(driverDir+"/etc/old", "1")
			withSettings(m, "1")
			return m
		}, texts{"old": "1", tproxyName: ":of: 7.2\n:keep: 1\n" + oneProxy, "settings": ":a: 1\n"},
			texts{"old": "1", tproxyName: ":of: 7.2\n:keep: 0\n", "settings": ":a: 0\n"}, texts{"7.2.0/old": "2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cut := 0
			for ; ; cut++ {
				m := c.prepare(t)
				m.call, m.cut = 0, cut
				err := m.refresh()
				m.cut = -1
				if err != nil && !errors.Is(err, errCut) {
					t.Fatalf("cut %d: %v", cut, err)
				}
				// The first of these completes what was cut off.
				for range 2 {
					m.mustRefresh()
					m.wantFiles("files", c.want, m.tree(driverDir+"/etc"))
					m.wantFiles("put aside", c.offered, m.tree(offeredDir))
				}
				m.noProxy()
				m.mustRefresh()
				m.wantFiles("without the settings", c.without, m.tree(driverDir+"/etc"))
				if t.Failed() {
					t.Fatalf("after cut %d", cut)
				}
				if err == nil {
					break
				}
			}
			if cut < 5 {
				t.Errorf("only %d places to cut at", cut)
			}
		})
	}
}

// TestLinksInDriverConfiguration has somebody put links there, in the place of OpenNebula's files and beside them.
func TestLinksInDriverConfiguration(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.0.1")
	m.upgrade("7.0.1", texts{"a": "1", "b": "1"})
	m.boot()
	for name, target := range map[string]string{"a": "/no/such/file", "b": "vnm", "c": "vnm/OpenNebulaNetwork.conf"} {
		at := m.host.Path(driverDir + "/etc/" + name)
		_ = os.Remove(at)
		if err := os.Symlink(target, at); err != nil {
			t.Fatal(err)
		}
	}
	m.upgrade("7.2.0", texts{"a": "2", "b": "1"})
	for range 2 {
		m.mustRefresh()
		for name, want := range map[string]string{"a": "/no/such/file", "b": "vnm", "c": "vnm/OpenNebulaNetwork.conf"} {
			if got, err := os.Readlink(m.host.Path(driverDir + "/etc/" + name)); got != want || err != nil {
				t.Errorf("link %s leads to %q, %v, want %q", name, got, err, want)
			}
		}
	}
	m.wantFiles("put aside", texts{"7.2.0/a": "2"}, m.tree(offeredDir))
	for _, name := range []string{"a", "b"} {
		m.settings.Overrides = []settings.Override{{File: driverDir + "/etc/" + name, Key: ":a", Value: "1"}}
		if err := m.refresh(); err == nil || !strings.Contains(err.Error(), "there is no such file") {
			t.Errorf("a setting for link %s: error %v, want that there is no such file", name, err)
		}
	}
}

func TestLeftoversInDriverConfiguration(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	left := driverDir + "/etc/vnm/.OpenNebulaNetwork.conf.12.new"
	m.write(left, "half")
	m.boot()
	if _, err := os.Stat(filepath.Join(m.host.Root, left)); err == nil {
		t.Error("what a power cut left is still there")
	}
}
