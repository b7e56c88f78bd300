package database

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"opennebula-kube/image/internal/host"
	"opennebula-kube/image/internal/settings"
)

// mysql is a database on a MySQL or MariaDB server.
type mysql struct {
	host     *host.Host
	settings settings.Database
}

func (m *mysql) String() string {
	return fmt.Sprintf("database %s on %s port %d", m.settings.Name, m.settings.Host, m.settings.Port)
}

// command is a client program with the connection. The password is in its environment: arguments are for all to see.
func (m *mysql) command(program string, args ...string) host.Command {
	connection := []string{
		program, "--no-defaults", "--protocol=tcp", "--host=" + m.settings.Host, "--port=" + strconv.Itoa(m.settings.Port), "--user=" + m.settings.User,
	}
	return host.Command{Args: append(connection, args...), As: host.Oneadmin(), Env: []string{"MYSQL_PWD=" + m.settings.Password}}
}

func (m *mysql) client(stdin io.Reader) host.Command {
	c := m.command("mariadb", "--connect-timeout=5", "--batch", "--raw", "--skip-column-names", "--default-character-set=utf8mb4", m.settings.Name)
	c.Stdin = stdin
	return c
}

func (m *mysql) Query(ctx context.Context, statements string) (string, error) {
	return m.host.Run(ctx, m.client(script(statements)))
}

// Literal does not depend on how the server and the client read quotes and backslashes. It takes the collation of what it is compared with.
func (m *mysql) Literal(text string) string { return fmt.Sprintf("_utf8mb4 X'%x'", text) }

func (m *mysql) Tables(ctx context.Context) ([]string, error) {
	out, err := m.Query(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
	return lines(out), err
}

func (m *mysql) Backup(ctx context.Context, path string) error {
	// The tablespaces would take a privilege that oned's user has no other need for.
	_, err := m.host.Run(ctx, m.command("mariadb-dump", "--single-transaction", "--no-tablespaces", "--default-character-set=utf8mb4",
		"--result-file="+m.host.Path(path), m.settings.Name))
	return err
}

// Restore removes the tables first: those that a migrator has added are not in the backup, and would be in its way the next time.
func (m *mysql) Restore(ctx context.Context, path string) error {
	backup, err := os.Open(m.host.Path(path))
	if err != nil {
		return err
	}
	defer func() { _ = backup.Close() }()
	if err := m.Clear(ctx); err != nil {
		return err
	}
	_, err = m.host.Run(ctx, m.client(backup))
	return err
}

func (m *mysql) Clear(ctx context.Context) error {
	tables, err := m.Tables(ctx)
	if err != nil {
		return err
	}
	statements := []string{"SET FOREIGN_KEY_CHECKS = 0"}
	for _, table := range tables {
		if Own(table) {
			statements = append(statements, "DROP TABLE `"+table+"`")
		}
	}
	_, err = m.Query(ctx, strings.Join(statements, ";\n"))
	return err
}

func script(text string) io.Reader { return strings.NewReader(text) }
