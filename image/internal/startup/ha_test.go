package startup

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/frontends"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/oned"
	"opennebula-kube/image/internal/onedconf"
	"opennebula-kube/image/internal/settings"
)

// fleet are front-ends of one zone. Their databases are SQLite's, and each reads those of the others.
type fleet struct {
	machines []*machine
	// states are those of the oneds that run.
	states map[int]oned.State
	// hidden are databases that do not answer.
	hidden map[int]bool
	// uncopied are databases of which there is no copy to be had.
	uncopied map[int]bool
	// sleeping is called when a front-end waits.
	sleeping func(self int)
}

func newFleet(t *testing.T, version string) *fleet {
	t.Helper()
	key, err := os.ReadFile(privateKey(t))
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{states: make(map[int]oned.State), hidden: make(map[int]bool), uncopied: make(map[int]bool), sleeping: func(int) {}}
	for i := range 3 {
		m := newMachine(t, version)
		m.settings.SSH.PrivateKey = string(key)
		m.settings.HA = settings.HA{
			Self: i, Servers: []string{"one-0.one", "one-1.one", "one-2.one"}, Databases: []string{"db-0", "db-1", "db-2"},
			Secrets: settings.HASecrets{ServerAdmin: "shared", OneKey: "key", FireEdgeKey: "sign"},
		}
		m.fleet = f
		// Their databases are on servers, and answer whether there is anything in them or not.
		if err := os.MkdirAll(m.host.Path(stateDir), 0o750); err != nil {
			t.Fatal(err)
		}
		sleep := m.host.Sleep
		m.host.Sleep = func(ctx context.Context, d time.Duration) error {
			f.sleeping(i)
			return sleep(ctx, d)
		}
		m.host.Serve = m.serve
		f.machines = append(f.machines, m)
	}
	return f
}

