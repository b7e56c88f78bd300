// Package kept keeps directories that are expensive to make, such as images and vulnerability databases, from one run to the next.
// Several processes may share them.
package kept

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// minimumAge is how long everything stays after it was last used: another process may be at it.
const minimumAge = 2 * time.Hour

// stagePrefix begins the name of a directory that is not whole yet.
const stagePrefix = ".stage-"

// Directories are directories named after the digest of what they hold.
type Directories struct {
	// Dir has them all.
	Dir string
	// Count is how many stay, however old they are.
	Count int
	// Now is the clock.
	Now func() time.Time
}

// Stage makes a directory that is not whole yet. Commit takes it; else the caller removes it. What a killed process left goes later.
func (d Directories) Stage() (string, error) {
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return "", err
	}
	if err := d.prune(); err != nil {
		return "", fmt.Errorf("remove what is no longer used from %s: %w", d.Dir, err)
	}
	return os.MkdirTemp(d.Dir, stagePrefix)
}

// Find returns the directory of a digest, if there is one, and notes that it is in use.
func (d Directories) Find(digest string) (dir string, ok bool) {
	dir = filepath.Join(d.Dir, strings.ReplaceAll(digest, ":", "-"))
	now := d.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return "", false
	}
	return dir, true
}

// Commit makes a staged directory that of a digest, and returns where it is then. Of two for the same digest the first one stays.
func (d Directories) Commit(stage, digest string) (string, error) {
	if dir, ok := d.Find(digest); ok {
		return dir, os.RemoveAll(stage)
	}
	if err := os.Chmod(stage, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(d.Dir, strings.ReplaceAll(digest, ":", "-"))
	if err := os.Rename(stage, dir); err != nil {
		if _, ok := d.Find(digest); !ok {
			return "", err
		}
		return dir, os.RemoveAll(stage)
	}
	return dir, nil
}

// prune removes what was used longest ago: all but Count directories, none of which was used a short while ago.
func (d Directories) prune() error {
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return err
	}
	type aged struct {
		path string
		used time.Time
	}
	var whole, removable []aged
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // another process removed it
		} else if err != nil {
			return err
		}
		one := aged{filepath.Join(d.Dir, entry.Name()), info.ModTime()}
		if strings.HasPrefix(entry.Name(), stagePrefix) {
			removable = append(removable, one) // left by a process that was killed
		} else {
			whole = append(whole, one)
		}
	}
	slices.SortFunc(whole, func(a, b aged) int { return b.used.Compare(a.used) })
	if len(whole) > d.Count {
		removable = append(removable, whole[d.Count:]...)
	}
	for _, one := range removable {
		if d.Now().Sub(one.used) < minimumAge {
			continue
		}
		if err := os.RemoveAll(one.path); err != nil {
			return err
		}
	}
	return nil
}
