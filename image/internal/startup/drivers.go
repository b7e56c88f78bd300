package startup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// manifest is the sum of each file by its path below the drivers' directory.
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
	// Outside of the drivers: those run all that is in some of their directories.
	r := refresher{start: s, aside: replacedDir + "/" + stamp(s.host.Now())}
	for _, name := range slices.Sorted(maps.Keys(installed)) {
		if err := r.refresh(name, installed[name], before[name]); err != nil {
			return err
		}
	}
	r.report()
	if err := s.removeOld(before, installed); err != nil {
		return err
	}
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

// refresher brings files on the volume to what is installed and remembers which of them somebody had changed.
type refresher struct {
	start *Start
	// aside is the directory for copies of changed files that are replaced.
	aside           string
	kept, exchanged []string
}

// refresh brings one file to what is installed. was is the sum of what start-up wrote the last time, "" for nothing.
func (r *refresher) refresh(name, want, was string) error {
	h, target := r.start.host, filepath.Join(driverDir, name)
	has, err := r.start.sum(target)
	if err != nil {
		return err
	}
	switch {
	case has == want:
		return nil
	case has != "" && want == was:
		r.kept = append(r.kept, name)
		return nil
	case has != "" && has != was:
		if err := h.Copy(target, filepath.Join(r.aside, name), host.Oneadmin()); err != nil {
			return err
		}
		r.exchanged = append(r.exchanged, name)
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
	var local []string
	err := s.eachFile(driverDir, func(name string) error {
		if host.IsLeftover(name) {
			// It would be run along with the drivers.
			_, err := s.host.Remove(filepath.Join(driverDir, name))
			return err
		}
		if _, ok := installed[name]; ok || isConfiguration(name) {
			return nil
		}
		has, err := s.sum(filepath.Join(driverDir, name))
		if err != nil {
			return err
		}
		if before[name] == "" || before[name] != has {
			local = append(local, name)
			return nil
		}
		_, err = s.host.Remove(filepath.Join(driverDir, name))
		return err
	})
	if len(local) > 0 {
		s.host.Log("drivers that are not of OpenNebula %s, kept: %s", s.version, strings.Join(local, ", "))
	}
	return err
}

func isConfiguration(name string) bool { return strings.HasPrefix(name, "etc/") }

func isCode(name string) bool { return !isConfiguration(name) }

// installed are those drivers of the image that a filter takes.
func (s *Start) installed(filter func(name string) bool) (manifest, error) {
	part := make(manifest)
	err := s.eachFile(installedDrivers, func(name string) (err error) {
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

// sum is a digest of what is at a path, and of what its owner may do with it; "" when there is nothing. What the group may do is the
// business of whoever mounts the volume: Kubernetes changes it at each start (fsGroup).
func (s *Start) sum(path string) (string, error) {
	at := s.host.Path(path)
	info, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := os.Readlink(at)
		return "link " + target, err
	}
	content, err := os.ReadFile(at)
	if err != nil {
		return "", err
	}
	return sumOf(info.Mode(), content), nil
}

func sumOf(mode fs.FileMode, content []byte) string {
	sum := sha256.Sum256(content)
	const ownersPart = 0o700
	return fmt.Sprintf("%o %s", mode.Perm()&ownersPart, hex.EncodeToString(sum[:]))
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
