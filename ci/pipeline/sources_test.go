package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"opennebula-kube/ci/pipeline"
)

// sources writes an image's sources.
func sources(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range map[string]string{
		"Dockerfile":             "FROM scratch\n",
		".dockerignore":          "*\n!cmd\n!rootfs\n!bin\n**/*_test.go\n",
		"cmd/main.go":            "package main\n",
		"cmd/main_test.go":       "package main\n",
		"rootfs/etc/conf.d/file": "a\n",
		"README.md":              "# Image\n",
		"exceptions.yaml":        "exceptions: []\n",
	} {
		put(t, filepath.Join(dir, name), content)
	}
	if err := os.Symlink("file", filepath.Join(dir, "rootfs/etc/conf.d/link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSourcesDigest(t *testing.T) {
	digest := func(dir string) string {
		t.Helper()
		digest, err := pipeline.SourcesDigest(dir)
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	was := digest(sources(t))
	if !strings.HasPrefix(was, "sha256:") || len(was) != len("sha256:")+64 {
		t.Errorf("digest %q", was)
	}
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string)
		same   bool
	}{
		"nothing":    {func(*testing.T, string) {}, true},
		"document":   {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "README.md"), "# Other\n") }, true},
		"exceptions": {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "exceptions.yaml"), "") }, true},
		"test":       {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "cmd/main_test.go"), "") }, true},
		"compiled":   {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "bin/amd64/one-container"), "program") }, true},
		"mode": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "cmd/main.go"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, true},
		"Dockerfile": {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "Dockerfile"), "FROM other\n") }, false},
		"program":    {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "cmd/main.go"), "package other\n") }, false},
		"new file":   {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "rootfs/new"), "") }, false},
		"file moved": {func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, "rootfs/etc/conf.d/file"), filepath.Join(dir, "rootfs/etc/file")); err != nil {
				t.Fatal(err)
			}
		}, false},
		"link": {func(t *testing.T, dir string) {
			link := filepath.Join(dir, "rootfs/etc/conf.d/link")
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
			put(t, link, "file")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sources(t)
			test.change(t, dir)
			if now := digest(dir); (now == was) != test.same {
				t.Errorf("digest %s, was %s: want the same: %v", now, was, test.same)
			}
		})
	}
}

func TestSourcesDigestFails(t *testing.T) {
	if _, err := pipeline.SourcesDigest(filepath.Join(t.TempDir(), "absent")); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a directory that is not there: %v", err)
	}
	dir := sources(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "rootfs/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.SourcesDigest(dir); err == nil || !strings.Contains(err.Error(), "rootfs/pipe is neither a file nor a symbolic link") {
		t.Errorf("a pipe: %v", err)
	}
}
