package startup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"opennebula-kube/image/internal/host"
)

// disk is a real one that loses power: what it has not been told to wait for may be lost then.
type disk struct {
	host.Disk
	machine *machine
	// unsynced are the files whose content is in memory only, by inode.
	unsynced map[uint64]bool
	// names are what undoes changes of names that are in memory only, in the order of the changes.
	names []change
	// kept has what names were taken from.
	kept  string
	saved int
}

type change struct {
	dir  string
	undo func() error
}

var _ host.Disk = (*disk)(nil)

func newDisk(m *machine, under host.Disk) *disk {
	return &disk{Disk: under, machine: m, unsynced: make(map[uint64]bool), kept: m.t.TempDir()}
}

// loss is what a power cut takes along.
type loss string

const (
	// nothing is what a kill takes.
	nothing loss = "nothing"
	// contents are those of new files, names are new names and removals: file systems differ in what they write first.
	contents loss = "contents"
	names    loss = "names"
)

// losses are those that there would be now.
func (d *disk) losses() []loss {
	all := []loss{nothing}
	if len(d.unsynced) > 0 {
		all = append(all, contents)
	}
	if len(d.names) > 0 {
		all = append(all, names)
	}
	return all
}

// lose loses what is in memory only.
func (d *disk) lose(what loss) error {
	var errs []error
	switch what {
	case names:
		for i := len(d.names) - 1; i >= 0; i-- {
			errs = append(errs, d.names[i].undo())
		}
	case contents:
		errs = append(errs, filepath.WalkDir(d.machine.host.Root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			if inode, err := inodeOf(path); err != nil || !d.unsynced[inode] {
				return err
			}
			return os.Truncate(path, 0)
		}))
	case nothing:
	}
	d.names, d.unsynced = nil, make(map[uint64]bool)
	return errors.Join(errs...)
}

func (d *disk) MakeDirectory(path string, mode fs.FileMode) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if d.machine.isCut(true) {
		return errCut
	}
	err := d.Disk.MakeDirectory(path, mode)
	if inode, inodeErr := inodeOf(path); inodeErr == nil {
		d.machine.owners[inode] = host.Owner{}
	}
	return err
}

func (d *disk) Write(dir, pattern string, content io.Reader, mode fs.FileMode) (string, error) {
	if d.machine.isCut(true) {
		return "", errCut
	}
	var cut error
	if d.machine.isCut(true) {
		all, err := io.ReadAll(content)
		if err != nil {
			return "", err
		}
		content, cut = bytes.NewReader(all[:len(all)/2]), errCut
	}
	path, err := d.Disk.Write(dir, pattern, content, mode)
	d.machine.wrote(host.Owner{}, path)
	return path, errors.Join(err, cut)
}

func (d *disk) Sync(path string) error {
	if d.machine.isCut(false) {
		return errCut
	}
	inode, err := inodeOf(path)
	if err != nil {
		return err
	}
	delete(d.unsynced, inode)
	var rest []change
	for _, c := range d.names {
		if c.dir != path {
			rest = append(rest, c)
		}
	}
	d.names = rest
	// The real thing would take its time.
	return nil
}

func (d *disk) SyncAll(string) error {
	if d.machine.isCut(false) {
		return errCut
	}
	d.names, d.unsynced = nil, make(map[uint64]bool)
	return nil
}

func (d *disk) Rename(from, to string) error {
	if d.machine.isCut(true) {
		return errCut
	}
	restore, err := d.save(to)
	if err != nil {
		return err
	}
	d.names = append(d.names, change{filepath.Dir(to), func() error { return errors.Join(os.Rename(to, from), restore()) }})
	return d.Disk.Rename(from, to)
}

func (d *disk) Remove(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	if d.machine.isCut(true) {
		return errCut
	}
	restore, err := d.save(path)
	if err != nil {
		return err
	}
	if err := d.Disk.Remove(path); err != nil {
		return err
	}
	d.names = append(d.names, change{filepath.Dir(path), restore})
	return nil
}

func (d *disk) Symlink(target, path string) error {
	if d.machine.isCut(true) {
		return errCut
	}
	return d.Disk.Symlink(target, path)
}

func (d *disk) Chmod(path string, mode fs.FileMode) error {
	if d.machine.isCut(true) {
		return errCut
	}
	return d.Disk.Chmod(path, mode)
}

// save keeps what has a name and returns what gives it the name again.
func (d *disk) save(path string) (restore func() error, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return func() error { return nil }, nil //nolint:nilerr // there is nothing to keep
	}
	if info.IsDir() {
		owner := d.machine.owner(path)
		return func() error {
			if err := errors.Join(os.Mkdir(path, info.Mode().Perm()), os.Chmod(path, info.Mode().Perm())); err != nil {
				return err
			}
			inode, err := inodeOf(path)
			d.machine.owners[inode] = owner
			return err
		}, nil
	}
	d.saved++
	kept := filepath.Join(d.kept, fmt.Sprint(d.saved))
	return func() error { return os.Rename(kept, path) }, os.Link(path, kept)
}
