package standin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSoloZone(t *testing.T) {
	m := newMember(t, -1, testTimes)
	m.start()
	call := func(method string, params ...any) []string {
		t.Helper()
		answer, err := m.call(method, params...)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	wantZone := func(pool string) {
		t.Helper()
		want := "<ZONE><ID>0</ID><NAME>OpenNebula</NAME><STATE>0</STATE><TEMPLATE><ENDPOINT><![CDATA[http://localhost:2633/RPC2]]></ENDPOINT>" +
			"<ENDPOINT_GRPC><![CDATA[localhost:2634]]></ENDPOINT_GRPC></TEMPLATE><SERVER_POOL>" + pool + "</SERVER_POOL></ZONE>"
		if diff := cmp.Diff([]string{"1", want, "0"}, call("one.zone.info", 0)); diff != "" {
			t.Errorf("one.zone.info (-want +got):\n%s", diff)
		}
	}
	wantZone("")
	const first = "<SERVER><ENDPOINT><![CDATA[http://a:2633/RPC2]]></ENDPOINT><ID><![CDATA[0]]></ID><NAME><![CDATA[a]]></NAME></SERVER>"
	const second = "<SERVER><ENDPOINT><![CDATA[http://b:2633/RPC2]]></ENDPOINT><ID><![CDATA[1]]></ID><NAME><![CDATA[b]]></NAME></SERVER>"
	for _, template := range []string{
		`SERVER=[NAME="a", ENDPOINT="http://a:2633/RPC2"]`,
		`<Z><SERVER><NAME>b</NAME><ENDPOINT>http://b:2633/RPC2</ENDPOINT><ID>7</ID></SERVER></Z>`,
	} {
		if answer := call("one.zone.addserver", 0, template); answer[0] != "1" {
			t.Fatalf("one.zone.addserver %s: %q", template, answer)
		}
	}
	wantZone(first + second)

	const status = "<RAFT><SERVER_ID>-1</SERVER_ID><STATE>0</STATE><TERM>0</TERM><VOTEDFOR>-1</VOTEDFOR><COMMIT>0</COMMIT>" +
		"<LOG_INDEX>-1</LOG_INDEX><LOG_TERM>-1</LOG_TERM><FEDLOG_INDEX>-1</FEDLOG_INDEX></RAFT>"
	if diff := cmp.Diff([]string{"1", status, "0"}, call("one.zone.raftstatus")); diff != "" {
		t.Errorf("one.zone.raftstatus (-want +got):\n%s", diff)
	}

	for _, c := range []struct {
		zone           int
		template, want string
	}{
		{1, "", "Servers have to be added through the target zone endpoints"},
		{0, "NAME=a", "SERVER not found in template"},
		{0, `SERVER=[ENDPOINT="http://a:2633/RPC2"]`, "Missing NAME in SERVER"},
		{0, `SERVER=[NAME="a"]`, "Missing ENDPOINT or ENDPOINT_GRPC in SERVER"},
	} {
		want := []string{"0", "[one.zone.addserver] " + c.want, "2048", "-1", "-1"}
		if diff := cmp.Diff(want, call("one.zone.addserver", c.zone, c.template)); diff != "" {
			t.Errorf("one.zone.addserver %d %s (-want +got):\n%s", c.zone, c.template, diff)
		}
	}
	if diff := cmp.Diff([]string{"0", "[one.zone.info] Error getting zone [3].", "1024", "3", "-1"}, call("one.zone.info", 3)); diff != "" {
		t.Errorf("one.zone.info 3 (-want +got):\n%s", diff)
	}
	m.mustCreate("other")
	for method, params := range map[string][]any{
		"one.zone.raftstatus":  nil,
		"one.zone.addserver":   {0, `SERVER=[NAME="a", ENDPOINT="http://a:2633/RPC2"]`},
		"one.zone.voterequest": {1, 0, int64(0), 0},
		"one.zone.replicate":   {0, int64(0), 1, int64(0), 0, int64(0), 0, int64(-1), ""},
	} {
		answer, err := xmlrpc(t.Context(), m.front.endpoint(), method, append([]any{"other:secret"}, params...)...)
		if err != nil || answer[0] != "0" || answer[2] != "512" {
			t.Errorf("%s as another user: %q, %v", method, answer, err)
		}
	}
	m.kill()
	want := "0|0|" + "1|0\nOpenNebula|99\n"
	if got := m.sql("SELECT log_index, term, applied, fed_index < 1e19 FROM logdb; SELECT z.name, c.last_oid FROM zone_pool z, pool_control c " +
		"WHERE c.tablename = 'zone_pool'"); got != want {
		t.Errorf("the database has\n%s, want\n%s", got, want)
	}
}

func TestServerIDNeedsDatabase(t *testing.T) {
	m := newMachine(t, "7.4.0")
	m.write("/etc/one/oned.conf", "FEDERATION = [ MODE = \"STANDALONE\", SERVER_ID = 0 ]\n")
	m.wantFailure(255, "Database has to be bootstraped to start oned in HA", "oned", "-f")
	if m.exists("/var/lib/one/one.db") || m.exists("/var/lib/one/.one/sunstone_auth") {
		t.Error("the refused start left something behind")
	}
	m.write("/etc/one/oned.conf", "FEDERATION = [ SERVER_ID = 0 ]\nRAFT = [ ELECTION_TIMEOUT_MS = \"soon\" ]\n")
	m.wantFailure(255, `RAFT: ELECTION_TIMEOUT_MS: a number from 0 on was expected, found "soon"`, "oned", "-f")
}

// TestProtocol talks to a follower as another server does.
func TestProtocol(t *testing.T) {
	times := testTimes
	times.WarmUp = time.Hour
	c := newCluster(t, times)
	m := c.members[1]
	m.start()
	type step struct {
		what, method string
		params       []any
		want         string
	}
	vote := func(term, id int, index int64, logTerm int) []any { return []any{term, id, index, logTerm} }
	send := func(term int, commit, index int64, recordTerm int, before int64, beforeTerm int, sql string) []any {
		return []any{0, commit, term, index, recordTerm, before, beforeTerm, int64(-1), sql}
	}
	// The marks are no hexadecimal digits, which a hash may begin with.
	change := func(password string) string {
		return "UPDATE user_pool SET body = REPLACE(body, '<PASSWORD><![CDATA[', '<PASSWORD><![CDATA[" + password + "') WHERE oid = 1"
	}
	run := func(steps ...step) {
		t.Helper()
		for _, s := range steps {
			answer, err := m.call("one.zone."+s.method, s.params...)
			if got := strings.Join(answer, " | "); err != nil || got != s.want {
				t.Errorf("%s: %s, %v\nwant %s", s.what, got, err, s.want)
			}
		}
	}
	refused := func(method, message string, term int) string {
		return fmt.Sprintf("0 | [one.zone.%s] %s | 2048 | %d | -1", method, message, term)
	}
	call := "one.system.version"
	if answer, err := m.call(call); err != nil || strings.Join(answer, " | ") != "0 | ["+call+"] Cannot process request, no leader found | 8192 | -1 | -1" {
		t.Errorf("without a leader: %q, %v", answer, err)
	}
	run(
		step{"a vote", "voterequest", vote(3, 2, 0, 0), "1 | 0 | 0"},
		step{"the same again", "voterequest", vote(3, 2, 0, 0), "1 | 3 | 0"},
		step{"another candidate", "voterequest", vote(3, 0, 0, 0), refused("voterequest", "Already voted for another candidate", 3)},
		step{"an old term", "voterequest", vote(2, 0, 0, 0), refused("voterequest", "Candidate's term is outdated", 3)},
	)
	m.kill()
	m.start()
	run(
		step{"another candidate after a restart", "voterequest", vote(3, 0, 0, 0), refused("voterequest", "Already voted for another candidate", 3)},
		step{"an old leader", "replicate", send(2, 0, 0, 0, 0, 0, ""), refused("replicate", "Leader term (2) is outdated (3)", 3)},
		step{"a heartbeat", "replicate", send(4, 0, 0, 0, 0, 0, ""), "1 | 3 | 0"},
		step{"no statement", "replicate", send(4, 0, 1, 4, 0, 0, ""), refused("replicate", "Empty SQL command in log record", 4)},
		step{"a gap", "replicate", send(4, 0, 3, 4, 2, 4, "x"), refused("replicate", "Error loading previous log record", 4)},
		step{"another log", "replicate", send(4, 0, 1, 4, 0, 2, "x"), refused("replicate", "Previous log record missmatch", 4)},
		step{"a record", "replicate", send(4, 0, 1, 4, 0, 0, change("x")), "1 | 4 | 0"},
		step{"the same again", "replicate", send(4, 0, 1, 4, 0, 0, change("x")), "1 | 4 | 0"},
		step{"a second record, and the first is committed", "replicate", send(4, 1, 2, 4, 1, 4, change("y")), "1 | 4 | 0"},
		step{"a shorter log", "voterequest", vote(5, 0, 1, 4), refused("voterequest", "Candidate's log is outdated", 4)},
		step{"an older log", "voterequest", vote(5, 0, 9, 3), refused("voterequest", "Candidate's log is outdated", 5)},
	)
	if got := m.passwords()["serveradmin"]; !strings.HasPrefix(got, "x") || strings.HasPrefix(got, "xy") || strings.HasPrefix(got, "yx") {
		t.Errorf("the password is %s: the first record was to be applied, once, and the second was not", got)
	}
	run(
		step{"a new leader's heartbeat, ahead of what it has sent", "replicate", send(6, 2, 0, 0, 0, 0, ""), "1 | 5 | 0"},
	)
	if got := m.passwords()["serveradmin"]; !strings.HasPrefix(got, "yx") {
		t.Errorf("the password is %s: a record that the leader does not have was not applied", got)
	}
	run(
		step{"a record in the place of another", "replicate", send(6, 1, 2, 6, 1, 4, change("z")), "1 | 6 | 0"},
		step{"that is committed", "replicate", send(6, 2, 0, 0, 0, 0, ""), "1 | 6 | 0"},
	)
	if got := m.passwords()["serveradmin"]; !strings.HasPrefix(got, "yx") {
		t.Errorf("the password is %s: what has the place of an applied record was applied", got)
	}
	run(
		step{"a record that the database refuses", "replicate", send(6, 2, 3, 6, 2, 6, "UPDATE nothing SET x = 1"), "1 | 6 | 0"},
		step{"another one", "replicate", send(6, 3, 4, 6, 3, 6, change("w")), "1 | 6 | 0"},
		step{"both are committed", "replicate", send(6, 4, 0, 0, 0, 0, ""), "1 | 6 | 0"},
	)
	if got := m.passwords()["serveradmin"]; !strings.HasPrefix(got, "wyx") {
		t.Errorf("the password is %s: a record after one that the database refuses was not applied", got)
	}
	run(
		step{"a candidate without an id", "voterequest", vote(7, -1, 9, 9), "0 | [one.zone.voterequest]  | 8192 | 6 | -1"},
		step{"a term without a sign", "replicate", send(-1, 4, 0, 0, 0, 0, ""), "1 | 6 | 0"},
		step{"an old leader again", "replicate", send(6, 4, 0, 0, 0, 0, ""), refused("replicate", "Leader term (6) is outdated (4294967295)", -1)},
	)
	want := raftStatus{ServerID: 1, State: isFollower, Term: 4294967295, VotedFor: -1, Commit: 4, Index: 4, LogTerm: 6}
	if got, err := m.status(); err != nil || got != want {
		t.Errorf("status %+v, %v, want %+v", got, err, want)
	}
}

// TestVoteIsNoSignOfLife gives a follower one candidate's call for its vote after the other: it begins an election all the same.
func TestVoteIsNoSignOfLife(t *testing.T) {
	c := newCluster(t, testTimes)
	m := c.members[1]
	m.start()
	waitFor(t, "an election", func() bool {
		_, refused := m.call("one.zone.voterequest", 1, 2, int64(0), 0)
		s, err := m.status()
		return refused == nil && err == nil && s.Term > 1
	})
}
