package standin_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// mysqlServer starts a MariaDB with databases one0 to one2, for the user oneadmin.
func mysqlServer(t *testing.T) (port int) {
	t.Helper()
	for _, program := range []string{"mariadbd", "mariadb", "mariadb-dump", "mariadb-install-db"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: apt-get install mariadb-server", err)
		}
	}
	// The path of a socket must be short.
	dir, err := os.MkdirTemp("", "mariadb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if out, err := exec.Command("mariadb-install-db", "--no-defaults", "--user=root", "--datadir="+dir+"/data", "--skip-test-db").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	setup := "CREATE USER oneadmin@'%' IDENTIFIED BY 'secret';\n"
	for id := range 3 {
		setup += fmt.Sprintf("CREATE DATABASE one%d;\nGRANT ALL ON one%[1]d.* TO oneadmin@'%%';\n", id)
	}
	if err := os.WriteFile(dir+"/init.sql", []byte(setup), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("mariadbd", "--no-defaults", "--user=root", "--datadir="+dir+"/data", "--init-file="+dir+"/init.sql",
		"--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port), "--socket="+dir+"/socket", "--pid-file="+dir+"/pid")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	waitFor(t, "MariaDB", func() bool {
		_, err := mysql(port, 2, "SELECT 1")
		return err == nil
	})
	return port
}

func mysql(port, id int, statements string) (string, error) {
	cmd := exec.Command("mariadb", "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", fmt.Sprintf("--port=%d", port), "--user=oneadmin",
		"--batch", "--raw", "--skip-column-names", fmt.Sprintf("one%d", id))
	cmd.Env = append(os.Environ(), "MYSQL_PWD=secret")
	cmd.Stdin = strings.NewReader(statements)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestClusterOnMySQL has the databases of three servers in a MariaDB, two of them restored from a dump of the first.
func TestClusterOnMySQL(t *testing.T) {
	port := mysqlServer(t)
	configure := func(m *member, id int) {
		m.write("/etc/one/oned.conf", fmt.Sprintf(`DB = [ BACKEND = "mysql", SERVER = "127.0.0.1", PORT = %d, USER = "oneadmin", PASSWD = "secret", DB_NAME = "one%d" ]
FEDERATION = [ SERVER_ID = %d ]
RAFT = [ LOG_RETENTION = 8, LOG_PURGE_TIMEOUT = 1, ELECTION_TIMEOUT_MS = %d, BROADCAST_TIMEOUT_MS = 100, XMLRPC_TIMEOUT_MS = 2000 ]
`, port, m.id, id, 1000+500*m.id))
	}
	c := &cluster{t: t}
	for id := range 3 {
		m := newMember(t, id, testTimes)
		configure(m, id)
		c.members = append(c.members, m)
	}
	first := c.members[0]
	configure(first, -1)
	first.start()
	for id, m := range c.members {
		if answer, err := first.call("one.zone.addserver", 0, fmt.Sprintf(`SERVER=[NAME="server %d", ENDPOINT="%s"]`, id, m.front.endpoint())); err != nil || answer[0] != "1" {
			t.Fatalf("one.zone.addserver: %v, %v", answer, err)
		}
	}
	first.kill()
	dump := exec.Command("mariadb-dump", "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", fmt.Sprintf("--port=%d", port),
		"--user=oneadmin", "--single-transaction", "--no-tablespaces", "one0")
	dump.Env = append(os.Environ(), "MYSQL_PWD=secret")
	backup, err := dump.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members {
		configure(m, m.id)
		if m != first {
			if out, err := mysql(port, m.id, string(backup)); err != nil {
				t.Fatalf("restore the dump: %v: %s", err, out)
			}
		}
	}
	c.start()
	for i, m := range c.members {
		m.mustCreate(fmt.Sprint("user's ", i))
	}
	leader := c.leader()
	leader.kill()
	c.followers(leader)[0].mustCreate("without the leader")
	leader.start()
	const query = "SELECT u.oid, u.name, u.body, c.last_oid FROM user_pool u, pool_control c WHERE c.tablename = 'user_pool' ORDER BY u.oid"
	rows := func(m *member, query string) string {
		out, err := mysql(port, m.id, query)
		if err != nil {
			t.Errorf("%s: %v: %s", query, err, out)
		}
		return out
	}
	for _, m := range c.members {
		waitFor(t, fmt.Sprintf("the users at server %d", m.id), func() bool {
			users := rows(m, query)
			return strings.Count(users, "\t5\n") == 6 && users == rows(first, query)
		})
		waitFor(t, fmt.Sprintf("server %d to purge its log", m.id), func() bool { return rows(m, "SELECT COUNT(*) FROM logdb") == "8\n" })
	}
}
