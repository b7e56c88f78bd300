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

	"github.com/Masterminds/semver/v3"
)

// database is what the stand-in knows of OpenNebula's database.
type database struct {
	// Schema is the version of the shared tables, Local that of those that each zone has for itself, such as 7.2.0.
	Schema, Local string
	Users         []user
}

// user is one row of the user pool.
type user struct {
	ID, GID     int
	GName, Name string
	Driver      string
	// Password is the SHA-256 of the password in hexadecimal.
	Password string
	Enabled  int
	// Template are the user's attributes, in XML.
	Template string
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
	for _, needed := range []string{"db_versioning", "local_db_versioning", "user_pool"} {
		if !slices.Contains(tables, needed) {
			return nil, errNoSchema
		}
	}
	return server.read()
}

// read reads a database that has its tables.
func (s server) read() (*database, error) {
	if s.missing() {
		return nil, errNoSchema
	}
	out, err := s.run("SELECT COALESCE((SELECT version FROM db_versioning ORDER BY oid DESC LIMIT 1), '');" +
		"SELECT COALESCE((SELECT version FROM local_db_versioning ORDER BY oid DESC LIMIT 1), '');" +
		"SELECT REPLACE(body, CHAR(10), ' ') FROM user_pool ORDER BY oid;")
	if err != nil {
		return nil, err
	}
	db := &database{}
	for i, line := range slices.Collect(strings.Lines(out)) {
		line = strings.TrimSuffix(line, "\n")
		switch i {
		case 0:
			db.Schema = line
		case 1:
			db.Local = line
		default:
			var u userDocument
			if err := xml.Unmarshal([]byte(line), &u); err != nil {
				return nil, fmt.Errorf("open the database %s: a user: %w", databaseFile, err)
			}
			db.Users = append(db.Users, user{
				ID: u.ID, GID: u.GID, GName: u.GName, Name: u.Name, Driver: u.Driver, Password: u.Password, Enabled: u.Enabled, Template: u.Template.Inner,
			})
		}
	}
	return db, nil
}

// createDatabase makes the tables of a release's schema, without users. oned makes them one after the other, so a start that is cut off leaves
// some of them; those that say the schema is there come last.
func (h Host) createDatabase(release *semver.Version) (*database, error) {
	server, err := h.openServer()
	if err != nil {
		return nil, err
	}
	schema, seconds := schemaOf(release).String(), h.Now().Unix()
	comment := text(fmt.Sprintf("OpenNebula %s () daemon bootstrap", release))
	attribute := func(name string) string {
		return fmt.Sprintf("INSERT INTO system_attributes VALUES (%s, %s)", text(name), text("<"+name+">"+noQuota+"</"+name+">"))
	}
	version := fmt.Sprintf("0, %s, %d, %s", text(schema), seconds, comment)
	for _, step := range [][]string{
		logTable(),
		append(create(localTables(release)), vmIndex),
		append(systemTables(), "INSERT INTO local_db_versioning VALUES ("+version+", 0)", attribute("DEFAULT_USER_QUOTAS"), attribute("DEFAULT_GROUP_QUOTAS")),
		append(sharedTables(), "INSERT INTO db_versioning VALUES ("+version+")"),
	} {
		if _, err := server.run(script(step...)); err != nil {
			return nil, err
		}
	}
	return &database{Schema: schema, Local: schema}, nil
}

// lastID notes the newest id of a pool. Ids are never given twice.
func lastID(pool string, id int) string {
	return fmt.Sprintf("REPLACE INTO pool_control VALUES (%s, %d)", text(pool), id)
}

// insertUser are the statements for a new user: the user, its quotas, and its place in its group. Each may be run twice.
func (s server) insertUser(u user) ([]string, error) {
	group, err := s.run(fmt.Sprintf("SELECT body FROM group_pool WHERE oid = %d;", u.GID))
	if err != nil {
		return nil, err
	}
	group = strings.Replace(group, "</USERS>", fmt.Sprintf("<ID>%d</ID></USERS>", u.ID), 1)
	return []string{
		lastID("user_pool", u.ID), u.statement(),
		fmt.Sprintf("REPLACE INTO user_quotas VALUES (%d, '<QUOTAS><ID>%[1]d</ID>%s</QUOTAS>')", u.ID, noQuota),
		fmt.Sprintf("UPDATE group_pool SET body = %s WHERE oid = %d", text(group), u.GID),
	}, nil
}

// statement writes the user into the database.
func (u user) statement() string {
	return fmt.Sprintf("REPLACE INTO user_pool VALUES (%d, %s, %s, %[1]d, %[4]d, 1, 0, 0)", u.ID, text(u.Name), text(u.document("")), u.GID)
}

// userDocument is what the stand-in reads of the XML document that describes a user.
type userDocument struct {
	XMLName  xml.Name `xml:"USER"`
	ID       int      `xml:"ID"`
	GID      int      `xml:"GID"`
	GName    string   `xml:"GNAME"`
	Name     string   `xml:"NAME"`
	Password string   `xml:"PASSWORD"`
	Driver   string   `xml:"AUTH_DRIVER"`
	Enabled  int      `xml:"ENABLED"`
	Template struct {
		Inner string `xml:",innerxml"`
	} `xml:"TEMPLATE"`
}

// document is the XML document that describes a user, in the database and, with quotas, in answers.
func (u user) document(quotas string) string {
	return fmt.Sprintf("<USER><ID>%d</ID><GID>%d</GID><GROUPS><ID>%[2]d</ID></GROUPS><GNAME>%s</GNAME><NAME>%s</NAME><PASSWORD>%s</PASSWORD>"+
		"<AUTH_DRIVER>%s</AUTH_DRIVER><ENABLED>%d</ENABLED><TEMPLATE>%s</TEMPLATE>%s</USER>",
		u.ID, u.GID, u.GName, u.Name, cdata(u.Password), cdata(u.Driver), u.Enabled, u.Template, quotas)
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
