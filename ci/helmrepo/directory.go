package helmrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// indexName is the file that Helm reads first in a chart repository.
const indexName = "index.yaml"

// hubFile is what Artifact Hub reads of a chart repository. It is made where there is none, and is the owner's from then on.
var hubFile = file{name: "artifacthub-repo.yml", data: []byte(`# What Artifact Hub reads of this chart repository. To have it verified, add the ID that Artifact Hub's control panel shows:
# repositoryID: 00000000-0000-0000-0000-000000000000
# This file stays as it is when charts are published.
owners: []
`)}

// PublishDirectory puts an archive into dir, a chart repository as GitHub Pages or any web server serves it, and adds it to the
// index.yaml there as MergeIndex does; dir and index are made when missing. Each file is replaced whole or not at all, the archive
// before the index, so that nobody finds a version in the index whose archive is not there; a run that was cut off in between is
// completed by running again, and an archive that has got lost is put back. With a new archive comes an artifacthub-repo.yml if there is none.
//
// When the directory has another archive of this version, in the index or in a file that the index does not have, nothing is changed and
// the error is ErrVersionTaken.
func PublishDirectory(dir string, a Archive, baseURL string, now time.Time) (Result, error) {
	published, err := publishDirectory(dir, a, baseURL, now)
	switch {
	case errors.Is(err, ErrVersionTaken):
		return Result{}, err
	case err != nil:
		return Result{}, fmt.Errorf("publish chart %s %s in %s: %w", a.Name, a.Version, dir, err)
	}
	return Result{Location: filepath.Join(dir, a.Filename), Digest: "sha256:" + a.Digest, Published: published}, nil
}

func publishDirectory(dir string, a Archive, baseURL string, now time.Time) (published bool, err error) {
	index, err := readFile(filepath.Join(dir, indexName))
	if err != nil {
		return false, err
	}
	path := filepath.Join(dir, a.Filename)
	data, err := readFile(path)
	if err != nil {
		return false, err
	}
	there := other
	if data == nil {
		there = absent
	} else if bytes.Equal(data, a.Data) {
		there = identical
	}
	files, err := a.changes(index, there, path, baseURL, now)
	if err != nil || len(files) == 0 {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	if _, err := os.Lstat(filepath.Join(dir, hubFile.name)); errors.Is(err, fs.ErrNotExist) {
		files = append(files, hubFile)
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, f.name), f.data); err != nil {
			return false, err
		}
	}
	return true, nil
}

// presence is what a chart repository has under the name of an archive.
type presence int

const (
	absent    presence = iota
	identical          // the archive
	other              // something else
)

// file is a file of a chart repository.
type file struct {
	name string
	data []byte
}

// changes are the files to write to a chart repository with this index, in their order, so that it has the archive; none when it has all
// of it. where is the archive's place there.
func (a Archive) changes(index []byte, there presence, where, baseURL string, now time.Time) ([]file, error) {
	merged, changed, err := MergeIndex(index, a, baseURL, now)
	switch {
	case err != nil:
		return nil, err
	case there == other && !changed:
		return nil, fmt.Errorf("%s is damaged: it is not the archive whose digest the index has; "+
			"delete it and run again to have it written anew", where)
	case there == other:
		return nil, a.taken("%s has other content, though the index does not have it", where)
	}
	var files []file
	if there == absent {
		files = append(files, file{a.Filename, a.Data})
	}
	if changed {
		files = append(files, file{indexName, merged})
	}
	return files, nil
}

// longestFile bounds, in bytes, what is read of a chart repository: an index or an archive.
const longestFile = 64 << 20

// readFile returns nil for a file that does not exist, and never nil for one that does. Others may have filled the directory: a link, a pipe or a
// file without end is an error.
func readFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: remove it", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, longestFile+1))
	if err == nil && len(data) > longestFile {
		err = fmt.Errorf("%s has more than %d bytes", path, longestFile)
	}
	return data, err
}

// writeFile puts data in the place of a file in one step: whoever reads the file meanwhile, or after a crash, finds the old content or
// the new.
func writeFile(path string, data []byte) (err error) {
	// The name is fixed so that what a killed run leaves is overwritten by the next, and hidden so that no chart repository lists it.
	file, err := os.OpenFile(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	if _, err := file.Write(data); err != nil {
		_ = file.Close()
		return err
	}
	if err := file.Sync(); err != nil {
		_ = file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
