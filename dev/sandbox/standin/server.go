package standin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// server is where the database is: a file of SQLite's, or a database of MySQL's.
type server struct {
	// file is empty for MySQL.
	file                              string
	address, port, user, pass, schema string
}

// openServer reads where the database is from oned's configuration, as oned and its tools do.
func (h Host) openServer() (server, error) {
	content, err := os.ReadFile(h.path(configFile))
	if err != nil {
		return server{}, fmt.Errorf("read configuration: %w", err)
	}
	config, err := parseConfig(configFile, string(content))
	if err != nil {
		return server{}, fmt.Errorf("read configuration: %w", err)
	}
	switch backend := config["DB.BACKEND"]; backend {
	case "", "sqlite":
		return server{file: h.path(databaseFile)}, nil
	case "mysql":
		return server{
			address: config["DB.SERVER"], port: config["DB.PORT"], user: config["DB.USER"], pass: config["DB.PASSWD"], schema: config["DB.DB_NAME"],
		}, nil
	default:
		return server{}, fmt.Errorf("%s: DB: BACKEND %q: sqlite or mysql was expected", configFile, backend)
	}
}

// run runs statements and returns what they select.
func (s server) run(statements string) (string, error) {
	if s.file != "" {
		cmd := exec.Command("sqlite3", "-batch", "-noheader", "-separator", "\t", s.file)
		cmd.Stdin = strings.NewReader(".bail on\n.timeout 10000\n" + statements + "\n")
		return output(cmd)
	}
	return s.client(strings.NewReader(statements), "mariadb", "--batch", "--raw", "--skip-column-names", s.schema)
}

// dump writes all that is in a database to a file, as statements that restore runs. Tables that are newer than a dump stay.
func (s server) dump(path string) error {
	if s.file == "" {
		_, err := s.client(nil, "mariadb-dump", "--single-transaction", "--no-tablespaces", "--result-file="+path, s.schema)
		return err
	}
	drop, err := s.run("SELECT 'DROP TABLE IF EXISTS \"' || name || '\";' FROM sqlite_master WHERE type = 'table';")
	if err != nil {
		return err
	}
	content, err := s.run(".dump")
	if err != nil {
		return err
	}
	return replaceFile(path, []byte(drop+"\n"+content+"\n"))
}

func (s server) restore(path string) error {
	backup, err := os.Open(path)
	if err != nil {
		return err
	}
	defer closeQuietly(backup)
	if s.file == "" {
		_, err = s.client(backup, "mariadb", s.schema)
		return err
	}
	content, err := io.ReadAll(backup)
	if err == nil {
		_, err = s.run(string(content))
	}
	return err
}

func (s server) client(stdin io.Reader, program string, args ...string) (string, error) {
	connection := []string{"--no-defaults", "--protocol=tcp", "--host=" + s.address, "--port=" + s.port, "--user=" + s.user}
	cmd := exec.Command(program, append(connection, args...)...)
	cmd.Env = append(os.Environ(), "MYSQL_PWD="+s.pass)
	cmd.Stdin = stdin
	return output(cmd)
}

func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("Error connecting to DB: %s", strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("Error connecting to DB: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
