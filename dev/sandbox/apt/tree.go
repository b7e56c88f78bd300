package apt

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// node is a file or an empty directory in a package. Its path begins with a slash.
type node struct {
	path string
	mode fs.FileMode
	// revision counts the contents that the file has had.
	revision int
}

// tree reads from the listing, tree.txt, what a version has in a package: as recorded of 7.0.1 and 7.4.0, and by their sources of the versions in between. A line
// "= name" begins a package. "directory: name ..." are its files, and "directory/" is a directory with nothing in it. After a name: * is an
// executable, %440 another mode, @7.2.0 the version that it came with, <7.4.0 the one that it is gone from, ~7.2.0 one in which its content is another.
func tree(name string, version *semver.Version) (nodes []node, err error) {
	listing, err := contents.ReadFile("tree.txt")
	if err != nil {
		return nil, err
	}
	within := false
	for line := range strings.Lines(string(listing)) {
		line = strings.TrimSuffix(line, "\n")
		if section, ok := strings.CutPrefix(line, "= "); ok {
			within = section == name
			continue
		}
		if !within {
			continue
		}
		directory, names, files := strings.Cut(line, ": ")
		if !files {
			end := strings.LastIndex(line, "/")
			n, in, err := parseNode(line[:max(end, 0)]+line[end+1:], version)
			if err != nil {
				return nil, fmt.Errorf("%s: %q: %w", name, line, err)
			}
			if n.mode = fs.ModeDir | 0o755; in {
				nodes = append(nodes, n)
			}
			continue
		}
		for _, text := range strings.Fields(names) {
			n, in, err := parseNode(text, version)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %q: %w", name, directory, text, err)
			}
			if n.path = "/" + path.Join(directory, strings.TrimPrefix(n.path, "/")); in {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes, nil
}

// parseNode reads a name with its marks, and tells whether the version has it.
func parseNode(text string, version *semver.Version) (n node, in bool, err error) {
	const marks = "*%@<~"
	end := strings.IndexAny(text, marks)
	if end < 0 {
		end = len(text)
	}
	n, in = node{path: "/" + text[:end], mode: 0o644, revision: 1}, true
	for rest := text[end:]; rest != ""; {
		mark := rest[0]
		length := strings.IndexAny(rest[1:], marks)
		if length < 0 {
			length = len(rest) - 1
		}
		operand := rest[1 : 1+length]
		rest = rest[1+length:]
		switch mark {
		case '*':
			n.mode = 0o755
		case '%':
			mode, err := strconv.ParseUint(operand, 8, 12)
			if err != nil {
				return n, false, err
			}
			n.mode = fs.FileMode(mode)
		default:
			other, err := semver.StrictNewVersion(operand)
			if err != nil {
				return n, false, err
			}
			switch before := version.LessThan(other); {
			case mark == '@' && before, mark == '<' && !before:
				in = false
			case mark == '~' && !before:
				n.revision++
			}
		}
	}
	return n, in, nil
}

// stub is the name and the content of what a file of OpenNebula's is here. Those of one revision have the same one: to write one for each path takes
// longer than all the rest. It is a comment in every language that there is among them but JSON and XML, which nothing reads; a program fails.
func (n node) stub() (name string, content []byte) {
	text := fmt.Sprintf("# Stands in for a file of OpenNebula's, in its revision %d.\n", n.revision)
	if n.mode&0o111 == 0 {
		return fmt.Sprintf("stub-file-%d", n.revision), []byte(text)
	}
	return fmt.Sprintf("stub-program-%d", n.revision), []byte("#!/bin/sh\n" + text + "echo \"$0: the sandbox has a stub of it only\" >&2\nexit 1\n")
}
