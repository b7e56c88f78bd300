package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"opennebula-kube/ci/ocilayout"
	"opennebula-kube/ci/pipeline"
)

// program is a script in the image.
func (s *suite) program(script string) pipeline.Program {
	return pipeline.Program{Image: s.image, Platform: s.platform(), Args: []string{"/bin/sh", "-c", script}}
}

// run runs a program that can be run.
func (s *suite) run(t *testing.T, program pipeline.Program) pipeline.Result {
	t.Helper()
	result, err := s.engine.Run(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// done runs a program that is to end with status 0.
func (s *suite) done(t *testing.T, program pipeline.Program) pipeline.Result {
	t.Helper()
	result := s.run(t, program)
	if result.Status != 0 {
		t.Fatalf("status %d\n%s%s", result.Status, result.Stdout, result.Stderr)
	}
	return result
}

func (s *suite) testRun(t *testing.T) {
	t.Run("arguments", s.testRunArguments)
	t.Run("status", s.testRunStatus)
	t.Run("much output", s.testRunMuchOutput)
	t.Run("directories", s.testRunDirectories)
	t.Run("nothing of it stays", s.testRunLeavesNothing)
	t.Run("read file", s.testReadFile)
	t.Run("stops", s.testRunStops)
	t.Run("fails", s.testRunFails)
}

func (s *suite) testRunArguments(t *testing.T) {
	program := s.program(`printf '<%s>' "$@"; printf '%s %s' "$GIVEN" "$HOME"; pwd`)
	program.Args = append(program.Args, "name", "", "a b", `"$HOME"`, "*", "-x")
	program.Env = []string{"GIVEN=a=b c"}
	result := s.done(t, program)
	// The directory and HOME are the image's.
	if want := `<><a b><"$HOME"><*><-x>a=b c /var/lib/one/var/lib/one` + "\n"; result.Stdout != want || result.Stderr != "" {
		t.Errorf("printed %q and %q, want %q", result.Stdout, result.Stderr, want)
	}
}

func (s *suite) testRunStatus(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 1": 1, "exit 77": 77, "sh -c 'kill -9 $$'; exit $?": 137, "no-such-program": 127} {
		program := s.program("echo out; echo err >&2; " + script)
		program.Out = map[string]pipeline.Directory{"/out": nil}
		result := s.run(t, program)
		if result.Status != want || strings.TrimSpace(result.Stdout) != "out" || !strings.HasPrefix(result.Stderr, "err") {
			t.Errorf("%s: %+v, want status %d", script, result, want)
		}
		if (result.Out["/out"] != nil) != (want == 0) {
			t.Errorf("%s: directories %v after status %d", script, result.Out, want)
		}
	}
}

func (s *suite) testRunMuchOutput(t *testing.T) {
	for _, status := range []string{"0", "3"} {
		result := s.run(t, s.program("i=0; while [ $i -lt 80000 ]; do echo $i 0123456789012345678901234567890123456789012345678901234567890123456789; "+
			"i=$((i+1)); done | tee /dev/stderr; echo end; echo end >&2; exit "+status))
		for name, output := range map[string]string{"stdout": result.Stdout, "stderr": result.Stderr} {
			if len(output) > pipeline.KeptOutput || len(output) < 50<<10 || !strings.HasSuffix(strings.TrimSpace(output), "79999 "+strings.Repeat("0123456789", 7)+"\nend") {
				t.Errorf("status %s: %d bytes of %s, which end with %q", status, len(output), name, output[max(0, len(output)-200):])
			}
		}
	}
}

// tree is a directory with something of everything.
const tree = `set -e; cd /out; umask 022
mkdir -m 0700 empty; mkdir -m 1777 sticky; mkdir -p deep/er
echo hello > file; chmod 0640 file; chown 9869:33 file; ln file hard; ln -s file link; ln -s /nowhere/else dangling
touch -d @1000000000 deep/er/dated; chmod 4755 deep/er/dated; chown -h 5:6 link; chown 9869:9869 .`

// listing lists a tree: type, mode, owner, number of links, what a link leads to, and the date of the file that has one.
const listing = `cd "$1"; find . -printf '%p %y %m %U:%G %l\n' | sort; find . -type f -links 2 | sort; find . -name dated -printf '%T@\n'; cat file`

const listed = `. d 755 9869:9869 
./dangling l 777 0:0 /nowhere/else
./deep d 755 0:0 
./deep/er d 755 0:0 
./deep/er/dated f 4755 0:0 
./empty d 700 0:0 
./file f 640 9869:33 
./hard f 640 9869:33 
./link l 777 5:6 file
./sticky d 1777 0:0 
./file
./hard
1000000000.0000000000
hello
`

func (s *suite) testRunDirectories(t *testing.T) {
	first := s.program(tree + "; cat /given/a/file /given/one > all; ls -A /given/a")
	first.Out = map[string]pipeline.Directory{"/out": nil}
	given := s.Dir(t)
	if err := errors.Join(os.Mkdir(filepath.Join(given, "none"), 0o755), os.WriteFile(filepath.Join(given, "file"), []byte("local "), 0o644)); err != nil {
		t.Fatal(err)
	}
	first.In = map[string]pipeline.Directory{"/given/a": pipeline.Local(given)}
	first.Files = map[string][]byte{"/given/one": []byte("given\n")}
	made := s.done(t, first)
	if made.Stdout != "file\nnone\n" {
		t.Errorf("the directory that was given has %q", made.Stdout)
	}
	if data, err := made.Out["/out"].ReadFile(t.Context(), "all", 100); err != nil || string(data) != "local given\n" {
		t.Errorf("the files that were given are %q, %v", data, err)
	}

	list := func(t *testing.T, program pipeline.Program, dir string) {
		t.Helper()
		program.Args = append(program.Args, "name", dir)
		if result := s.done(t, program); result.Stdout != listed {
			t.Errorf("the tree is\n%s%s", result.Stdout, result.Stderr)
		}
	}
	without := s.program("rm /out/all")
	without.Out = map[string]pipeline.Directory{"/out": made.Out["/out"]}
	clean := s.done(t, without)
	read := s.program(listing)
	read.In = map[string]pipeline.Directory{"/tree": clean.Out["/out"]}
	list(t, read, "/tree")
	written := s.program(listing + "; rm -r /out/deep")
	written.Out = map[string]pipeline.Directory{"/out": clean.Out["/out"]}
	list(t, written, "/out")
	// What went in is as it was.
	list(t, read, "/tree")
	if _, err := made.Out["/out"].ReadFile(t.Context(), "all", 100); err != nil {
		t.Error(err)
	}
}

// testRunLeavesNothing checks that a run does not see what another one left outside of its directories.
func (s *suite) testRunLeavesNothing(t *testing.T) {
	program := s.program("ls /tmp; echo left > /tmp/left; echo $0")
	program.Temp = []string{"/tmp"}
	for _, name := range []string{"first", "second"} {
		again := program
		again.Args = slices.Concat(program.Args, []string{name})
		if result := s.done(t, again); result.Stdout != name+"\n" {
			t.Errorf("the %s run has in /tmp: %q", name, result.Stdout)
		}
	}
}

func (s *suite) testReadFile(t *testing.T) {
	program := s.program("cd /out; mkdir dir; echo 12345 > dir/file; mkfifo pipe; ln -s /etc/passwd link")
	program.Out = map[string]pipeline.Directory{"/out": nil}
	out := s.done(t, program).Out["/out"]
	if data, err := out.ReadFile(t.Context(), "dir/file", 6); err != nil || string(data) != "12345\n" {
		t.Errorf("read %q, %v", data, err)
	}
	if _, err := out.ReadFile(t.Context(), "dir/file", 5); err == nil || !strings.Contains(err.Error(), "larger than 5 bytes") {
		t.Errorf("a file over the limit: %v", err)
	}
	if _, err := out.ReadFile(t.Context(), "dir/none", 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	for _, name := range []string{"pipe", "link", "dir"} {
		if data, err := out.ReadFile(t.Context(), name, 1<<20); err == nil {
			t.Errorf("%s can be read: %q", name, data)
		}
	}
}

func (s *suite) testRunStops(t *testing.T) {
	const marker = "this-run-is-stopped"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	program := s.program("trap '' TERM; sleep 3600 & while :; do wait; done # " + marker)
	program.Out = map[string]pipeline.Directory{"/out": nil}
	result := make(chan error, 1)
	go func() {
		_, err := s.engine.Run(ctx, program)
		result <- err
	}()
	s.waitFor(t, result, func() bool { return running(t, marker) })
	begin := time.Now()
	cancel()
	err := <-result
	if took := time.Since(begin); took > promptly {
		t.Errorf("the run stopped %s after its context, want at most %s", took, promptly)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	s.waitFor(t, nil, func() bool { return !running(t, marker) })
}

// waitFor waits for a condition, at most as long as an engine may take; ended says that there is nothing to wait for any longer.
func (s *suite) waitFor(t *testing.T, ended <-chan error, condition func() bool) {
	t.Helper()
	deadline := time.After(promptly)
	for !condition() {
		select {
		case err := <-ended:
			t.Fatalf("the run ended: %v", err)
		case <-deadline:
			t.Fatalf("not within %s", promptly)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// running tells whether a program with the marker in its command line runs in a container: what starts containers is not one.
func running(t *testing.T, marker string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.HasPrefix(line, []byte("/bin/sh\x00-c\x00")) && bytes.Contains(line, []byte(marker)) {
			return true
		}
	}
	return false
}

func (s *suite) testRunFails(t *testing.T) {
	absent := s.program("true")
	absent.Platform = foreignPlatform
	foreign := absent
	foreign.Image = s.foreign(t)
	nothing := s.program("true")
	nothing.Args = []string{"/no/such/program"}
	tool := pipeline.Program{Args: []string{"no-such-tool"}}
	for name, test := range map[string]struct {
		program pipeline.Program
		want    string
		foreign bool
	}{
		"a platform that the image lacks":   {absent, foreignPlatform, false},
		"a platform that does not run here": {foreign, "cannot be run here: ", true},
		"a tool that the engine lacks":      {tool, "no-such-tool", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.engine.Run(t.Context(), test.program)
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, pipeline.ErrForeign) != test.foreign {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
	t.Run("a program that is not there", func(t *testing.T) {
		if result, err := s.engine.Run(t.Context(), nothing); err == nil && result.Status == 0 {
			t.Errorf("no error, but %+v", result)
		}
	})
}

// foreignPlatform is one that nobody emulates.
const foreignPlatform = "linux/sparc64"

// foreign is an image with a program for another processor than any.
func (s *suite) foreign(t *testing.T) pipeline.Image {
	t.Helper()
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: 0xfeed, Version: uint32(elf.EV_CURRENT), Ehsize: 64}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var program, archive bytes.Buffer
	if err := binary.Write(&program, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	writer := tar.NewWriter(&archive)
	for _, dir := range []string{"usr/", "usr/bin/"} {
		if err := writer.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	err := writer.WriteHeader(&tar.Header{Name: "usr/bin/true", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(program.Len())})
	if _, writeErr := writer.Write(program.Bytes()); errors.Join(err, writeErr, writer.Close()) != nil {
		t.Fatal(err, writeErr)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = path.Dir(foreignPlatform), path.Base(foreignPlatform)
	config.Config.Env = []string{"PATH=/usr/bin"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.Dir(t), "foreign")
	if err := ocilayout.Write(dir, image); err != nil {
		t.Fatal(err)
	}
	foreign, err := pipeline.OpenImage(dir)
	if err != nil {
		t.Fatal(err)
	}
	return foreign
}
