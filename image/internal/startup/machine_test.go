package startup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/onedconf"
	"opennebula-kube/image/internal/settings"
)

// machine is a container in a directory, with OpenNebula's programs in Go. sqlite3 and ssh-keygen are the real ones.
type machine struct {
	t        *testing.T
	host     *host.Host
	settings settings.Settings
	now      time.Time
	// owners of files by their inode: tests need no root.
	owners map[uint64]host.Owner
	log    []string
	// call counts what start-up does to the outside; after cut of them, if that is not negative, nothing is done any more.
	call, cut int
	// idle tells that the last call changed nothing: to be cut off after it is as to be cut off before it.
	idle bool
	disk *disk
	// fleet are the front-ends that this is one of, if there are several.
	fleet *fleet
	// upgradeFails is what onedb upgrade prints when it fails.
	upgradeFails string
	// rubyFails tells whether a command of onedb ends as it does when Ruby does not find a library.
	rubyFails func(command string) bool
}

var errCut = errors.New("cut off")

func newMachine(t *testing.T, version string) *machine {
	t.Helper()
	m := newEmptyMachine(t)
	m.install(version)
	m.write("/etc/hosts", "127.0.0.1 localhost\n10.0.0.7 one-0.one.default.svc.cluster.local one-0\n")
	return m
}

