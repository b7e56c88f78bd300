package host_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"opennebula-kube/image/internal/host"
)

func TestWriteFile(t *testing.T) {
	h := system(t)
	for range 2 {
		if err := h.WriteFile("/file", []byte("new"), 0o640, own(t)); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(h.Root, "file"))
		if string(content) != "new" || err != nil {
			t.Errorf("content %q, %v, want new", content, err)
		}
		info, err := os.Stat(filepath.Join(h.Root, "file"))
		if err != nil || info.Mode() != 0o640 {
			t.Errorf("mode %v, %v, want 0640", info.Mode(), err)
		}
	}
}

func TestWriteFileLeavesOldContent(t *testing.T) {
	h := system(t)
	if err := h.WriteFile("/file", []byte("old"), 0o600, own(t)); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	h.Chown = func(string, host.Owner) error { return refused }
	err := h.WriteFile("/file", []byte("new"), 0o600, own(t))
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), "/file") {
		t.Errorf("error %v, want one about /file", err)
	}
	if content, err := h.ReadFile("/file"); string(content) != "old" || err != nil {
		t.Errorf("content %q, %v, want old", content, err)
	}
	if names, err := os.ReadDir(h.Root); len(names) != 1 || err != nil {
		t.Errorf("%v, %v left, want the file alone", names, err)
	}
}

func TestWriteFileReplacesLinks(t *testing.T) {
	h := system(t)
	if err := h.WriteFile("/elsewhere", []byte("same"), 0o600, own(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", h.Path("/file")); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteFile("/file", []byte("same"), 0o644, own(t)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(h.Path("/file")); err != nil || info.Mode() != 0o644 {
		t.Errorf("/file is %v, %v, want a file", info.Mode(), err)
	}
	if info, err := os.Lstat(h.Path("/elsewhere")); err != nil || info.Mode() != 0o600 {
		t.Errorf("/elsewhere is %v, %v, want it as it was", info.Mode(), err)
	}
}

func TestEdit(t *testing.T) {
	h := system(t)
	if err := h.WriteFile("/file", []byte("a"), 0o640, own(t)); err != nil {
		t.Fatal(err)
	}
	edit := func(content []byte) ([]byte, error) { return append(content, 'b'), nil }
	if err := h.Edit("/file", edit); err != nil {
		t.Fatal(err)
	}
	content, err := h.ReadFile("/file")
	info, statErr := os.Stat(h.Path("/file"))
	if string(content) != "ab" || err != nil || statErr != nil || info.Mode() != 0o640 {
		t.Errorf("content %q, %v, mode %v, %v, want ab and 0640", content, err, info.Mode(), statErr)
	}
	refused := errors.New("refused")
	if err := h.Edit("/file", func([]byte) ([]byte, error) { return []byte("c"), refused }); !errors.Is(err, refused) {
		t.Errorf("error %v, want %v", err, refused)
	}
	if content, _ := h.ReadFile("/file"); string(content) != "ab" {
		t.Errorf("content after an error %q", content)
	}
	if err := h.Edit("/none", edit); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that there is no file", err)
	}
}

