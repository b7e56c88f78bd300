package startup

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/host"
)

// entries is all that is below a directory, by path: its mode, and its content, or what it leads to.
func (m *machine) entries(dir string) map[string]string {
	m.t.Helper()
	all := make(map[string]string)
	s := Start{host: m.host}
	err := s.walk(dir, func(name string, entry fs.DirEntry) error {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		what, err := s.sum(filepath.Join(dir, name))
		all[name] = info.Mode().String() + " " + what
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// forgetDirectories leaves on the volume what images have left that did not know of directories: none that is empty, and none in the manifest.
func (m *machine) forgetDirectories() {
	m.t.Helper()
	var sums map[string]string
	if err := json.Unmarshal([]byte(m.read(manifestFile)), &sums); err != nil {
		m.t.Fatal(err)
	}
	var directories []string
	for name, sum := range sums {
		if isDirectory(sum) {
			directories = append(directories, name)
			delete(sums, name)
		}
	}
	slices.Sort(directories)
	for _, name := range slices.Backward(directories) {
		if err := os.Remove(m.host.Path(driverDir + "/" + name)); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			m.t.Fatal(err)
		}
	}
	content, err := json.Marshal(sums)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(manifestFile, string(content))
}

// wantDrivers wants the volume to have the drivers of the image, all that they consist of, and what else is given, and all of it to be oneadmin's.
func (m *machine) wantDrivers(besides ...string) {
	m.t.Helper()
	got := m.entries(driverDir)
	for _, name := range besides {
		if _, ok := got[name]; !ok {
			m.t.Errorf("%s is no longer there", name)
		}
		delete(got, name)
	}
	if diff := cmp.Diff(m.entries(installedDrivers), got); diff != "" {
		m.t.Errorf("drivers (-image +volume):\n%s", diff)
	}
	for name := range got {
		if owner := m.owner(m.host.Path(driverDir + "/" + name)); owner != host.Oneadmin() {
			m.t.Errorf("%s belongs to %v", name, owner)
		}
	}
}

// wantSilence wants the log to name nothing among the drivers as somebody's.
func (m *machine) wantSilence() {
	m.t.Helper()
	m.wantLogged("drivers that", nil)
	m.wantLogged("is not what OpenNebula put there", nil)
}

// TestDriversAreATree wants directories that are empty, links, modes and owners on the volume, too: the monitoring of a host fails without
// an empty directory.
func TestDriversAreATree(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(m *machine)
	}{
		{"empty volume", func(*machine) {}},
		{"in use", func(m *machine) { m.boot(); m.boot() }},
		{"of an earlier image", func(m *machine) { m.boot(); m.forgetDirectories() }},
		{"of an earlier image and an earlier version", func(m *machine) { m.install("7.0.1"); m.boot(); m.forgetDirectories(); m.install("7.2.0") }},
		{"upgraded", func(m *machine) { m.install("7.0.1"); m.boot(); m.install("7.2.0") }},
		{"without what was made the last time", func(m *machine) {
			m.boot()
			m.remove(driverDir + "/vnm/bridge/pre.d")
			m.remove(driverDir + "/etc/tm/local")
		}},
		{"with what was made by root", func(m *machine) {
			m.boot()
			for _, name := range []string{"im", "im/probe.rb", "im/lxd-probes.d", "etc/tm/local"} {
				inode, err := inodeOf(m.host.Path(driverDir + "/" + name))
				if err != nil {
					m.t.Fatal(err)
				}
				m.owners[inode] = host.Owner{}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "7.2.0")
			c.change(m)
			for range 2 {
				m.boot()
				m.wantDrivers()
				m.wantSilence()
			}
			if m.entries(driverDir)["im/lxc-probes.d/vm/snapshot"] == "" {
				t.Error("the image's drivers have no empty directory: nothing is tested")
			}
		})
	}
}

// TestDirectoriesThatGo upgrades: what OpenNebula no longer has goes, empty directories too, and what is somebody's stays.
func TestDirectoriesThatGo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// change is what somebody does with the version before.
		change func(m *machine)
		// stay are what is there besides the drivers, after the upgrade.
		stay []string
	}{
		{"nobody does anything", func(*machine) {}, nil},
		{"a file in one", func(m *machine) { m.write(driverDir+"/ipam/only-7.2.0/mine", "") }, []string{"ipam/only-7.2.0", "ipam/only-7.2.0/mine"}},
		{"a file in an empty one", func(m *machine) { m.write(driverDir+"/ipam/empty-7.2.0/mine", "") }, []string{"ipam/empty-7.2.0", "ipam/empty-7.2.0/mine"}},
		{"a file in one of the configuration", func(m *machine) { m.write(driverDir+"/etc/only-7.2.0/mine", "") }, []string{"etc/only-7.2.0", "etc/only-7.2.0/mine"}},
		{"a changed file", func(m *machine) { m.write(driverDir+"/ipam/only-7.2.0/register", "mine") }, []string{"ipam/only-7.2.0", "ipam/only-7.2.0/register"}},
		{"an own directory", func(m *machine) { m.mkdir(driverDir+"/ipam/mine", 0o755) }, []string{"ipam/mine"}},
		{"an own directory in one", func(m *machine) { m.mkdir(driverDir+"/ipam/only-7.2.0/mine", 0o755) }, []string{"ipam/only-7.2.0", "ipam/only-7.2.0/mine"}},
		{"an own directory of the configuration", func(m *machine) { m.mkdir(driverDir+"/etc/mine", 0o755) }, []string{"etc/mine"}},
		{"Python runs", func(m *machine) { m.write(driverDir+"/ipam/only-7.2.0/__pycache__/register.cpython-312.pyc", "") }, nil},
	} {
		for _, earlier := range []bool{false, true} {
			name := c.name
			if earlier {
				name += ", with an earlier image"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m := newMachine(t, "7.2.0")
				m.boot()
				c.change(m)
				if earlier {
					m.forgetDirectories()
				}
				stay := slices.DeleteFunc(slices.Clone(c.stay), func(name string) bool {
					// One that is empty was not there, then.
					_, err := os.Stat(m.host.Path(driverDir + "/" + name))
					return err != nil
				})
				m.install("7.4.0")
				for range 2 {
					m.boot()
					m.wantDrivers(stay...)
				}
			})
		}
	}
}

