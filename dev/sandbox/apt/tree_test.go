package apt_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTrees holds what is in the packages against what was recorded of the real ones: paths, types, modes and owners.
func TestTrees(t *testing.T) {
	needs(t, "dpkg-deb")
	_, dir := build(t, release("7.0.1", 2025, 10, "amd64"), release("7.2.0", 2026, 4, "amd64"), release("7.4.0", 2026, 7, "amd64"))
	recorded, err := os.ReadFile("testdata/trees.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(recorded)) {
		var version, name, sum string
		var count int
		if _, err := fmt.Sscan(line, &version, &name, &count, &sum); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		lines := contentsOf(t, dir, version, name)
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(lines, "")))); len(lines) != count || got != sum {
			t.Errorf("%s %s: %d files and empty directories with the sum %s, recorded are %d with %s:\n%s", version, name, len(lines), got, count, sum,
				strings.Join(lines, ""))
		}
	}
	// Directories that are empty in the packages, of a version that nothing was recorded of.
	between := strings.Join(contentsOf(t, dir, "7.2.0", "opennebula"), "")
	for _, directory := range []string{"qemu-probes.d/vm/execution", "lxc-probes.d/vm/snapshot", "dummy-probes.d/vm/status"} {
		if !strings.Contains(between, "drwxr-xr-x var/lib/one/remotes/im/"+directory+"\n") {
			t.Errorf("7.2.0: the package opennebula has no %s", directory)
		}
	}
}

// contentsOf are the files and empty directories of a package, a line for each, without what the stand-in needs beside them.
func contentsOf(t *testing.T, dir, version, name string) (lines []string) {
	t.Helper()
	architecture := "all"
	if slices.Contains([]string{"opennebula", "opennebula-fireedge", "opennebula-guacd", "opennebula-rubygems"}, name) {
		architecture = "amd64"
	}
	debs, err := filepath.Glob(dir + "/repo/" + version + "/Ubuntu/24.04/pool/opennebula/o/opennebula/" + name + "_" + version + "-*_" + architecture + ".deb")
	if err != nil || len(debs) != 1 {
		t.Fatalf("%s %s: packages %v, %v, want one", version, name, debs, err)
	}
	entry := regexp.MustCompile(`^(\S+) (\S+) +\S+ \S+ \S+ \./(.*?)/?(?: -> /usr/lib/one/standin)?$`)
	modes := map[string]string{}
	for line := range strings.Lines(run(t, nil, "dpkg-deb", "--contents", debs[0])) {
		match := entry.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if match == nil || match[2] != "root/root" {
			t.Errorf("%s %s: %q", version, name, line)
			continue
		}
		mode, path := match[1], match[3]
		if strings.HasPrefix(mode, "l") {
			// The stand-in program has the place of another one.
			mode = "-rwxr-xr-x"
		}
		modes[path] = mode
	}
	parents := map[string]bool{}
	for path := range modes {
		parents[filepath.Dir(path)] = true
	}
	for path, mode := range modes {
		if !parents[path] && !slices.Contains(ours(name), path) {
			lines = append(lines, mode+" "+path+"\n")
		}
	}
	slices.Sort(lines)
	return lines
}

// ours is what the packages here have and OpenNebula's have not.
func ours(name string) []string {
	return append(map[string][]string{
		"opennebula-common":   {"usr/share/one/VERSION", "etc/one", "var/lib/one"},
		"opennebula-fireedge": {"usr/bin/node"},
		"opennebula-form":     {"etc/logrotate.d/opennebula-form"},
		"opennebula-ks":       {"etc/logrotate.d/opennebula-ks"},
		"opennebula-rubygems": {"usr/bin/ruby", "usr/lib/one/standin"},
	}[name], "usr/share/doc/"+name+"/copyright")
}
