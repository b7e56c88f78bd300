// Command demo runs the whole pipeline against a sandbox on this machine: a release, and then a run that finds nothing to do.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/release"
	"opennebula-kube/dev/cli"
	"opennebula-kube/dev/local"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/toolchain"
)

// The ports are the same each time, for the addresses are part of what the build cache goes by.
const (
	upstreamPort = 28080
	registryPort = 28500
)

// out is where the demo leaves everything.
const out = "out"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env, err := cli.System()
	if err != nil {
		return err
	}
	if err := local.CanBuild(); err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return fmt.Errorf("clear what the last demo left: %w", err)
	}
	say("demo: starting a sandbox: upstream, registry, vulnerability database, base image")
	world, err := sandbox.Start(ctx, sandbox.Options{
		CacheDir:     env.CacheDir,
		Dir:          filepath.Join(out, "sandbox"),
		Root:         ".",
		Toolchain:    toolchain.New(".", env.CacheDir, say),
		UpstreamPort: upstreamPort,
		RegistryPort: registryPort,
		Log:          say,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.Close()) }()
	say("demo: upstream %s, registry %s, base image %s", world.Upstream, world.Registry, world.BaseImage)

	say("\ndemo: a release")
	if _, err := runRelease(ctx, env, world, out); err != nil {
		return err
	}
	say("\ndemo: the same again, which finds nothing to do")
	start := time.Now()
	reports, err := runRelease(ctx, env, world, filepath.Join(out, "again"))
	if err != nil {
		return err
	}
	for _, report := range reports {
		if report.Plan == nil || report.Plan.Action != release.Nothing {
			return fmt.Errorf("the second run was to find nothing to do; see %s", filepath.Join(out, "again", "release.json"))
		}
	}
	say("\ndemo: the second run took %s. The registry's content is left in %s.", time.Since(start).Round(time.Millisecond),
		filepath.Join(out, "sandbox", "registry"))
	return nil
}

// runRelease runs `pipeline release`, just as a person would type it, and returns its reports.
func runRelease(ctx context.Context, env cli.Environment, world *sandbox.Sandbox, output string) (pipeline.Reports, error) {
	args := []string{
		"release",
		"--upstream", world.Upstream,
		"--upstream-fingerprint", world.UpstreamFingerprint,
		"--registry", world.Repository,
		"--chart-registry", world.Charts,
		"--chart-repository", filepath.Join(out, "charts"),
		"--base-image", world.BaseImage,
		"--db-repository", world.DatabaseRepository,
		"--platform", "linux/" + runtime.GOARCH, // a machine without emulation builds for itself only
		"--output", output,
	}
	say("$ pipeline %s", strings.Join(args, " "))
	command := cli.New(env)
	command.SetArgs(args)
	if err := command.ExecuteContext(ctx); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(output, "release.json"))
	if err != nil {
		return nil, err
	}
	var reports pipeline.Reports
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(output, "release.json"), err)
	}
	return reports, nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
