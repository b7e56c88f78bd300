package standin

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// database is what the stand-in knows of OpenNebula's SQLite database.
type database struct {
	// Schema is the version of the schema, such as 7.2.0.
	Schema string
	Users  []user
}

// user is one row of the user pool.
type user struct {
	ID     int
	Name   string
	Driver string
	// Password is the SHA-256 of the password in hexadecimal.
	Password string
}

// errNoSchema says that there is no database, or one without tables.
var errNoSchema = errors.New("Database is not correctly bootstraped.")

// loadDatabase reads the database. One without tables is errNoSchema: SQLite makes an empty file by merely opening it.
func (h Host) loadDatabase() (*database, error) {
	server, err := h.openServer()
	if err != nil {
		return nil, err
	}
	tables, err := h.tables(server)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(tables, "db_versioning") || !slices.Contains(tables, "user_pool") {
		return nil, errNoSchema
	}
	return server.read()
}

// read reads a database that has its tables.
func (s server) read() (*database, error) {
	if s.missing() {
		return nil, errNoSchema
	}
	out, err := s.run("SELECT COALESCE((SELECT version FROM db_versioning ORDER BY oid DESC LIMIT 1), '');" +
		"SELECT body FROM user_pool ORDER BY oid;")
	if err != nil {
		return nil, err
	}
	version, bodies, _ := strings.Cut(out, "\n")
	db := &database{Schema: version}
	for body := range strings.Lines(bodies) {
		var u userDocument
		if err := xml.Unmarshal([]byte(body), &u); err != nil {
			return nil, fmt.Errorf("open the database %s: a user: %w", databaseFile, err)
		}
		db.Users = append(db.Users, user{ID: u.ID, Name: u.Name, Driver: u.Driver, Password: u.Password})
	}
	return db, nil
}

// createTables are oned's own, as far as the stand-in has use for them. Like oned it does not ask whether the first ones exist.
const createTables = `
CREATE TABLE pool_control (tablename VARCHAR(32) PRIMARY KEY, last_oid BIGINT UNSIGNED);
CREATE TABLE db_versioning (oid INTEGER PRIMARY KEY, version VARCHAR(256), timestamp INTEGER, comment VARCHAR(256));
CREATE TABLE IF NOT EXISTS host_pool (oid INTEGER PRIMARY KEY, name VARCHAR(128), body MEDIUMTEXT);
CREATE TABLE IF NOT EXISTS system_attributes (name VARCHAR(128) PRIMARY KEY, body MEDIUMTEXT);
CREATE TABLE IF NOT EXISTS logdb (log_index BIGINT UNSIGNED PRIMARY KEY, term INTEGER, sqlcmd MEDIUMTEXT, timestamp INTEGER,
	fed_index BIGINT UNSIGNED, applied BOOLEAN);
CREATE INDEX fed_index_idx ON logdb (fed_index);
CREATE INDEX applied_idx ON logdb (applied);
CREATE TABLE IF NOT EXISTS zone_pool (oid INTEGER PRIMARY KEY, name VARCHAR(128), body MEDIUMTEXT, uid INTEGER, gid INTEGER,
	owner_u INTEGER, group_u INTEGER, other_u INTEGER, UNIQUE(name));
CREATE TABLE IF NOT EXISTS hook_pool (oid INTEGER PRIMARY KEY, name VARCHAR(128), body MEDIUMTEXT, uid INTEGER, gid INTEGER,
	owner_u INTEGER, group_u INTEGER, other_u INTEGER, type INTEGER);
CREATE TABLE IF NOT EXISTS hook_log (hkid INTEGER, exeid INTEGER, timestamp INTEGER, rc INTEGER, body MEDIUMTEXT,
	PRIMARY KEY(hkid, exeid));
` + createUsers

const createUsers = `
CREATE TABLE IF NOT EXISTS user_pool (oid INTEGER PRIMARY KEY, name VARCHAR(128), body MEDIUMTEXT, uid INTEGER, gid INTEGER,
	owner_u INTEGER, group_u INTEGER, other_u INTEGER, UNIQUE(name));
`

// createDatabase makes the tables of a schema, without users.
func (h Host) createDatabase(schema string) (*database, error) {
	err := h.sql("BEGIN;" + createTables + "INSERT INTO db_versioning VALUES (0, " + text(schema) + ", 0, 'daemon bootstrap'); COMMIT;")
	return &database{Schema: schema}, err
}

// saveDatabase brings the database to what is given, in one transaction: a process that is killed leaves the old state or the new one.
func (h Host) saveDatabase(db *database) error {
	var script strings.Builder
	script.WriteString("BEGIN;\nUPDATE db_versioning SET version = " + text(db.Schema) + ";\n")
	for _, u := range db.Users {
		statement, err := u.statement()
		if err != nil {
			return err
		}
		script.WriteString(statement + "\n")
		script.WriteString("REPLACE INTO pool_control SELECT 'user_pool', MAX(oid) FROM user_pool;\n")
	}
	script.WriteString("COMMIT;")
	return h.sql(script.String())
}

// statement writes the user into the database.
func (u user) statement() (string, error) {
	body, err := u.document()
	return fmt.Sprintf("REPLACE INTO user_pool VALUES (%d, %s, %s, %[1]d, 0, 1, 0, 0);", u.ID, text(u.Name), text(body)), err
}

// document is the XML document that describes a user, in the database and in answers.
func (u user) document() (string, error) {
	document, err := xml.Marshal(userDocument{
		ID: u.ID, Groups: []int{0}, GName: "oneadmin", Name: u.Name, Password: u.Password, Driver: u.Driver, Enabled: 1,
	})
	return string(document), err
}

// sql runs statements with the database's own client, which the real tools use as well.
func (h Host) sql(statements string) error {
	server, err := h.openServer()
	if err != nil {
		return err
	}
	_, err = server.run(statements)
	return err
}

// missing tells of a file that does not exist, and is not to be made by asking.
func (s server) missing() bool {
	_, err := os.Stat(s.file)
	return s.file != "" && errors.Is(err, fs.ErrNotExist)
}

// tables are those of a database.
func (h Host) tables(server server) ([]string, error) {
	if server.missing() {
		return nil, nil
	}
	query := "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE();"
	if server.file != "" {
		query = "SELECT name FROM sqlite_master WHERE type = 'table';"
	}
	out, err := server.run(query)
	return strings.Fields(out), err
}

// text is a literal of SQL.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func replaceFile(path string, data []byte) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary.Name())
		}
	}()
	if _, err := temporary.Write(data); err != nil {
		_ = temporary.Close()
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// user returns the user with an id, nil when there is none.
func (db *database) user(id int) *user {
	for i := range db.Users {
		if db.Users[i].ID == id {
			return &db.Users[i]
		}
	}
	return nil
}

// userNamed returns the user with a name, nil when there is none.
func (db *database) userNamed(name string) *user {
	for i := range db.Users {
		if db.Users[i].Name == name {
			return &db.Users[i]
		}
	}
	return nil
}
