package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"opennebula-kube/image/internal/host"
)

// directory is a store on a volume.
type directory struct {
	host *host.Host
	path string
}

func (d *directory) String() string { return d.path }

func (d *directory) file(name string) string { return d.host.Path(filepath.Join(d.path, name)) }

// check refuses what is not a directory. A missing one is not made: it would be where a volume has not been mounted, and gone with the container.
func (d *directory) check() error {
	switch info, err := os.Stat(d.host.Path(d.path)); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist in this container: mount the volume for backups there, or name a directory that exists", d.path)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is a file, not a directory: name the directory that backups are in", d.path)
	}
	return nil
}

// abandoned is when a backup that is not whole is nobody's work any more.
const abandoned = 24 * time.Hour

func (d *directory) Save(_ context.Context, name string, write func(io.Writer) error) (err error) {
	if err := d.removeAbandoned(); err != nil {
		return err
	}
	if err := d.check(); err != nil {
		return err
	}
	part, err := os.CreateTemp(d.host.Path(d.path), "."+name+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(part.Name())
		}
	}()
	if err := errors.Join(write(part), part.Sync(), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), d.file(name))
}

func (d *directory) removeAbandoned() error {
	parts, err := filepath.Glob(d.file(".opennebula-*.part"))
	if err != nil {
		return err
	}
	for _, part := range parts {
		info, err := os.Stat(part)
		if err != nil || d.host.Now().Sub(info.ModTime()) < abandoned {
			continue
		}
		if err := os.Remove(part); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) Names(context.Context) ([]string, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	// Sorted by name, which is by date.
	entries, err := os.ReadDir(d.host.Path(d.path))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if namePattern.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

func (d *directory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	file, err := os.Open(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s in %s", name, d)
	}
	return file, err
}

func (d *directory) Remove(_ context.Context, name string) error { return os.Remove(d.file(name)) }
