package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"opennebula-kube/ci/registry"
)

const (
	// keptImages is how many images the store keeps at least.
	keptImages = 5
	// minimumAge is how long everything in the state directory stays after it was last used: another process may be at it.
	minimumAge = 2 * time.Hour

	stagePrefix = ".stage-"
)

// store keeps images as OCI layouts, one directory an image, named after its digest.
type store struct {
	dir string
	now func() time.Time
}

func (s store) path(digest string) string {
	return filepath.Join(s.dir, strings.ReplaceAll(digest, ":", "-"))
}

// stage makes a directory for a layout that is not whole yet.
func (s store) stage() (string, error) { return os.MkdirTemp(s.dir, stagePrefix) }

// find returns the layout of an image and notes that it is in use.
func (s store) find(digest string) (dir string, ok bool) {
	dir = s.path(digest)
	now := s.now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return "", false
	}
	return dir, true
}

// commit takes the layout of an image from the directory stage into the store, and returns its platforms. Of two that commit
// the same image the first one's copy stays.
func (s store) commit(stage, digest string) ([]string, error) {
	platforms, err := layoutPlatforms(stage, digest)
	if err != nil {
		return nil, err
	}
	if _, ok := s.find(digest); ok {
		return platforms, os.RemoveAll(stage)
	}
	if err := os.Chmod(stage, 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(stage, s.path(digest)); err != nil {
		if _, ok := s.find(digest); !ok {
			return nil, err
		}
		return platforms, os.RemoveAll(stage)
	}
	return platforms, s.prune()
}

func (s store) prune() error { return prune(s.dir, keptImages, s.now()) }

// prune removes from dir what was used longest ago: all but keep directories, none of which was used a short while ago.
func prune(dir string, keep int, now time.Time) error {
	entries, err := os.ReadDir(dir)
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
		one := aged{filepath.Join(dir, entry.Name()), info.ModTime()}
		if strings.HasPrefix(entry.Name(), stagePrefix) {
			removable = append(removable, one) // left by a process that was killed
		} else {
			whole = append(whole, one)
		}
	}
	slices.SortFunc(whole, func(a, b aged) int { return b.used.Compare(a.used) })
	if len(whole) > keep {
		removable = append(removable, whole[keep:]...)
	}
	for _, one := range removable {
		if now.Sub(one.used) < minimumAge {
			continue
		}
		if err := os.RemoveAll(one.path); err != nil {
			return err
		}
	}
	return nil
}

// layoutPlatforms returns the platforms of the image in a layout, sorted, and checks that it is the image with the digest.
func layoutPlatforms(dir, digest string) ([]string, error) {
	artifact, err := registry.FromLayout(dir)
	if err != nil {
		return nil, err
	}
	described, err := registry.Describe(artifact)
	if err != nil {
		return nil, err
	}
	if described.Digest != digest {
		return nil, fmt.Errorf("layout %s holds image %s, want %s", dir, described.Digest, digest)
	}
	return described.Platforms, nil
}