func privateKey(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/key"
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// connect gives a start the others' databases and oneds.
func (f *fleet) connect(s *Start, own *machine) {
	s.transport = f
	s.databases = nil
	for i, m := range f.machines {
		s.databases = append(s.databases, &remoteDatabase{database.New(m.host, m.settings.Database), f, i, own})
	}
	for i := len(f.machines); i < len(own.settings.HA.Databases); i++ {
		f.hidden[i] = true
		s.databases = append(s.databases, &remoteDatabase{nil, f, i, own})
	}
}

// remoteDatabase is that of another front-end, read over the network.
type remoteDatabase struct {
	database.Interface
	fleet *fleet
	i     int
	own   *machine
}

func (d *remoteDatabase) Tables(ctx context.Context) ([]string, error) {
	if d.fleet.hidden[d.i] {
		return nil, errors.New("connection refused")
	}
	return d.Interface.Tables(ctx)
}

func (d *remoteDatabase) Backup(_ context.Context, path string) error {
	if d.own.isCut(true) {
		return errCut
	}
	if d.fleet.uncopied[d.i] {
		return errors.New("connection lost")
	}
	d.own.sqlOf(d.fleet.machines[d.i].host.Path("/var/lib/one/one.db"), "VACUUM INTO '"+d.own.host.Path(path)+"'")
	d.own.wrote(host.Oneadmin(), d.own.host.Path(path))
	return nil
}

// serve is oned alone.
func (m *machine) serve(ctx context.Context, c host.Command, use func(context.Context) error) error {
	if m.isCut(true) {
		return errCut
	}
	if got := m.conf("SERVER_ID"); got != "-1" {
		return fmt.Errorf("%s is to run alone with SERVER_ID %s", c.Args[0], got)
	}
	if err := m.oned(); err != nil {
		return err
	}
	self := m.settings.HA.Self
	m.fleet.states[self] = oned.Solo
	defer delete(m.fleet.states, self)
	return use(context.WithValue(ctx, selfKey{}, self))
}

type selfKey struct{}

func (m *machine) conf(key string) string {
	_, after, _ := strings.Cut(m.read(onedConf), key+" = ")
	value, _, _ := strings.Cut(after, "\n")
	return strings.Trim(value, `" ,]`)
}

// RoundTrip answers as the oneds of the fleet.
func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	i := slices.IndexFunc(f.machines, func(m *machine) bool { return r.URL.Hostname() == m.settings.HA.Servers[m.settings.HA.Self] })
	if r.URL.Hostname() == "localhost" {
		i, _ = r.Context().Value(selfKey{}).(int)
	}
	state, runs := f.states[i]
	if i < 0 || !runs {
		return nil, errors.New("connection refused")
	}
	var call struct {
		Method string `xml:"methodName"`
		Params []struct {
			String string `xml:"value>string"`
			Int    int    `xml:"value>i4"`
		} `xml:"params>param"`
	}
	if err := xml.NewDecoder(r.Body).Decode(&call); err != nil {
		return nil, err
	}
	m := f.machines[i]
	success, text := 1, ""
	switch body := m.sql("SELECT body FROM user_pool WHERE oid = 0"); {
	case !strings.Contains(body, hash(strings.TrimPrefix(call.Params[0].String, "oneadmin:"))):
		success, text = 0, "User couldn't be authenticated, aborting."
	case call.Method == "one.zone.raftstatus":
		text = fmt.Sprintf("<RAFT><STATE>%d</STATE><TERM>1</TERM><COMMIT>0</COMMIT><LOG_INDEX>0</LOG_INDEX><LOG_TERM>0</LOG_TERM></RAFT>", state)
	case call.Method == "one.user.info":
	case m.isCut(true):
		return nil, errCut
	case call.Method == "one.user.passwd" && call.Params[1].Int == 1:
		m.sql("DELETE FROM user_pool WHERE oid = 1;" + m.insertUser(1, "serveradmin", call.Params[2].String))
	case call.Method == "one.zone.addserver":
		m.addServer(call.Params[2].String)
	case call.Method == "one.zone.delserver":
		m.deleteServer(call.Params[2].Int)
	default:
		success, text = 0, "unknown call "+call.Method
	}
	answer := fmt.Sprintf("<methodResponse><params><param><value><array><data><value><boolean>%d</boolean></value><value><string>%s</string></value>"+
		"</data></array></value></param></params></methodResponse>", success, strings.ReplaceAll(text, "<", "&lt;"))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

func (m *machine) servers() []oned.Server {
	servers, err := oned.ZoneServers(m.sql("SELECT body FROM zone_pool WHERE oid = 0"))
	if err != nil {
		m.t.Fatal(err)
	}
	return servers
}

func (m *machine) addServer(template string) {
	f, err := onedconf.Parse("template", template)
	if err != nil {
		m.t.Fatal(err)
	}
	member := func(name string) string {
		value, _, err := f.Get(onedconf.Key{Name: "SERVER", Member: name})
		if err != nil {
			m.t.Fatal(err)
		}
		return value
	}
	servers := m.servers()
	id := 0
	for _, server := range servers {
		id = max(id, server.ID+1)
	}
	m.setServers(append(servers, oned.Server{ID: id, Endpoint: member("ENDPOINT"), GRPC: member("ENDPOINT_GRPC")}))
}

func (m *machine) deleteServer(id int) {
	m.setServers(slices.DeleteFunc(m.servers(), func(s oned.Server) bool { return s.ID == id }))
}

func (m *machine) setServers(servers []oned.Server) {
	pool := ""
	for _, s := range servers {
		grpc := ""
		if s.GRPC != "" {
			grpc = "<ENDPOINT_GRPC><![CDATA[" + s.GRPC + "]]></ENDPOINT_GRPC>"
		}
		pool += fmt.Sprintf("<SERVER><ENDPOINT><![CDATA[%s]]></ENDPOINT>%s<ID><![CDATA[%d]]></ID></SERVER>", s.Endpoint, grpc, s.ID)
	}
	m.sql("UPDATE zone_pool SET body = '<ZONE><ID>0</ID><SERVER_POOL>" + pool + "</SERVER_POOL></ZONE>' WHERE oid = 0")
}

// boot starts a front-end and its oned, which becomes a server of the zone.
func (f *fleet) boot(t *testing.T, i int, state oned.State) {
	t.Helper()
	if err := f.start(i, state); err != nil {
		t.Fatalf("front-end %d: %v", i, err)
	}
}

// wantRefused wants a front-end not to start, for a reason.
func (f *fleet) wantRefused(t *testing.T, i int, want string) {
	t.Helper()
	if err := f.start(i, oned.Follower); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("front-end %d: error %v, want %q in it", i, err, want)
	}
}

