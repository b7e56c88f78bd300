package apt

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5" // beside SHA-256, as apt repositories have it
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"

	"github.com/Masterminds/semver/v3"
	"github.com/blakesmith/ar"
	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"golang.org/x/sync/errgroup"
)

// contents are the files of the packages by the path that they are installed at, each package in a directory of its name with its
// maintainer scripts in DEBIAN. A file *.tmpl is a template over the version; one that comes out blank is left out.
//
//go:embed all:packages tree.txt
var contents embed.FS

// copyright is in every package, as Debian wants it; for some it is all there is.
const copyright = "This package stands in for OpenNebula's in development and tests. It has none of OpenNebula's code in it.\n"

// compression favours speed: the stand-in program is compressed once for each version and architecture.
const compression = "zstd:1"

// packageSet is the order to make all packages of a version.
type packageSet struct {
	version  Version
	semver   *semver.Version
	standins map[string]string // architecture -> path of the stand-in program
	sources  string            // directory for the packages' files
	root     string            // of the apt repository
}

// debFile is a package as the index describes it.
type debFile struct {
	name, architecture string
	control            string // its control file
	filename           string // relative to the root of the repository
	size               int
	md5                [md5.Size]byte
	sha256             [sha256.Size]byte
}

// makePackages writes all packages of a version into the pool and returns them by name.
func makePackages(ctx context.Context, set packageSet) ([]debFile, error) {
	type job struct {
		definition
		architecture string
	}
	var jobs []job
	for _, d := range definitions() {
		switch {
		case !d.in(set.semver):
		case d.architecture == anyArchitecture:
			for _, architecture := range set.version.Architectures {
				jobs = append(jobs, job{d, architecture})
			}
		default:
			jobs = append(jobs, job{d, d.architecture})
		}
	}
	if err := writeSources(set); err != nil {
		return nil, fmt.Errorf("write the packages' files: %w", err)
	}
	made := make([]debFile, len(jobs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, j := range jobs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if made[i], err = makeDeb(set, j.definition, j.architecture); err != nil {
				return fmt.Errorf("make package %s for %s: %w", j.name, j.architecture, err)
			}
			return nil
		})
	}
	return made, group.Wait()
}

// templateData is what the templates among the packages' files can ask for.
type templateData struct {
	Version string
	semver  *semver.Version
}

// AtLeast tells whether the version is the given one or a later one.
func (d templateData) AtLeast(version string) (bool, error) {
	other, err := semver.StrictNewVersion(version)
	return err == nil && !d.semver.LessThan(other), err
}

// writeSources writes the packages' files below set.sources, for nfpm reads files only.
func writeSources(set packageSet) error {
	data := templateData{set.version.Version, set.semver}
	return fs.WalkDir(contents, "packages", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := contents.ReadFile(name)
		if err != nil {
			return err
		}
		target := filepath.Join(set.sources, strings.TrimPrefix(name, "packages/"))
		if plain, ok := strings.CutSuffix(target, ".tmpl"); ok {
			target = plain
			t, err := template.New(name).Parse(string(content))
			if err != nil {
				return err
			}
			var rendered bytes.Buffer
			if err := t.Execute(&rendered, data); err != nil {
				return err
			}
			if content = rendered.Bytes(); len(bytes.TrimSpace(content)) == 0 {
				return nil
			}
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
}

// makeDeb makes one package and writes it to its place in the pool.
func makeDeb(set packageSet, d definition, architecture string) (debFile, error) {
	info := &nfpm.Info{
		Name: d.name, Arch: architecture, Platform: "linux",
		Version: set.version.Version, Release: d.release(set.version),
		VersionSchema: "none",
		Section:       "misc", Priority: "optional", Maintainer: maintainer,
		Homepage: "https://opennebula.io", Description: "OpenNebula: " + d.description,
		MTime: set.version.Date, DisableGlobbing: true,
	}
	info.Deb.Compression = compression
	const libraries = "opennebula-libs"
	for _, name := range d.depends {
		if name == libraries && set.version.Libraries != "" {
			info.Depends = append(info.Depends, name)
			continue
		}
		info.Depends = append(info.Depends, fmt.Sprintf("%s (= %s-%s)", name, info.Version, definitionOf(name).release(set.version)))
	}
	if d.name == libraries && set.version.Libraries != "" {
		info.Version = set.version.Libraries
	}
	if err := addContents(set, d, architecture, info); err != nil {
		return debFile{}, err
	}
	info = nfpm.WithDefaults(info)
	var built bytes.Buffer
	if err := deb.Default.Package(info, &built); err != nil {
		return debFile{}, err
	}
	control, err := readControl(built.Bytes())
	if err != nil {
		return debFile{}, fmt.Errorf("read the package back: %w", err)
	}
	filename := path.Join("pool", component, d.name[:1], "opennebula", deb.Default.ConventionalFileName(info))
	place := filepath.Join(set.root, filename)
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return debFile{}, err
	}
	if err := os.WriteFile(place, built.Bytes(), 0o644); err != nil {
		return debFile{}, err
	}
	return debFile{
		name: d.name, architecture: architecture, control: control, filename: filename, size: built.Len(),
		md5: md5.Sum(built.Bytes()), sha256: sha256.Sum256(built.Bytes()),
	}, nil
}

// addContents tells nfpm what is in a package.
func addContents(set packageSet, d definition, architecture string, info *nfpm.Info) error {
	date := set.version.Date
	add := func(kind, source, destination string, mode fs.FileMode) {
		info.Contents = append(info.Contents, &files.Content{
			Type: kind, Source: source, Destination: destination,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: date},
		})
	}
	doc := filepath.Join(set.sources, d.name+"-"+architecture+".copyright")
	if err := os.WriteFile(doc, []byte(copyright), 0o644); err != nil {
		return err
	}
	add(files.TypeFile, doc, "/usr/share/doc/"+d.name+"/copyright", 0o644)
	for _, dir := range d.directories {
		add(files.TypeDir, "", dir, 0o755)
	}
	if d.standin {
		add(files.TypeFile, set.standins[architecture], standinPath, 0o755)
	}
	for _, command := range d.commands {
		add(files.TypeSymlink, standinPath, "/usr/bin/"+command, 0)
	}
	for _, program := range d.programs {
		add(files.TypeSymlink, standinPath, program, 0)
	}
	if err := addOwnFiles(set, d, info, add); err != nil {
		return err
	}
	return addTree(set, d, architecture, info, add)
}

