package standin_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/dev/sandbox/standin"
)

// front keeps the address of a server while that is down, and closes what comes in then.
type front struct {
	listener net.Listener
	mu       sync.Mutex
	behind   chan net.Conn
	open     []net.Conn
}

func newFront(t *testing.T) *front {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			if f.behind == nil {
				_ = connection.Close()
			} else {
				f.open = append(f.open, connection)
				f.behind <- connection
			}
			f.mu.Unlock()
		}
	}()
	return f
}

func (f *front) endpoint() string { return "http://" + f.listener.Addr().String() + "/RPC2" }

// cut ends all connections at once, as when a machine is switched off.
func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = nil
	for _, connection := range f.open {
		_ = connection.Close()
	}
	f.open = nil
}

// serverSide is what oned listens on: it gets the connections that come in at the front.
type serverSide struct {
	*front
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func (f *front) listen() net.Listener {
	s := &serverSide{front: f, connections: make(chan net.Conn, 1000), closed: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = s.connections
	return s
}

func (s *serverSide) Accept() (net.Conn, error) {
	select {
	case connection := <-s.connections:
		return connection, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *serverSide) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *serverSide) Addr() net.Addr { return s.listener.Addr() }

// member is one server of a zone.
type member struct {
	*machine
	id     int
	front  *front
	cancel context.CancelFunc
	ended  chan int
	said   *lockedBuffer
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func newMember(t *testing.T, id int, times standin.RaftTimes) *member {
	t.Helper()
	m := &member{machine: newMachine(t, "7.2.0"), id: id, front: newFront(t), said: &lockedBuffer{}}
	listen := m.host.Listen
	m.host.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
		if address == "0.0.0.0:2633" {
			return m.front.listen(), nil
		}
		return listen(ctx, network, address)
	}
	m.host.Stdout, m.host.Stderr, m.host.Raft = m.said, m.said, times
	m.configure(id)
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			log, err := os.ReadFile(m.path("/var/log/one/oned.log"))
			t.Logf("server %d, %v: %s\n%s", id, err, m.said, log)
		}
	})
	return m
}

// configure writes a configuration with times that differ, so that most elections have a winner at once.
func (m *member) configure(id int) {
	m.write("/etc/one/oned.conf", fmt.Sprintf(`DB = [ BACKEND = "sqlite" ]
FEDERATION = [ MODE = "STANDALONE", ZONE_ID = 0, SERVER_ID = %d ]
RAFT = [ ELECTION_TIMEOUT_MS = %d, BROADCAST_TIMEOUT_MS = 100, XMLRPC_TIMEOUT_MS = 1000 ]
`, id, 600+200*max(id, 0)))
}

func (m *member) start() {
	m.t.Helper()
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.ended = make(chan int, 1)
	ended := m.ended
	go func() { ended <- m.host.Run(ctx, "oned", "-f") }()
	m.t.Logf("server %d starts", m.id)
	waitFor(m.t, "oned to listen", func() bool {
		m.front.mu.Lock()
		defer m.front.mu.Unlock()
		return m.front.behind != nil || len(ended) > 0
	})
	if len(ended) > 0 {
		m.t.Fatalf("oned ends: %s", m.said)
	}
}

// kill takes the server away, with all connections first.
func (m *member) kill() {
	if m.cancel == nil {
		return
	}
	m.front.cut()
	m.cancel()
	<-m.ended
	m.cancel = nil
}

// clone gives the server what another one has: its database and its secrets.
func (m *member) clone(of *member) {
	m.t.Helper()
	if err := os.RemoveAll(m.path("/var/lib/one")); err != nil {
		m.t.Fatal(err)
	}
	if err := os.CopyFS(m.path("/var/lib/one"), os.DirFS(of.path("/var/lib/one"))); err != nil {
		m.t.Fatal(err)
	}
}

// createUser makes a user at the server, and tells whether it says that it did.
func (m *member) createUser(name string) error {
	var out, said bytes.Buffer
	host := m.host
	host.Stdout, host.Stderr = &out, &said
	host.Getenv = func(variable string) string { return map[string]string{"ONE_XMLRPC": m.front.endpoint()}[variable] }
	if host.Run(m.t.Context(), "oneuser", "create", name, "secret") != 0 {
		return errors.New(said.String())
	}
	return nil
}

// mustCreate makes a user, however long it takes to find a leader.
func (m *member) mustCreate(name string) {
	m.t.Helper()
	waitFor(m.t, "user "+name, func() bool {
		err := m.createUser(name)
		return err == nil || strings.Contains(err.Error(), "already taken")
	})
}

