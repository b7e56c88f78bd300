// Package toolchain provides the programs that development and the embedded engine run: Go tools in exactly the version that
// the repository's module files pin, and packages of the operating system.
package toolchain

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Toolchain finds, or makes, the programs of one checkout of the repository. It may be used from several goroutines and
// processes at the same time.
type Toolchain struct {
	root  string
	cache string
	log   func(format string, args ...any)
	host  host
}

// host is what the Toolchain sees of the machine.
type host struct {
	goos     string
	uid      int
	environ  func() []string
	lookPath func(name string) (string, error)
	lookFile func(path string) (string, error)
	run      func(ctx context.Context, c command) error
	now      func() time.Time
	// tick is how often the progress of a long step is told.
	tick time.Duration
}

type command struct {
	dir            string
	env            []string
	args           []string
	stdout, stderr io.Writer
}

// New returns the Toolchain of the repository whose root directory is root. Tools that it has to compile are kept in the
// directory tools of cacheDir. What takes long, and what is changed on the machine, is told to log, one line a call.
func New(root, cacheDir string, log func(format string, args ...any)) *Toolchain {
	return &Toolchain{root: root, cache: cacheDir, log: log, host: host{
		goos:     runtime.GOOS,
		uid:      os.Getuid(),
		environ:  os.Environ,
		lookPath: exec.LookPath,
		lookFile: func(path string) (string, error) {
			_, err := os.Stat(path)
			return path, err
		},
		run:  run,
		now:  time.Now,
		tick: 10 * time.Second,
	}}
}

func run(ctx context.Context, c command) error {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, c.stdout, c.stderr
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

// Tool returns the path of an executable: one of those in tools, in exactly the version that the repository pins. One of that version
// on the PATH is used as it is; otherwise it is compiled, once, which takes up to some minutes.
func (t *Toolchain) Tool(ctx context.Context, name string) (string, error) {
	spec, ok := tools()[name]
	if !ok {
		return "", fmt.Errorf("tool %q is not one of the repository's: %s", name, strings.Join(toolNames(), ", "))
	}
	pin, err := readPin(filepath.Join(t.root, spec.moduleFile), spec.module)
	if err != nil {
		return "", fmt.Errorf("find the pinned version of %s: %w", name, err)
	}
	built := filepath.Join(t.cache, "tools", name+"-"+strings.TrimPrefix(pin.version, "v"))
	var reason string
	if spec.source == "" {
		var path string
		if path, reason = t.installed(ctx, name, spec, pin.version); path != "" {
			return path, nil
		}
	} else {
		sum, err := sourceSum(filepath.Join(t.root, spec.source))
		if err != nil {
			return "", fmt.Errorf("read the sources of %s: %w", name, err)
		}
		built += "-" + sum
		reason = "there is none of these sources yet"
	}
	if isExecutable(built) {
		return built, nil
	}
	if err := t.build(ctx, name, spec, pin, built, reason); err != nil {
		return "", fmt.Errorf("make %s %s: %w", name, pin.version, err)
	}
	return built, nil
}

// installed returns the program on the PATH when it has the version, else the reason why it is not used.
func (t *Toolchain) installed(ctx context.Context, name string, spec tool, version string) (path, reason string) {
	path, err := t.host.lookPath(name)
	if err != nil {
		return "", "it is not on the PATH"
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var out limitedBuffer
	if err := t.host.run(ctx, command{args: append([]string{path}, spec.versionArgs...), stdout: &out, stderr: io.Discard}); err != nil {
		return "", fmt.Sprintf("%s does not tell its version: %v", path, err)
	}
	found := findVersion(out.String())
	if !sameVersion(found, version) {
		return "", fmt.Sprintf("%s is %s", path, orUnknown(found))
	}
	return path, ""
}

func orUnknown(version string) string {
	if version == "" {
		return "of an unknown version"
	}
	return version
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// without returns env less the variables that are named.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, key)
	})
}
