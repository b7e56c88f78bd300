package container_test

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"opennebula-kube/dev/sandbox/standin"
)

// wantProbes looks for the directories that monitoring lists on a hypervisor, of which some are empty in the packages: without them hosts go to the state ERROR.
func wantProbes(t *testing.T, volume, version string) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"var/lib", "usr/share/one"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(volume, filepath.Join(root, "var/lib/one")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "usr/share/one/VERSION"), []byte(version+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, hypervisor := range []string{"dummy", "kvm", "lxc", "qemu"} {
		if missing := standin.MissingProbes(root, hypervisor); len(missing) > 0 {
			t.Errorf("of the drivers of OpenNebula %s, the volume lacks %q", version, missing)
		}
	}
}

// testMissingLibrary starts a newer OpenNebula whose tools do not find their libraries: onedb ends as it does for a database without a schema, and an
// upgrade must not be taken for needless.
func testMissingLibrary(t *testing.T, built *images, volume string) {
	t.Helper()
	empty := t.TempDir()
	c := run(t, options{image: built.get(t, middle), volume: volume, adjust: func(spec *specs.Spec) {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/usr/lib/one/ruby", Type: "bind", Source: empty, Options: []string{"bind", "ro"}})
	}})
	if status := c.wait(startLimit); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	c.wantLog("find out whether OpenNebula "+middle, "cannot load such file -- load_opennebula_paths (LoadError)", "nothing was upgraded")
}
