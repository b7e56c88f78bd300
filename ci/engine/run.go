package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"opennebula-kube/ci/internal/dagger"
	"opennebula-kube/ci/pipeline"
)

// DefaultScanner is Trivy's own image, in the version that the repository pins.
const DefaultScanner = "ghcr.io/aquasecurity/trivy:0.74.0@sha256:62b1e65e8869bc4b4c6aa4fa2b21595256c7c2f6018a9d9ad61caf87187c1969"

// workDir is the working directory of a tool.
const workDir = "/work"

// Run implements pipeline.Engine. Trivy is the only tool. Dagger gives what the very same program has left with the same input once it
// ended with status 0, so a key is not needed, and neither are places to write to in an image: all of it can be written to, and nothing of that is kept.
func (e *Engine) Run(ctx context.Context, program pipeline.Program) (pipeline.Result, error) {
	result, err := e.run(ctx, program)
	if err != nil {
		return pipeline.Result{}, stopped(ctx, err)
	}
	return result, nil
}

func (e *Engine) run(ctx context.Context, program pipeline.Program) (pipeline.Result, error) {
	container, at, err := e.surroundings(ctx, program)
	if err != nil {
		return pipeline.Result{}, err
	}
	for _, variable := range program.Env {
		name, value, _ := strings.Cut(variable, "=")
		container = container.WithEnvVariable(name, value)
	}
	// What is in another directory comes after it.
	for _, name := range slices.Sorted(maps.Keys(program.In)) {
		dir, err := e.directory(program.In[name])
		if err != nil {
			return pipeline.Result{}, err
		}
		container = container.WithMountedDirectory(at(name), dir)
	}
	for _, name := range slices.Sorted(maps.Keys(program.Out)) {
		dir := e.dag.Directory()
		if from := program.Out[name]; from != nil {
			if dir, err = e.directory(from); err != nil {
				return pipeline.Result{}, err
			}
		}
		container = container.WithMountedDirectory(at(name), dir)
	}
	for _, name := range slices.Sorted(maps.Keys(program.Files)) {
		container = container.WithNewFile(at(name), string(program.Files[name]))
	}
	return e.ended(ctx, container.WithExec(program.Args), program, at)
}

// surroundings is what a program runs in, and where its paths are there.
func (e *Engine) surroundings(ctx context.Context, program pipeline.Program) (*dagger.Container, func(name string) string, error) {
	if program.Image.Dir == "" {
		if program.Args[0] != "trivy" {
			return nil, nil, fmt.Errorf("run %s: the only tool here is trivy", program.Args[0])
		}
		return e.config.Scanner.WithWorkdir(workDir), func(name string) string { return path.Join(workDir, name) }, nil
	}
	container, err := e.Container(program.Image, program.Platform)
	if err != nil {
		return nil, nil, err
	}
	if err := e.checkRuns(ctx, container, program.Platform); err != nil {
		return nil, nil, err
	}
	return container, func(name string) string { return name }, nil
}

// ended runs the program of a container to its end. One that fails is an error for Dagger, as an outcome that is not to be kept.
func (e *Engine) ended(ctx context.Context, container *dagger.Container, program pipeline.Program, at func(string) string) (pipeline.Result, error) {
	container, err := container.Sync(ctx)
	if failed, ok := errors.AsType[*dagger.ExecError](err); ok && ctx.Err() == nil {
		return pipeline.Result{Status: failed.ExitCode, Stdout: end(failed.Stdout), Stderr: end(failed.Stderr)}, nil
	} else if err != nil {
		return pipeline.Result{}, err
	}
	stdout, err := container.Stdout(ctx)
	if err != nil {
		return pipeline.Result{}, err
	}
	stderr, err := container.Stderr(ctx)
	if err != nil {
		return pipeline.Result{}, err
	}
	result := pipeline.Result{Stdout: end(stdout), Stderr: end(stderr), Out: make(map[string]pipeline.Directory)}
	for name := range program.Out {
		result.Out[name] = &directory{engine: e, Directory: container.Directory(at(name))}
	}
	return result, nil
}

func end(output string) string { return output[max(0, len(output)-pipeline.KeptOutput):] }

// directory is one that Dagger has.
type directory struct {
	*dagger.Directory
	engine *Engine
}

// directory hands a directory to Dagger.
func (e *Engine) directory(given pipeline.Directory) (*dagger.Directory, error) {
	switch d := given.(type) {
	case pipeline.Local:
		return e.Upload(string(d)), nil
	case *directory:
		return d.Directory, nil
	default:
		return nil, fmt.Errorf("directory %v is not one of this engine's but a %T", given, given)
	}
}

// ReadFile implements pipeline.Directory.
func (d *directory) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	data, err := d.readFile(ctx, name, limit)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return data, err
}

func (d *directory) readFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	if there, err := d.Exists(ctx, name, dagger.DirectoryExistsOpts{DoNotFollowSymlinks: true}); err != nil {
		return nil, err
	} else if !there {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	// Dagger would wait at a pipe for a writer.
	if regular, err := d.Exists(ctx, name, dagger.DirectoryExistsOpts{
		DoNotFollowSymlinks: true, ExpectedType: dagger.ExistsTypeRegularType,
	}); err != nil {
		return nil, err
	} else if !regular {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	size, err := d.File(name).Size(ctx)
	if err != nil {
		return nil, err
	}
	if int64(size) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	dir, err := d.engine.scratch("file-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := d.File(name).Export(ctx, filepath.Join(dir, "file")); err != nil {
		return nil, err
	}
	return pipeline.Local(dir).ReadFile(ctx, "file", limit)
}

// Container is one platform of an image as a container of Dagger.
func (e *Engine) Container(image pipeline.Image, platform string) (*dagger.Container, error) {
	if !slices.Contains(image.Platforms, platform) {
		return nil, fmt.Errorf("the image has no platform %s, it has %s", platform, strings.Join(image.Platforms, ", "))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.archives[image.Dir] == nil {
		archive := image.Dir + ".tar"
		if err := pack(image.Dir, archive); err != nil {
			return nil, fmt.Errorf("pack the image for Dagger: %w", err)
		}
		e.archives[image.Dir] = e.dag.Address(archive).File()
	}
	return e.dag.Container(dagger.ContainerOpts{Platform: dagger.Platform(platform)}).Import(e.archives[image.Dir]), nil
}

// pack writes what is in a directory to a tar archive.
func pack(dir, archive string) error {
	file, err := os.Create(filepath.Clean(archive))
	if err != nil {
		return err
	}
	writer := tar.NewWriter(file)
	return errors.Join(writer.AddFS(os.DirFS(dir)), writer.Close(), file.Close())
}

// checkRuns returns ErrForeign for a container of a platform whose programs the engine cannot run.
func (e *Engine) checkRuns(ctx context.Context, container *dagger.Container, platform string) error {
	own, err := e.dag.DefaultPlatform(ctx)
	if err != nil || string(own) == platform {
		return err
	}
	_, err = container.WithExec([]string{"true"}).Sync(ctx)
	if failed, ok := errors.AsType[*dagger.ExecError](err); ok && strings.Contains(failed.Stdout+failed.Stderr, "exec format error") {
		return fmt.Errorf("%w: the engine runs programs for %s, and has no emulator for %s", pipeline.ErrForeign, own, platform)
	}
	return err
}
