package startup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"opennebula-kube/image/internal/host"
)

const (
	// installedDrivers are the drivers of the image's OpenNebula.
	installedDrivers = sharedDir + "/remotes"
	// manifestFile has what start-up put on the volume the last time: it tells files of an older OpenNebula from local ones.
	manifestFile = ownDir + "/drivers.json"
	// replacedDir keeps files that somebody had changed and that a newer version replaced.
	replacedDir = backupDir + "/drivers"
)

// manifest is the sum of each file, link and directory by its path below the drivers' directory. Earlier images left directories out.
type manifest map[string]string

// drivers makes the code of the drivers on the volume that of the image: a volume that keeps the code of an older version runs it against
// the new oned. What somebody has added stays. The configuration, in remotes/etc, has rules of its own: see driverConfiguration.
func (s *Start) drivers(context.Context) error {
	before, err := s.readManifest()
	if err != nil {
		return err
	}
	installed, err := s.installed(isCode)
	if err != nil {
		return err
	}
	if err := s.host.Directory(driverDir, 0o755, host.Oneadmin()); err != nil {
		return err
	}
	// First: what was a directory may be a file now, and the other way round.
	if err := s.removeOld(before, installed); err != nil {
		return err
	}
	if err := s.removeEmpty(before, installed, isCode); err != nil {
		return err
	}
	r := s.newRefresher(before)
	for _, name := range slices.Sorted(maps.Keys(installed)) {
		if err := r.refresh(name, installed[name]); err != nil {
			return err
		}
	}
	r.report()
	return s.remember(before, installed, before.part(isConfiguration))
}

// remember writes the manifest, of two parts, when it differs from what it was before.
func (s *Start) remember(before, code, configuration manifest) error {
	now := make(manifest)
	maps.Copy(now, code)
	maps.Copy(now, configuration)
	if maps.Equal(before, now) {
		return nil
	}
	if err := s.host.Flush(driverDir); err != nil {
		return err
	}
	return s.writeManifest(now)
}

// part is that of a manifest which a filter takes: isCode or isConfiguration.
func (m manifest) part(filter func(name string) bool) manifest {
	part := maps.Clone(m)
	maps.DeleteFunc(part, func(name, _ string) bool { return !filter(name) })
	return part
}

// directories are those that a manifest has, and those of its files.
func (m manifest) directories() map[string]bool {
	all := make(map[string]bool)
	for name, sum := range m {
		if isDirectory(sum) {
			all[name] = true
		}
		for dir := filepath.Dir(name); dir != "." && filepath.IsLocal(dir); dir = filepath.Dir(dir) {
			all[dir] = true
		}
	}
	return all
}

// refresher brings what is on the volume to what is installed and remembers what of it somebody had changed.
type refresher struct {
	start  *Start
	before manifest
	former map[string]bool
	// aside is the directory for copies of what somebody had changed and is replaced.
	aside           string
	kept, exchanged []string
}

// newRefresher returns one for a volume with what a manifest says.
func (s *Start) newRefresher(before manifest) refresher {
	// Outside of the drivers: those run all that is in some of their directories.
	return refresher{start: s, before: before, former: before.directories(), aside: replacedDir + "/" + stamp(s.host.Now())}
}

// refresh brings one file, link or directory to what is installed.
func (r *refresher) refresh(name, want string) error {
	h, target := r.start.host, filepath.Join(driverDir, name)
	has, err := r.start.sum(target)
	if err != nil {
		return err
	}
	was := r.before[name]
	if was == "" && isDirectory(want) && r.former[name] {
		was = want
	}
	// Nothing is put through a link that leads out of the tree, or below a file.
	inTheWay := has != "" && isDirectory(has) != isDirectory(want)
	switch {
	case has == want:
		return r.start.own(target)
	case has != "" && want == was && !(inTheWay && isDirectory(want)):
		r.kept = append(r.kept, name)
		return nil
	case has != "" && has != was && !isDirectory(has), inTheWay && isDirectory(has):
		if err := r.start.keepCopy(target, filepath.Join(r.aside, name)); err != nil {
			return err
		}
		r.exchanged = append(r.exchanged, name)
	}
	if inTheWay {
		if err := r.start.makeRoom(target); err != nil {
			return err
		}
	}
	source := filepath.Join(installedDrivers, name)
	if want == was {
		// A file that does not get to the disk would be taken for a local change the next time.
		return h.Copy(source, target, host.Oneadmin())
	}
	return h.CopyLazily(source, target, host.Oneadmin())
}

