// Package tail follows log files: what is appended to them is passed on, through rotation by copying and truncating as well as by renaming.
package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Follow copies to w what is appended to a file, until ctx is done and all is copied that was there then. What the file has in it at the
// beginning is left out: it is of an earlier run. A file that does not exist is waited for.
func Follow(ctx context.Context, path string, w io.Writer, interval time.Duration) error {
	f := &follower{path: path, to: w}
	if info, err := os.Stat(path); err == nil {
		if err := f.open(info.Size()); err != nil {
			return err
		}
	}
	defer func() { _ = f.close() }()
	for {
		done := ctx.Err() != nil
		if err := f.pass(); err != nil {
			return fmt.Errorf("follow %s: %w", path, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(interval):
		}
	}
}

type follower struct {
	path string
	to   io.Writer
	file *os.File
	at   int64
}

func (f *follower) open(at int64) error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	f.file, f.at = file, at
	_, err = file.Seek(at, io.SeekStart)
	return err
}

func (f *follower) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// pass copies what is new, and goes on to the next file when another one has taken its place.
func (f *follower) pass() error {
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
	if f.file != nil {
		has, err := f.file.Stat()
		if err != nil {
			return err
		}
		if os.SameFile(has, now) {
			return nil
		}
		if err := f.close(); err != nil {
			return err
		}
	}
	if err := f.open(0); err != nil {
		return err
	}
	return f.copyNew()
}

func (f *follower) copyNew() error {
	if f.file == nil {
		return nil
	}
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < f.at {
		if _, err := f.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		f.at = 0
	}
	n, err := io.Copy(f.to, f.file)
	f.at += n
	return err
}
