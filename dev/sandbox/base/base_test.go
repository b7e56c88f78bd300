package base

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func TestWithoutDevices(t *testing.T) {
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./dev/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Name: "./dev/fd", Typeflag: tar.TypeSymlink, Linkname: "/proc/self/fd"},
		{Name: "./usr/bin/ping", Typeflag: tar.TypeReg, Mode: 0o755, Size: 4, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
		{Name: "./etc/devices", Typeflag: tar.TypeReg, Mode: 0o644},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "ping"[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	in.Write(make([]byte, 10240)) // as GNU tar pads

	var out bytes.Buffer
	if err := withoutDevices(&out, &in); err != nil {
		t.Fatal(err)
	}
	if in.Len() != 0 {
		t.Errorf("%d bytes left unread: a writer with a full pipe would hang", in.Len())
	}
	var names []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name == "./usr/bin/ping" {
			body, err := io.ReadAll(r)
			if err != nil || string(body) != "ping" || h.Mode != 0o755 || h.PAXRecords["SCHILY.xattr.user.a"] != "b" {
				t.Errorf("%s came out as %q (%v), header %+v", h.Name, body, err, h)
			}
		}
	}
	if diff := cmp.Diff([]string{"./", "./dev/", "./usr/bin/ping", "./etc/devices"}, names); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestSources(t *testing.T) {
	for name, test := range map[string]struct {
		targets string
		want    []string
	}{
		"Debian machine": {
			targets: "http://deb.debian.org/debian/ bookworm main Debian\nhttp://deb.debian.org/debian/ bookworm main Debian\n" +
				"http://deb.debian.org/debian-security/ bookworm-security main Debian\n" +
				"http://deb.debian.org/debian/ bookworm contrib Debian\n",
			want: []string{
				"deb http://deb.debian.org/debian/ bookworm main",
				"deb http://deb.debian.org/debian-security/ bookworm-security main",
			},
		},
		"suite of the same name from elsewhere": {targets: "https://packages.example.com/debian/ bookworm main Example Inc.\n"},
		"origin unknown":                        {targets: "https://packages.example.com/debian/ bookworm main $(ORIGIN)\n"},
		"updates alone":                         {targets: "http://deb.debian.org/debian/ bookworm-updates main Debian\n"},
		"another release":                       {targets: "http://archive.ubuntu.com/ubuntu/ noble main Ubuntu\n"},
		"nothing":                               {},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, sources(test.targets)); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecipe(t *testing.T) {
	amd, err := newRecipe("amd64", nil)
	if err != nil {
		t.Fatal(err)
	}
	arm, err := newRecipe("arm64", nil)
	if err != nil {
		t.Fatal(err)
	}
	if amd.key() == arm.key() || !strings.HasPrefix(arm.key(), "bookworm-arm64-") {
		t.Errorf("keys %s and %s do not tell the architectures apart", amd.key(), arm.key())
	}
	changed := amd
	changed.Arguments = append([]string{"--variant=minbase"}, amd.Arguments...)
	if changed.key() == amd.key() {
		t.Error("another recipe has the same key: the cache would return the wrong image")
	}
	server, err := newRecipe("amd64", []string{"mariadb-server-core"})
	if err != nil {
		t.Fatal(err)
	}
	if server.key() == amd.key() {
		t.Error("other packages have the same key")
	}
	if _, err := newRecipe("riscv64", nil); err == nil {
		t.Error("riscv64 is accepted, for which there are no packages")
	}
}

// fakeMmdebstrap is a program that behaves like mmdebstrap: headings on standard error, a tar on standard output.
func fakeMmdebstrap(t *testing.T, script string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mmdebstrap")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBootstrap(t *testing.T) {
	content := t.TempDir()
	if err := os.WriteFile(filepath.Join(content, "debian_version"), []byte("12.11\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pack := "tar -C '" + content + "' -cf - ./debian_version\n"
	r := recipe{Architecture: runtime.GOARCH, Arguments: []string{"--format=tar"}}
	for name, test := range map[string]struct {
		script  string
		wantErr []string
	}{
		"works": {script: "echo 'I: creating tarball...' >&2\n" + pack},
		"fails": {script: "echo 'E: apt-get update failed: no route' >&2\nexit 25\n",
			wantErr: []string{"exit status 25", "no route"}},
		"fails at the end": {script: pack + "echo 'E: cannot unmount' >&2\nexit 1\n",
			wantErr: []string{"exit status 1", "cannot unmount"}},
		"writes half": {script: pack[:len(pack)-1] + " | head -c 515\n",
			wantErr: []string{"./debian_version of the root file system", "unexpected EOF"}},
	} {
		t.Run(name, func(t *testing.T) {
			var said []string
			log := func(format string, args ...any) { said = append(said, strings.TrimSpace(format)) }
			archive := filepath.Join(t.TempDir(), "rootfs.tar.gz")
			err := r.bootstrap(t.Context(), fakeMmdebstrap(t, test.script), nil, archive, log)
			if len(test.wantErr) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if len(said) != 1 {
					t.Errorf("progress %q, want the one heading", said)
				}
				checkImage(t, r, archive)
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range test.wantErr {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestBootstrapStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	program := fakeMmdebstrap(t, "echo 'I: running apt-get update...' >&2\nexec sleep 60\n")
	err := recipe{}.bootstrap(ctx, program, nil, filepath.Join(t.TempDir(), "rootfs.tar.gz"), func(string, ...any) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func checkImage(t *testing.T, r recipe, archive string) {
	t.Helper()
	first, err := r.image(archive)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.image(archive)
	if err != nil {
		t.Fatal(err)
	}
	a, err := first.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := second.Digest(); err != nil || a != b {
		t.Errorf("the same archive gave %s and %s (%v)", a, b, err)
	}
	config, err := first.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != r.Architecture {
		t.Errorf("image is for %s/%s", config.OS, config.Architecture)
	}
}

func TestLockExcludes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), name, func() { t.Error("waited for a lock that nobody has") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := lock(ctx, name, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("second lock: %v, want to wait until cancelled", err)
	}
	unlock()
	unlock, err = lock(t.Context(), name, func() { t.Error("waited for a lock that was given back") })
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestLayout makes the image for real when the machine can; the cache of the user saves it from doing so twice.
func TestLayout(t *testing.T) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("mmdebstrap needs root on Linux")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("mmdebstrap is not installed")
	}
	if testing.Short() {
		t.Skip("-short: making a base image takes half a minute")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := Layout(t.Context(), Options{CacheDir: filepath.Join(cache, "opennebula-kube"), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	image, err := Image(dir)
	if err != nil {
		t.Fatal(err)
	}
	rootfs := mutate.Extract(image)
	defer rootfs.Close()
	has := map[string]bool{}
	for r := tar.NewReader(rootfs); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		has[filepath.Clean("/"+h.Name)] = true
	}
	for name, want := range map[string]bool{
		"/usr/bin/apt-get": true, "/usr/bin/openssl": true, "/etc/ssl/certs/ca-certificates.crt": true, "/etc/debian_version": true,
		"/dev": true, "/dev/null": false, "/etc/resolv.conf": false, "/etc/hostname": false, "/etc/apt/sources.list": false,
	} {
		if has[name] != want {
			t.Errorf("%s in the image: %t, want %t", name, has[name], want)
		}
	}
	again, err := Layout(t.Context(), Options{
		CacheDir: filepath.Join(cache, "opennebula-kube"),
		Install:  func(context.Context) error { return errors.New("asked for mmdebstrap with the image there") },
	})
	if err != nil || again != dir {
		t.Errorf("second call: %s, %v, want %s", again, err, dir)
	}
}

func TestImageRejectsRuins(t *testing.T) {
	if _, err := Image(t.TempDir()); err == nil || !strings.Contains(err.Error(), "remove that directory") {
		t.Errorf("error %v does not say what to do", err)
	}
}