func TestCopy(t *testing.T) {
	h := system(t)
	if err := h.WriteFile("/from/file", nil, 0o600, own(t)); err == nil {
		t.Error("WriteFile made a directory")
	}
	if err := h.Directory("/from", 0o755, own(t)); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteFile("/from/file", []byte("x"), 0o755, own(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", h.Path("/from/link")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, name := range []string{"file", "link"} {
			if err := h.Copy("/from/"+name, "/to/the/"+name, own(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if info, err := os.Lstat(h.Path("/to/the/file")); err != nil || info.Mode() != 0o755 {
		t.Errorf("the file is %v, %v, want 0755", info.Mode(), err)
	}
	if target, err := os.Readlink(h.Path("/to/the/link")); target != "file" || err != nil {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if err := h.Flush("/to"); err != nil {
		t.Error(err)
	}
}

// TestCopyDirectory copies one without what is in it, also where somebody has put a link under the name that it has before it is complete.
func TestCopyDirectory(t *testing.T) {
	h := system(t)
	for _, dir := range []string{"/from", "/elsewhere"} {
		if err := os.Mkdir(h.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.WriteFile(h.Path("/from/file"), nil, 0o600), os.Chmod(h.Path("/from"), 0o710), os.Symlink("elsewhere", h.Path("/.to.new")),
	); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.CopyLazily("/from", "/to", own(t)); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{"/to": fs.ModeDir | 0o710, "/elsewhere": fs.ModeDir | 0o755} {
			if info, err := os.Lstat(h.Path(path)); err != nil || info.Mode() != want {
				t.Errorf("%s has mode %v, %v, want %v", path, info.Mode(), err, want)
			}
		}
		if left, err := os.ReadDir(h.Path("/to")); len(left) > 0 || err != nil {
			t.Errorf("copied with it: %v, %v", left, err)
		}
		// One that is there gets the mode.
		if err := os.Chmod(h.Path("/to"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopySpecialFile(t *testing.T) {
	h := system(t)
	if err := syscall.Mkfifo(h.Path("/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Copy("/pipe", "/to", own(t)); err == nil || !strings.Contains(err.Error(), "/pipe: it is not a file") {
		t.Errorf("error %v, want that it is not a file", err)
	}
}

func TestDirectory(t *testing.T) {
	h := system(t)
	for _, mode := range []fs.FileMode{0o755, 0o700} {
		if err := h.Directory("/a/b", mode, own(t)); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(h.Path("/a/b")); err != nil || info.Mode() != fs.ModeDir|mode {
			t.Errorf("mode %v, %v, want %v", info.Mode(), err, mode)
		}
	}
	foreign := own(t)
	foreign.UID++
	h.Chown = func(string, host.Owner) error { return fs.ErrPermission }
	if err := h.Directory("/a/b", 0o700, foreign); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "/a/b") {
		t.Errorf("error %v, want one about /a/b", err)
	}
}

func TestReadAndRemoveWhatIsMissing(t *testing.T) {
	h := system(t)
	if content, err := h.ReadFile("/none"); content != nil || err != nil {
		t.Errorf("ReadFile = %q, %v, want nothing", content, err)
	}
	if removed, err := h.Remove("/none"); removed || err != nil {
		t.Errorf("Remove = %v, %v, want false", removed, err)
	}
}

func TestRun(t *testing.T) {
	t.Setenv("SECRET", "in the environment")
	h := system(t)
	out, err := h.Run(t.Context(), host.Command{
		Args: []string{"sh", "-c", `cat; echo "$A${SECRET-none}"; echo noise >&2`}, Env: []string{"A=b"}, Stdin: strings.NewReader("in "), As: as(t),
	})
	if out != "in bnone\n" || err != nil {
		t.Errorf("Run = %q, %v", out, err)
	}
	_, err = h.Run(t.Context(), host.Command{Args: []string{"sh", "-c", "echo first; echo why >&2; exit 3"}})
	exit, ok := errors.AsType[*host.ExitError](err)
	if !ok || exit.Status != 3 || !strings.Contains(err.Error(), "why") || !strings.Contains(err.Error(), "first") {
		t.Errorf("error %v, want status 3 and what was printed", err)
	}
	if _, err := h.Run(t.Context(), host.Command{Args: []string{"/no/such"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that the program is missing", err)
	}
}

func TestSleepEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := system(t).Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func system(t *testing.T) *host.Host {
	t.Helper()
	h := host.System(t.Logf)
	h.Root = t.TempDir()
	return h
}

func own(t *testing.T) host.Owner {
	t.Helper()
	return host.Owner{UID: os.Getuid(), GID: os.Getgid()}
}

// as is a user that programs can run as: only root can choose.
func as(t *testing.T) host.Owner {
	t.Helper()
	if os.Getuid() == 0 {
		return host.Oneadmin()
	}
	return host.Owner{}
}