type raftStatus struct {
	ServerID int    `xml:"SERVER_ID"`
	State    int    `xml:"STATE"`
	Term     int    `xml:"TERM"`
	VotedFor int    `xml:"VOTEDFOR"`
	Commit   uint64 `xml:"COMMIT"`
	Index    int64  `xml:"LOG_INDEX"`
	LogTerm  int    `xml:"LOG_TERM"`
}

const (
	isFollower = 2
	isLeader   = 3
)

func (m *member) status() (s raftStatus, err error) {
	answer, err := m.call("one.zone.raftstatus")
	if err == nil && answer[0] != "1" {
		err = errors.New(answer[1])
	}
	if err == nil {
		err = xml.Unmarshal([]byte(answer[1]), &s)
	}
	return s, err
}

// call makes a call as oneadmin and returns all that is in the answer.
func (m *member) call(method string, params ...any) ([]string, error) {
	return xmlrpc(m.t.Context(), m.front.endpoint(), method, append([]any{"oneadmin:first secret"}, params...)...)
}

func xmlrpc(ctx context.Context, endpoint, method string, params ...any) ([]string, error) {
	var body strings.Builder
	fmt.Fprintf(&body, "<methodCall><methodName>%s</methodName><params>", method)
	for _, param := range params {
		kind := map[string]string{"int": "i4", "int64": "i8", "string": "string"}[fmt.Sprintf("%T", param)]
		fmt.Fprintf(&body, "<param><value><%s>", kind)
		if err := xml.EscapeText(&body, fmt.Append(nil, param)); err != nil {
			return nil, err
		}
		fmt.Fprintf(&body, "</%s></value></param>", kind)
	}
	body.WriteString("</params></methodCall>")
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(body.String()))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Values []struct {
			Any struct {
				Text string `xml:",chardata"`
			} `xml:",any"`
		} `xml:"params>param>value>array>data>value"`
	}
	if err := xml.Unmarshal(data, &answer); err != nil {
		return nil, err
	}
	var values []string
	for _, v := range answer.Values {
		values = append(values, v.Any.Text)
	}
	if len(values) < 3 {
		return nil, fmt.Errorf("%s answers %s", method, data)
	}
	return values, nil
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(10 * time.Millisecond) {
		if t.Context().Err() != nil || time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// testTimes are without a warm-up.
var testTimes = standin.RaftTimes{Tick: 10 * time.Millisecond}

type cluster struct {
	t       *testing.T
	members []*member
}

// newCluster makes a zone: one server alone makes the database and learns of all, and the others get what it has.
func newCluster(t *testing.T, times standin.RaftTimes) *cluster {
	t.Helper()
	c := &cluster{t: t}
	for id := range 3 {
		c.members = append(c.members, newMember(t, id, times))
	}
	first := c.members[0]
	first.configure(-1)
	first.start()
	for id, m := range c.members {
		answer, err := first.call("one.zone.addserver", 0, fmt.Sprintf(`SERVER=[NAME="server %d", ENDPOINT="%s"]`, id, m.front.endpoint()))
		if err != nil || answer[0] != "1" {
			t.Fatalf("one.zone.addserver: %v, %v", answer, err)
		}
	}
	first.kill()
	first.configure(0)
	for _, m := range c.members[1:] {
		m.clone(first)
	}
	return c
}

func (c *cluster) start() {
	for _, m := range c.members {
		m.start()
	}
}

// leader waits until one of the servers leads all that run.
func (c *cluster) leader() *member {
	c.t.Helper()
	var found *member
	waitFor(c.t, "one leader", func() bool {
		found = nil
		terms := map[int]bool{}
		for _, m := range c.members {
			if m.cancel == nil {
				continue
			}
			s, err := m.status()
			if err != nil || s.State != isFollower && s.State != isLeader || s.State == isLeader && found != nil {
				return false
			}
			if terms[s.Term] = true; s.State == isLeader {
				found = m
			}
		}
		return found != nil && len(terms) == 1
	})
	return found
}

func (c *cluster) followers(leader *member) []*member {
	return slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return m == leader })
}

// sameLogs waits until all servers have the same log, and returns one that leads. Whether they have applied all of it is another question: what has the place
// of a record that was applied is not.
func (c *cluster) sameLogs() *member {
	c.t.Helper()
	leader := c.leader()
	c.wantSame(leader, "SELECT log_index, term, sqlcmd FROM logdb ORDER BY log_index")
	return leader
}

