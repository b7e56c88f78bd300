package standin

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Authentication drivers of users: oned hashes what the first kind sends, the second kind hashes by itself.
const (
	coreDriver   = "core"
	cipherDriver = "server_cipher"
)

// authFiles are the services that oned makes an auth file for, in the order in which it writes them.
func authFiles(release *semver.Version) []string {
	files := []string{"sunstone_auth", "oneflow_auth", "onegate_auth"}
	if !release.LessThan(semver.New(7, 2, 0, "", "")) {
		files = append(files, "oneform_auth")
	}
	if !release.LessThan(semver.New(7, 4, 0, "", "")) {
		files = append(files, "oneks_auth")
	}
	return files
}

// bootstrap makes what a database without user 0 lacks: the auth files of the services and the users 0 and 1. Each file is looked
// for just before it is written, so a refusal half way leaves those before it, and these make the next start refuse, as with oned.
func (h Host) bootstrap(release *semver.Version, db *database) error {
	name, password, err := readAuth(h.path(filepath.Join(authDir, "one_auth")))
	if err != nil {
		return fmt.Errorf("no credentials for the first user: %w", err)
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return fmt.Errorf("make the secret of serveradmin: %w", err)
	}
	secret := hex.EncodeToString(random)
	for _, file := range authFiles(release) {
		path := filepath.Join(authDir, file)
		f, err := os.OpenFile(h.path(path), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("Password file %s already exists but OpenNebula is boostraping the database. Check your database "+
				"configuration in oned.conf.", path)
		}
		if err != nil {
			return fmt.Errorf("write password file: %w", err)
		}
		_, err = fmt.Fprintf(f, "serveradmin:%s\n", secret)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write password file: %w", err)
		}
	}
	db.Users = []user{
		{ID: 0, Name: name, Driver: coreDriver, Password: hash(password)},
		{ID: 1, Name: "serveradmin", Driver: cipherDriver, Password: hash(secret)},
	}
	return h.saveDatabase(db)
}

// readAuth reads a file with one line, name:password.
func readAuth(path string) (name, password string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	name, password, found := strings.Cut(strings.TrimSpace(line), ":")
	if !found || name == "" || password == "" {
		return "", "", fmt.Errorf("%s: no line of the form name:password", path)
	}
	return name, password, nil
}

// hash is how oned stores a password.
func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}