// addOwnFiles adds the files of a package that are below packages/, and its maintainer scripts.
func addOwnFiles(set packageSet, d definition, info *nfpm.Info, add func(kind, source, destination string, mode fs.FileMode)) error {
	scripts := map[string]*string{"preinst": &info.Scripts.PreInstall, "postinst": &info.Scripts.PostInstall}
	own := filepath.Join(set.sources, d.name)
	if _, err := os.Stat(own); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return filepath.WalkDir(own, func(source string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		destination := strings.TrimPrefix(source, own)
		if script, ok := strings.CutPrefix(destination, "/DEBIAN/"); ok {
			if scripts[script] == nil {
				return fmt.Errorf("maintainer script %s: only preinst and postinst are known", script)
			}
			*scripts[script] = source
			return nil
		}
		content, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(content, []byte("#!")) {
			mode = 0o755
		}
		add(kindOf(destination), source, destination, mode)
		return nil
	})
}

// kindOf tells dpkg which files are somebody's to edit.
func kindOf(destination string) string {
	if strings.HasPrefix(destination, "/etc/") {
		return files.TypeConfig
	}
	return files.TypeFile
}

// addTree adds what the listing has in a package: what is there already gets its mode, all else is made.
func addTree(set packageSet, d definition, architecture string, info *nfpm.Info, add func(kind, source, destination string, mode fs.FileMode)) error {
	nodes, err := tree(d.name, set.semver)
	if err != nil {
		return err
	}
	own, stubs := map[string]*files.Content{}, map[string]bool{}
	for _, content := range info.Contents {
		own[content.Destination] = content
	}
	for _, n := range nodes {
		content := own[n.path]
		switch {
		case content != nil && content.Type != files.TypeSymlink:
			content.FileInfo.Mode = n.mode.Perm()
		case content != nil:
		case n.mode.IsDir():
			add(files.TypeDir, "", n.path, n.mode.Perm())
		default:
			stub, content := n.stub()
			source := filepath.Join(set.sources, d.name+"-"+architecture+"."+stub)
			if !stubs[source] {
				if err := os.WriteFile(source, content, 0o644); err != nil {
					return err
				}
				stubs[source] = true
			}
			add(kindOf(n.path), source, n.path, n.mode)
		}
	}
	return nil
}

// readControl returns the control file of a package: the index repeats it as it is.
func readControl(pkg []byte) (string, error) {
	archive := ar.NewReader(bytes.NewReader(pkg))
	for {
		header, err := archive.Next()
		if err != nil {
			return "", fmt.Errorf("look for control.tar.gz: %w", err)
		}
		if header.Name != "control.tar.gz" {
			continue
		}
		plain, err := gzip.NewReader(archive)
		if err != nil {
			return "", err
		}
		members := tar.NewReader(plain)
		for {
			member, err := members.Next()
			if err != nil {
				return "", fmt.Errorf("look for the control file: %w", err)
			}
			if path.Clean(member.Name) == "control" {
				control, err := io.ReadAll(members)
				return string(control), err
			}
		}
	}
}