func (f *fleet) start(i int, state oned.State) error {
	m := f.machines[i]
	delete(f.states, i)
	if err := m.start(); err != nil {
		return err
	}
	if err := m.oned(); err != nil {
		return err
	}
	f.states[i] = state
	return nil
}

// stop stops all oneds.
func (f *fleet) stop() { clear(f.states) }

// install puts the image of a version in the place of the one that there is, everywhere.
func (f *fleet) install(version string) {
	for _, m := range f.machines {
		m.install(version)
	}
}

// bootAll starts all front-ends; 1 becomes the leader when there are two.
func (f *fleet) bootAll(t *testing.T) {
	t.Helper()
	f.boot(t, 0, oned.Follower)
	f.boot(t, 1, oned.Leader)
	f.boot(t, 2, oned.Follower)
	f.check(t)
}

// check wants all databases to be the same, and each front-end to be the server of the zone that it is.
func (f *fleet) check(t *testing.T) {
	t.Helper()
	want := f.machines[0].dump()
	for i, m := range f.machines {
		if diff := cmp.Diff(want, m.dump()); diff != "" {
			t.Errorf("front-end %d has another database (-0 +%d):\n%s", i, i, diff)
		}
		servers := m.servers()
		own := slices.IndexFunc(servers, func(s oned.Server) bool { return s.Endpoint == oned.Endpoint(m.settings.HA.Servers[i]) })
		if len(servers) != 3 || own < 0 || m.conf("SERVER_ID") != fmt.Sprint(servers[own].ID) {
			t.Errorf("front-end %d has SERVER_ID %s in the zone %v", i, m.conf("SERVER_ID"), servers)
		}
		for _, server := range servers {
			want := strings.TrimSuffix(strings.TrimPrefix(server.Endpoint, "http://"), ":2633/RPC2") + ":2634"
			// OpenNebula has gRPC from 7.2 on.
			if m.version().Minor() >= 2 && server.GRPC != want {
				t.Errorf("front-end %d has the server %+v in the zone, want %q for gRPC", i, server, want)
			}
		}
		for file, want := range map[string]string{"one_auth": "oneadmin:first\n", "oneflow_auth": "serveradmin:shared\n", "one_key": "key\n", "fireedge_key": "sign"} {
			if got := m.read(authDir + "/" + file); got != want {
				t.Errorf("front-end %d has %q in %s, want %q", i, got, file, want)
			}
		}
		zone, err := frontends.Read(m.host)
		if want := (frontends.Zone{Endpoints: endpoints(servers), Self: i}); err != nil || !cmp.Equal(zone, want) {
			t.Errorf("front-end %d is told of %+v, %v, want %+v", i, zone, err, want)
		}
	}
}