// wantSame waits until a query has the same answer at all servers.
func (c *cluster) wantSame(leader *member, query string) {
	c.t.Helper()
	for _, m := range c.followers(leader) {
		waitFor(c.t, fmt.Sprintf("server %d to have the log of server %d", m.id, leader.id), func() bool { return m.sql(query) == leader.sql(query) })
	}
}

// converge waits until all servers have applied the same log, and compares their users.
func (c *cluster) converge() map[string]string {
	c.t.Helper()
	leader := c.leader()
	c.wantSame(leader, "SELECT log_index, term, sqlcmd, applied FROM logdb ORDER BY log_index")
	users := leader.passwords()
	for _, m := range c.followers(leader) {
		if diff := cmp.Diff(users, m.passwords()); diff != "" {
			c.t.Errorf("users of server %d and server %d (-leader +follower):\n%s", leader.id, m.id, diff)
		}
	}
	return users
}

func TestClusterElectsAndForwards(t *testing.T) {
	c := newCluster(t, testTimes)
	c.start()
	leader := c.leader()
	for i, m := range c.members {
		m.mustCreate(fmt.Sprint("user ", i))
	}
	users := c.converge()
	for i := range c.members {
		if users[fmt.Sprint("user ", i)] != digest("secret") {
			t.Errorf("user %d is not in the databases: %v", i, users)
		}
	}
	others := c.followers(leader)
	for _, m := range append(others[:1:1], leader) {
		m.kill()
	}
	left := others[1]
	if answer, err := left.call("one.user.info", 2); err != nil || answer[0] != "1" || !strings.Contains(answer[1], "<ID>2</ID>") {
		t.Errorf("alone, a server answers one.user.info with %q, %v", answer, err)
	}
	waitFor(t, "an election", func() bool {
		answer, err := left.call("one.system.version")
		return err == nil && answer[0] == "0" && answer[2] == "8192" &&
			answer[1] == "[one.system.version] Cannot process request, oned cluster in election mode"
	})
}

// TestClusterKeepsWhatItAcknowledges takes one leader after the other away, while users are made at all servers.
func TestClusterKeepsWhatItAcknowledges(t *testing.T) {
	c := newCluster(t, testTimes)
	c.start()
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	var writers sync.WaitGroup
	done := make(chan struct{})
	for i, m := range c.members {
		writers.Go(func() {
			for n := 0; ; n++ {
				pause := time.Duration(0)
				name := fmt.Sprintf("user %d of %d", n, i)
				if err := m.createUser(name); err == nil {
					mu.Lock()
					acknowledged[name] = true
					mu.Unlock()
				} else {
					// A client does not ask a server that is away all the time: the others need the processor.
					pause = 100 * time.Millisecond
				}
				select {
				case <-done:
					return
				case <-time.After(pause):
				}
			}
		})
	}
	for round := range 4 {
		leader := c.leader()
		before := count()
		waitFor(t, "users to be made", func() bool { return count() >= before+5 })
		leader.kill()
		before = count()
		waitFor(t, "users to be made without the leader", func() bool { return count() >= before+5 })
		leader.start()
		t.Logf("round %d: server %d was away, %d users", round, leader.id, count())
	}
	close(done)
	writers.Wait()
	// A server that comes back with records that no other has may have applied them: oned does not look, and their place in the log is another's then. So what is
	// acknowledged is in every log, and in the database of the servers that have applied that.
	log, users := c.sameLogs().statements(), map[string]bool{}
	for _, m := range c.members {
		for name := range m.passwords() {
			users[name] = true
		}
	}
	for name := range acknowledged {
		if !strings.Contains(log, "'"+name+"'") || !users[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
	}
}

// statements are those in the log of a server.
func (m *member) statements() string {
	m.t.Helper()
	var all strings.Builder
	for packed := range strings.Lines(m.sql("SELECT sqlcmd FROM logdb ORDER BY log_index")) {
		data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(packed))
		if err != nil {
			m.t.Fatal(err)
		}
		r, err := zlib.NewReader(bytes.NewReader(data))
		if err != nil {
			m.t.Fatal(err)
		}
		if _, err := io.Copy(&all, r); err != nil {
			m.t.Fatal(err)
		}
	}
	return all.String()
}

