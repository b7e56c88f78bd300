package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// database is the content of the file that stands for the SQLite database.
type database struct {
	// Schema is the version of the schema, such as 7.2.0.
	Schema string `json:"schema"`
	Users  []user `json:"users"`
}

// user is one row of the user pool.
type user struct {
	ID     int    `json:"id"`
	Name   string `json:"name"`
	Driver string `json:"driver"`
	// Password is the SHA-256 of the password in hexadecimal.
	Password string `json:"password"`
}

// errNoSchema says that there is no database, or one without tables.
var errNoSchema = errors.New("Database is not correctly bootstraped.")

// loadDatabase reads the database. One that is missing or empty is errNoSchema: SQLite makes an empty file by merely opening it.
func (h Host) loadDatabase() (*database, error) {
	data, err := os.ReadFile(h.path(databaseFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil, errNoSchema
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db := &database{}
	if err := json.Unmarshal(data, db); err != nil {
		return nil, fmt.Errorf("open the database %s: %w", databaseFile, err)
	}
	return db, nil
}

// saveDatabase replaces the database in one step, so that a process that is killed leaves the old one or the new one.
func (h Host) saveDatabase(db *database) error {
	data, err := json.MarshalIndent(db, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(h.path(databaseFile), append(data, '\n'))
}

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
