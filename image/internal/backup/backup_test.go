package backup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"opennebula-kube/image/internal/backup"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
)

// fakeDatabase dumps a text.
type fakeDatabase struct {
	host *host.Host
	dump string
	err  error
	// empty is a database without any table.
	empty bool
}

func (d *fakeDatabase) Backup(_ context.Context, path string) error {
	return errors.Join(d.err, os.WriteFile(d.host.Path(path), []byte(d.dump), 0o600))
}

func (d *fakeDatabase) Tables(context.Context) ([]string, error) {
	if d.empty {
		return []string{"foreign"}, nil
	}
	return []string{"foreign", "user_pool"}, nil
}

func (d *fakeDatabase) String() string                                { return "the fake database" }
func (d *fakeDatabase) Query(context.Context, string) (string, error) { return "", nil }
func (d *fakeDatabase) Literal(string) string                         { return "" }
func (d *fakeDatabase) Restore(context.Context, string) error         { return nil }
func (d *fakeDatabase) Clear(context.Context) error                   { return nil }

// newHost returns a host with a clock that goes on by an hour each time, and owners without root.
func newHost(t *testing.T) *host.Host {
	t.Helper()
	h := host.System(t.Logf)
	h.Root = t.TempDir()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	h.Now = func() time.Time { now = now.Add(time.Hour); return now }
	owners := make(map[string]host.Owner)
	h.Chown = func(path string, o host.Owner) error { owners[path] = o; return nil }
	h.OwnerOf = func(path string) (host.Owner, error) { return owners[path], nil }
	for _, dir := range []string{"/tmp", "/var/lib/one", "/backup"} {
		if err := os.MkdirAll(h.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func write(t *testing.T, h *host.Host, path, content string, mode os.FileMode) {
	t.Helper()
	at := h.Path(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o600), os.Chmod(at, mode)); err != nil {
		t.Fatal(err)
	}
}

// fill puts on a volume what a backup has, and what it must leave out.
func fill(t *testing.T, h *host.Host) {
	t.Helper()
	for path, mode := range map[string]os.FileMode{
		".one/one_auth": 0o600, ".ssh/id_rsa": 0o600, "remotes/etc/vnm/x.conf": 0o644, "remotes/im/probe.rb": 0o755, "vms/3/deployment.0": 0o640,
		"datastores/1/disk": 0o600, "backups/database/old.backup": 0o600, "one.db": 0o600, "one.db-journal": 0o600, ".one/.one_auth.1.new": 0o600,
		".one-container/restore.new/x": 0o600,
	} {
		write(t, h, "/var/lib/one/"+path, "content of "+path, mode)
	}
	for path, mode := range map[string]os.FileMode{
		"remotes/im/snapshot": 0o750, "remotes/im/readonly": 0o555, "remotes/im/.mine.new": 0o700, "datastores/2": 0o755,
	} {
		if err := errors.Join(os.MkdirAll(h.Path("/var/lib/one/"+path), 0o755), os.Chmod(h.Path("/var/lib/one/"+path), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Symlink("../im", h.Path("/var/lib/one/remotes/link")),
		os.Symlink("/no/such/file", h.Path("/var/lib/one/remotes/dangling")),
		syscall.Mkfifo(h.Path("/var/lib/one/remotes/pipe"), 0o600),
		os.Chmod(h.Path("/var/lib/one/.ssh"), 0o700),
		h.Chown(h.Path("/var/lib/one/remotes/im/snapshot"), host.Oneadmin()),
		h.Chown(h.Path("/var/lib/one/remotes/dangling"), host.Oneadmin()),
		h.Chown(h.Path("/var/lib/one/.one/one_auth"), host.Oneadmin()),
	); err != nil {
		t.Fatal(err)
	}
}

// places are one of each kind, with how object storage is reached.
func places(t *testing.T) (map[string]string, settings.S3) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return map[string]string{"directory": "/backup", "bucket": "s3://backups/one/zero", "bucket without a prefix": "s3://backups"},
		settings.S3{Endpoint: server.URL, Region: "us-east-1", AccessKey: "key", SecretKey: "secret", CA: string(ca)}
}

func TestBucketOfUnknownAuthority(t *testing.T) {
	_, s3 := places(t)
	s3.CA = ""
	if names, err := locate(t, newHost(t), "s3://backups", s3).Names(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("%q, %v, want an error for the server's certificate", names, err)
	}
}

func locate(t *testing.T, h *host.Host, place string, s3 settings.S3) backup.Store {
	t.Helper()
	store, name, err := backup.Locate(h, place, s3)
	if err != nil || name != "" {
		t.Fatalf("store %v, name %q, error %v", store, name, err)
	}
	return store
}

func TestMakeAndExtract(t *testing.T) {
	all, s3 := places(t)
	for kind, place := range all {
		t.Run(kind, func(t *testing.T) {
			h := newHost(t)
			fill(t, h)
			store := locate(t, h, place, s3)
			// More than one part of an upload.
			db := &fakeDatabase{host: h, dump: randomText(40 << 20)}
			name, err := backup.Make(t.Context(), h, db, store, "7.2.0", "sqlite", 3)
			if err != nil {
				t.Fatal(err)
			}
			if left, _ := filepath.Glob(h.Path("/tmp/*")); len(left) > 0 {
				t.Errorf("left over: %q", left)
			}
			found, only, err := backup.Locate(h, place+"/"+name, s3)
			if err != nil || only != name || found.String() != store.String() {
				t.Errorf("%s/%s is found as %q in %v, %v", place, name, only, found, err)
			}
			content, err := store.Open(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = content.Close() }()
			to := emptyDir(t, h)
			about, err := backup.Extract(h, content, to)
			if err != nil {
				t.Fatal(err)
			}
			if want := (backup.About{Format: 1, Version: "7.2.0", Backend: "sqlite", Time: time.Date(2026, 5, 1, 13, 0, 0, 0, time.UTC)}); about != want {
				t.Errorf("about %+v, want %+v", about, want)
			}
			if dump, err := os.ReadFile(h.Path(to + "/database")); err != nil || string(dump) != db.dump {
				t.Errorf("the dump has %d bytes, %v, want the %d that were saved", len(dump), err, len(db.dump))
			}
			want := map[string]string{
				".one": "drwxr-xr-x {0 0} ", ".ssh": "drwx------ {0 0} ", ".one-container": "drwxr-xr-x {0 0} ", "remotes": "drwxr-xr-x {0 0} ",
				"remotes/etc": "drwxr-xr-x {0 0} ", "remotes/etc/vnm": "drwxr-xr-x {0 0} ", "remotes/im": "drwxr-xr-x {0 0} ",
				"vms": "drwxr-xr-x {0 0} ", "vms/3": "drwxr-xr-x {0 0} ", "remotes/link": "Lrwxrwxrwx {0 0} ../im",
				"remotes/dangling": "Lrwxrwxrwx {9869 9869} /no/such/file", "remotes/im/snapshot": "drwxr-x--- {9869 9869} ",
				"remotes/im/readonly": "dr-xr-xr-x {0 0} ", "remotes/im/.mine.new": "drwx------ {0 0} ",
				".one/one_auth":          "-rw------- {9869 9869} content of .one/one_auth",
				".ssh/id_rsa":            "-rw------- {0 0} content of .ssh/id_rsa",
				"remotes/etc/vnm/x.conf": "-rw-r--r-- {0 0} content of remotes/etc/vnm/x.conf",
				"remotes/im/probe.rb":    "-rwxr-xr-x {0 0} content of remotes/im/probe.rb",
				"vms/3/deployment.0":     "-rw-r----- {0 0} content of vms/3/deployment.0",
			}
			if diff := cmp.Diff(want, tree(t, h, to+"/volume")); diff != "" {
				t.Errorf("volume (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOldBackupsGo(t *testing.T) {
	all, s3 := places(t)
	for kind, place := range all {
		t.Run(kind, func(t *testing.T) {
			h := newHost(t)
			store := locate(t, h, place, s3)
			var made []string
			for range 4 {
				name, err := backup.Make(t.Context(), h, &fakeDatabase{host: h}, store, "7.2.0", "sqlite", 2)
				if err != nil {
					t.Fatal(err)
				}
				made = append(made, name)
			}
			if names, err := store.Names(t.Context()); err != nil || !cmp.Equal(names, made[2:]) {
				t.Errorf("backups %q, %v, want %q", names, err, made[2:])
			}
			if _, err := store.Open(t.Context(), made[0]); err == nil {
				t.Errorf("%s can still be read", made[0])
			}
		})
	}
}

// TestOtherFiles wants files that are no backups to be left alone, and parts of one that was never finished to go once they are old.
func TestOtherFiles(t *testing.T) {
	h := newHost(t)
	write(t, h, "/backup/notes.tar.gz", "", 0o600)
	write(t, h, "/backup/.opennebula-20260101T000000Z.tar.gz.1.part", "", 0o600)
	write(t, h, "/backup/.opennebula-20260501T000000Z.tar.gz.1.part", "", 0o600)
	long := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(h.Path("/backup/.opennebula-20260101T000000Z.tar.gz.1.part"), long, long); err != nil {
		t.Fatal(err)
	}
	name, err := backup.Make(t.Context(), h, &fakeDatabase{host: h}, locate(t, h, "/backup", settings.S3{}), "7.2.0", "sqlite", 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	entries, err := os.ReadDir(h.Path("/backup"))
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if diff := cmp.Diff([]string{".opennebula-20260501T000000Z.tar.gz.1.part", "notes.tar.gz", name}, got); err != nil || diff != "" {
		t.Errorf("%v; files (-want +got):\n%s", err, diff)
	}
}

func TestFailedBackupLeavesNothing(t *testing.T) {
	all, s3 := places(t)
	for kind, place := range all {
		t.Run(kind, func(t *testing.T) {
			h := newHost(t)
			store := locate(t, h, place, s3)
			if _, err := backup.Make(t.Context(), h, &fakeDatabase{host: h, err: errors.New("gone away")}, store, "7.2.0", "mysql", 1); err == nil ||
				!strings.Contains(err.Error(), "dump the fake database: gone away") {
				t.Errorf("error %v", err)
			}
			err := store.Save(t.Context(), "opennebula-20260501T000000Z.tar.gz", func(w io.Writer) error {
				_, err := io.WriteString(w, randomText(20<<20))
				return errors.Join(err, errors.New("the volume is gone"))
			})
			if err == nil || !strings.Contains(err.Error(), "the volume is gone") {
				t.Errorf("error %v, want the writer's", err)
			}
			if names, err := store.Names(t.Context()); err != nil || len(names) > 0 {
				t.Errorf("backups %q, %v, want none", names, err)
			}
			if left, _ := filepath.Glob(h.Path("/backup/.*part")); len(left) > 0 {
				t.Errorf("left over: %q", left)
			}
		})
	}
}

// TestIncomplete tries to back up what is no installation: the good backup that there is has to stay.
func TestIncomplete(t *testing.T) {
	for _, c := range []struct {
		name, file string
		empty      bool
		want       string
	}{
		{"a restore that is going on", ".one-container/restore", false, "being restored"},
		{"an upgrade that is going on", ".one-container/upgrade", false, "being upgraded"},
		{"an empty database", "remotes/x", true, "the fake database is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			const good = "/backup/opennebula-20260101T000000Z.tar.gz"
			write(t, h, good, "good", 0o600)
			write(t, h, "/var/lib/one/"+c.file, "x", 0o600)
			_, err := backup.Make(t.Context(), h, &fakeDatabase{host: h, empty: c.empty}, locate(t, h, "/backup", settings.S3{}), "7.2.0", "sqlite", 1)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "when OpenNebula has started") {
				t.Errorf("error %v, want %q in it, and what to do", err, c.want)
			}
			if _, err := os.Stat(h.Path(good)); err != nil {
				t.Errorf("the good backup: %v", err)
			}
		})
	}
}

func TestStoreThatIsNotThere(t *testing.T) {
	h := newHost(t)
	_, s3 := places(t)
	write(t, h, "/file", "x", 0o600)
	for place, want := range map[string]string{
		"/nowhere":         "/nowhere does not exist in this container: mount",
		"/file":            "/file is a file, not a directory: name",
		"s3://nowhere/one": "does not exist",
	} {
		store := locate(t, h, place, s3)
		db := &fakeDatabase{host: h, err: errors.New("dumped in vain")}
		if _, err := backup.Make(t.Context(), h, db, store, "7.2.0", "sqlite", 1); err == nil ||
			!strings.Contains(err.Error(), "list the backups in "+store.String()) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", place, err, want)
		}
		_, namesErr := store.Names(t.Context())
		_, openErr := store.Open(t.Context(), "opennebula-20260501T000000Z.tar.gz")
		saveErr := store.Save(t.Context(), "opennebula-20260501T000000Z.tar.gz", func(io.Writer) error { return nil })
		for _, err := range []error{namesErr, openErr, saveErr} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", place, err, want)
			}
		}
	}
}

func TestDamagedBackup(t *testing.T) {
	h := newHost(t)
	fill(t, h)
	store := locate(t, h, "/backup", settings.S3{})
	name, err := backup.Make(t.Context(), h, &fakeDatabase{host: h, dump: "dump"}, store, "7.2.0", "sqlite", 1)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(h.Path("/backup/" + name))
	if err != nil {
		t.Fatal(err)
	}
	for end := range whole {
		if _, err := backup.Extract(h, bytes.NewReader(whole[:end]), emptyDir(t, h)); err == nil {
			t.Fatalf("the first %d of %d bytes pass for a backup", end, len(whole))
		}
	}
	changed := bytes.Clone(whole)
	changed[len(changed)-6]++
	if _, err := backup.Extract(h, bytes.NewReader(changed), emptyDir(t, h)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v, want one about damage", err)
	}
}

// TestHostileArchive extracts archives that somebody has made to write outside of the directory.
func TestHostileArchive(t *testing.T) {
	const about = `{"format":1,"version":"7.2.0","backend":"sqlite"}`
	for _, c := range []struct {
		name    string
		entries []tar.Header
		want    string
	}{
		{"parent", []tar.Header{{Name: "volume/../../out", Typeflag: tar.TypeReg}}, "no such entry"},
		{"absolute", []tar.Header{{Name: "/out", Typeflag: tar.TypeReg}}, "no such entry"},
		{"through a link", []tar.Header{
			{Name: "volume/link", Typeflag: tar.TypeSymlink, Linkname: "../.."}, {Name: "volume/link/out", Typeflag: tar.TypeReg},
		}, "volume/link/out"},
		{"over a link", []tar.Header{
			{Name: "volume/link", Typeflag: tar.TypeSymlink, Linkname: "/out"}, {Name: "volume/link", Typeflag: tar.TypeReg},
		}, "exists"},
		{"device", []tar.Header{{Name: "volume/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, "not known"},
		{"hard link", []tar.Header{{Name: "volume/link", Typeflag: tar.TypeLink, Linkname: "/out"}}, "not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			entries := append([]tar.Header{{Name: "about.json", Typeflag: tar.TypeReg, Size: int64(len(about))}}, c.entries...)
			_, err := backup.Extract(h, pack(t, about, entries), emptyDir(t, h))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if _, err := os.Lstat(h.Path("/out")); err == nil {
				t.Error("it wrote outside of the directory")
			}
		})
	}
}

func TestNoBackup(t *testing.T) {
	h := newHost(t)
	for name, c := range map[string]struct {
		content io.Reader
		want    string
	}{
		"text":         {strings.NewReader("text"), "no backup"},
		"empty":        {pack(t, "", nil), "no backup"},
		"another tar":  {pack(t, "", []tar.Header{{Name: "readme", Typeflag: tar.TypeReg}}), "first entry is readme"},
		"later format": {pack(t, `{"format":2}`, []tar.Header{{Name: "about.json", Typeflag: tar.TypeReg, Size: 12}}), "format is 2"},
	} {
		if _, err := backup.Extract(h, c.content, emptyDir(t, h)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
}

// pack makes an archive; the first entry has the content.
func pack(t *testing.T, content string, entries []tar.Header) io.Reader {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	files := tar.NewWriter(compressed)
	for _, header := range entries {
		if err := files.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(files, content[:header.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return &out
}

// emptyDir returns the path of an empty directory of the host.
func emptyDir(t *testing.T, h *host.Host) string {
	t.Helper()
	dir, err := os.MkdirTemp(h.Root, "extracted-")
	if err != nil {
		t.Fatal(err)
	}
	return "/" + filepath.Base(dir)
}

// tree is what is below a directory, by path.
func tree(t *testing.T, h *host.Host, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	root := h.Path(dir)
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		owner, _ := h.OwnerOf(path)
		var content []byte
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		} else if info.Mode().Type() == os.ModeSymlink {
			var target string
			target, err = os.Readlink(path)
			content = []byte(target)
		}
		name, _ := filepath.Rel(root, path)
		all[name] = fmt.Sprintf("%v %v %s", info.Mode(), owner, content)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return all
}

// randomText is text that cannot be compressed, and the same each time.
func randomText(size int) string {
	text := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(text)
	return string(text)
}
