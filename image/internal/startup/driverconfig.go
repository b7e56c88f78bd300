package startup

import (
	"bytes"
	"context"
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
	// ownEditsFile has what start-up itself has changed in the configuration of the drivers.
	ownEditsFile = ownDir + "/driver-settings.json"
	// offeredDir has OpenNebula's files, by version, where other ones are in use. It is not beside those: they go to the hypervisors.
	offeredDir = backupDir + "/remotes-etc"
)

// ownEdits are what start-up has made of files when it brought the settings into them. More than one for a file: before it writes, it
// remembers what it is going to write as well as what there is.
type ownEdits struct {
	Files map[string][]ownEdit `json:"files"`
	// Complete is false where nothing has refreshed the configuration before. The manifest's sums of it are of what OpenNebula had,
	// then, and need not be of what was put on the volume.
	Complete bool `json:"complete"`
}

// ownEdit is a file with the settings in it, by its sum, and what it was without them.
type ownEdit struct {
	Sum    string `json:"sum"`
	Before []byte `json:"before"`
}

// configFile is what is to become of a file of the drivers' configuration.
type configFile struct {
	name string
	// has is the sum of what is there, "" for nothing.
	has string
	// base is what it is without the settings, content with them.
	base, content []byte
	mode          fs.FileMode
	// installed tells that it is OpenNebula's file; remove that it goes, offer that OpenNebula's is put aside, orphan that it is kept
	// although OpenNebula has none.
	installed, remove, offer, orphan bool
}

// driverConfiguration refreshes the configuration of the drivers, which is on the volume, and brings the settings into it. A file that
// nobody has changed becomes that of the image; one that somebody has changed stays. What start-up has changed itself is undone first, so
// that it is no such change, and goes when the setting does.
func (s *Start) driverConfiguration(context.Context) error {
	before, err := s.readManifest()
	if err != nil {
		return err
	}
	edits, err := s.readOwnEdits()
	if err != nil {
		return err
	}
	installed, err := s.installed(isConfiguration)
	if err != nil {
		return err
	}
	// First: somebody may have put a file or a link where a directory belongs.
	r := s.newRefresher(before)
	for _, name := range slices.Sorted(maps.Keys(installed)) {
		if isDirectory(installed[name]) {
			if err := r.refresh(name, installed[name]); err != nil {
				return err
			}
		}
	}
	r.report()
	files, err := s.planConfiguration(before, installed, edits)
	if err != nil {
		return err
	}
	now := ownEdits{Files: make(map[string][]ownEdit), Complete: true}
	for _, f := range files {
		if !f.remove && !bytes.Equal(f.base, f.content) {
			now.Files[f.name] = []ownEdit{{sumOf(f.mode, f.content), f.base}}
		}
	}
	if err := s.writeOwnEdits(edits.and(now)); err != nil {
		return err
	}
	for _, f := range files {
		if !f.remove {
			continue
		}
		if _, err := s.host.Remove(filepath.Join(driverDir, f.name)); err != nil {
			return err
		}
	}
	// Before the others: there may be a file now where a directory was.
	if err := s.removeEmpty(before, installed, isConfiguration); err != nil {
		return err
	}
	for _, f := range files {
		if f.remove {
			continue
		}
		if err := s.writeConfiguration(f, r.aside); err != nil {
			return err
		}
	}
	s.reportConfiguration(files)
	if err := s.remember(before, before.part(isCode), installed); err != nil {
		return err
	}
	return s.writeOwnEdits(now)
}

