package startup

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"opennebula-kube/image/internal/host"
)

const (
	oneAuth   = authDir + "/one_auth"
	adminName = "oneadmin"
)

// password sees to one_auth: oned makes its first user out of it, and its tools log in with it. The accounts step brings a changed
// password into the database.
func (s *Start) password(context.Context) error {
	has, err := s.readAuth(oneAuth, adminName)
	if err != nil {
		return err
	}
	want := s.settings.OneadminPassword
	switch {
	case want == "" && has != "":
		// Written anew: whoever edited the file may have left a second line, which OpenNebula would take for part of the password.
		want = has
	case want == "":
		if want, err = s.newSecret(); err != nil {
			return err
		}
		s.host.Log("no password is set for oneadmin: made one; it is in %s", oneAuth)
	}
	return s.writeAuth(oneAuth, adminName, want)
}

func (s *Start) newSecret() (string, error) {
	random := make([]byte, 24)
	if _, err := io.ReadFull(s.random, random); err != nil {
		return "", fmt.Errorf("make a password: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(random), nil
}

// readAuth returns the password of a user in an auth file, "" when the file is missing or has none: a start that is cut off, or a full
// disk, leaves an empty one.
func (s *Start) readAuth(path, user string) (string, error) {
	content, err := s.host.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	password, ok := strings.CutPrefix(strings.TrimSpace(line), user+":")
	if !ok {
		return "", nil
	}
	return password, nil
}

func (s *Start) writeAuth(path, user, password string) error {
	return s.host.WriteFile(path, []byte(user+":"+password+"\n"), 0o600, host.Oneadmin())
}

// hash is how the database has a password.
func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}
