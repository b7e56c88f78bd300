package pipeline_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opennebula-kube/ci/pipeline"
	"opennebula-kube/ci/trivy"
)

// runner is an engine that runs programs its own way.
type runner struct {
	pipeline.Engine
	run func(pipeline.Program) (pipeline.Result, error)
}

func (r runner) Run(_ context.Context, program pipeline.Program) (pipeline.Result, error) {
	return r.run(program)
}

func TestScannerFails(t *testing.T) {
	w := newWorld(t, "7.2.0")
	image := w.built(t)
	broken := errors.New("broken")
	ends := func(result pipeline.Result, err error) func(*testing.T, pipeline.Program) (pipeline.Result, error) {
		return func(*testing.T, pipeline.Program) (pipeline.Result, error) { return result, err }
	}
	leaves := func(name string) func(*testing.T, pipeline.Program) (pipeline.Result, error) {
		return func(t *testing.T, program pipeline.Program) (pipeline.Result, error) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			out := map[string]pipeline.Directory{}
			for path := range program.Out {
				out[path] = pipeline.Local(dir)
			}
			return pipeline.Result{Out: out}, nil
		}
	}
	scanned := func(_ *testing.T, program pipeline.Program) (pipeline.Result, error) {
		return w.engine.Run(t.Context(), program)
	}
	for name, test := range map[string]struct {
		database, scan func(*testing.T, pipeline.Program) (pipeline.Result, error)
		platform, says string
	}{
		"no platform":      {scanned, scanned, "linux/s390x", "the image has no platform linux/s390x, it has linux/amd64, linux/arm64"},
		"database fails":   {ends(pipeline.Result{Status: 1, Stderr: "no route"}, nil), scanned, "linux/amd64", "no route"},
		"database is none": {leaves("other"), scanned, "linux/amd64", "read the database's db/metadata.json"},
		"not run":          {scanned, ends(pipeline.Result{}, broken), "linux/amd64", "broken"},
		"status":           {scanned, ends(pipeline.Result{Status: 3, Stdout: "FATAL cannot open\n"}, nil), "linux/amd64", "ended with status 3:\nFATAL cannot open"},
		"no report":        {scanned, leaves("other"), "linux/amd64", "wrote no report"},
	} {
		t.Run(name, func(t *testing.T) {
			engine := runner{run: func(program pipeline.Program) (pipeline.Result, error) {
				if program.Key != "" {
					return test.database(t, program)
				}
				return test.scan(t, program)
			}}
			scan, err := pipeline.Scanner{Engine: engine, Database: w.Database}.Scan(t.Context(), image, test.platform)
			if err == nil || scan.Report != nil {
				t.Fatalf("report %q, error %v", scan.Report, err)
			}
			for _, want := range []string{test.says, image.Digest, test.platform} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
		})
	}
}

// The database is known by its digest, and a scan by nothing but its input.
func TestScannerKeys(t *testing.T) {
	w := newWorld(t, "7.2.0")
	var keys []string
	engine := runner{run: func(program pipeline.Program) (pipeline.Result, error) {
		keys = append(keys, program.Key)
		return w.engine.Run(t.Context(), program)
	}}
	image := w.built(t)
	if _, err := (pipeline.Scanner{Engine: engine, Database: w.Database}).Scan(t.Context(), image, "linux/amd64"); err != nil {
		t.Fatal(err)
	}
	latest, err := trivy.LatestDatabase(t.Context(), w.Database)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || keys[0] != latest.Digest || keys[1] != "" {
		t.Errorf("keys %q, want %s and none", keys, latest.Digest)
	}
}

func TestLocalReadFile(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(outside, []byte("secret"), 0o644), os.Symlink(outside, filepath.Join(dir, "link")),
		os.WriteFile(filepath.Join(dir, "file"), []byte("12345"), 0o644)); err != nil {
		t.Fatal(err)
	}
	local := pipeline.Local(dir)
	if data, err := local.ReadFile(t.Context(), "file", 5); err != nil || string(data) != "12345" {
		t.Errorf("read %q, %v", data, err)
	}
	for name, says := range map[string]string{"file": "larger than 4 bytes", "link": "escapes", "../secret": "escapes", ".": "not a regular file", "none": "no such file"} {
		if data, err := local.ReadFile(t.Context(), name, 4); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q, error %v, want %q in it", name, data, err, says)
		}
	}
}
