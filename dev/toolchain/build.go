package toolchain

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
)

// build compiles a tool as the file target. Of several that want it at the same time one compiles, the others wait for it.
func (t *Toolchain) build(ctx context.Context, name string, spec tool, p pin, target, reason string) error {
	goTool, err := t.host.lookPath("go")
	if err != nil {
		return fmt.Errorf("%s, and it cannot be compiled, for there is no go on the PATH: "+
			"install Go %s or newer (https://go.dev/dl), or %s %s", reason, p.goVersion, name, p.version)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	lock := flock.New(target + ".lock")
	defer func() { _ = lock.Close() }()
	if got, err := lock.TryLock(); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Path(), err)
	} else if !got {
		t.log("%s %s is being compiled by another process: waiting for it", name, p.version)
		if _, err := lock.TryLockContext(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the process that compiles it (lock %s): %w", lock.Path(), err)
		}
	}
	if isExecutable(target) {
		return nil
	}

	env := t.buildEnvironment(spec)
	t.log("compiling %s %s (%s); this takes up to some minutes, once: it is kept in %s", name, p.version, reason, target)
	begin := t.host.now()
	total, err := t.countPackages(ctx, goTool, spec, env)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(target), ".build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	output := filepath.Join(dir, name)
	if err := t.compile(ctx, name, command{
		dir: filepath.Join(t.root, spec.source), env: env, stdout: io.Discard,
		args: append([]string{goTool}, spec.buildArgs(p.version, output)...),
	}, total, begin); err != nil {
		return err
	}
	if err := os.Rename(output, target); err != nil {
		return err
	}
	t.log("compiled %s %s in %s", name, p.version, t.host.now().Sub(begin).Round(time.Second))
	return nil
}

// buildEnvironment is the caller's environment less what would make the compiler build something else than the pinned tool
// for this machine.
func (t *Toolchain) buildEnvironment(spec tool) []string {
	env := without(t.host.environ(), "GOOS", "GOARCH", "GOFLAGS", "GOWORK", "GOEXPERIMENT", "CGO_ENABLED", "GO111MODULE")
	// Without cgo no C compiler is needed, and the tool runs whatever the machine's C library.
	env = append(env, "GOWORK=off", "CGO_ENABLED=0")
	return append(env, spec.env...)
}

// countPackages asks how many packages the tool consists of; it also downloads the modules that are not on the machine yet.
func (t *Toolchain) countPackages(ctx context.Context, goTool string, spec tool, env []string) (int, error) {
	var count int
	listed := &tail{each: func(string) bool { count++; return false }}
	said := new(tail)
	err := t.host.run(ctx, command{
		dir: filepath.Join(t.root, spec.source), env: env, args: append([]string{goTool}, spec.listArgs()...), stdout: listed, stderr: said,
	})
	if err != nil {
		return 0, goError(ctx, "list its packages", err, said)
	}
	return count, nil
}

// compile runs the compiler and tells how far it is.
func (t *Toolchain) compile(ctx context.Context, name string, c command, total int, begin time.Time) error {
	var compiled atomic.Int64
	said := &tail{each: func(line string) bool {
		// With -v go prints the path of each package that it compiles; paths have no spaces, messages have.
		if line != "" && !strings.Contains(line, " ") {
			compiled.Add(1)
			return false
		}
		return !strings.HasPrefix(line, "go: downloading ")
	}}
	c.stderr = said

	done := make(chan struct{})
	reporter := make(chan struct{})
	go func() {
		defer close(reporter)
		ticker := time.NewTicker(t.host.tick)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				t.log("compiling %s: %d of at most %d packages, %s", name, compiled.Load(), total,
					t.host.now().Sub(begin).Round(time.Second))
			}
		}
	}()
	err := t.host.run(ctx, c)
	close(done)
	<-reporter
	if err != nil {
		return goError(ctx, "compile it", err, said)
	}
	return nil
}

func goError(ctx context.Context, what string, err error, said *tail) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if text := said.String(); text != "" {
		return fmt.Errorf("%s: %w:\n%s", what, err, text)
	}
	return fmt.Errorf("%s: %w", what, err)
}