func (m *machine) dump() string {
	out, err := exec.Command("sqlite3", m.host.Path("/var/lib/one/one.db"), ".dump").CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func (m *machine) record(index int) {
	m.sql(fmt.Sprintf("INSERT INTO logdb VALUES (%d, 1, '1'); INSERT INTO host_pool VALUES (%[1]d)", index))
}

func TestFrontEndsBegin(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.2.0")
	f.bootAll(t)
	for _, m := range f.machines {
		m.record(1)
	}
	for i := range f.machines {
		f.boot(t, i, oned.Follower)
	}
	f.check(t)
	if got := f.machines[2].sql("SELECT COUNT(*) FROM host_pool"); got != "1" {
		t.Errorf("%s hosts after another start", got)
	}
}

// TestFrontEndsWait starts the others before the first, and before there is a leader.
func TestFrontEndsWait(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.2.0")
	f.hidden[0] = true
	slept := 0
	f.sleeping = func(self int) {
		switch slept++; {
		case self == 2 && slept == 2:
			delete(f.hidden, 0)
		case self == 2 && slept == 4:
			f.boot(t, 0, oned.Follower)
			f.boot(t, 1, oned.Candidate)
		case self == 2 && slept == 6:
			f.states[1] = oned.Leader
		}
	}
	f.boot(t, 2, oned.Follower)
	f.check(t)
	for _, want := range []string{"does not answer: connection refused", "one-0.one is to begin", "one of them is to become the leader", "one-1.one leads"} {
		if !f.machines[2].logged(want) {
			t.Errorf("nothing in the log about %q:\n%s", want, strings.Join(f.machines[2].log, "\n"))
		}
	}
}

func TestFrontEndGivesUpWaiting(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.2.0")
	f.wantRefused(t, 1, "waited 1m0s for the other front-ends: one-0.one is to begin")
}

// TestFrontEndHasLostItsDatabase takes the database of the first: it must not begin anew, nor follow one that lags behind.
func TestFrontEndHasLostItsDatabase(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.2.0")
	f.bootAll(t)
	f.machines[0].record(1)
	f.machines[1].record(1)
	f.machines[0].removeAll("/var/lib/one/one.db")
	f.boot(t, 0, oned.Follower)
	if got := f.machines[0].dump(); got != f.machines[1].dump() {
		t.Errorf("the database is not the leader's:\n%s", got)
	}
}

// TestFrontEndsUpgrade stops all front-ends and starts a newer version: that with the most of the log upgrades, the others take it over.
func TestFrontEndsUpgrade(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.0.1")
	f.bootAll(t)
	f.machines[2].record(1)
	f.machines[2].install("7.2.0")
	f.wantRefused(t, 2, "oned of one-0.one runs with another version of the database")
	f.stop()
	f.install("7.2.0")
	f.wantRefused(t, 0, "one-2.one, whose database has the most of the zone's log")
	f.boot(t, 2, oned.Follower)
	f.boot(t, 1, oned.Leader)
	f.boot(t, 0, oned.Follower)
	f.check(t)
	if got := f.machines[0].sql("SELECT COUNT(*) FROM host_pool"); got != "1" {
		t.Errorf("%s hosts after the upgrade", got)
	}
	if !f.machines[2].logged("upgraded") || f.machines[0].logged("upgraded") {
		t.Error("the wrong one has upgraded")
	}
}

// TestFrontEndOfAnotherZone has other front-ends in its settings than the zone has, and is needed all the same.
func TestFrontEndOfAnotherZone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.2.0")
	f.bootAll(t)
	m := f.machines[0]
	m.settings.HA.Servers = append(m.settings.HA.Servers, "one-3.one", "one-4.one")
	m.settings.HA.Databases = append(m.settings.HA.Databases, "db-3", "db-4")
	f.boot(t, 0, oned.Follower)
	if got := m.conf("SERVER_ID"); got != "0" || !m.logged("onezone server-add") {
		t.Errorf("SERVER_ID is %s, log:\n%s", got, strings.Join(m.log, "\n"))
	}
}

