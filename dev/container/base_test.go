package container_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// tmpfiles is systemd-tmpfiles as far as OpenNebula's package needs it. It notes that it was called.
const tmpfiles = `#!/bin/sh
set -e
echo "$@" >> /var/log/tmpfiles
while read -r type path mode user group rest; do
    mkdir "$path"
    chmod "$mode" "$path"
    chown "$user:$group" "$path"
done < "$2"
`

// TestBases builds the image on a base without systemd-tmpfiles and /run/lock, and on one with that program: what the package's script needs is
// there either way, and nothing of it is left that the base has not.
func TestBases(t *testing.T) {
	built := newImages(t)
	const program = "/usr/bin/systemd-tmpfiles"
	for _, c := range []struct {
		name  string
		layer []tar.Header
		want  string
	}{
		{"without", []tar.Header{{Name: "run/.wh.lock", Typeflag: tar.TypeReg}}, ""},
		{"with", []tar.Header{{Name: program[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(tmpfiles))}}, tmpfiles},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := built.spec(middle, "linux/"+runtime.GOARCH)
			spec.BaseImage = built.derivedBase(t, c.name, c.layer, tmpfiles)
			_, tag := built.publishAs(t, spec, "base-"+c.name)
			rootfs := unpack(t, built.pull(t, tag), filepath.Join(built.dir, c.name)).rootfs
			if got := contentOf(t, rootfs+program); got != c.want {
				t.Errorf("%s is %q, want what the base has: %q", program, got, c.want)
			}
			called := contentOf(t, rootfs+"/var/log/tmpfiles")
			if got := strings.Count(called, "--create /usr/lib/tmpfiles.d/opennebula-common.conf"); got != strings.Count(c.want, "set -e") {
				t.Errorf("the base's program was called with %q", called)
			}
			if left, err := os.ReadDir(rootfs + "/tmp"); len(left) > 0 || err != nil {
				t.Errorf("left in /tmp: %v, %v", left, err)
			}
			for path, want := range map[string]struct {
				mode  fs.FileMode
				owner uint32
			}{
				"/run/lock": {fs.ModeDir | fs.ModeSticky | 0o777, 0}, "/run/lock/one": {fs.ModeDir | 0o755, 9869}, "/run/one": {fs.ModeDir | 0o750, 9869},
			} {
				info, err := os.Lstat(rootfs + path)
				if err != nil {
					t.Error(err)
					continue
				}
				if stat, ok := info.Sys().(*syscall.Stat_t); !ok || info.Mode() != want.mode || stat.Uid != want.owner {
					t.Errorf("%s has mode %v and owner %d, want %v and %d", path, info.Mode(), stat.Uid, want.mode, want.owner)
				}
			}
		})
	}
}

// contentOf reads a file; one that is missing is empty.
func contentOf(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(content)
}

// derivedBase publishes the base image with one more layer, of entries that have the content as far as they have a size.
func (i *images) derivedBase(t *testing.T, tag string, entries []tar.Header, content string) string {
	t.Helper()
	var layer bytes.Buffer
	files := tar.NewWriter(&layer)
	for _, header := range entries {
		if err := files.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(files, content[:header.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	top, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	derived, err := mutate.AppendLayers(i.pull(t, i.world.BaseImage), top)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(i.world.Registry + "/base:" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, derived, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	digest, err := derived.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Digest(digest.String()).String()
}
