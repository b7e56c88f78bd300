package toolchain

import (
	"cmp"
	"context"
	"fmt"
	"strings"
)

// Need is something that has to be on the machine, and the Debian package that it comes in.
type Need struct {
	// Command has to be on the PATH. Empty where a File is needed.
	Command string
	// File has to exist; its path is absolute.
	File    string
	Package string
}

func (n Need) String() string { return cmp.Or(n.Command, n.File) }

// OSPackages installs the packages whose commands or files are missing, with apt, and says so. It does nothing when none is missing. It
// is an error, which tells what to install by hand, when this is no Linux with apt, or when the caller is not root.
func (t *Toolchain) OSPackages(ctx context.Context, needs ...Need) error {
	missing := t.missing(needs)
	if len(missing) == 0 {
		return nil
	}
	var commands, packages []string
	for _, need := range missing {
		commands = append(commands, need.String())
		packages = append(packages, need.Package)
	}
	lacking := "missing: " + strings.Join(commands, ", ")
	install := "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")

	if t.host.goos != "linux" {
		return fmt.Errorf("%s; this needs Linux and the system is %s: run it on a Linux machine, or in a virtual machine or a privileged container with one",
			lacking, t.host.goos)
	}
	apt, err := t.host.lookPath("apt-get")
	if err != nil {
		return fmt.Errorf("%s; there is no apt-get on the PATH to install them with: install what your distribution has for Debian's %s",
			lacking, strings.Join(packages, ", "))
	}
	if t.host.uid != 0 {
		return fmt.Errorf("%s; only root can install packages and the user is %d: run again as root, or run: sudo %s", lacking, t.host.uid, install)
	}

	t.log("%s (%s)", install, lacking)
	if err := t.apt(ctx, apt, append([]string{"install", "-y", "--no-install-recommends"}, packages...)); err != nil {
		// A fresh machine has no package lists, an old one has stale ones.
		t.log("apt-get update (the installation failed: the package lists may be missing or old)")
		if err := t.apt(ctx, apt, []string{"update"}); err != nil {
			return fmt.Errorf("%s: apt-get update: %w", lacking, err)
		}
		if err := t.apt(ctx, apt, append([]string{"install", "-y", "--no-install-recommends"}, packages...)); err != nil {
			return fmt.Errorf("%s: %s: %w", lacking, install, err)
		}
	}
	if still := t.missing(missing); len(still) > 0 {
		return fmt.Errorf("package %s is installed, but %s is not there: is the directory of it on the PATH?", still[0].Package, still[0])
	}
	return nil
}

func (t *Toolchain) missing(needs []Need) []Need {
	var missing []Need
	for _, need := range needs {
		look := t.host.lookPath
		if need.Command == "" {
			look = t.host.lookFile
		}
		if _, err := look(need.String()); err != nil {
			missing = append(missing, need)
		}
	}
	return missing
}

func (t *Toolchain) apt(ctx context.Context, apt string, args []string) error {
	said := new(tail)
	err := t.host.run(ctx, command{
		// Another apt may be at work, on a machine that has just started above all.
		args:   append([]string{apt, "-q", "-o", "DPkg::Lock::Timeout=120"}, args...),
		env:    append(without(t.host.environ(), "DEBIAN_FRONTEND"), "DEBIAN_FRONTEND=noninteractive"),
		stdout: said,
		stderr: said,
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w:\n%s", err, said.String())
}