// TestUpgradeThatWasGivenUp upgrades one front-end, goes back to the older version with the two others, and upgrades again: what the two have
// made meanwhile must not be lost to what the one has.
func TestUpgradeThatWasGivenUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.0.1")
	f.bootAll(t)
	f.stop()
	f.install("7.2.0")
	f.boot(t, 0, oned.Follower)
	f.stop()
	for i, m := range f.machines[1:] {
		m.install("7.0.1")
		m.record(7)
		m.sql("INSERT INTO host_pool VALUES (70)")
		f.boot(t, i+1, oned.Follower)
	}
	f.machines[0].install("7.0.1")
	f.wantRefused(t, 0, "is of a newer OpenNebula than this one")

	f.stop()
	f.install("7.2.0")
	f.wantRefused(t, 0, "one-1.one, whose database has the most of the zone's log")
	f.boot(t, 1, oned.Follower)
	f.boot(t, 0, oned.Leader)
	f.boot(t, 2, oned.Follower)
	f.check(t)
	if got := f.machines[0].sql("SELECT COUNT(*) FROM host_pool WHERE oid = 70"); got != "1" {
		t.Errorf("%s hosts of those that were made meanwhile", got)
	}
	for i, m := range f.machines {
		if found, err := filepath.Glob(m.host.Path(databaseBackupDir + "/*" + backupSuffix)); err != nil || len(found) == 0 {
			t.Errorf("front-end %d has no backup of its former database: %v", i, err)
		}
	}
}

// TestUpgradeLeavesWhatWasNotAcknowledged stops front-ends in the middle of a write.
func TestUpgradeLeavesWhatWasNotAcknowledged(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.0.1")
	f.bootAll(t)
	for _, m := range f.machines {
		m.record(1)
	}
	f.machines[2].sql("INSERT INTO logdb VALUES (2, 1, '0')")
	f.stop()
	f.install("7.2.0")
	f.boot(t, 0, oned.Follower)
	f.boot(t, 1, oned.Leader)
	f.boot(t, 2, oned.Follower)
	f.check(t)
	if got := f.machines[2].sql("SELECT MAX(log_index) FROM logdb"); got != "1" {
		t.Errorf("the last record is %s, want 1", got)
	}
}

// TestUpgradeBesideADatabaseInBetween has migrators, or a backup that is put back, take a table from another: that is not an empty database.
func TestUpgradeBesideADatabaseInBetween(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.0.1")
	f.bootAll(t)
	f.stop()
	f.install("7.2.0")
	f.machines[0].record(1)
	f.machines[0].sql("ALTER TABLE user_pool RENAME TO old_user_pool")
	before := f.machines[1].dump()
	f.wantRefused(t, 1, "has no table user_pool")
	if f.machines[1].dump() != before {
		t.Error("the database has changed")
	}
}

// TestUpgradeWithAShortWait waits for the others for less time than it takes to be sure that none of them starts.
func TestUpgradeWithAShortWait(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.0.1")
	f.bootAll(t)
	f.stop()
	f.install("7.2.0")
	f.machines[0].settings.Database.Wait = 10 * time.Second
	f.boot(t, 0, oned.Follower)
}

// TestFrontEndThatCannotCopy tries again and again, and must not fill its volume with backups.
func TestFrontEndThatCannotCopy(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.0.1")
	f.bootAll(t)
	f.stop()
	f.install("7.2.0")
	f.boot(t, 0, oned.Follower)
	f.uncopied[0] = true
	for range 3 {
		f.wantRefused(t, 1, "connection lost")
	}
	if found, err := filepath.Glob(f.machines[1].host.Path(databaseBackupDir + "/*")); err != nil || len(found) > 0 {
		t.Errorf("backups %q, %v", found, err)
	}
}

// TestFrontEndsWithOtherLogin has a user whose password start-up leaves alone, whatever it is.
func TestFrontEndsWithOtherLogin(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.2.0")
	f.bootAll(t)
	for _, m := range f.machines {
		m.sql("DELETE FROM user_pool WHERE oid = 1;" + strings.Replace(m.insertUser(1, "serveradmin", hash("other")), "[server_cipher]", "[x509]", 1))
	}
	before := f.machines[2].dump()
	delete(f.states, 2)
	if err := f.machines[2].start(); err != nil {
		t.Error(err)
	}
	if f.machines[2].dump() != before {
		t.Error("the database has changed")
	}
}