// TestClusterWithoutMajority has a leader alone with a write: it goes on to lead, and the write waits. What it left in the log gives way to what the others do.
func TestClusterWithoutMajority(t *testing.T) {
	c := newCluster(t, testTimes)
	c.start()
	leader := c.leader()
	leader.mustCreate("first")
	c.converge()
	others := c.followers(leader)
	for _, m := range others {
		m.kill()
	}
	written := make(chan error, 1)
	go func() { written <- leader.createUser("lost") }()
	waitFor(t, "the write to be in the log", func() bool {
		s, err := leader.status()
		return err == nil && s.Index > int64(s.Commit)
	})
	// An election would have begun by now.
	for began := time.Now(); time.Since(began) < 3*time.Second; {
		if s, err := leader.status(); err != nil || s.State != isLeader {
			t.Fatalf("without the others, the leader is %+v, %v", s, err)
		}
	}
	if len(written) > 0 {
		t.Errorf("the write ended: %v", <-written)
	}
	if _, has := leader.passwords()["lost"]; has {
		t.Error("a write that most of the servers lack was applied")
	}
	leader.kill()
	if err := <-written; err == nil {
		t.Error("the write was acknowledged")
	}
	for _, m := range others {
		m.start()
	}
	others[0].mustCreate("second")
	others[0].mustCreate("third")
	leader.start()
	c.sameLogs()
	want := []string{"first", "oneadmin", "second", "serveradmin", "third"}
	for _, m := range others {
		if got := slices.Sorted(maps.Keys(m.passwords())); !slices.Equal(got, want) {
			t.Errorf("server %d has the users %v, want %v", m.id, got, want)
		}
	}
}

// TestClusterRefusesLogin has a server with another password of oneadmin: it reads the refusals as the highest term, takes that and saves it.
func TestClusterRefusesLogin(t *testing.T) {
	c := newCluster(t, testTimes)
	odd := c.members[0]
	for _, m := range c.members[1:] {
		m.host.Raft.WarmUp = time.Hour
		m.start()
	}
	odd.write("/var/lib/one/.one/one_auth", "oneadmin:other\n")
	odd.start()
	const highest = 4294967295
	waitFor(t, "the highest term to be in the database", func() bool {
		return strings.Contains(odd.sql("SELECT body FROM system_attributes WHERE name = 'RAFT_STATE'"), fmt.Sprintf("<TERM><![CDATA[%d]]></TERM>", highest))
	})
	for _, m := range c.members[1:] {
		if s, err := m.status(); err != nil || s.Term != 0 {
			t.Errorf("server %d is in term %d, %v", m.id, s.Term, err)
		}
	}
}

// TestClusterGrows adds a server to a running zone, with a database cloned from the leader and older than what comes then.
func TestClusterGrows(t *testing.T) {
	c := newCluster(t, testTimes)
	c.start()
	c.leader().mustCreate("before")
	c.converge()
	added := newMember(t, 3, testTimes)
	added.clone(c.leader())
	waitFor(t, "the server to be added", func() bool {
		answer, err := c.leader().call("one.zone.addserver", 0, fmt.Sprintf(`<ZONE><SERVER><NAME>new</NAME><ENDPOINT>%s</ENDPOINT></SERVER></ZONE>`, added.front.endpoint()))
		return err == nil && answer[0] == "1"
	})
	c.leader().mustCreate("after")
	c.members = append(c.members, added)
	added.start()
	if users := c.converge(); users["after"] == "" || users["before"] == "" {
		t.Errorf("users %v", users)
	}
}

// TestClusterAppliesWithoutWrites has a server that was taken away between a record and the heartbeat that commits it: the next leader, which
// has applied the record, brings it to that as well, without another write.
func TestClusterAppliesWithoutWrites(t *testing.T) {
	c := newCluster(t, testTimes)
	c.start()
	c.leader().mustCreate("last")
	c.converge()
	for _, m := range c.members {
		m.kill()
	}
	behind := c.members[2]
	// The last three records are the user, its quotas and its place in its group.
	behind.sql("DELETE FROM user_pool WHERE name = 'last'; DELETE FROM user_quotas WHERE user_oid = 2; " +
		"UPDATE group_pool SET body = REPLACE(body, '<ID>2</ID>', ''); " +
		"UPDATE logdb SET applied = '0', timestamp = 0 WHERE log_index > (SELECT MAX(log_index) FROM logdb) - 3")
	c.start()
	if users := c.converge(); users["last"] == "" {
		t.Errorf("users %v", users)
	}
}
