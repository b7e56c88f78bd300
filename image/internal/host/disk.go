package host

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Disk is what changes files. All that start-up does to files is made of these, so that a test can cut it off at each. Paths are those
// of the machine, not of the container.
type Disk interface {
	// MakeDirectory makes a directory and those above it, as far as they are missing.
	MakeDirectory(path string, mode fs.FileMode) error
	// Write makes a new file, with a name after a pattern of os.CreateTemp, and returns its path, also that of a file that was begun and
	// not finished. It does not wait for the disk.
	Write(dir, pattern string, content io.Reader, mode fs.FileMode) (path string, err error)
	// Sync returns when the content of a file, or the names in a directory, are on the disk.
	Sync(path string) error
	// SyncAll does so for all of the file system that a path is on.
	SyncAll(path string) error
	Rename(from, to string) error
	Remove(path string) error
	Symlink(target, path string) error
	Chmod(path string, mode fs.FileMode) error
}

// systemDisk are the file systems that the process sees.
type systemDisk struct{}

var _ Disk = systemDisk{}

func (systemDisk) MakeDirectory(path string, mode fs.FileMode) error { return os.MkdirAll(path, mode) }
func (systemDisk) Rename(from, to string) error                      { return os.Rename(from, to) }
func (systemDisk) Remove(path string) error                          { return os.Remove(path) }
func (systemDisk) Symlink(target, path string) error                 { return os.Symlink(target, path) }
func (systemDisk) Chmod(path string, mode fs.FileMode) error         { return os.Chmod(path, mode) }

func (systemDisk) Write(dir, pattern string, content io.Reader, mode fs.FileMode) (string, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, content)
	return f.Name(), errors.Join(err, f.Chmod(mode), f.Close())
}

func (systemDisk) Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	// Some file systems have no such thing for directories.
	if info, statErr := f.Stat(); statErr == nil && info.IsDir() && errors.Is(err, unix.EINVAL) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

func (systemDisk) SyncAll(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
