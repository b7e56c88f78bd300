package backup

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"opennebula-kube/image/internal/host"
)

// Entries of an archive.
const (
	aboutEntry    = "about.json"
	databaseEntry = "database"
	volumePrefix  = "volume/"
)

// volumeDir is what the volume is mounted at.
const volumeDir = "/var/lib/one"

// Files on the volume that start-up has while it does something to the installation: what there is then must not be backed up.
const (
	RestoreMarker = ".one-container/restore"
	UpgradeMarker = ".one-container/upgrade"
)

// skipped are paths on the volume that are not backed up: disk images, which have storage of their own; backups; the database, of which
// there is a dump; what start-up has only while it works.
func skipped(path string) bool {
	return slices.Contains([]string{
		"datastores", "backups", "lost+found", ".cache", "one.db", "one.db-journal", "one.db-wal", "one.db-shm",
		UpgradeMarker, RestoreMarker, ".one-container/restore.new",
	}, path)
}

// archive is a backup that is to be written.
type archive struct {
	host  *host.Host
	about About
	// dump is the file with the database.
	dump string
}

func (a archive) write(w io.Writer) error {
	compressed := gzip.NewWriter(w)
	files := tar.NewWriter(compressed)
	about, err := json.MarshalIndent(a.about, "", "  ")
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: aboutEntry, Mode: 0o600, Size: int64(len(about)), ModTime: a.about.Time, Format: tar.FormatPAX}
	if err := files.WriteHeader(header); err != nil {
		return err
	}
	if _, err := files.Write(about); err != nil {
		return err
	}
	if err := a.add(files, a.dump, databaseEntry); err != nil {
		return err
	}
	if err := a.addVolume(files); err != nil {
		return err
	}
	return errors.Join(files.Close(), compressed.Close())
}

func (a archive) addVolume(files *tar.Writer) error {
	root := a.host.Path(volumeDir)
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(root, path)
		switch {
		case relErr != nil:
			return relErr
		case errors.Is(err, fs.ErrNotExist) && path != root:
			return nil // gone since its directory was read
		case err != nil:
			return err
		case path == root:
			return nil
		case skipped(name):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !entry.IsDir() && host.IsLeftover(name):
			return nil
		}
		return a.add(files, path, volumePrefix+name)
	})
}

// add adds a file, a directory without what is in it, or a link. Sockets and the like are left out.
func (a archive) add(files *tar.Writer, path, name string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, volumePrefix) {
		return nil
	}
	if err != nil {
		return err
	}
	var link string
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	case fs.ModeDir, 0:
	default:
		return nil
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	owner, err := a.host.OwnerOf(path)
	if err != nil {
		return err
	}
	header.Name, header.Format = name, tar.FormatPAX
	header.Uid, header.Gid, header.Uname, header.Gname = owner.UID, owner.GID, "", ""
	header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
	if header.Typeflag == tar.TypeDir {
		header.Name += "/"
	}
	if header.Typeflag != tar.TypeReg {
		return files.WriteHeader(header)
	}
	// By now oneadmin's programs may have put a link or a pipe there.
	content, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	if err := files.WriteHeader(header); err != nil {
		return err
	}
	// One that grows meanwhile is a log.
	n, err := io.Copy(files, io.LimitReader(content, header.Size))
	if err == nil && n < header.Size {
		return fmt.Errorf("%s became shorter while it was read: make the backup again", path)
	}
	return err
}

// Extract unpacks a backup into an empty directory: the database as "database", the volume below "volume". An error says that the backup
// is damaged, or of a format that this version does not know.
func Extract(h *host.Host, r io.Reader, dir string) (About, error) {
	var about About
	compressed, err := gzip.NewReader(r)
	if err != nil {
		return about, fmt.Errorf("it is no backup, or damaged: %w", err)
	}
	root, err := os.OpenRoot(h.Path(dir))
	if err != nil {
		return about, err
	}
	defer func() { _ = root.Close() }()
	e := extraction{host: h, root: root, dir: h.Path(dir)}
	files := tar.NewReader(compressed)
	for first := true; ; first = false {
		header, err := files.Next()
		if errors.Is(err, io.EOF) && !first {
			break
		}
		if err != nil {
			return about, fmt.Errorf("it is no backup, or damaged: %w", err)
		}
		if first {
			if about, err = readAbout(header, files); err != nil {
				return about, err
			}
			continue
		}
		if err := e.entry(header, files); err != nil {
			err = fmt.Errorf("extract %s: %w", header.Name, err)
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) {
				err = fmt.Errorf("it is damaged: %w", err)
			}
			return about, err
		}
	}
	// The sum of the whole comes after the last entry, and the zeros that fill the last block.
	if _, err := io.CopyN(io.Discard, compressed, 1<<20); err == nil {
		return about, errors.New("it is damaged: a mebibyte and more follows its end")
	} else if !errors.Is(err, io.EOF) {
		return about, fmt.Errorf("it is damaged: %w", err)
	}
	return about, e.finish()
}

func readAbout(header *tar.Header, content io.Reader) (About, error) {
	var about About
	if header.Name != aboutEntry {
		return about, fmt.Errorf("it is no backup: its first entry is %s, not %s", header.Name, aboutEntry)
	}
	if err := json.NewDecoder(content).Decode(&about); err != nil {
		return about, fmt.Errorf("read %s: %w", aboutEntry, err)
	}
	if about.Format != format {
		return about, fmt.Errorf("its format is %d, and this image reads %d: take the image that has made it", about.Format, format)
	}
	return about, nil
}

// extraction writes below a directory, and nowhere else, whatever the entries are called.
type extraction struct {
	host *host.Host
	root *os.Root
	dir  string
	// directories get their modes at the end: some may not be written to.
	directories []*tar.Header
}

func (e *extraction) entry(header *tar.Header, content io.Reader) error {
	name := filepath.Clean(header.Name)
	if name != databaseEntry && !strings.HasPrefix(name, volumePrefix) {
		return errors.New("a backup has no such entry")
	}
	if err := e.root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		e.directories = append(e.directories, header)
		return e.root.MkdirAll(name, 0o700)
	case tar.TypeSymlink:
		if err := e.root.Symlink(header.Linkname, name); err != nil {
			return err
		}
		return e.own(name, header)
	case tar.TypeReg:
		file, err := e.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		if err := errors.Join(err, file.Chmod(header.FileInfo().Mode().Perm()), file.Close()); err != nil {
			return err
		}
		return e.own(name, header)
	}
	return fmt.Errorf("entries of type %q are not known", header.Typeflag)
}

func (e *extraction) own(name string, header *tar.Header) error {
	return e.host.Chown(filepath.Join(e.dir, name), host.Owner{UID: header.Uid, GID: header.Gid})
}

func (e *extraction) finish() error {
	for _, header := range slices.Backward(e.directories) {
		name := filepath.Clean(header.Name)
		if err := e.own(name, header); err != nil {
			return err
		}
		if err := e.root.Chmod(name, header.FileInfo().Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}