// TestFrontEndsGetOtherPasswords stops all front-ends and starts them with other passwords.
func TestFrontEndsGetOtherPasswords(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.2.0")
	f.bootAll(t)
	f.machines[1].record(1)
	f.stop()
	for _, m := range f.machines {
		m.settings.OneadminPassword, m.settings.HA.Secrets.ServerAdmin = "second", "secret of services"
	}
	f.wantRefused(t, 0, "one-1.one, whose database has the most of the zone's log")
	f.boot(t, 1, oned.Follower)
	f.boot(t, 0, oned.Leader)
	f.boot(t, 2, oned.Follower)
	for i, m := range f.machines {
		if got := m.dump(); got != f.machines[1].dump() || !strings.Contains(got, hash("second")) || !strings.Contains(got, hash("secret of services")) {
			t.Errorf("front-end %d has another database:\n%s", i, got)
		}
		if got := m.read(authDir + "/one_auth"); got != "oneadmin:second\n" {
			t.Errorf("front-end %d logs in as %q", i, got)
		}
	}
}

// TestNewFrontEndBesideOldOnes has lost its database and is of a newer version than the others: it must not upgrade what it copies from them.
func TestNewFrontEndBesideOldOnes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.0.1")
	f.bootAll(t)
	f.machines[2].removeAll("/var/lib/one/one.db")
	f.machines[2].install("7.2.0")
	f.wantRefused(t, 2, "oned of one-0.one runs with another version of the database")
	if f.machines[2].logged("upgrading") {
		t.Error("it has upgraded its copy")
	}
}

// TestFrontEndsGetGRPC has zones whose servers have no end points for gRPC: of an older OpenNebula, and made without them.
func TestFrontEndsGetGRPC(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		before string
		change func(f *fleet)
	}{
		{"of an older OpenNebula", "7.0.1", func(f *fleet) {
			for _, server := range f.machines[0].servers() {
				if server.GRPC != "" {
					t.Errorf("OpenNebula 7.0.1 has the server %+v, and no gRPC", server)
				}
			}
			f.install("7.2.0")
		}},
		{"made without them", "7.2.0", func(f *fleet) {
			for _, m := range f.machines {
				servers := m.servers()
				for i := range servers {
					servers[i].GRPC = ""
				}
				m.setServers(servers)
			}
			f.boot(t, 2, oned.Follower)
			if !f.machines[2].logged("some servers of zone 0 have no ENDPOINT_GRPC") || f.machines[2].servers()[0].GRPC != "" {
				t.Error("while others run the zone must stay as it is, and the log must say what it lacks")
			}
			f.stop()
			for _, m := range f.machines {
				m.settings.OneadminPassword = "second"
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, c.before)
			f.bootAll(t)
			f.stop()
			c.change(f)
			ids := f.machines[0].servers()
			f.boot(t, 0, oned.Follower)
			f.boot(t, 1, oned.Leader)
			f.boot(t, 2, oned.Follower)
			for i, m := range f.machines {
				servers := m.servers()
				for j, server := range servers {
					want := oned.Server{ID: ids[j].ID, Endpoint: ids[j].Endpoint, GRPC: fmt.Sprintf("one-%d.one:2634", j)}
					if server != want {
						t.Errorf("front-end %d has the server %+v, want %+v", i, server, want)
					}
				}
			}
		})
	}
}

// TestFrontEndsRestore begins with a backup of a front-end that was alone.
func TestFrontEndsRestore(t *testing.T) {
	t.Parallel()
	saved, _ := backedUp(t, "7.2.0")
	file := "/backup/" + filepath.Base(saved.only("/backup/*"))
	f := newFleet(t, "7.2.0")
	for _, m := range f.machines {
		m.write(file, saved.read(file))
		m.settings.RestoreFrom = "/backup"
	}
	f.bootAll(t)
	if !f.machines[0].logged("restored") || f.machines[1].logged("restored") {
		t.Error("the wrong one has restored")
	}
	// The setting may stay.
	f.boot(t, 1, oned.Follower)
	f.check(t)
}

