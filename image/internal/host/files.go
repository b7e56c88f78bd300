package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files are written under names of this form, and get their own name when they are whole. A power cut leaves them behind.
const (
	leftoverPrefix = "."
	leftoverSuffix = ".new"
)

// IsLeftover tells whether a file is one that was never finished.
func IsLeftover(path string) bool {
	name := filepath.Base(path)
	return strings.HasPrefix(name, leftoverPrefix) && strings.HasSuffix(name, leftoverSuffix)
}

// RemoveLeftovers removes the files of a directory that were never finished.
func (h *Host) RemoveLeftovers(dir string) error {
	entries, err := os.ReadDir(h.Path(dir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() || !IsLeftover(entry.Name()) {
			continue
		}
		if _, err := h.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Directory makes a directory, or gives the one that is there the mode and the owner.
func (h *Host) Directory(path string, mode fs.FileMode, owner Owner) error {
	at := h.Path(path)
	if err := h.Disk.MakeDirectory(at, mode); err != nil {
		return fmt.Errorf("make directory %s: %w", path, err)
	}
	return h.Attributes(path, mode, owner)
}

// Attributes gives a file or directory a mode and an owner.
func (h *Host) Attributes(path string, mode fs.FileMode, owner Owner) error {
	at := h.Path(path)
	info, err := os.Lstat(at)
	if err != nil {
		return err
	}
	// Only what differs is changed: on a read-only file system that is the difference between nothing and an error.
	if has, err := h.OwnerOf(at); err != nil {
		return err
	} else if has != owner {
		if err := h.Chown(at, owner); err != nil {
			return fmt.Errorf("give %s to user %d, it belongs to user %d: %w", path, owner.UID, has.UID, err)
		}
	}
	if info.Mode().Perm() != mode {
		if err := h.Disk.Chmod(at, mode); err != nil {
			return fmt.Errorf("set the mode of %s: %w", path, err)
		}
	}
	return nil
}

// WriteFile replaces a file in one step, so that a start that is cut off leaves the old content or the new, and returns when the new is
// on the disk: what is done next may be elsewhere, such as on a database server, and must not be known there and forgotten here. A file
// that has the content already is left alone.
func (h *Host) WriteFile(path string, content []byte, mode fs.FileMode, owner Owner) error {
	at := h.Path(path)
	// A link is replaced: what it leads to may be anybody's, and it was not this that put it there.
	if info, err := os.Lstat(at); err == nil && info.Mode().IsRegular() {
		if has, err := os.ReadFile(at); err == nil && bytes.Equal(has, content) {
			return h.Attributes(path, mode, owner)
		}
	}
	if err := h.replace(at, bytes.NewReader(content), mode, owner, true); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// replace writes a file. One that is not to wait for the disk may be empty after a power cut.
func (h *Host) replace(at string, content io.Reader, mode fs.FileMode, owner Owner, wait bool) (err error) {
	temporary, err := h.Disk.Write(filepath.Dir(at), leftoverPrefix+filepath.Base(at)+".*"+leftoverSuffix, content, mode)
	defer func() {
		if err != nil && temporary != "" {
			_ = h.Disk.Remove(temporary)
		}
	}()
	if err != nil {
		return err
	}
	if wait {
		if err := h.Disk.Sync(temporary); err != nil {
			return err
		}
	}
	if err := h.Chown(temporary, owner); err != nil {
		return err
	}
	if !wait {
		return h.Disk.Rename(temporary, at)
	}
	return h.rename(temporary, at)
}

// Rename gives a file that a program has written another name, in one step and when its content is on the disk.
func (h *Host) Rename(from, to string) error {
	if err := h.Disk.Sync(h.Path(from)); err != nil {
		return err
	}
	return h.rename(h.Path(from), h.Path(to))
}

func (h *Host) rename(from, to string) error {
	if err := h.Disk.Rename(from, to); err != nil {
		return err
	}
	return h.Disk.Sync(filepath.Dir(to))
}

// ReadFile reads a file. One that is missing is nil and no error.
func (h *Host) ReadFile(path string) ([]byte, error) {
	content, err := os.ReadFile(h.Path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// Remove removes a file or an empty directory, for good, and tells whether there was one.
func (h *Host) Remove(path string) (bool, error) {
	err := h.Disk.Remove(h.Path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, h.Disk.Sync(filepath.Dir(h.Path(path)))
}

// Edit changes the content of a file and keeps its mode and owner.
func (h *Host) Edit(path string, edit func(content []byte) ([]byte, error)) error {
	content, err := os.ReadFile(h.Path(path))
	if err != nil {
		return err
	}
	edited, err := edit(content)
	if err != nil || bytes.Equal(content, edited) {
		return err
	}
	info, err := os.Stat(h.Path(path))
	if err != nil {
		return err
	}
	owner, err := h.OwnerOf(h.Path(path))
	if err != nil {
		return err
	}
	return h.WriteFile(path, edited, info.Mode().Perm(), owner)
}

// Copy copies a file, a link, or a directory without what is in it, with its mode, in one step, to a place in a directory that may have to
// be made.
func (h *Host) Copy(from, to string, owner Owner) error { return h.copy(from, to, owner, true) }

// CopyLazily is Copy that does not wait for the disk, which would take seconds with many files: Flush does, once for all.
func (h *Host) CopyLazily(from, to string, owner Owner) error { return h.copy(from, to, owner, false) }

func (h *Host) copy(from, to string, owner Owner, wait bool) error {
	info, err := os.Lstat(h.Path(from))
	if err != nil {
		return err
	}
	if err := h.parents(filepath.Dir(to), owner); err != nil {
		return err
	}
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		return h.copyLink(from, to, owner)
	case fs.ModeDir:
		if has, err := os.Lstat(h.Path(to)); err == nil && has.IsDir() {
			return h.Attributes(to, info.Mode().Perm(), owner)
		}
		return h.newDirectory(to, info.Mode().Perm(), owner, wait)
	case 0:
		return h.copyContent(from, to, info.Mode().Perm(), owner, wait)
	}
	return fmt.Errorf("copy %s: it is not a file, a directory or a link, but %v", from, info.Mode())
}

// CopyContent replaces a file by a copy of another one, in one step.
func (h *Host) CopyContent(from, to string, mode fs.FileMode, owner Owner) error {
	return h.copyContent(from, to, mode, owner, true)
}

func (h *Host) copyContent(from, to string, mode fs.FileMode, owner Owner, wait bool) error {
	source, err := os.Open(h.Path(from))
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	if err := h.replace(h.Path(to), source, mode, owner, wait); err != nil {
		return fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return nil
}

// Flush waits until all that was written to the file system of a directory is on the disk.
func (h *Host) Flush(dir string) error { return h.Disk.SyncAll(h.Path(dir)) }

func (h *Host) copyLink(from, to string, owner Owner) error {
	target, err := os.Readlink(h.Path(from))
	if err != nil {
		return err
	}
	if has, err := os.Readlink(h.Path(to)); err == nil && has == target {
		return nil
	}
	part := h.Path(filepath.Join(filepath.Dir(to), leftoverPrefix+filepath.Base(to)+leftoverSuffix))
	if err := h.Disk.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := h.Disk.Symlink(target, part); err != nil {
		return err
	}
	if err := h.Chown(part, owner); err != nil {
		return err
	}
	return h.rename(part, h.Path(to))
}

// parents makes the directories of a path that are missing: each has its name only when it has its owner.
func (h *Host) parents(dir string, owner Owner) error {
	at := h.Path(dir)
	if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := h.parents(filepath.Dir(dir), owner); err != nil {
		return err
	}
	return h.newDirectory(dir, 0o755, owner, true)
}

// newDirectory makes a directory that has its name only when it has its mode and its owner.
func (h *Host) newDirectory(path string, mode fs.FileMode, owner Owner, wait bool) error {
	part := filepath.Join(filepath.Dir(path), leftoverPrefix+filepath.Base(path)+leftoverSuffix)
	if info, err := os.Lstat(h.Path(part)); err == nil && !info.IsDir() {
		if err := h.Disk.Remove(h.Path(part)); err != nil {
			return err
		}
	}
	if err := h.Directory(part, mode, owner); err != nil {
		return err
	}
	if !wait {
		return h.Disk.Rename(h.Path(part), h.Path(path))
	}
	return h.rename(h.Path(part), h.Path(path))
}
