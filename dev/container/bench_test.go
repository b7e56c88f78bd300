package container_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// BenchmarkContainer measures what the image costs that runs. The stand-ins for OpenNebula's services cost next to nothing.
func BenchmarkContainer(b *testing.B) {
	built := newImages(b).get(b, middle)
	b.Run("StartEmpty", func(b *testing.B) {
		benchmarkStart(b, built, func() string { return b.TempDir() })
	})
	filled := b.TempDir()
	start(b, built, filled)
	b.Run("StartFilled", func(b *testing.B) {
		benchmarkStart(b, built, func() string { return filled })
	})
	c := run(b, options{image: built, volume: filled})
	c.ready(startLimit)
	wantServices(b, c)
	b.Run("Memory", func(b *testing.B) {
		var all, standins float64
		for b.Loop() {
			all, standins = memory(b, c)
		}
		b.ReportMetric(all, "MB")
		b.ReportMetric(standins, "MB-of-stand-ins")
	})
	b.Run("Probe", func(b *testing.B) {
		script := fmt.Sprintf("TIMEFORMAT='%%U %%S'; time for ((i = 0; i < %d; i++)); do one-container healthcheck ready; done", b.N)
		b.ResetTimer()
		out := c.mustExec(asRoot, "bash", "-c", script)
		var user, system float64
		if _, err := fmt.Sscan(out, &user, &system); err != nil {
			b.Fatalf("read the times of a probe from %q: %v", out, err)
		}
		b.ReportMetric((user+system)*1000/float64(b.N), "cpu-ms/op")
	})
}

// benchmarkStart measures the time until a container on a volume is ready.
func benchmarkStart(b *testing.B, built image, volume func() string) {
	b.Helper()
	for b.Loop() {
		b.StopTimer()
		on := volume()
		b.StartTimer()
		c := run(b, options{image: built, volume: on})
		c.ready(startLimit)
		b.StopTimer()
		stop(b, c)
		b.StartTimer()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/op")
	b.ReportMetric(0, "ns/op")
}

// start runs a container on a volume until it is ready, and stops it.
func start(b *testing.B, built image, volume string) {
	b.Helper()
	c := run(b, options{image: built, volume: volume})
	c.ready(startLimit)
	stop(b, c)
}

func stop(b *testing.B, c *container) {
	b.Helper()
	c.signal("TERM")
	if status := c.wait(stopLimit); status != 0 {
		b.Fatalf("stopped, the container has status %d, want 0", status)
	}
}

// memory is what the processes of a container have in memory, in MB, each with its share of the pages that it has together with others.
func memory(b *testing.B, c *container) (all, standins float64) {
	b.Helper()
	within, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.pid(b)))
	if err != nil {
		b.Fatal(err)
	}
	spaces, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		b.Fatal(err)
	}
	for _, space := range spaces {
		process := filepath.Dir(filepath.Dir(space))
		if in, err := os.Readlink(space); err != nil || in != within {
			continue
		}
		program, err := os.Readlink(filepath.Join(process, "exe"))
		var rollup []byte
		if err == nil {
			rollup, err = os.ReadFile(filepath.Join(process, "smaps_rollup"))
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		} else if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(rollup)) {
			var kilobytes float64
			if _, err := fmt.Sscanf(line, "Pss: %f kB", &kilobytes); err != nil {
				continue
			}
			all += kilobytes * 1024 / 1e6
			if program == "/usr/lib/one/standin" {
				standins += kilobytes * 1024 / 1e6
			}
		}
	}
	return all, standins
}