// TestWhatOpenNebulaWrites wants files that OpenNebula's programs write beside the drivers to be nobody's business.
func TestWhatOpenNebulaWrites(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	cache := "scheduler/one_drs/__pycache__"
	m.write(driverDir+"/.update", "")
	m.write(driverDir+"/"+cache+"/optimize.cpython-312.pyc", "")
	for _, version := range []string{"7.2.0", "7.4.0"} {
		m.install(version)
		m.boot()
		m.wantSilence()
		m.wantDrivers(".update", cache, cache+"/optimize.cpython-312.pyc")
	}
	m.write(driverDir+"/"+cache+"/mine", "")
	m.write(driverDir+"/im/.update", "")
	m.boot()
	m.wantLogged("drivers that", []string{"kept: im/.update, " + cache + "/mine"})
}

// TestKindsOfDriversThatChange wants a file to take the place of a directory and the other way round, between versions.
func TestKindsOfDriversThatChange(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"im", "etc/im"} {
		for _, c := range []struct {
			name      string
			old, next func(m *machine, path string)
			change    func(m *machine, path string)
			// kept is what of it is kept in the backups, by its path below the directory, with what is in it.
			kept texts
		}{
			{"file to directory", asFile, asDirectory, func(*machine, string) {}, nil},
			{"directory to file", asDirectory, asFile, func(*machine, string) {}, nil},
			{"link to directory", asLink, asDirectory, func(*machine, string) {}, nil},
			{"directory to link", asDirectory, asLink, func(*machine, string) {}, nil},
			{"changed file to directory", asFile, asDirectory, func(m *machine, path string) { m.write(path, "mine") }, texts{"x": "mine"}},
			{"directory with a file of somebody's to file", asDirectory, asFile, func(m *machine, path string) { m.write(path+"/d/mine", "mine") }, texts{"x/d/mine": "mine"}},
		} {
			t.Run(dir+" "+c.name, func(t *testing.T) {
				t.Parallel()
				m := newMachine(t, "7.2.0")
				c.old(m, installedDrivers+"/"+dir+"/x")
				m.boot()
				c.change(m, driverDir+"/"+dir+"/x")
				m.install("7.4.0")
				c.next(m, installedDrivers+"/"+dir+"/x")
				for range 2 {
					m.boot()
					m.wantDrivers()
				}
				kept := make(map[string]string)
				for name, content := range m.tree(replacedDir) {
					_, name, _ = strings.Cut(name, "/")
					kept[strings.TrimPrefix(name, dir+"/")] = content
				}
				m.wantFiles("kept", c.kept, kept)
			})
		}
	}
}

