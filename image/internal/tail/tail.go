// Package tail follows log files: what is appended to them is passed on, through rotation by copying and truncating as well as by renaming.
package tail

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Files are the files of a log.
type Files struct {
	pattern string
	writer  func() io.Writer
	files   map[string]*file
}

// Open begins to follow the files whose paths fit a pattern of filepath.Match; they may come later. What is in them already is left out:
// it is of an earlier run. writer makes what takes the lines of one file.
func Open(pattern string, writer func() io.Writer) (*Files, error) {
	f := &Files{pattern: pattern, writer: writer, files: make(map[string]*file)}
	return f, f.find((*file).openAtEnd)
}

// Follow copies what is appended until ctx is done and all is copied that was there then.
func (f *Files) Follow(ctx context.Context, interval time.Duration) error {
	defer f.close()
	for {
		done := ctx.Err() != nil
		if err := f.pass(); err != nil {
			return err
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

// pass copies what is new.
func (f *Files) pass() error {
	if err := f.find((*file).open); err != nil {
		return err
	}
	for _, file := range f.files {
		if err := file.pass(); err != nil {
			return err
		}
	}
	return nil
}

// find opens the files that it has not found before.
func (f *Files) find(open func(*file) error) error {
	paths, err := filepath.Glob(f.pattern)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if f.files[path] != nil {
			continue
		}
		found := &file{path: path, to: f.writer()}
		if err := open(found); errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		f.files[path] = found
	}
	return nil
}

func (f *Files) close() {
	for _, file := range f.files {
		_ = file.from.Close()
	}
}
