package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkDagger times calls of the module: cold, when it has to be compiled because its sources have changed, and warm.
func BenchmarkDagger(b *testing.B) {
	d := startDagger(b)
	d.module = b.TempDir()
	d.copySources(b, d.module)
	image, chart := d.repository("dagger-bench")
	build := append(append([]string{"build", "--version", "7.0.1"}, d.imageArgs()...), "digest")
	release := append(append([]string{"release"}, d.releaseOptions(image)...), "--chart-registry", chart, "summary")
	d.call(b, release...)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"detect-version", append([]string{"detect-version"}, d.upstreamArgs()...)},
		{"build", build},
		{"release-nothing-to-do", release},
	} {
		b.Run(c.name+"/cold", func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				d.change(b)
				b.StartTimer()
				d.call(b, c.args...)
			}
		})
		b.Run(c.name+"/warm", func(b *testing.B) {
			for b.Loop() {
				d.call(b, c.args...)
			}
		})
	}
}

// change makes the module one that the engine has never seen.
func (d *daggerWorld) change(b *testing.B) {
	b.Helper()
	file, err := os.OpenFile(filepath.Join(d.module, "ci", "main.go"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Fprintf(file, "\nconst changed%d = true\n", time.Now().UnixNano()); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
}