// copy is another machine with all that this one has.
func (m *machine) copy(t *testing.T) *machine {
	t.Helper()
	c := newEmptyMachine(t)
	c.settings, c.now = m.settings, m.now
	if out, err := exec.Command("cp", "-a", m.host.Root+"/.", c.host.Root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err := filepath.WalkDir(m.host.Root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inode, err := inodeOf(filepath.Join(c.host.Root, strings.TrimPrefix(path, m.host.Root)))
		c.owners[inode] = m.owner(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newEmptyMachine(t *testing.T) *machine {
	t.Helper()
	for _, program := range []string{"sqlite3", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: apt-get install sqlite3 openssh-client", err)
		}
	}
	m := &machine{t: t, owners: make(map[uint64]host.Owner), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), cut: -1}
	m.settings = settings.Settings{
		Database: settings.Database{Backend: settings.SQLite, Wait: time.Minute, Backups: 2}, OneadminPassword: "first", MonitorAddress: "auto",
		LogLevel: 2,
	}
	m.host = host.System(func(format string, args ...any) {
		m.log = append(m.log, fmt.Sprintf(format, args...))
		t.Logf(format, args...)
	})
	m.host.Root = t.TempDir()
	m.host.Now = func() time.Time { return m.now }
	m.host.Sleep = func(_ context.Context, d time.Duration) error { m.now = m.now.Add(d); return nil }
	m.host.Hostname = func() (string, error) { return "one-0", nil }
	m.host.OwnerOf = func(path string) (host.Owner, error) {
		inode, err := inodeOf(path)
		return m.owners[inode], err
	}
	m.host.Chown = func(path string, o host.Owner) error {
		inode, err := inodeOf(path)
		if m.isCut(m.owners[inode] != o) {
			return errCut
		}
		m.owners[inode] = o
		return err
	}
	m.disk = newDisk(m, m.host.Disk)
	m.host.Disk = m.disk
	run := m.host.Run
	m.host.Run = func(ctx context.Context, c host.Command) (string, error) {
		output := outputOf(c)
		if m.isCut(output != "" || changes(c)) {
			return "", errCut
		}
		if output != "" && m.isCut(true) {
			m.writeAs(c.As, output, "half")
			return "", errCut
		}
		if c.Args[0] == "onedb" {
			return m.onedb(ctx, c.Args[1:])
		}
		as := c.As
		if i := slices.Index(c.Args, "rsa"); i >= 0 {
			// Such a key takes half a second.
			c.Args[i] = "ed25519"
		}
		c.As = host.Owner{UID: os.Getuid(), GID: os.Getgid()}
		out, err := run(ctx, c)
		m.wrote(as, output, output+".pub")
		return out, err
	}
	return m
}

// outputOf is the file that a program writes, "" for one that writes none.
func outputOf(c host.Command) string {
	switch {
	case c.Args[0] == "ssh-keygen" && slices.Contains(c.Args, "-t"), c.Args[0] == "onedb" && slices.Contains(c.Args, "fsck"):
		return c.Args[len(c.Args)-1]
	case c.Args[0] == "sqlite3":
		_, after, _ := strings.Cut(scriptOf(c), "VACUUM INTO '")
		path, _, _ := strings.Cut(after, "'")
		return path
	}
	return ""
}

// wrote notes what a program has written, without waiting for the disk.
func (m *machine) wrote(as host.Owner, paths ...string) {
	for _, path := range paths {
		if inode, err := inodeOf(path); err == nil {
			m.owners[inode] = as
			m.disk.unsynced[inode] = true
		}
	}
}

func (m *machine) writeAs(as host.Owner, path, content string) {
	m.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.wrote(as, path)
}

// isCut tells that the power is off, so that what would be done now, and would change something or not, is not done.
func (m *machine) isCut(changes bool) bool {
	m.call++
	if m.cut >= 0 && m.call > m.cut {
		return true
	}
	m.idle = !changes
	return false
}

// changes tells whether a program that writes no file changes anything.
func changes(c host.Command) bool {
	return slices.Contains(c.Args, "upgrade") || strings.Contains(scriptOf(c), "UPDATE")
}

// scriptOf is what a program is given to read.
func scriptOf(c host.Command) string {
	script, ok := c.Stdin.(*strings.Reader)
	if !ok {
		return ""
	}
	text := make([]byte, script.Size())
	_, _ = script.ReadAt(text, 0)
	return string(text)
}

func inodeOf(path string) (uint64, error) {
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return stat.Ino, nil
}

func (m *machine) owner(path string) host.Owner {
	m.t.Helper()
	inode, err := inodeOf(path)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.owners[inode]
}

// install puts the image of a version in the place of the one that there is; the volume stays.
func (m *machine) install(version string) {
	m.t.Helper()
	for _, dir := range []string{sharedDir, configDir} {
		if err := os.RemoveAll(m.host.Path(dir)); err != nil {
			m.t.Fatal(err)
		}
	}
	m.write(sharedDir+"/VERSION", version+"\n")
	for name, content := range configFiles(version) {
		m.write(installedConfig+"/"+name, content)
	}
	m.mkdir(installedConfig, 0o750)
	m.mkdir(installedConfig+"/auth/certificates", 0o700)
	for name, content := range map[string]string{
		"VERSION": version + "\n", "im/probe.rb": "probe of " + version, "im/same.rb": "same", "etc/vnm/OpenNebulaNetwork.conf": networkConfText,
		"only-" + version: "x", "scheduler/rank/place": "place", "scheduler/one_drs/optimize": "optimize", "ipam/only-" + version + "/register": "x",
	} {
		m.write(installedDrivers+"/"+name, content)
	}
	for name, mode := range map[string]fs.FileMode{
		"im/lxc-probes.d/vm/snapshot": 0o755, "vnm/bridge/pre.d": 0o700, "etc/tm/local": 0o755, "ipam/empty-" + version: 0o755, "etc/only-" + version: 0o755,
	} {
		m.mkdir(installedDrivers+"/"+name, mode)
	}
	m.link("lxc-probes.d", installedDrivers+"/im/lxd-probes.d")
}

func (m *machine) mkdir(path string, mode fs.FileMode) {
	m.t.Helper()
	at := m.host.Path(path)
	if err := errors.Join(os.MkdirAll(at, 0o755), os.Chmod(at, mode)); err != nil {
		m.t.Fatal(err)
	}
}

// link puts a link in the place of what is at a path.
func (m *machine) link(target, path string) {
	m.t.Helper()
	at := m.host.Path(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.RemoveAll(at), os.Symlink(target, at)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) write(path, content string) {
	m.t.Helper()
	at := m.host.Path(path)
	_, err := os.Lstat(at)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o600)); err != nil {
		m.t.Fatal(err)
	}
	if inode, inodeErr := inodeOf(at); err != nil && inodeErr == nil {
		// Numbers of files that are gone are given again.
		m.owners[inode] = host.Owner{}
		if strings.HasPrefix(path, stateDir) {
			m.owners[inode] = host.Oneadmin()
		}
	}
}

func (m *machine) read(path string) string {
	m.t.Helper()
	content, err := os.ReadFile(m.host.Path(path))
	if err != nil {
		m.t.Error(err)
	}
	return string(content)
}

func (m *machine) start() error {
	m.t.Helper()
	s, err := New(m.host, m.settings, strings.NewReader(strings.Repeat("random bytes that are no longer so ", 10)))
	if err != nil {
		m.t.Fatal(err)
	}
	if m.fleet != nil {
		m.fleet.connect(s, m)
	}
	return s.Run(m.t.Context())
}

// boot starts the container, and oned in it.
func (m *machine) boot() {
	m.t.Helper()
	if err := m.start(); err != nil {
		m.t.Fatal(err)
	}
	if err := m.oned(); err != nil {
		m.t.Fatalf("oned does not start: %v", err)
	}
}

func (m *machine) version() *semver.Version {
	return semver.MustParse(strings.TrimSpace(m.read(sharedDir + "/VERSION")))
}

func (m *machine) schema() string {
	return fmt.Sprintf("%d.%d.0", m.version().Major(), m.version().Minor())
}

func (m *machine) sql(statements string) string {
	m.t.Helper()
	return m.sqlOf(m.host.Path("/var/lib/one/one.db"), statements)
}

func (m *machine) sqlOf(file, statements string) string {
	m.t.Helper()
	cmd := exec.Command("sqlite3", file, "PRAGMA synchronous = OFF", statements)
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v: %s", statements, err, out)
	}
	return strings.TrimSpace(string(out))
}

