package container_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"opennebula-kube/dev/toolchain"
)

// Where the kernel is told which program runs those of other machines, and where the package keeps what it is to be told.
const (
	binfmt         = "/proc/sys/fs/binfmt_misc"
	emulatorConfig = "/usr/lib/binfmt.d/qemu-aarch64.conf"
)

// emulateARM64 lets the machine run programs for arm64 until the end of the test, and then puts it back as it was. A machine that has an
// emulator already keeps it. The test is skipped on one that cannot have any.
func emulateARM64(t *testing.T) {
	t.Helper()
	tools, _ := newTools(t, "../..")
	registered := filepath.Join(binfmt, "qemu-aarch64")
	if _, err := os.Stat(filepath.Join(binfmt, "register")); err != nil {
		if err := unix.Mount("binfmt_misc", binfmt, "binfmt_misc", 0, ""); err != nil {
			t.Skipf("runs programs for arm64, and this kernel takes no emulator: mount binfmt_misc: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(binfmt, 0); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := os.Stat(registered); err == nil {
		return
	}
	if err := tools.OSPackages(t.Context(), toolchain.Need{File: emulatorConfig, Package: "qemu-user-static"}); err != nil {
		t.Skipf("runs programs for arm64: %v", err)
	}
	// The installation registers it where there is a systemd.
	if _, err := os.Stat(registered); err == nil {
		return
	}
	line, err := os.ReadFile(emulatorConfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(binfmt, "register"), bytes.TrimSpace(line), 0o200); err != nil {
		t.Skipf("runs programs for arm64, and this kernel takes no emulator: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(registered, []byte("-1"), 0o200); err != nil {
			t.Errorf("take the emulator away again: %v", err)
		}
	})
}