func asFile(m *machine, path string) { m.write(path, "file") }

func asLink(m *machine, path string) { m.link("probe.rb", path) }

func asDirectory(m *machine, path string) {
	m.write(path+"/d/e", "file in it")
	m.mkdir(path+"/empty", 0o700)
}

// TestLinkInPlaceOfDirectory wants nothing to be written through a link that somebody has put there.
func TestLinkInPlaceOfDirectory(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"im", "etc/vnm"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "7.2.0")
			m.boot()
			m.mkdir("/srv/shared", 0o755)
			m.link(m.host.Path("/srv/shared"), driverDir+"/"+name)
			m.install("7.4.0")
			m.boot()
			m.wantDrivers()
			if through := m.entries("/srv/shared"); len(through) > 0 {
				t.Errorf("written through the link: %v", through)
			}
			target, err := os.Readlink(m.only(replacedDir + "/*/" + name))
			if want := m.host.Path("/srv/shared"); target != want || err != nil {
				t.Errorf("the link is kept as one to %s, %v, want %s", target, err, want)
			}
			if !m.logged("replaced by those of OpenNebula 7.4.0") || !m.logged(": "+name) {
				t.Error("the log does not say so")
			}
		})
	}
}

// TestChangedModesOfDirectories wants those of somebody's to stay until OpenNebula has other ones, and what the group may do not to count.
func TestChangedModesOfDirectories(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	for _, name := range []string{"im", "vnm/bridge/pre.d"} {
		m.mkdir(driverDir+"/"+name, 0o570)
	}
	m.mkdir(driverDir+"/ipam", 0o775)
	m.boot()
	m.wantLogged("drivers that", []string{"somebody changed them, kept: im, vnm/bridge/pre.d"})
	m.install("7.4.0")
	m.mkdir(installedDrivers+"/vnm/bridge/pre.d", 0o600)
	m.boot()
	got := m.entries(driverDir)
	for name, want := range map[string]string{"im": "dr-xrwx---", "vnm/bridge/pre.d": "drw-------", "ipam": "drwxrwxr-x"} {
		if mode, _, _ := strings.Cut(got[name], " "); mode != want {
			t.Errorf("%s has mode %s, want %s", name, mode, want)
		}
	}
}

// TestPipesAmongTheDrivers wants no start to wait for somebody who writes into one.
func TestPipesAmongTheDrivers(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	for _, name := range []string{"mine", "im/probe.rb", "etc/mine", networkName} {
		at := m.host.Path(driverDir + "/" + name)
		_ = os.Remove(at)
		if err := syscall.Mkfifo(at, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m.boot()
	m.wantLogged("drivers that", []string{"not of OpenNebula 7.2.0, kept: mine", "somebody changed them, kept: im/probe.rb"})
	m.install("7.4.0")
	m.write(installedDrivers+"/"+networkName, "another")
	m.boot()
	if got := m.entries(driverDir)[networkName]; got != "prw-r--r-- special p---------" {
		t.Errorf("%s is %s now, want it kept", networkName, got)
	}
	m.remove(driverDir + "/" + networkName)
	m.boot()
	m.wantDrivers("mine", "etc/mine")
}

// TestHostileManifest starts with one that somebody has written.
func TestHostileManifest(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "7.2.0")
	m.boot()
	m.mkdir("/srv/empty", 0o755)
	m.mkdir(stateDir+"/empty", 0o755)
	m.write(manifestFile, `{"/srv/empty": "directory 700", "../empty": "directory 700", "/srv/empty/x": "600 00", "/": "directory 700", "": "", "..": "link x"}`)
	m.boot()
	for _, dir := range []string{"/srv/empty", stateDir + "/empty"} {
		if _, err := os.Stat(m.host.Path(dir)); err != nil {
			t.Errorf("%v: it was removed", err)
		}
	}
	m.wantDrivers()
}