// planConfiguration finds out about all files of OpenNebula's and on the volume, and changes nothing but what is left of a power cut.
func (s *Start) planConfiguration(before, installed manifest, edits ownEdits) ([]configFile, error) {
	names := make(map[string]bool)
	for name, sum := range installed {
		if !isDirectory(sum) {
			names[name] = true
		}
	}
	if has, err := s.exists(driverDir + "/etc"); err != nil {
		return nil, err
	} else if has {
		err := s.walk(driverDir+"/etc", func(name string, entry fs.DirEntry) error {
			switch {
			case entry.IsDir():
			case host.IsLeftover(name):
				_, err := s.host.Remove(filepath.Join(driverDir, "etc", name))
				return err
			default:
				names[filepath.Join("etc", name)] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, o := range s.settings.Overrides {
		if name, ok := strings.CutPrefix(o.File, driverDir+"/"); ok {
			names[name] = true
		}
	}
	if s.settings.TProxy != nil {
		names[networkName] = true
	}
	var files []configFile
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f, err := s.planFile(name, before[name], installed[name], edits)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// planFile decides on one file. was is the sum of what OpenNebula had the last time, want of what it has now; "" for nothing.
func (s *Start) planFile(name, was, want string, edits ownEdits) (configFile, error) {
	f := configFile{name: name}
	target := filepath.Join(driverDir, name)
	var err error
	if f.has, err = s.sum(target); err != nil {
		return f, err
	}
	if f.base, f.mode, err = s.readConfiguration(target); err != nil {
		return f, err
	}
	has := f.has
	for _, edit := range edits.Files[name] {
		if edit.Sum == has {
			f.base = edit.Before
			has = sumOf(f.mode, edit.Before)
			break
		}
	}
	content, mode, err := s.readConfiguration(filepath.Join(installedDrivers, name))
	if err != nil {
		return f, err
	}
	switch unchanged := has == was && has != ""; {
	case want == "" && unchanged:
		f.remove = true
	case want == "":
		f.orphan = was != "" && has != ""
	case has == "", has == want, unchanged, !edits.Complete && s.hasSettingsOnly(f, content, mode):
		f.installed, f.base, f.mode = true, content, mode
	default:
		f.offer = was != want || !edits.Complete
	}
	if f.content, err = s.withSettings(name, f.base, f.remove || f.base == nil); err != nil {
		return f, err
	}
	return f, nil
}

// hasSettingsOnly tells whether what is there is OpenNebula's file with the settings in it.
func (s *Start) hasSettingsOnly(f configFile, content []byte, mode fs.FileMode) bool {
	edited, err := s.withSettings(f.name, content, content == nil)
	return err == nil && sumOf(mode, edited) == f.has
}

// readConfiguration reads a file and its mode. What is no file, such as a link to a directory, is nothing.
func (s *Start) readConfiguration(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(s.host.Path(path))
	if isMissing(err) || err == nil && !info.Mode().IsRegular() {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	content, err := os.ReadFile(s.host.Path(path))
	return content, info.Mode().Perm(), err
}

// withSettings brings the settings for a file of the drivers into its content. For one that is missing there must be none.
func (s *Start) withSettings(name string, content []byte, missing bool) ([]byte, error) {
	path := filepath.Join(driverDir, name)
	if s.settings.TProxy != nil && name == networkName {
		if missing {
			return nil, fmt.Errorf("OPENNEBULA_TPROXY: OpenNebula %s has no file %s: leave the setting out", s.version, path)
		}
		var err error
		if content, err = inYAML(path, content, func(f *yamlFile) { f.set(s.settings.TProxy, ":tproxy") }); err != nil {
			return nil, err
		}
	}
	for _, o := range s.settings.Overrides {
		if o.File != path {
			continue
		}
		if missing {
			return nil, explainOverride(o, fs.ErrNotExist)
		}
		edited, err := s.override(o, content)
		if err != nil {
			return nil, explainOverride(o, err)
		}
		content = edited
	}
	return content, nil
}

// writeConfiguration writes one file. Somebody's files in a directory that is in its place are kept in aside.
func (s *Start) writeConfiguration(f configFile, aside string) error {
	source, target := filepath.Join(installedDrivers, f.name), filepath.Join(driverDir, f.name)
	if f.offer {
		// Of a start that was cut off here.
		if err := s.host.RemoveLeftovers(filepath.Dir(s.offered(f))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.host.Copy(source, s.offered(f), host.Oneadmin()); err != nil {
			return err
		}
	}
	edited := !bytes.Equal(f.base, f.content)
	if f.installed && (f.has == "" || !edited) {
		if want, err := s.sum(source); err != nil || want == f.has {
			return err
		}
		if isDirectory(f.has) {
			if err := s.replaceDirectory(target, filepath.Join(aside, f.name)); err != nil {
				return err
			}
		}
		// It makes the directory as well.
		if err := s.host.Copy(source, target, host.Oneadmin()); err != nil || !edited {
			return err
		}
	}
	if sumOf(f.mode, f.content) == f.has || f.has == "" && !f.installed || !edited && !isFile(f.has) {
		return nil
	}
	owner, err := s.host.OwnerOf(s.host.Path(target))
	if err != nil {
		return err
	}
	return s.host.WriteFile(target, f.content, f.mode, owner)
}

// offered is where OpenNebula's file is put when another one is in use.
func (s *Start) offered(f configFile) string {
	return filepath.Join(offeredDir, s.version.String(), strings.TrimPrefix(f.name, "etc/"))
}

func (s *Start) reportConfiguration(files []configFile) {
	for _, f := range files {
		path := filepath.Join(driverDir, f.name)
		switch {
		case f.offer:
			s.host.Log("%s is not what OpenNebula put there, and OpenNebula %s has another one: it is kept, and OpenNebula's is %s; "+
				"compare them, bring over what is new, and run onehost sync", path, s.version, s.offered(f))
		case f.orphan:
			s.host.Log("%s is not what OpenNebula put there, and OpenNebula %s has none: it is kept; remove it if nothing needs it", path, s.version)
		}
	}
}

// and returns the edits of both.
func (e ownEdits) and(other ownEdits) ownEdits {
	both := ownEdits{Files: make(map[string][]ownEdit), Complete: e.Complete}
	for _, files := range []map[string][]ownEdit{e.Files, other.Files} {
		for name, edits := range files {
			for _, edit := range edits {
				if !slices.ContainsFunc(both.Files[name], func(has ownEdit) bool { return has.Sum == edit.Sum && bytes.Equal(has.Before, edit.Before) }) {
					both.Files[name] = append(both.Files[name], edit)
				}
			}
		}
	}
	return both
}

func (s *Start) readOwnEdits() (ownEdits, error) {
	content, err := s.host.ReadFile(ownEditsFile)
	if err != nil || content == nil {
		return ownEdits{}, err
	}
	var e ownEdits
	if err := json.Unmarshal(content, &e); err != nil {
		return e, fmt.Errorf("read %s: %w; remove it: files of %s/etc with settings in them are taken for changed by somebody, then", ownEditsFile, err, driverDir)
	}
	return e, nil
}

func (s *Start) writeOwnEdits(e ownEdits) error {
	content, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return s.host.WriteFile(ownEditsFile, append(content, '\n'), 0o600, host.Oneadmin())
}
