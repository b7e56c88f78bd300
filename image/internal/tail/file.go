package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

const (
	// rotatedSuffix is what logrotate adds to the name of a log for the copy that it makes before it truncates the log.
	rotatedSuffix = ".1"
	// remembered is how much of what was read last is compared: some lines, for they begin with the time and may end alike.
	remembered = 4096
)

// file is a file that is followed.
type file struct {
	path string
	to   io.Writer
	from *os.File
	// at is how far it has been read, last what is before that. A file that does not have that there any more has been truncated,
	// however much has been written to it since. Only one that was empty at the last look could be filled and rotated before the next
	// without being noticed; logs are rotated for their size, or their age.
	at   int64
	last lastBytes
}

// open opens the file at its beginning.
func (f *file) open() error {
	from, err := os.Open(f.path)
	f.from, f.at, f.last = from, 0, nil
	return err
}

func (f *file) openAtEnd() error {
	if err := f.open(); err != nil {
		return err
	}
	end, err := f.from.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	f.at, f.last = end, make([]byte, min(end, remembered))
	_, err = f.from.ReadAt(f.last, end-int64(len(f.last)))
	return err
}

// pass copies what is new, and goes on to the next file when another one has taken its place.
func (f *file) pass() error {
	if err := f.copyNew(); err != nil {
		return err
	}
	now, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	has, err := f.from.Stat()
	if err != nil {
		return err
	}
	// Who writes goes on in the old file until it opens the new one, which shows when that has something in it.
	if os.SameFile(has, now) || now.Size() == 0 {
		return nil
	}
	if err := f.copyNew(); err != nil {
		return err
	}
	if err := errors.Join(f.from.Close(), f.open()); err != nil {
		return err
	}
	return f.copyNew()
}

// copyNew copies what has been appended, before and after the file was truncated.
func (f *file) copyNew() error {
	same, err := f.hasLast(f.from)
	if err != nil {
		return err
	}
	if !same {
		if err := f.copyRotated(); err != nil {
			return err
		}
		if _, err := f.from.Seek(0, io.SeekStart); err != nil {
			return err
		}
		f.at, f.last = 0, nil
	}
	return f.copyFrom(f.from)
}

// copyRotated copies what was written between the last pass and the truncation: the copy that was made then has it.
func (f *file) copyRotated() error {
	rotated, err := os.Open(f.path + rotatedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = rotated.Close() }()
	// Otherwise it is of an earlier rotation.
	if same, err := f.hasLast(rotated); err != nil || !same {
		return err
	}
	if _, err := rotated.Seek(f.at, io.SeekStart); err != nil {
		return err
	}
	return f.copyFrom(rotated)
}

// hasLast tells whether a file has what was read last in the same place.
func (f *file) hasLast(in *os.File) (bool, error) {
	there := make([]byte, len(f.last))
	_, err := in.ReadAt(there, f.at-int64(len(there)))
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return bytes.Equal(there, f.last), err
}

func (f *file) copyFrom(from io.Reader) error {
	n, err := io.Copy(io.MultiWriter(f.to, &f.last), from)
	f.at += n
	if err != nil {
		return fmt.Errorf("follow %s: %w", f.path, err)
	}
	return nil
}

// lastBytes keeps the end of what is written to it.
type lastBytes []byte

func (l *lastBytes) Write(p []byte) (int, error) {
	*l = append(*l, p[max(0, len(p)-remembered):]...)
	*l = bytes.Clone((*l)[max(0, len(*l)-remembered):])
	return len(p), nil
}
