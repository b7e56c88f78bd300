package database_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
)

// TestBackends runs the same against both backends, with the real programs.
func TestBackends(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, h *host.Host) database.Interface{
		"sqlite": openSQLite, "mysql": openMySQL,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			db := open(t, h)
			if err := database.Wait(t.Context(), h, db, time.Minute); err != nil {
				t.Fatal(err)
			}
			wantTables(t, db)
			query(t, db, "CREATE TABLE user_pool (oid INTEGER, body TEXT); INSERT INTO user_pool VALUES (0, 'a\tb'), (1, 'ä'); CREATE TABLE foreign_pool (a INTEGER)")
			wantTables(t, db, "foreign_pool", "user_pool")
			if got := query(t, db, "SELECT oid, body FROM user_pool ORDER BY oid"); got != "0\ta\tb\n1\tä\n" {
				t.Errorf("rows %q", got)
			}

			const hostile = "it's \\' \\\\ \"; DROP TABLE user_pool;\n.quit\nDELIMITER x\n#-- /*\t\u00e4\u4e2d\U0001f512"
			query(t, db, "INSERT INTO user_pool VALUES (2, "+db.Literal(hostile)+"), (3, "+db.Literal("")+")")
			if got := query(t, db, "SELECT body FROM user_pool WHERE oid = 2"); got != hostile+"\n" {
				t.Errorf("row %q, want %q", got, hostile)
			}
			query(t, db, "UPDATE user_pool SET body = REPLACE(body, "+db.Literal(hostile)+", 'c') WHERE oid = 2")
			if got := query(t, db, "SELECT body FROM user_pool WHERE oid > 1 ORDER BY oid"); got != "c\n\n" {
				t.Errorf("rows %q", got)
			}
			query(t, db, "DELETE FROM user_pool WHERE oid > 1")

			const backup = "/backup"
			if err := db.Backup(t.Context(), backup); err != nil {
				t.Fatal(err)
			}
			query(t, db, "UPDATE user_pool SET body = 'changed'; CREATE TABLE old_user_pool (a INTEGER); CREATE TABLE vm_pool (a INTEGER)")
			// Twice: it may have been cut off the first time.
			for range 2 {
				if err := db.Restore(t.Context(), backup); err != nil {
					t.Fatal(err)
				}
				wantTables(t, db, "foreign_pool", "user_pool")
				if got := query(t, db, "SELECT body FROM user_pool WHERE oid = 1"); got != "ä\n" {
					t.Errorf("body after Restore %q, want that of the backup", got)
				}
			}
			if _, err := db.Query(t.Context(), "SELECT * FROM none"); err == nil || !strings.Contains(err.Error(), "none") {
				t.Errorf("error %v, want one about table none", err)
			}
			for range 2 {
				if err := db.Clear(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			tables, err := db.Tables(t.Context())
			if err != nil || slices.Contains(tables, "user_pool") {
				t.Errorf("tables after Clear: %v, %v", tables, err)
			}
			if name == "mysql" && !slices.Contains(tables, "foreign_pool") {
				t.Errorf("Clear removed a table that is not OpenNebula's: %v", tables)
			}
		})
	}
}

