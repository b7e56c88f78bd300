package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/continuity/fs"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/trivy"
)

// endLimit is how long a program that was told to end may take before it is killed.
const endLimit = 10 * time.Second

// Run implements pipeline.Engine. A tool is a program of this machine's; anything else runs in a container, which needs root.
func (e *Engine) Run(ctx context.Context, program pipeline.Program) (pipeline.Result, error) {
	run := e.run
	if program.Key != "" {
		run = e.runKeyed
	}
	result, err := run(ctx, program)
	if ctx.Err() != nil {
		return pipeline.Result{}, context.Cause(ctx)
	}
	return result, err
}

// runKeyed runs a program unless one with its key has left a result.
func (e *Engine) runKeyed(ctx context.Context, program pipeline.Program) (pipeline.Result, error) {
	e.keyed.Lock()
	defer e.keyed.Unlock()
	if dir, ok := e.results.Find(program.Key); ok {
		return pipeline.Result{Out: outputs(program, dir)}, nil
	}
	stage, err := e.results.Stage()
	if err != nil {
		return pipeline.Result{}, err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	result, err := e.runIn(ctx, program, stage)
	if err != nil || result.Status != 0 {
		return result, err
	}
	dir, err := e.results.Commit(stage, program.Key)
	result.Out = outputs(program, dir)
	return result, err
}

func (e *Engine) run(ctx context.Context, program pipeline.Program) (pipeline.Result, error) {
	dir, err := os.MkdirTemp(e.scratch, "out-")
	if err != nil {
		return pipeline.Result{}, err
	}
	result, err := e.runIn(ctx, program, dir)
	if err != nil || result.Status != 0 {
		return result, errors.Join(err, os.RemoveAll(dir))
	}
	return result, nil
}

// outputs are a program's directories to write, below dir.
func outputs(program pipeline.Program, dir string) map[string]pipeline.Directory {
	out := make(map[string]pipeline.Directory, len(program.Out))
	for i, path := range slices.Sorted(maps.Keys(program.Out)) {
		out[path] = pipeline.Local(filepath.Join(dir, strconv.Itoa(i)))
	}
	return out
}

// runIn runs a program whose directories to write are below dir.
func (e *Engine) runIn(ctx context.Context, program pipeline.Program, dir string) (pipeline.Result, error) {
	work, err := os.MkdirTemp(e.scratch, "run-")
	if err != nil {
		return pipeline.Result{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	out := outputs(program, dir)
	given := mounts{in: make(map[string]string), out: make(map[string]string)}
	for path, in := range program.In {
		if given.in[path], err = localPath(in); err != nil {
			return pipeline.Result{}, err
		}
	}
	for path, to := range out {
		if given.out[path], err = localPath(to); err != nil {
			return pipeline.Result{}, err
		}
		if err := fill(given.out[path], program.Out[path]); err != nil {
			return pipeline.Result{}, fmt.Errorf("make the directory that is to be %s: %w", path, err)
		}
	}
	start := e.tool
	if program.Image.Dir != "" {
		start = e.container
	}
	result, err := start(ctx, program, given, work)
	if err == nil && result.Status == 0 {
		result.Out = out
	}
	return result, err
}

// mounts are the directories of this machine that a program gets, by the path where it sees them.
type mounts struct{ in, out map[string]string }

func localPath(directory pipeline.Directory) (string, error) {
	local, ok := directory.(pipeline.Local)
	if !ok {
		return "", fmt.Errorf("directory %v is not one of this machine's but a %T", directory, directory)
	}
	return filepath.Abs(string(local))
}

// fill makes the directory to, with what is in from; nil is nothing.
func fill(to string, from pipeline.Directory) error {
	if from == nil {
		return os.Mkdir(to, 0o755)
	}
	path, err := localPath(from)
	if err != nil {
		return err
	}
	return fs.CopyDir(to, path)
}

// tool runs a program of this machine's in the directory work.
func (e *Engine) tool(ctx context.Context, program pipeline.Program, given mounts, work string) (pipeline.Result, error) {
	path, err := e.config.Toolchain.Tool(ctx, program.Args[0])
	if err != nil {
		return pipeline.Result{}, err
	}
	for _, dirs := range []map[string]string{given.in, given.out} {
		for name, target := range dirs {
			link := filepath.Join(work, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(target, link)); err != nil {
				return pipeline.Result{}, err
			}
		}
	}
	for name, data := range program.Files {
		file := filepath.Join(work, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil {
			return pipeline.Result{}, err
		}
	}
	cmd := exec.CommandContext(ctx, path, program.Args[1:]...)
	cmd.Dir = work
	cmd.Env = append(trivy.Environment(os.Environ(), work), program.Env...)
	return ended(cmd)
}

// ended runs a command to its end, and with this process's at the latest.
func ended(cmd *exec.Cmd) (pipeline.Result, error) {
	var stdout, stderr tail
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = endLimit
	cmd.SysProcAttr = childAttributes()
	done := make(chan error)
	go func() {
		// The kernel takes the thread that started the child for its parent, so the thread has to last as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- cmd.Run()
	}()
	err := <-done
	result := pipeline.Result{Stdout: stdout.String(), Stderr: stderr.String()}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return result, err
	}
	result.Status = exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		result.Status = 128 + int(status.Signal())
	}
	return result, nil
}

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - pipeline.KeptOutput; over > pipeline.KeptOutput {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	return string(t.data[max(0, len(t.data)-pipeline.KeptOutput):])
}
