package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Directory makes a directory, or gives the one that is there the mode and the owner.
func (h *Host) Directory(path string, mode fs.FileMode, owner Owner) error {
	at := h.Path(path)
	if err := os.MkdirAll(at, mode); err != nil {
		return fmt.Errorf("make directory %s: %w", path, err)
	}
	return h.attributes(path, mode, owner)
}

func (h *Host) attributes(path string, mode fs.FileMode, owner Owner) error {
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
		if err := os.Chmod(at, mode); err != nil {
			return fmt.Errorf("set the mode of %s: %w", path, err)
		}
	}
	return nil
}

// WriteFile replaces a file in one step, so that a start that is cut off leaves the old content or the new. A file that has the
// content already is left alone.
func (h *Host) WriteFile(path string, content []byte, mode fs.FileMode, owner Owner) error {
	at := h.Path(path)
	if has, err := os.ReadFile(at); err == nil && bytes.Equal(has, content) {
		return h.attributes(path, mode, owner)
	}
	if err := h.replace(at, content, mode, owner); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (h *Host) replace(at string, content []byte, mode fs.FileMode, owner Owner) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(at), "."+filepath.Base(at)+".*.new")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary.Name())
		}
	}()
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := h.Chown(temporary.Name(), owner); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), at)
}

// ReadFile reads a file. One that is missing is nil and no error.
func (h *Host) ReadFile(path string) ([]byte, error) {
	content, err := os.ReadFile(h.Path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// Remove removes a file and tells whether there was one.
func (h *Host) Remove(path string) (bool, error) {
	err := os.Remove(h.Path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
