// Command bench measures a whole release against a sandbox on this machine: by the pipeline, and by a shell script that calls the
// tools directly. What the two take beyond each other is the pipeline's overhead.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"opennebula-kube/dev/cli"
	"opennebula-kube/dev/local"
	"opennebula-kube/dev/sandbox"
	"opennebula-kube/dev/toolchain"
)

func main() {
	rounds := flag.Int("rounds", 3, "how many times each kind of run is measured; the median counts")
	flag.Parse()
	if err := run(*rounds); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(rounds int) (err error) {
	if rounds < 1 || flag.NArg() > 0 {
		return errors.New("want -rounds of 1 or more, and no other arguments")
	}
	if err := local.CanBuild(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env, err := cli.System()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "opennebula-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tools := toolchain.New(".", env.CacheDir, say)
	paths, err := prepare(ctx, tools, dir)
	if err != nil {
		return err
	}
	world, err := sandbox.Start(ctx, sandbox.Options{
		CacheDir: env.CacheDir, Dir: filepath.Join(dir, "sandbox"), Root: ".", Toolchain: tools, Log: say,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.Close()) }()

	load, err := loadAverage()
	if err != nil {
		return err
	}
	b := bench{world: world, paths: paths, tools: filepath.Join(env.CacheDir, "tools"), dir: dir, platform: "linux/" + runtime.GOARCH}
	measured, err := b.measure(ctx, rounds)
	if err != nil {
		return err
	}
	fmt.Printf("\nA whole release against the sandbox: medians of %d, lowest and highest in parentheses, processor time after the slash.\n", rounds)
	fmt.Printf("%d processors, load average %s before the first run.\n\n", runtime.NumCPU(), load)
	if err := writeTable(os.Stdout, measured); err != nil {
		return err
	}
	fmt.Printf("\nThe image, with stand-ins for OpenNebula's packages on the sandbox's Debian:\n\n")
	_, err = b.figures.WriteTo(os.Stdout)
	return err
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
