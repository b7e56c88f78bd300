package toolchain

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var both = []Need{{Command: "runc", Package: "runc"}, {Command: "mkfs.ext4", Package: "e2fsprogs"}}

// apt is a machine with an apt-get that fails the first failures times it installs, and else puts commands on the PATH.
func apt(m *machine, failures int, commands ...string) func(context.Context, command) error {
	return func(_ context.Context, c command) error {
		if c.args[4] == "update" {
			return nil
		}
		if failures > 0 {
			failures--
			_, _ = io.WriteString(c.stderr, "E: Unable to locate package runc\n")
			return errors.New("exit status 100")
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, name := range commands {
			m.programs[name] = says("")
		}
		return nil
	}
}

func TestOSPackagesPresent(t *testing.T) {
	m := &machine{programs: map[string]func(context.Context, command) error{"runc": says(""), "mkfs.ext4": says("")}}
	tc := newToolchain(t, m)
	// Nothing is to be installed, so it does not matter who asks, and where.
	tc.host.goos, tc.host.uid = "darwin", 1000
	if err := tc.OSPackages(t.Context(), both...); err != nil {
		t.Error(err)
	}
	if len(m.ran) > 0 || len(m.lines) > 0 {
		t.Errorf("ran %v, said %q", m.ran, m.lines)
	}
}

func TestOSPackagesInstalls(t *testing.T) {
	for _, c := range []struct {
		name     string
		failures int
		want     []string
	}{
		{"at once", 0, []string{"install"}},
		{"after an update of the lists", 1, []string{"install", "update", "install"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{programs: map[string]func(context.Context, command) error{"runc": says("")}}
			m.programs["apt-get"] = apt(m, c.failures, "mkfs.ext4")
			if err := newToolchain(t, m).OSPackages(t.Context(), both...); err != nil {
				t.Fatal(err)
			}
			var verbs []string
			for _, ran := range m.ran {
				verbs = append(verbs, ran.args[4])
			}
			if diff := cmp.Diff(c.want, verbs); diff != "" {
				t.Errorf("apt-get (-want +got):\n%s", diff)
			}
			args := strings.Join(m.ran[0].args, " ")
			if want := "install -y --no-install-recommends e2fsprogs"; !strings.HasSuffix(args, want) {
				t.Errorf("ran %s, want %s at its end", args, want)
			}
			if want := "apt-get install -y --no-install-recommends e2fsprogs (missing: mkfs.ext4)"; m.lines[0] != want {
				t.Errorf("said %q, want %q", m.lines[0], want)
			}
		})
	}
}

func TestOSPackagesErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(*Toolchain, *machine)
		want  []string
	}{
		{"not Linux", func(tc *Toolchain, _ *machine) { tc.host.goos = "darwin" },
			[]string{"missing: runc, mkfs.ext4", "needs Linux and the system is darwin"}},
		{"no apt", func(_ *Toolchain, m *machine) { delete(m.programs, "apt-get") },
			[]string{"missing: runc, mkfs.ext4", "no apt-get", "install what your distribution has for Debian's runc, e2fsprogs"}},
		{"not root", func(tc *Toolchain, _ *machine) { tc.host.uid = 1000 },
			[]string{"missing: runc, mkfs.ext4", "only root", "sudo apt-get install -y --no-install-recommends runc e2fsprogs"}},
		{"apt fails", func(_ *Toolchain, m *machine) { m.programs["apt-get"] = apt(m, 2) },
			[]string{"exit status 100", "E: Unable to locate package runc"}},
		{"command in no directory of the PATH", func(_ *Toolchain, m *machine) { m.programs["apt-get"] = apt(m, 0, "runc") },
			[]string{"package e2fsprogs is installed, but mkfs.ext4 is not there"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{programs: make(map[string]func(context.Context, command) error)}
			m.programs["apt-get"] = apt(m, 0, "runc", "mkfs.ext4")
			tc := newToolchain(t, m)
			c.setup(tc, m)
			wantError(t, tc.OSPackages(t.Context(), both...), c.want...)
		})
	}
}

func TestOSPackagesForAFile(t *testing.T) {
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tools := New(".", t.TempDir(), t.Logf)
	tools.host.uid = 1000
	if err := tools.OSPackages(t.Context(), Need{File: there, Package: "keys"}); err != nil {
		t.Errorf("the file is there: %v", err)
	}
	wantError(t, tools.OSPackages(t.Context(), Need{File: there + "-not", Package: "keys"}), "missing: "+there+"-not", "keys")
}