const (
	createTables = `CREATE TABLE pool_control (tablename TEXT PRIMARY KEY, last_oid INTEGER);
		CREATE TABLE IF NOT EXISTS host_pool (oid INTEGER PRIMARY KEY);
		CREATE TABLE IF NOT EXISTS user_pool (oid INTEGER PRIMARY KEY, name TEXT, body TEXT);
		CREATE TABLE system_attributes (name TEXT PRIMARY KEY, body TEXT);
		CREATE TABLE zone_pool (oid INTEGER PRIMARY KEY, body TEXT);
		CREATE TABLE logdb (log_index INTEGER PRIMARY KEY, term INTEGER, applied BOOLEAN);
		CREATE TABLE db_versioning (version TEXT);`
	insertZone = `INSERT INTO zone_pool VALUES (0, '<ZONE><ID>0</ID><SERVER_POOL></SERVER_POOL></ZONE>'); INSERT INTO logdb VALUES (0, 0, '1');`
)

// refuses is how oned ends when something is not there that it reads when it starts: nil when all is there.
func (m *machine) refuses() error {
	m.t.Helper()
	end := func(said string) error { return &host.ExitError{Args: []string{"oned"}, Status: 255, Output: said} }
	for _, dir := range []string{"/run/lock/one", "/run/one", "/var/log/one", stateDir} {
		if _, err := os.Stat(m.host.Path(dir)); err != nil || m.owner(m.host.Path(dir)) != host.Oneadmin() {
			return end(fmt.Sprintf("oneadmin cannot write to %s (%v)", dir, err))
		}
	}
	if _, err := os.Stat(m.host.Path("/run/lock/one/one")); err == nil {
		return end("Error: Cannot start oned, opening lock file /var/lock/one/one")
	}
	conf, err := os.ReadFile(m.host.Path(onedConf))
	if err != nil {
		return end("Could not load nebula configuration file.")
	}
	f, err := onedconf.Parse(onedConf, string(conf))
	if err != nil {
		return end(err.Error())
	}
	if _, err := os.Stat(m.host.Path(monitordConf)); err != nil {
		return end("[InM][E] Driver initialization failed, expected INIT SUCCESS message")
	}
	scheduler, _, err := f.Get(onedconf.Key{Name: "SCHED_MAD", Member: "ARGUMENTS"})
	if err != nil {
		return end(err.Error())
	}
	arguments := strings.Fields(scheduler)
	for _, option := range []string{"-p", "-o"} {
		dir := driverDir + "/scheduler/" + arguments[slices.Index(arguments, option)+1]
		if info, err := os.Stat(m.host.Path(dir)); err != nil || !info.IsDir() {
			return end("[SCM][E] Driver initialization failed, expected INIT SUCCESS message")
		}
	}
	// What its drivers read. The real one would start, and run those of another version.
	if has, want := m.read(driverDir+"/VERSION"), m.read(sharedDir+"/VERSION"); has != want {
		return end(fmt.Sprintf("oned %s has drivers of %s", want, has))
	}
	if _, err := os.Stat(m.host.Path(networkConf)); err != nil {
		return end(err.Error())
	}
	return nil
}

// oned starts as oned does: on an empty database it makes tables, auth files and users; on a filled one it needs what it made then.
func (m *machine) oned() error {
	m.t.Helper()
	if err := m.refuses(); err != nil {
		return err
	}
	auth := strings.TrimSpace(m.read(oneAuth))
	name, password, _ := strings.Cut(auth, ":")
	s := Start{version: m.version()}
	if m.sql("SELECT COUNT(*) FROM sqlite_master WHERE name = 'db_versioning'") == "0" {
		m.sql(createTables + "INSERT INTO db_versioning VALUES ('" + m.schema() + "')")
	}
	if has := m.sql("SELECT version FROM db_versioning"); has != m.schema() {
		return fmt.Errorf("the schema is %s", has)
	}
	if m.sql("SELECT COUNT(*) FROM user_pool WHERE oid = 0") == "0" {
		for _, file := range s.serviceFiles() {
			if _, err := os.Stat(m.host.Path(file)); err == nil {
				return fmt.Errorf("password file %s already exists", file)
			}
			m.write(file, "serveradmin:secret\n")
		}
		m.sql(m.insertUser(0, name, hash(password)) + insertZone + m.insertUser(1, "serveradmin", hash("secret")))
	}
	if has := m.sql("SELECT body FROM user_pool WHERE oid = 0"); !strings.Contains(has, hash(password)) {
		return fmt.Errorf("the password in %s is not that of %s", oneAuth, has)
	}
	for _, file := range s.serviceFiles() {
		_, secret, _ := strings.Cut(strings.TrimSpace(m.read(file)), ":")
		if has := m.sql("SELECT body FROM user_pool WHERE oid = 1"); !strings.Contains(has, hash(secret)) {
			return fmt.Errorf("the secret in %s is not that of %s", file, has)
		}
	}
	return nil
}