// TestFrontEndJoinedByOthers gives a front-end that was alone two others.
func TestFrontEndJoinedByOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.2.0")
	first := f.machines[0]
	ha := first.settings.HA
	first.settings.HA = settings.HA{}
	first.boot()
	first.record(0 + 1)
	first.settings.HA = ha
	f.bootAll(t)
	if got := f.machines[2].sql("SELECT COUNT(*) FROM host_pool"); got != "1" {
		t.Errorf("%s hosts at another front-end", got)
	}
	if zone := first.servers(); !cmp.Equal(endpoints(zone), []string{oned.Endpoint("one-0.one"), oned.Endpoint("one-1.one"), oned.Endpoint("one-2.one")}) {
		t.Errorf("the zone is %v", zone)
	}
}

// TestFrontEndsRefuse has settings that do not go with what there is.
func TestFrontEndsRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(f *fleet)
		want   string
	}{
		{"another password", func(f *fleet) { f.machines[0].settings.OneadminPassword = "second" }, "oned refuses one.zone.raftstatus: User couldn't be authenticated, aborting.; either its password of oneadmin is another"},
		{"another secret of the services", func(f *fleet) { f.machines[0].settings.HA.Secrets.ServerAdmin = "other" }, "runs with another version of the database, or other passwords"},
		{"another key", func(f *fleet) { f.machines[0].settings.HA.Secrets.OneKey = "other" }, "one_key has another key than OPENNEBULA_HA_ONE_KEY"},
		// What cannot be read is not taken for a password of the settings.
		{"a password that cannot be read", func(f *fleet) {
			f.machines[0].sql("UPDATE user_pool SET body = REPLACE(body, 'PASSWORD>', 'PASSWD>') WHERE oid = 1")
		}, "user 1 in the database /var/lib/one/one.db: read the document of a user: it has 0 elements USER/PASSWORD"},
		// Its database is not outdated, and not to be replaced.
		{"another's state that cannot be read", func(f *fleet) { f.states[1] = 9 }, "oned of one-1.one does not tell what it is: oned at http://one-1.one:2633/RPC2 tells its state in a form that is not known"},
		{"a onedb without a library", func(f *fleet) { f.machines[0].rubyFails = func(string) bool { return true } }, noLibrary},
		{"another name", func(f *fleet) { f.machines[0].settings.HA.Servers = []string{"one-9.one", "one-1.one", "one-2.one"} }, "onezone server-add"},
		{"another name, a database down", func(f *fleet) {
			f.machines[0].settings.HA.Servers = []string{"one-9.one", "one-1.one", "one-2.one"}
			f.hidden[1] = true
		}, "that of one-1.one does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, "7.2.0")
			f.bootAll(t)
			c.change(f)
			before := f.machines[0].dump()
			f.wantRefused(t, 0, c.want)
			if f.machines[0].dump() != before {
				t.Error("the database has changed")
			}
		})
	}
}

