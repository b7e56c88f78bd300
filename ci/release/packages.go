package release

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/Masterminds/semver/v3"
	"pault.ag/go/debian/control"
	"pault.ag/go/debian/version"
)

const (
	// packageName is the package that makes a version a release.
	packageName = "opennebula"
	// maxParagraph bounds how much of an index is held at a time. It is ten times what the longest of Debian's package descriptions take.
	maxParagraph = 1 << 20
	// maxFields bounds the paragraph of the package itself: the library takes quadratic time for fields of very many lines.
	maxFields = 64 << 10
)

// parsePackages finds the packagings of package opennebula in a Packages index whose versions the directory proposes, for one architecture.
func parsePackages(r io.Reader, d directory, architecture string) (map[string][]version.Version, error) {
	found := map[string][]version.Version{}
	paragraphs := bufio.NewScanner(r)
	paragraphs.Buffer(nil, maxParagraph)
	paragraphs.Split(splitParagraphs)
	count := 0
	for paragraphs.Scan() {
		count++
		name, ok := field(paragraphs.Bytes(), "Package")
		if !ok {
			return nil, fmt.Errorf("is not a package index: its paragraph %d, beginning with %.40q, has no field Package", count, paragraphs.Bytes())
		}
		// Thousands of packages of no interest need not be taken apart.
		if string(name) != packageName {
			continue
		}
		if err := parsePackage(paragraphs.Bytes(), d, architecture, found); err != nil {
			return nil, fmt.Errorf("paragraph %d, package %s: %w", count, packageName, err)
		}
	}
	if err := paragraphs.Err(); err != nil {
		return nil, fmt.Errorf("is not a package index: after paragraph %d: %w", count, err)
	}
	return found, nil
}

// parsePackage adds to found the packaging that a paragraph stands for, if it is one of those looked for.
func parsePackage(paragraph []byte, d directory, architecture string, found map[string][]version.Version) error {
	if len(paragraph) > maxFields {
		return fmt.Errorf("its description has %d bytes, more than the limit of %d", len(paragraph), maxFields)
	}
	reader, err := control.NewParagraphReader(bytes.NewReader(paragraph), nil)
	if err != nil {
		return err
	}
	fields, err := reader.Next()
	if err != nil {
		return err
	}
	packaged, err := version.Parse(fields.Values["Version"])
	if err != nil {
		return fmt.Errorf("version %q: %w", fields.Values["Version"], err)
	}
	if a := fields.Values["Architecture"]; a != architecture && a != "all" {
		return nil
	}
	// What is left of a Debian version without epoch and revision is upstream's; 7.0.1~rc1 is not of its form and no release.
	if upstream, err := semver.StrictNewVersion(packaged.Version); err == nil && d.proposes(upstream) {
		found[upstream.String()] = append(found[upstream.String()], packaged)
	}
	return nil
}

// field returns the value of a one-line field of a paragraph.
func field(paragraph []byte, name string) ([]byte, bool) {
	key := []byte(name + ":")
	rest, ok := bytes.CutPrefix(paragraph, key)
	if !ok {
		if _, rest, ok = bytes.Cut(paragraph, append([]byte("\n"), key...)); !ok {
			return nil, false
		}
	}
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	return bytes.TrimSpace(value), true
}

// splitParagraphs is a bufio.SplitFunc for what empty lines separate.
func splitParagraphs(data []byte, atEOF bool) (advance int, token []byte, err error) {
	start := 0
	for start < len(data) && data[start] == '\n' {
		start++
	}
	if end := bytes.Index(data[start:], []byte("\n\n")); end >= 0 {
		return start + end + 2, data[start : start+end+1], nil
	}
	if atEOF && start < len(data) {
		return len(data), data[start:], nil
	}
	return start, nil, nil
}
