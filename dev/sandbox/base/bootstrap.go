package base

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// bootstrap has mmdebstrap make a root file system and writes it to archive, a gzipped tar.
func (r recipe) bootstrap(ctx context.Context, program string, mirrors []string, archive string, log func(string, ...any)) error {
	cmd := exec.CommandContext(ctx, program, slices.Concat(r.Arguments, []string{Suite, "-"}, mirrors)...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.Itoa(epoch), "LC_ALL=C.UTF-8")
	// A kill would leave the half-made system behind; at SIGTERM mmdebstrap clears it away.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second

	rootfs, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	said := &progress{log: log}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	writeErr := compress(archive, rootfs)
	if writeErr != nil {
		_ = cmd.Cancel()
	}
	// mmdebstrap's own failure is the cause of a tar that ends early, so it goes first.
	if err := cmd.Wait(); err != nil && (writeErr == nil || errors.Is(writeErr, io.ErrUnexpectedEOF)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("run %s: %w; it said:\n%s", program, err, said.tail())
	}
	return writeErr
}

func compress(archive string, rootfs io.Reader) (err error) {
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	zip := gzip.NewWriter(f)
	if err := withoutDevices(zip, rootfs); err != nil {
		return err
	}
	return zip.Close()
}

// withoutDevices copies a tar without what is in /dev: every runtime brings that by itself, and device nodes cannot be unpacked
// everywhere.
func withoutDevices(to io.Writer, from io.Reader) error {
	in, out := tar.NewReader(from), tar.NewWriter(to)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the root file system: %w", err)
		}
		if strings.HasPrefix(path.Clean(header.Name), "dev/") {
			continue
		}
		if err := out.WriteHeader(header); err != nil {
			return fmt.Errorf("write %s: %w", header.Name, err)
		}
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("copy %s of the root file system: %w", header.Name, err)
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	// The padding behind the end of a tar: a writer with a full pipe would never end.
	_, err := io.Copy(io.Discard, from)
	return err
}

// progress passes mmdebstrap's headings on and keeps its last lines for an error.
type progress struct {
	log     func(string, ...any)
	pending []byte
	lines   []string
}

func (p *progress) Write(b []byte) (int, error) {
	p.pending = append(p.pending, b...)
	for {
		advance, line, _ := bufio.ScanLines(p.pending, false)
		if advance == 0 {
			return len(b), nil
		}
		p.add(string(line))
		p.pending = p.pending[advance:]
	}
}

func (p *progress) add(line string) {
	const kept = 20
	p.lines = append(p.lines, line)
	if len(p.lines) > kept {
		p.lines = p.lines[len(p.lines)-kept:]
	}
	if step, ok := strings.CutPrefix(line, "I: "); ok && strings.HasSuffix(step, "...") && !strings.Contains(step, "tempdir") {
		p.log("base image: %s", strings.TrimSuffix(step, "..."))
	}
}

func (p *progress) tail() string {
	return strings.Join(append(p.lines, string(p.pending)), "\n")
}

// mirrors returns the lines of sources.list that this machine itself has for the suite: a Debian machine behind a mirror of its
// own reaches nothing else. Without any, mmdebstrap takes Debian's public mirror.
func mirrors(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)",
		"Created-By: Packages").Output()
	if err != nil {
		return nil
	}
	return sources(string(out))
}

// sources makes lines of sources.list from lines of address, suite, component and origin, as far as they are Debian's own: others
// call their suites bookworm as well.
func sources(targets string) []string {
	var lines []string
	for target := range strings.Lines(targets) {
		fields := strings.Fields(target)
		suites := []string{Suite, Suite + "-updates", Suite + "-security"}
		if len(fields) != 4 || fields[3] != "Debian" || fields[2] != "main" || !slices.Contains(suites, fields[1]) {
			continue
		}
		if line := fmt.Sprintf("deb %s %s main", fields[0], fields[1]); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	// Updates alone are no Debian.
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(l, " "+Suite+" main") }) {
		return nil
	}
	return lines
}
