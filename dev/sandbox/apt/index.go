package apt

import (
	"bytes"
	"compress/gzip"
	"crypto/md5" // beside SHA-256, as apt repositories have it
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Suite and component of the repository.
const (
	suite     = "stable"
	component = "opennebula"
)

// writeIndexes writes the Packages indexes of all architectures and the signed Release file that names them.
func (r *Repository) writeIndexes(v Version, root string, debs []debFile) error {
	dists := filepath.Join(root, "dists", suite)
	var names []string
	contents := map[string][]byte{}
	for _, architecture := range v.Architectures {
		index := packagesIndex(debs, architecture, v.Content == WithoutServer)
		compressed, err := compress(index)
		if err != nil {
			return fmt.Errorf("compress the Packages index of %s: %w", architecture, err)
		}
		name := path.Join(component, "binary-"+architecture, "Packages")
		names = append(names, name, name+".gz")
		contents[name], contents[name+".gz"] = index, compressed
	}
	release := releaseFile(v, names, contents)
	inRelease, releaseGPG, err := r.key.sign(release, v.Date)
	if err != nil {
		return err
	}
	contents["Release"], contents["InRelease"], contents["Release.gpg"] = release, inRelease, releaseGPG
	for name, content := range contents {
		file := filepath.Join(dists, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// packagesIndex lists the packages that can be installed on an architecture, by name.
func packagesIndex(debs []debFile, architecture string, withoutServer bool) []byte {
	var index bytes.Buffer
	for _, d := range debs {
		if d.architecture != architecture && d.architecture != "all" || withoutServer && d.name == "opennebula" {
			continue
		}
		fmt.Fprintf(&index, "%s\nFilename: %s\nSize: %d\nMD5sum: %x\nSHA256: %x\n\n", strings.TrimRight(d.control, "\n"), d.filename, d.size,
			d.md5, d.sha256)
	}
	return index.Bytes()
}

// releaseFile is the Release file over files with the given names and contents.
func releaseFile(v Version, names []string, contents map[string][]byte) []byte {
	names = slices.Sorted(slices.Values(names))
	var release bytes.Buffer
	fmt.Fprintf(&release, "Origin: OpenNebula\nLabel: OpenNebula\nSuite: %s\nCodename: %[1]s\nVersion: %s\nDate: %s\n", suite, v.Version,
		v.Date.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	fmt.Fprintf(&release, "Architectures: %s\nComponents: %s\n", strings.Join(v.Architectures, " "), component)
	fmt.Fprintf(&release, "Description: OpenNebula %s for Ubuntu 24.04\n", v.Version)
	release.WriteString("MD5Sum:\n")
	for _, name := range names {
		fmt.Fprintf(&release, " %x %d %s\n", md5.Sum(contents[name]), len(contents[name]), name)
	}
	release.WriteString("SHA256:\n")
	for _, name := range names {
		fmt.Fprintf(&release, " %x %d %s\n", sha256.Sum256(contents[name]), len(contents[name]), name)
	}
	return release.Bytes()
}

func compress(data []byte) ([]byte, error) {
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	// No time stamp in the header: the bytes depend on the content alone.
	w.ModTime = time.Time{}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return compressed.Bytes(), nil
}