// TestFrontEndsCutOff ends the first start of a front-end at each thing that it does; after the next all must be as without that.
func TestFrontEndsCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: some hundred starts")
	}
	t.Parallel()
	for self, name := range []string{"that begins", "that copies"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prepared := newFleet(t, "7.2.0")
			if self > 0 {
				prepared.boot(t, 0, oned.Follower)
			}
			// All that comes before the databases is done already: another test cuts that.
			prepared.hidden[2] = true
			if err := prepared.start(self, oned.Follower); err == nil {
				t.Fatal("the front-end starts without having seen all databases")
			}
			delete(prepared.hidden, 2)
			undisturbed := prepared.with(t, self)
			undisturbed.boot(t, self, oned.Follower)
			want, wantDump := undisturbed.machines[self].settled(true), undisturbed.machines[self].dump()

			cut, tried := 0, 0
			for done := false; !done; cut++ {
				f := prepared.with(t, self)
				m := f.machines[self]
				m.cut, m.idle = cut, cut > 0
				err := m.start()
				m.cut = -1
				if done = err == nil; done || m.idle {
					continue
				}
				if !errors.Is(err, errCut) && !strings.Contains(err.Error(), errCut.Error()) {
					t.Fatalf("cut %d: %v", cut, err)
				}
				tried++
				f.boot(t, self, oned.Follower)
				// A start that finds other passwords in the database than it has makes a mark; the others copy that.
				m.sql("DELETE FROM system_attributes WHERE name = '" + generationName + "'")
				if diff := cmp.Diff(want, m.settled(true)) + cmp.Diff(wantDump, m.dump()); diff != "" {
					t.Fatalf("cut %d: what is left differs from what an undisturbed start leaves (-want +got):\n%s\nlog:\n%s",
						cut, diff, strings.Join(m.log, "\n"))
				}
			}
			t.Logf("%d places to cut at, %d different cuts", cut, tried)
			if tried < 15 {
				t.Errorf("only %d cuts", tried)
			}
		})
	}
}

// with is a fleet with a copy of one of the front-ends.
func (f *fleet) with(t *testing.T, self int) *fleet {
	t.Helper()
	c := &fleet{machines: slices.Clone(f.machines), states: maps.Clone(f.states), hidden: maps.Clone(f.hidden), uncopied: f.uncopied, sleeping: f.sleeping}
	m := f.machines[self].copy(t)
	m.fleet = c
	m.host.Serve = m.serve
	c.machines[self] = m
	return c
}

// TestZoneTellsWhatOnedLogs has an oned that says in its log alone why it ends.
func TestZoneTellsWhatOnedLogs(t *testing.T) {
	t.Parallel()
	const failure = "Fri May  1 12:00:00 2026 [Z0][SCM][E]: Driver initialization failed, expected INIT SUCCESS message"
	for _, c := range []struct {
		name string
		log  func(m *machine)
		want string
	}{
		{"a log", func(m *machine) {
			m.write(onedLog, strings.Repeat("x", 100_000)+"\n"+strings.Replace(failure, "Driver", "An earlier", 1)+"\n"+failure+"\nFri May  1 12:00:00 2026 [Z0][ONE][I]: bye\n")
		}, "oned ended with status 255; the last error in oned's log is: " + failure},
		{"a log without errors", func(m *machine) { m.write(onedLog, "Fri May  1 12:00:00 2026 [Z0][ONE][I]: bye\n") }, "oned ended with status 255"},
		{"no log", func(*machine) {}, "oned ended with status 255"},
		{"a pipe", func(m *machine) {
			if err := syscall.Mkfifo(m.host.Path(onedLog), 0o600); err != nil {
				t.Error(err)
			}
		}, "oned ended with status 255"},
		{"a link", func(m *machine) {
			m.write("/etc/secret", failure+"\n")
			if err := os.Symlink("/etc/secret", m.host.Path(onedLog)); err != nil {
				t.Error(err)
			}
		}, "oned ended with status 255"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newFleet(t, "7.2.0").machines[0]
			m.host.Serve = func(context.Context, host.Command, func(context.Context) error) error {
				c.log(m)
				return &host.ExitError{Args: []string{"oned"}, Status: 255}
			}
			if err := m.start(); err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("error %v, want it to end with %q", err, c.want)
			}
		})
	}
}

// TestFrontEndsGoBack has an upgrade fail, and the former version start again.
func TestFrontEndsGoBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "7.0.1")
	f.bootAll(t)
	f.machines[0].record(1)
	f.machines[1].record(1)
	f.stop()
	f.install("7.2.0")
	f.machines[0].upgradeFails = "missing migration descriptors"
	f.wantRefused(t, 0, "missing migration descriptors")
	f.install("7.0.1")
	f.boot(t, 0, oned.Follower)
	f.boot(t, 1, oned.Leader)
	f.boot(t, 2, oned.Follower)
	f.check(t)
}
