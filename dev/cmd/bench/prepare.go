package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"opennebula-kube/dev/toolchain"
)

// paths is where the programs of the two sides are.
type paths struct {
	// pipeline is the pipeline's command line, compiled.
	pipeline string
	// bin is a directory with the tools that the script calls.
	bin string
	// goCache is where Go keeps what it has compiled.
	goCache string
}

// prepare makes everything that is done once on a machine and is not part of a release.
func prepare(ctx context.Context, tools *toolchain.Toolchain, dir string) (paths, error) {
	p := paths{pipeline: filepath.Join(dir, "pipeline"), bin: filepath.Join(dir, "bin")}
	if err := tools.OSPackages(ctx,
		toolchain.Need{Command: "curl", Package: "curl"},
		toolchain.Need{Command: "jq", Package: "jq"},
		toolchain.Need{Command: "runc", Package: "runc"},
	); err != nil {
		return p, err
	}
	if err := os.Mkdir(p.bin, 0o755); err != nil {
		return p, err
	}
	for _, name := range []string{"buildctl", "buildkitd", "crane", "helm", "trivy"} {
		path, err := tools.Tool(ctx, name)
		if err != nil {
			return p, err
		}
		if path, err = filepath.Abs(path); err != nil {
			return p, err
		}
		if err := os.Symlink(path, filepath.Join(p.bin, name)); err != nil {
			return p, err
		}
	}
	cache, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
	if err != nil {
		return p, fmt.Errorf("find Go's cache: %w", err)
	}
	p.goCache = strings.TrimSpace(string(cache))
	say("compiling the pipeline")
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", p.pipeline, "./dev/cmd/pipeline").CombinedOutput(); err != nil {
		return p, fmt.Errorf("compile the pipeline: %w\n%s", err, output)
	}
	return p, nil
}

// loadAverage is the machine's load over the last minute. The runs of others show in it.
func loadAverage() (string, error) {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	load, _, _ := strings.Cut(string(data), " ")
	return load, nil
}