// A table may have any collation, and what is compared with it must not have another.
func TestLiteralTakesAnyCollation(t *testing.T) {
	h := newHost(t)
	db := openMySQL(t, h)
	if err := database.Wait(t.Context(), h, db, time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, collation := range []string{"utf8mb4_bin", "utf8mb4_unicode_ci", "utf8mb3_general_ci", "latin1_swedish_ci"} {
		character, _, _ := strings.Cut(collation, "_")
		query(t, db, "DROP TABLE IF EXISTS user_pool; CREATE TABLE user_pool (body MEDIUMTEXT) CHARACTER SET "+character+" COLLATE "+collation)
		query(t, db, "INSERT INTO user_pool VALUES ("+db.Literal("<a>\u00e4</a>")+")")
		query(t, db, "UPDATE user_pool SET body = REPLACE(body, "+db.Literal("\u00e4<")+", "+db.Literal("\u00e4\u00f6<")+")")
		if got := query(t, db, "SELECT body FROM user_pool"); got != "<a>\u00e4\u00f6</a>\n" {
			t.Errorf("%s: row %q", collation, got)
		}
	}
}

func TestWaitGivesUp(t *testing.T) {
	h := newHost(t)
	var logged []string
	h.Log = func(format string, args ...any) { logged = append(logged, fmt.Sprintf(format, args...)) }
	h.Run = func(context.Context, host.Command) (string, error) { return "", errors.New("connection refused") }
	db := database.New(h, settings.Database{Backend: settings.MySQL, Host: "db", Port: 3306, Name: "one"})
	err := database.Wait(t.Context(), h, db, time.Minute)
	for _, want := range []string{"database one on db port 3306", "1m0s", "connection refused", "OPENNEBULA_DB_"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	if len(logged) != 1 {
		t.Errorf("log %q, want the reason once", logged)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := database.Wait(ctx, h, db, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestPasswordIsNoArgument(t *testing.T) {
	h := newHost(t)
	h.Run = func(_ context.Context, c host.Command) (string, error) {
		if strings.Contains(strings.Join(c.Args, " "), "hush") || !slices.Contains(c.Env, "MYSQL_PWD=hush") || c.As != host.Oneadmin() {
			t.Errorf("command %q with environment %q as %v", c.Args, c.Env, c.As)
		}
		return "", nil
	}
	db := database.New(h, settings.Database{Backend: settings.MySQL, Host: "db", Password: "hush"})
	query(t, db, "SELECT 1")
	if err := db.Backup(t.Context(), "/backup"); err != nil {
		t.Error(err)
	}
}

func newHost(t *testing.T) *host.Host {
	t.Helper()
	h := host.System(t.Logf)
	h.Root = t.TempDir()
	now := time.Now()
	h.Now = func() time.Time { now = now.Add(100 * time.Millisecond); return now }
	h.Sleep = func(context.Context, time.Duration) error { time.Sleep(50 * time.Millisecond); return nil }
	h.Chown = func(string, host.Owner) error { return nil }
	run := h.Run
	h.Run = func(ctx context.Context, c host.Command) (string, error) {
		c.As = host.Owner{UID: os.Getuid(), GID: os.Getgid()}
		return run(ctx, c)
	}
	return h
}

func openSQLite(t *testing.T, h *host.Host) database.Interface {
	t.Helper()
	need(t, "sqlite3")
	if err := os.MkdirAll(h.Path("/var/lib/one"), 0o755); err != nil {
		t.Fatal(err)
	}
	return database.New(h, settings.Database{Backend: settings.SQLite})
}

// openMySQL starts a MariaDB of its own.
func openMySQL(t *testing.T, h *host.Host) database.Interface {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a server")
	}
	need(t, "mariadb-install-db", "mariadbd", "mariadb", "mariadb-dump")
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	var user []string
	if os.Getuid() == 0 {
		user = append(user, "--user=root")
	}
	install := exec.Command("mariadb-install-db", append([]string{"--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db"}, user...)...)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	init := filepath.Join(dir, "init.sql")
	const setup = "CREATE DATABASE one CHARACTER SET utf8mb4;\nCREATE USER one@'%' IDENTIFIED BY 'p$ \"x';\nGRANT ALL ON one.* TO one@'%';\n"
	if err := os.WriteFile(init, []byte(setup), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	server := exec.Command("mariadbd", append([]string{"--no-defaults", "--datadir=" + data, "--init-file=" + init, "--bind-address=127.0.0.1",
		fmt.Sprintf("--port=%d", port), "--socket=" + filepath.Join(dir, "sock"), "--pid-file=" + filepath.Join(dir, "pid")}, user...)...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	return database.New(h, settings.Database{
		Backend: settings.MySQL, Host: "127.0.0.1", Port: port, User: "one", Password: `p$ "x`, Name: "one",
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: apt-get install sqlite3 mariadb-server", err)
		}
	}
}

func query(t *testing.T, db database.Interface, statements string) string {
	t.Helper()
	out, err := db.Query(t.Context(), statements)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantTables(t *testing.T, db database.Interface, want ...string) {
	t.Helper()
	got, err := db.Tables(t.Context())
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("tables %q, %v, want %q", got, err, want)
	}
}
