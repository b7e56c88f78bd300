package startup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"opennebula-kube/image/internal/database"
	"opennebula-kube/image/internal/oned"
)

const serverName = "serveradmin"

// Ids of the users that oned makes at its first boot.
const (
	adminID  = 0
	serverID = 1
)

// serviceFiles are what services log in to oned with: all have the one secret of serveradmin.
func (s *Start) serviceFiles() []string {
	files := []string{authDir + "/sunstone_auth", authDir + "/oneflow_auth", authDir + "/onegate_auth"}
	if !s.version.LessThan(semver.New(7, 2, 0, "", "")) {
		files = append(files, authDir+"/oneform_auth")
	}
	if !s.version.LessThan(semver.New(7, 4, 0, "", "")) {
		files = append(files, authDir+"/oneks_auth")
	}
	return files
}

// accounts brings the auth files and the database together. While the database is empty there must be no file of serveradmin's: oned
// writes them, and ends when it finds one. Once it has written them it never does again, so then they are kept, and restored when lost.
func (s *Start) accounts(ctx context.Context) error {
	tables, err := s.database.Tables(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(tables, "user_pool") {
		return s.clearServiceFiles()
	}
	if slave, err := s.isSlave(); err != nil || slave {
		return err
	}
	password, err := s.readAuth(oneAuth, adminName)
	if err != nil {
		return err
	}
	if err := s.setPassword(ctx, adminID, password); err != nil {
		return err
	}
	secret, err := s.serviceSecret()
	if err != nil {
		return err
	}
	for _, file := range s.serviceFiles() {
		if err := s.writeAuth(file, serverName, secret); err != nil {
			return err
		}
	}
	return s.setPassword(ctx, serverID, secret)
}

func (s *Start) clearServiceFiles() error {
	for _, file := range s.serviceFiles() {
		removed, err := s.host.Remove(file)
		if err != nil {
			return err
		}
		if removed {
			s.host.Log("removed %s: it is of another database, and oned would not start with it", file)
		}
	}
	return nil
}

// serviceSecret returns the secret in the first of the files that has one, or a new one when all are lost.
func (s *Start) serviceSecret() (string, error) {
	if s.settings.HA.Enabled() {
		return s.settings.HA.Secrets.ServerAdmin, nil
	}
	for _, file := range s.serviceFiles() {
		if secret, err := s.readAuth(file, serverName); err != nil || secret != "" {
			return secret, err
		}
	}
	s.host.Log("the files that services log in with are lost: giving %s a new secret", serverName)
	return s.newSecret()
}

// authDriver returns the authentication driver of a built-in user.
func authDriver(id int) string {
	if id == serverID {
		return "server_cipher"
	}
	return "core"
}

// setPassword gives a user a password in the database, unless it is that already. It is done in one statement and while oned does not
// run, so that there is no moment at which a password is in the file and not in the database that a later start would not mend.
func (s *Start) setPassword(ctx context.Context, id int, password string) error {
	user, err := s.user(ctx, s.database, id)
	if err != nil {
		return err
	}
	switch driver := authDriver(id); {
	case user == nil:
		s.host.Log("there is no user %d in the database: somebody has removed it; leaving it so", id)
		return nil
	case user.Driver != driver:
		s.host.Log("user %d logs in by %s, not by %s: leaving its password alone", id, user.Driver, driver)
		return nil
	case user.Password == hash(password):
		return nil
	}
	if server, err := s.federation("SERVER_ID"); err != nil {
		return err
	} else if server != "" && server != "-1" {
		// The other servers would not hear of it.
		s.host.Log("the password of user %d was changed, but this is one server of several: run oneuser passwd %d on the leader", id, id)
		return nil
	}
	// All up to the password is replaced, for what follows may have the same text in it.
	before, after := user.ReplacePassword(hash(password))
	statement := fmt.Sprintf("UPDATE user_pool SET body = REPLACE(body, %s, %s) WHERE oid = %d", s.database.Literal(before), s.database.Literal(after), id)
	if _, err := s.database.Query(ctx, statement); err != nil {
		return fmt.Errorf("change the password of user %d: %w", id, err)
	}
	if user, err = s.user(ctx, s.database, id); err != nil {
		return fmt.Errorf("change the password of user %d: %w", id, err)
	}
	if user == nil || user.Password != hash(password) {
		return fmt.Errorf("the password of user %d in %s is not the one that was just written there: something else writes to the database; stop it, "+
			"then start again", id, s.database)
	}
	s.host.Log("changed the password of user %d in the database", id)
	return nil
}

// user reads how a user logs in, nil if there is none with that id.
func (s *Start) user(ctx context.Context, db database.Interface, id int) (*oned.User, error) {
	row, err := db.Query(ctx, fmt.Sprintf("SELECT body FROM user_pool WHERE oid = %d", id))
	if err != nil || row == "" {
		return nil, err
	}
	user, err := oned.ReadUser(strings.TrimSuffix(row, "\n"))
	if err != nil {
		return nil, fmt.Errorf("user %d in %s: %w; the database is damaged: restore a backup", id, db, err)
	}
	return &user, nil
}