// insertUser writes a user as oned was seen to do, with another hash.
func (m *machine) insertUser(id int, name, hash string) string {
	m.t.Helper()
	content, err := os.ReadFile("../oned/testdata/user_pool.json")
	if err != nil {
		m.t.Fatal(err)
	}
	var rows []struct {
		OID  int    `json:"oid"`
		Name string `json:"name"`
		Body string `json:"body"`
	}
	if err := json.Unmarshal(content, &rows); err != nil {
		m.t.Fatal(err)
	}
	for _, row := range rows {
		if row.OID == id && row.Name == name {
			begin := strings.Index(row.Body, "<PASSWORD><![CDATA[") + len("<PASSWORD><![CDATA[")
			return fmt.Sprintf("INSERT INTO user_pool VALUES (%d, '%s', '%s');", id, name, row.Body[:begin]+hash+row.Body[begin+len(hash):])
		}
	}
	m.t.Fatalf("no user %d with the name %s was recorded", id, name)
	return ""
}

// noLibrary is what Ruby prints when it does not find one.
const noLibrary = "cannot load such file -- augeas (LoadError)"

// onedb is the tool, as far as start-up uses it. Its upgrade is made in two parts, and may be cut off between them.
func (m *machine) onedb(_ context.Context, args []string) (string, error) {
	fail := func(status int, said string) (string, error) {
		return "", &host.ExitError{Args: args, Status: status, Output: said}
	}
	if _, err := os.Stat(m.host.Path(onedConf)); err != nil {
		return fail(255, "Unable to parse oned.conf: "+err.Error())
	}
	if args[0] != "version" {
		if _, err := os.Stat(m.host.Path("/run/lock/one/one")); err == nil {
			return fail(255, "First stop OpenNebula. Lock file found: /var/lock/one/one")
		}
		// It asks whether oned runs.
		if _, err := os.Stat(m.host.Path(oneAuth)); err != nil {
			return fail(255, "ONE_AUTH file not present")
		}
	}
	if m.rubyFails != nil && m.rubyFails(args[0]) {
		return fail(1, noLibrary)
	}
	if m.sql("SELECT COUNT(*) FROM sqlite_master WHERE name = 'db_versioning'") == "0" {
		return fail(1, "Database is not correctly bootstraped.")
	}
	has, want := semver.MustParse(m.sql("SELECT version FROM db_versioning")), semver.MustParse(m.schema())
	switch {
	case slices.Equal(args, []string{"version", "-v"}):
		switch has.Compare(want) {
		case -1:
			return fail(2, "Update required.")
		case 1:
			return fail(3, "Source version is lower than DB version")
		}
		return "", nil
	case slices.Equal(args, []string{"upgrade", "-v", "--no-backup"}):
		// It fails when it finds its own half-done work.
		m.sql("ALTER TABLE user_pool RENAME TO old_user_pool; CREATE TABLE user_pool (oid INTEGER PRIMARY KEY, name TEXT, body TEXT)")
		if m.isCut(true) {
			return "", errCut
		}
		if m.upgradeFails != "" {
			return fail(255, m.upgradeFails)
		}
		m.sql("INSERT INTO user_pool SELECT * FROM old_user_pool; DROP TABLE old_user_pool; UPDATE db_versioning SET version = '" + want.String() + "'")
		return "", nil
	case len(args) == 4 && args[0] == "fsck":
		return "", os.WriteFile(args[3], []byte("backup"), 0o600)
	}
	return fail(255, fmt.Sprintf("unknown arguments %q", args))
}

// volume is all that is on the volume and in the configuration, by path, with what it is.
func (m *machine) volume() map[string]string {
	m.t.Helper()
	all := make(map[string]string)
	for _, dir := range []string{stateDir, configDir} {
		root := m.host.Path(dir)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && path == root {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			what := fmt.Sprintf("%v %v", info.Mode(), m.owner(path))
			if info.Mode().IsRegular() && filepath.Base(path) != "one.db" {
				content, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				what += " " + string(content)
			}
			if info.Mode().Type() == fs.ModeSymlink {
				target, err := os.Readlink(path)
				if err != nil {
					return err
				}
				what += " " + target
			}
			all[strings.TrimPrefix(path, m.host.Root)] = what
			return nil
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	return all
}

func (m *machine) logged(want string) bool {
	return slices.ContainsFunc(m.log, func(line string) bool { return strings.Contains(line, want) })
}
