package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"opennebula-kube/ci/internal/dagger"
)

// golangImage is where the checks run: Go, in the version that go.mod asks for, on Debian. It is the Dockerfile's GO_IMAGE.
const golangImage = "docker.io/library/golang:1.26.8-bookworm@sha256:dc9ad6c05acc7a88e5b71bde60a5fe3bd4b9f0db209011711b464107438a8107"

// sources is where the project's sources are in the container of a check.
const sources = "/src"

// Has golangci-lint look at the Go code and actionlint at the workflows.
//
// Example: dagger call lint
//
// +check
func (m *OpennebulaKube) Lint(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=[".git", "out"]
	source *dagger.Directory,
) error {
	return run(ctx, m.workshop(source).WithExec([]string{"make", "lint"}))
}

// Runs all tests that need no root.
//
// Example: dagger call unit-tests
//
// +check
func (m *OpennebulaKube) UnitTests(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=[".git", "out"]
	source *dagger.Directory,
) error {
	return run(ctx, m.workshop(source).WithExec([]string{"make", "unit"}))
}

// Runs the tests that build, scan and release the image for real.
//
// They run against a sandbox, on the embedded engine. The container that they run in has all of the engine's privileges, for it runs containers
// itself.
//
// Example: dagger call image-tests
//
// +check
func (m *OpennebulaKube) ImageTests(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=[".git", "out"]
	source *dagger.Directory,
) error {
	return run(ctx, m.workshop(source).WithExec([]string{"make", "integration"}, dagger.ContainerWithExecOpts{InsecureRootCapabilities: true}))
}

// Fails when the code that Dagger generates is not what is committed: `dagger develop` makes it anew.
//
// Example: dagger call generated
//
// +check
func (m *OpennebulaKube) Generated(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!dagger.json", "!ci"]
	source *dagger.Directory,
) error {
	changes := source.AsModuleSource().GeneratedContextChangeset()
	var stale []string
	for _, list := range []func(context.Context) ([]string, error){changes.ModifiedPaths, changes.AddedPaths, changes.RemovedPaths} {
		paths, err := list(ctx)
		if err != nil {
			return err
		}
		stale = append(stale, paths...)
	}
	if len(stale) > 0 {
		return fmt.Errorf("Dagger generates other code from the sources than is committed: run `dagger develop` and commit what it writes to %s",
			strings.Join(stale, ", "))
	}
	return nil
}

// Runs the tests of the chart, and holds what it renders to against the schemas of Kubernetes.
//
// Example: dagger call chart test
//
// +check
func (c *Chart) Test(
	ctx context.Context,
	// Directory of the project's sources.
	//
	// +defaultPath="/"
	// +ignore=["*", "!chart", "!ci", "!dev", "!go.mod", "!go.sum", "!image"]
	source *dagger.Directory,
) error {
	m := &OpennebulaKube{Golang: c.Golang}
	return run(ctx, m.workshop(source).
		WithExec([]string{"go", "test", "./dev/chart/..."}).
		WithWorkdir(sources+"/ci").WithExec([]string{"go", "test", "-run", "^TestChart", "./helmrepo"}))
}

// workshop is a container with Go and the project's sources. What is downloaded and compiled there is kept.
func (m *OpennebulaKube) workshop(source *dagger.Directory) *dagger.Container {
	return dag.Container().From(cmp.Or(m.Golang, golangImage)).
		WithMountedCache("/go/pkg/mod", dag.CacheVolume("opennebula-kube-go-modules")).
		WithMountedCache("/root/.cache", dag.CacheVolume("opennebula-kube-cache")).
		WithEnvVariable("GOMODCACHE", "/go/pkg/mod").
		WithMountedDirectory(sources, source).
		WithWorkdir(sources)
}

func run(ctx context.Context, container *dagger.Container) error {
	_, err := container.Sync(ctx)
	return err
}
