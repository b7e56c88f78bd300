package container_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opennebula-kube/dev/toolchain"
)

// TestMySQL takes an installation with its database on a server through a first boot, an upgrade, and a wrong password. The server is
// started after the container, which has to wait for it.
func TestMySQL(t *testing.T) {
	built := newImages(t)
	const password = "p$ ` &;"
	server := newServer(t, built, password)
	volume := t.TempDir()
	start := func(t *testing.T, version string, more ...string) *container {
		t.Helper()
		c := run(t, options{image: built.get(t, version), volume: volume, env: append(server.env(), more...)})
		server.join(t, c)
		return c
	}
	inOrder(t, []step{
		{"first boot", func(t *testing.T) {
			c := start(t, oldest, "OPENNEBULA_ONEADMIN_PASSWORD=first")
			c.ready(startLimit)
			wantServices(t, c)
			if _, err := os.Stat(filepath.Join(volume, "one.db")); err == nil {
				t.Error("there is a database of SQLite as well")
			}
			wantStopped(t, c)
		}},
		{"upgrade that is cut off", func(t *testing.T) {
			for _, after := range []time.Duration{0, 300, 600, 900} {
				c := start(t, middle)
				time.Sleep(after * time.Millisecond)
				c.signal("KILL")
				c.wait(stopLimit)
			}
		}},
		{"upgrade with a new password", func(t *testing.T) {
			c := start(t, middle, "OPENNEBULA_ONEADMIN_PASSWORD=second")
			upgrade(t, c, volume, middle)
			c.wantLog("changed the password of user 0 in the database")
		}},
		{"wrong password of the database", func(t *testing.T) {
			c := start(t, middle, "OPENNEBULA_DB_PASSWORD=hush", "OPENNEBULA_DB_WAIT=8s")
			if status := c.wait(startLimit); status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			c.wantLog("failed to reach the database", "Access denied for user 'oneadmin'", "OPENNEBULA_DB_")
			if strings.Contains(c.log(), "hush") {
				t.Error("the password is in the log")
			}
		}},
	})
}

// server is a MariaDB that is started anew in the network of each container, on the same data.
type server struct{ dir, password string }

// newServer makes the server's data. It skips the test where there is no MariaDB.
func newServer(t *testing.T, built *images, password string) *server {
	t.Helper()
	if err := built.tools.OSPackages(t.Context(), toolchain.Need{Command: "mariadbd", Package: "mariadb-server"}); err != nil {
		t.Skip(err)
	}
	s := &server{dir: t.TempDir(), password: password}
	install := exec.CommandContext(t.Context(), "mariadb-install-db", "--no-defaults", "--user=root", "--datadir="+s.dir+"/data", "--skip-test-db")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	setup := fmt.Sprintf("CREATE DATABASE IF NOT EXISTS one;\nCREATE USER IF NOT EXISTS oneadmin@'%%' IDENTIFIED BY '%s';\n"+
		"GRANT ALL ON one.* TO oneadmin@'%%';\n", password)
	if err := os.WriteFile(s.dir+"/init.sql", []byte(setup), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// env are the settings of a container for the server.
func (s *server) env() []string {
	return []string{"OPENNEBULA_DB_BACKEND=mysql", "OPENNEBULA_DB_HOST=127.0.0.1", "OPENNEBULA_DB_PASSWORD=" + s.password, "OPENNEBULA_DB_NAME=one"}
}

// join starts the server beside a container, until the end of that, once it waits for it.
func (s *server) join(t *testing.T, c *container) {
	t.Helper()
	c.wantEventually(t, "start-up to wait for the database", func() bool {
		return strings.Contains(c.log(), "waiting for database one on 127.0.0.1 port 3306")
	})
	// The next one may start only when this one has let go of the data.
	c.whenEnded = s.start(t, network{c.networkPath(t)}, "127.0.0.1")
}

// start starts the server in a network, where it listens at an address. stop ends it, as a crash does.
func (s *server) start(t *testing.T, in network, address string) (stop func()) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "mariadbd.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nsenter", "--net="+in.path, "mariadbd", "--no-defaults", "--user=root",
		"--datadir="+s.dir+"/data", "--init-file="+s.dir+"/init.sql", "--bind-address="+address, "--port=3306",
		"--socket="+s.dir+"/socket", "--pid-file="+s.dir+"/pid")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	}
}
