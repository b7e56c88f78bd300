package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"opennebula-kube/dev/figures"
	"opennebula-kube/dev/sandbox"
)

// sample is what one run took: by the clock, and of the processors, its child processes included; and what the trial took of that by the
// clock, where there was one.
type sample struct{ wall, cpu, trial time.Duration }

// samples are what the runs of each kind took on each side, round by round.
type samples map[side]map[kind][]sample

func (s samples) add(at side, of kind, one sample) {
	if s[at] == nil {
		s[at] = map[kind][]sample{}
	}
	s[at][of] = append(s[at][of], one)
}

// bench runs releases and measures them.
type bench struct {
	world    *sandbox.Sandbox
	paths    paths
	tools    string // the directory that the pipeline keeps its tools in
	dir      string // for all state
	platform string
	// digest is that of the image, which all runs have to agree on; empty before the first.
	digest string
	// figures say what the image is made of, after the last round.
	figures bytes.Buffer
}

// place is what one run works on.
type place struct {
	state, out     string // directories
	images, charts string // repositories
}

// place returns what a run works on. One that is to find nothing to do works on the same as the warm one before it.
func (b *bench) place(s step) place {
	released := s.kind
	if s.kind == nothing {
		released = warm
	}
	round := filepath.Join(b.dir, fmt.Sprintf("round-%d", s.round))
	// The registry is never emptied: each release goes to repositories of its own.
	account := fmt.Sprintf("%s/%s/round-%d-%s-%s", b.world.Registry, sandbox.Owner, s.round, s.side, released)
	return place{
		state:  filepath.Join(round, string(s.side)),
		out:    filepath.Join(round, fmt.Sprintf("%s-%s", s.side, released)),
		images: account + "/opennebula",
		charts: account + "/charts/opennebula",
	}
}

// measure runs everything that is scheduled.
func (b *bench) measure(ctx context.Context, rounds int) (samples, error) {
	measured := samples{}
	for _, s := range schedule(rounds) {
		at := b.place(s)
		if err := b.seed(s, at); err != nil {
			return nil, err
		}
		one, err := b.run(ctx, s, at)
		if err == nil {
			one.trial, err = b.check(ctx, s, at)
		}
		if err != nil {
			return nil, fmt.Errorf("round %d, %s, %s: %w", s.round, s.side, s.kind, err)
		}
		say("round %d of %d: %s %s: %s", s.round, rounds, s.side, s.kind, seconds(one.wall))
		measured.add(s.side, s.kind, one)
		if s.kind == nothing { // the last of a round
			if s.round == rounds {
				if err := figures.Write(ctx, &b.figures, at.out); err != nil {
					return nil, err
				}
			}
			if err := os.RemoveAll(filepath.Dir(at.state)); err != nil {
				return nil, err
			}
		}
	}
	return measured, nil
}

// seed gives the pipeline's empty state the tools: compiling them is no part of a release.
func (b *bench) seed(s step, at place) error {
	if s.kind != cold || s.side != pipelineSide {
		return nil
	}
	cache := filepath.Join(at.state, "opennebula-kube")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	return os.Symlink(b.tools, filepath.Join(cache, "tools"))
}

// run runs one release.
func (b *bench) run(ctx context.Context, s step, at place) (sample, error) {
	var cmd *exec.Cmd
	if s.side == pipelineSide {
		cmd = b.pipeline(ctx, s.kind, at)
	} else {
		cmd = b.script(ctx, at)
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	// A group of its own, so that all that it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	// What earlier runs have written is not to be this one's burden.
	syscall.Sync()
	begin := time.Now()
	err := cmd.Run()
	took := sample{wall: time.Since(begin)}
	if ctx.Err() != nil {
		return took, context.Cause(ctx)
	}
	if err != nil {
		return took, fmt.Errorf("%s: %w:\n%s", cmd.Args[0], err, lastLines(output.String(), 40))
	}
	took.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return took, nil
}

func (b *bench) pipeline(ctx context.Context, of kind, at place) *exec.Cmd {
	arguments := []string{"release",
		"--upstream", b.world.Upstream,
		"--upstream-fingerprint", b.world.UpstreamFingerprint,
		"--registry", at.images,
		"--chart-registry", at.charts,
		"--chart-repository", filepath.Join(at.out, "charts"),
		"--base-image", b.world.BaseTag,
		"--db-repository", b.world.DatabaseRepository,
		"--platform", b.platform,
		"--line", "7.2",
		"--output", at.out}
	if of != tried {
		arguments = append(arguments, "--skip-trial", "the script does not try it")
	}
	cmd := exec.CommandContext(ctx, b.paths.pipeline, arguments...)
	// Go's own cache stays: what it has of the standard library is the machine's, for both sides.
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+at.state, "GOCACHE="+b.paths.goCache)
	return cmd
}

func (b *bench) script(ctx context.Context, at place) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "dev/cmd/bench/release.sh")
	cmd.Env = append(os.Environ(),
		"PATH="+b.paths.bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		// Everything is on the loopback interface. Go knows that it needs no proxy, curl does not.
		"no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1",
		"UPSTREAM="+b.world.Upstream,
		"UPSTREAM_FINGERPRINT="+b.world.UpstreamFingerprint,
		"IMAGES="+at.images,
		"CHARTS="+at.charts,
		"BASE_IMAGE="+b.world.BaseTag,
		"DB_REPOSITORY="+b.world.DatabaseRepository,
		"PLATFORM="+b.platform,
		"STATE="+at.state,
		"OUT="+at.out)
	return cmd
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