func (r *refresher) report() {
	if len(r.kept) > 0 {
		r.start.host.Log("drivers that differ from OpenNebula's because somebody changed them, kept: %s", strings.Join(r.kept, ", "))
	}
	if len(r.exchanged) > 0 {
		r.start.host.Log("drivers that somebody had changed, or that are of unknown origin, replaced by those of OpenNebula %s (copies are in %s): %s",
			r.start.version, r.aside, strings.Join(r.exchanged, ", "))
	}
}

// removeOld removes files that the image no longer has, if nobody has changed them, and names those that are not OpenNebula's.
func (s *Start) removeOld(before, installed manifest) error {
	former := before.directories()
	var local []string
	err := s.walk(driverDir, func(name string, entry fs.DirEntry) error {
		path := filepath.Join(driverDir, name)
		switch {
		case entry.IsDir() && isConfiguration(name):
			return fs.SkipDir
		case entry.IsDir() || isConfiguration(name):
			return nil
		case host.IsLeftover(name):
			// It would be run along with the drivers.
			_, err := s.host.Remove(path)
			return err
		case isCache(name) && isGone(filepath.Dir(filepath.Dir(name)), former, installed):
			_, err := s.host.Remove(path)
			return err
		}
		if _, ok := installed[name]; ok || isCache(name) || name == syncMark {
			return nil
		}
		has, err := s.sum(path)
		if err != nil {
			return err
		}
		if before[name] == "" || before[name] != has {
			local = append(local, name)
			return nil
		}
		_, err = s.host.Remove(path)
		return err
	})
	if len(local) > 0 {
		s.host.Log("drivers that are not of OpenNebula %s, kept: %s", s.version, strings.Join(local, ", "))
	}
	return err
}

// removeEmpty removes those directories which a filter takes that the image no longer has and in which nothing is left. One that somebody
// has made stays.
func (s *Start) removeEmpty(before, installed manifest, filter func(name string) bool) error {
	former := before.directories()
	var gone []string
	err := s.walk(driverDir, func(name string, entry fs.DirEntry) error {
		if entry.IsDir() && filter(name) && (host.IsLeftover(name) || isGone(name, former, installed)) {
			gone = append(gone, filepath.Join(driverDir, name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(gone) {
		if _, err := s.host.Remove(path); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// isGone tells whether a directory is of the former version only, or has Python's caches for one that is.
func isGone(dir string, former map[string]bool, installed manifest) bool {
	if filepath.Base(dir) == cacheDir {
		dir = filepath.Dir(dir)
	}
	return former[dir] && !isDirectory(installed[dir])
}

const (
	// syncMark is what onehost sync leaves.
	syncMark = ".update"
	// cacheDir is where Python keeps what it has compiled, such as the scheduler's.
	cacheDir = "__pycache__"
)

func isCache(name string) bool {
	return filepath.Base(filepath.Dir(name)) == cacheDir && filepath.Ext(name) == ".pyc"
}

func isConfiguration(name string) bool { return strings.HasPrefix(name, "etc/") }

func isCode(name string) bool { return !isConfiguration(name) }

// installed are those drivers of the image that a filter takes.
func (s *Start) installed(filter func(name string) bool) (manifest, error) {
	part := make(manifest)
	err := s.walk(installedDrivers, func(name string, _ fs.DirEntry) (err error) {
		if filter(name) {
			part[name], err = s.sum(filepath.Join(installedDrivers, name))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the drivers of the image: %w", err)
	}
	return part, nil
}

func (s *Start) readManifest() (manifest, error) {
	content, err := s.host.ReadFile(manifestFile)
	if err != nil || content == nil {
		return nil, err
	}
	var m manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, fmt.Errorf("read %s: %w; remove it: local changes to drivers are not recognised once, then", manifestFile, err)
	}
	return m, nil
}

func (s *Start) writeManifest(m manifest) error {
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return s.host.WriteFile(manifestFile, append(content, '\n'), 0o600, host.Oneadmin())
}
