package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// compiledDir holds programs that somebody has compiled from the image's sources for the build.
const compiledDir = "bin"

// SourcesDigest returns the digest, as sha256:<hex>, of what a build of the image reads from its sources in dir: the Dockerfile, and what
// .dockerignore lets through. Modes and dates do not count, for the Dockerfile sets its own.
func SourcesDigest(dir string) (string, error) {
	digest, err := sourcesDigest(dir)
	if err != nil {
		return "", fmt.Errorf("compute the digest of the image's sources in %s: %w", dir, err)
	}
	return digest, nil
}

func sourcesDigest(dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	ignored, err := ignoredBy(root)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	// WalkDir goes by name, so that the order does not depend on the file system.
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == compiledDir {
				return fs.SkipDir
			}
			return nil // what is ignored below it may be let through again
		}
		if name != "Dockerfile" {
			if skip, err := ignored.MatchesOrParentMatches(filepath.FromSlash(name)); err != nil || skip {
				return err
			}
		}
		return addSource(sum, root, name, entry.Type())
	})
	if err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

func ignoredBy(root *os.Root) (*patternmatcher.PatternMatcher, error) {
	file, err := root.Open(".dockerignore")
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("read .dockerignore: %w", err)
	}
	return patternmatcher.New(patterns)
}

// addSource adds a file's name, kind and content to a sum, each with its length, so that no two trees read the same.
func addSource(sum hash.Hash, root *os.Root, name string, mode fs.FileMode) error {
	var content []byte
	var err error
	switch {
	case mode.IsRegular():
		content, err = root.ReadFile(name)
	case mode&fs.ModeSymlink != 0:
		var target string
		target, err = root.Readlink(name)
		content = []byte(target)
	default:
		err = fmt.Errorf("%s is neither a file nor a symbolic link (%s): remove it", name, mode)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(sum, "%d %s %s %d\n", len(name), name, mode.Type(), len(content))
	sum.Write(content)
	return nil
}
