package startup

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"opennebula-kube/image/internal/host"
)

const (
	directoryPrefix = "directory "
	linkPrefix      = "link "
	specialPrefix   = "special "
	// ownersPart is what the owner may do. What the group may do is the business of whoever mounts the volume: Kubernetes changes it at each
	// start (fsGroup).
	ownersPart = 0o700
)

// sum tells what is at a path, and what its owner may do with it: the digest of a file, the target of a link, or that it is a directory; ""
// when there is nothing. What is none of these is not opened: that might never return.
func (s *Start) sum(path string) (string, error) {
	at := s.host.Path(path)
	info, err := os.Lstat(at)
	if isMissing(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return fmt.Sprintf(directoryPrefix+"%o", info.Mode().Perm()&ownersPart), nil
	case fs.ModeSymlink:
		target, err := os.Readlink(at)
		return linkPrefix + target, err
	case 0:
	default:
		return specialPrefix + info.Mode().Type().String(), nil
	}
	file, err := os.OpenFile(at, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	digest := sha256.New()
	_, err = io.Copy(digest, file)
	return fileSum(info.Mode(), digest.Sum(nil)), errors.Join(err, file.Close())
}

// sumOf is the sum of a file with a mode and a content.
func sumOf(mode fs.FileMode, content []byte) string {
	digest := sha256.Sum256(content)
	return fileSum(mode, digest[:])
}

func fileSum(mode fs.FileMode, digest []byte) string {
	return fmt.Sprintf("%o %s", mode.Perm()&ownersPart, hex.EncodeToString(digest))
}

// isMissing tells whether an error says that there is nothing at a path. Nothing is below a file either.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// isFile tells whether a sum is that of a file.
func isFile(sum string) bool {
	return sum != "" && !isDirectory(sum) && !strings.HasPrefix(sum, linkPrefix) && !strings.HasPrefix(sum, specialPrefix)
}

// isDirectory tells whether a sum is that of a directory.
func isDirectory(sum string) bool { return strings.HasPrefix(sum, directoryPrefix) }

// walk calls a function for all that is below a directory, with its path relative to that. A directory comes before what is in it.
func (s *Start) walk(dir string, call func(name string, entry fs.DirEntry) error) error {
	root := s.host.Path(dir)
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return call(name, entry)
	})
}

// own gives oneadmin what belongs to somebody else.
func (s *Start) own(path string) error {
	at := s.host.Path(path)
	if has, err := s.host.OwnerOf(at); err != nil || has == host.Oneadmin() {
		return err
	}
	return s.host.Chown(at, host.Oneadmin())
}

// keepCopy copies what is at a path, with all that is below it. There is nothing to keep of sockets and the like.
func (s *Start) keepCopy(from, to string) error {
	root := s.host.Path(from)
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if kind := entry.Type(); kind != 0 && kind != fs.ModeDir && kind != fs.ModeSymlink {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return s.host.Copy(filepath.Join(from, name), filepath.Join(to, name), host.Oneadmin())
	})
}

// makeRoom removes what is at a path, with all that is below it. A link is removed, not what it leads to.
func (s *Start) makeRoom(path string) error {
	all := []string{path}
	if info, err := os.Lstat(s.host.Path(path)); err == nil && info.IsDir() {
		err := s.walk(path, func(name string, _ fs.DirEntry) error {
			all = append(all, filepath.Join(path, name))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, path := range slices.Backward(all) {
		if _, err := s.host.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// replaceDirectory makes room where a directory is, if it is still there, and keeps a copy of it.
func (s *Start) replaceDirectory(path, aside string) error {
	if has, err := s.exists(path); err != nil || !has {
		return err
	}
	if err := s.keepCopy(path, aside); err != nil {
		return err
	}
	s.host.Log("%s is a file now, and was a directory with files that are not OpenNebula's: they are in %s", path, aside)
	return s.makeRoom(path)
}
