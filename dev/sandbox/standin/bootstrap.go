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
	files := []string{"sunstone_auth", "onegate_auth", "oneflow_auth"}
	if !release.LessThan(semver.New(7, 2, 0, "", "")) {
		files = append(files, "oneform_auth")
	}
	if !release.LessThan(semver.New(7, 4, 0, "", "")) {
		files = append(files, "oneks_auth")
	}
	return files
}

// bootstrapCluster makes the cluster that hosts are in by default.
func (s server) bootstrapCluster() error {
	body := "<CLUSTER><ID>0</ID><NAME>default</NAME><HOSTS></HOSTS><DATASTORES><ID>0</ID><ID>1</ID><ID>2</ID></DATASTORES><VNETS></VNETS>" +
		"<TEMPLATE><RESERVED_CPU>" + cdata("") + "</RESERVED_CPU><RESERVED_MEM>" + cdata("") + "</RESERVED_MEM></TEMPLATE></CLUSTER>"
	_, err := s.run(script(
		"INSERT INTO cluster_pool VALUES (0, 'default', "+text(body)+", 0, 0, 1, 0, 0)",
		"INSERT INTO cluster_datastore_relation VALUES (0, 0), (0, 1), (0, 2)",
		lastID("cluster_pool", 99),
	))
	return err
}

// Ids of the groups that oned makes.
const oneadminGroup, usersGroup = 0, 1

// bootstrapGroups makes the groups of administrators and of all others.
func (s server) bootstrapGroups() error {
	var views strings.Builder
	for _, view := range [][2]string{
		{"DEFAULT_VIEW", "cloud"}, {"GROUP_ADMIN_DEFAULT_VIEW", "groupadmin"}, {"GROUP_ADMIN_VIEWS", "groupadmin,cloud"}, {"VIEWS", "cloud"},
	} {
		fmt.Fprintf(&views, "<%s>%s</%[1]s>", view[0], cdata(view[1]))
	}
	var statements []string
	for id, group := range [][2]string{{"oneadmin", ""}, {"users", "<SUNSTONE>" + views.String() + "</SUNSTONE>"}} {
		body := fmt.Sprintf("<GROUP><ID>%d</ID><NAME>%s</NAME><TEMPLATE>%s</TEMPLATE><USERS></USERS><ADMINS></ADMINS></GROUP>", id, group[0], group[1])
		statements = append(statements,
			fmt.Sprintf("INSERT INTO group_pool VALUES (%d, %s, %s, 0, %[1]d, 1, 1, 0)", id, text(group[0]), text(body)),
			fmt.Sprintf("INSERT INTO group_quotas VALUES (%d, '<QUOTAS><ID>%[1]d</ID>%s</QUOTAS>')", id, noQuota))
	}
	_, err := s.run(script(append(statements, lastID("group_pool", 99))...))
	return err
}

// bootstrapUsers makes what a database without user 0 lacks: the auth files of the services and the users 0 and 1. Each file is looked
// for just before it is written, so a refusal half way leaves those before it, and these make the next start refuse, as with oned.
func (h Host) bootstrapUsers(release *semver.Version, server server) error {
	name, password, err := readAuth(h.path(filepath.Join(authDir, "one_auth")))
	if err != nil {
		return fmt.Errorf("Error reading one_auth: %w", err)
	}
	secret, err := randomPassword()
	if err != nil {
		return err
	}
	for _, file := range authFiles(release) {
		path := filepath.Join(authDir, file)
		f, err := os.OpenFile(h.path(path), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			// The slashes are oned's.
			return fmt.Errorf("Password file /var/lib/one//.one/%s already exists but OpenNebula is boostraping the database. Check your database "+
				"configuration in oned.conf.", file)
		}
		if err != nil {
			return fmt.Errorf("Could not create configuration file %s: %w", path, err)
		}
		_, err = fmt.Fprintf(f, "serveradmin:%s\n", secret)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write password file: %w", err)
		}
	}
	for _, u := range []user{
		{ID: 0, Name: name, Driver: coreDriver, Password: hash(password)},
		{ID: 1, Name: "serveradmin", Driver: cipherDriver, Password: hash(secret)},
	} {
		u.GID, u.GName, u.Enabled = oneadminGroup, "oneadmin", 1
		if u.Template, err = tokenPassword(); err != nil {
			return err
		}
		statements, err := server.insertUser(u)
		if err == nil {
			_, err = server.run(script(statements...))
		}
		if err != nil {
			return fmt.Errorf("Error creating %s user: %w", u.Name, err)
		}
	}
	return nil
}

// tokenPassword is the attribute that each new user gets, for the tokens of virtual machines.
func tokenPassword() (string, error) {
	secret, err := randomPassword()
	return "<TOKEN_PASSWORD>" + cdata(secret) + "</TOKEN_PASSWORD>", err
}

// randomPassword is a secret as oned makes them.
func randomPassword() (string, error) {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("make a secret: %w", err)
	}
	return hex.EncodeToString(random), nil
}

// loadKey makes the key that oned encrypts attributes in the database with, unless it is there.
func (h Host) loadKey() error {
	if err := os.MkdirAll(h.path(authDir), 0o700); err != nil {
		return err
	}
	key, err := randomPassword()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(h.path(filepath.Join(authDir, "one_key")), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, key)
	return errors.Join(err, f.Close())
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
