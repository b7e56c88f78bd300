package startup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"opennebula-kube/image/internal/host"
)

const (
	// ownKey is where a key from the settings goes, and a new one. ssh looks for it by itself, and `oneuser key` and `onezone serversync` look
	// for no other.
	ownKey     = sshDir + "/id_rsa"
	hostKeyDir = ownDir + "/ssh-host-keys"
)

// hostKeyTypes are those of the keys that sshd shows itself by.
func hostKeyTypes() []string { return []string{"ed25519", "rsa"} }

func hostKeyFile(kind string) string { return filepath.Join(hostKeyDir, "ssh_host_"+kind+"_key") }

// sshKeys sees to the keys that oneadmin logs in to hypervisors with, and these to the front-end, and to the host keys of sshd. All are
// on the volume: after another start everybody must know this machine again.
func (s *Start) sshKeys(ctx context.Context) error {
	key, err := s.userKey(ctx)
	if err != nil {
		return err
	}
	public, err := s.host.Run(ctx, host.Command{Args: []string{"ssh-keygen", "-y", "-P", "", "-f", s.host.Path(key)}, As: host.Oneadmin()})
	if err != nil {
		return fmt.Errorf("read oneadmin's SSH key %s: %w; it must be a private key without a passphrase", key, err)
	}
	public = strings.TrimSpace(public)
	if err := s.host.WriteFile(key+".pub", []byte(public+"\n"), 0o644, host.Oneadmin()); err != nil {
		return err
	}
	if err := s.authorize(public); err != nil {
		return err
	}
	if known := s.settings.SSH.KnownHosts; known != "" {
		if err := s.host.WriteFile(sshDir+"/known_hosts", []byte(known), 0o644, host.Oneadmin()); err != nil {
			return err
		}
	}
	const client, installed = sshDir + "/config", "/usr/share/one/ssh/config"
	if has, err := s.exists(client); err != nil {
		return err
	} else if !has {
		if err := s.host.Copy(installed, client, host.Oneadmin()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.hostKeys(ctx)
}

// userKey returns the path of oneadmin's private key: the one from the settings, the one that there is, or a new one.
func (s *Start) userKey(ctx context.Context) (string, error) {
	if key := s.settings.SSH.PrivateKey; key != "" {
		// ssh does not read a key without a line end.
		return ownKey, s.host.WriteFile(ownKey, []byte(strings.TrimRight(key, "\r\n")+"\n"), 0o600, host.Oneadmin())
	}
	for _, name := range []string{"id_rsa", "id_ecdsa", "id_ed25519"} {
		path := sshDir + "/" + name
		if has, err := s.exists(path); err != nil {
			return "", err
		} else if has {
			return path, s.private(path, host.Oneadmin())
		}
	}
	s.host.Log("making an SSH key for oneadmin: %s.pub is for the hypervisors", ownKey)
	// `oneuser key` reads RSA alone.
	return ownKey, s.makeKey(ctx, ownKey, "rsa", "oneadmin", host.Oneadmin())
}

// makeKey makes a key under another name first: half of a key must not be taken for one.
func (s *Start) makeKey(ctx context.Context, path, kind, comment string, owner host.Owner) error {
	part := path + ".new"
	for _, file := range []string{part, part + ".pub"} {
		if _, err := s.host.Remove(file); err != nil {
			return err
		}
	}
	_, err := s.host.Run(ctx, host.Command{
		Args: []string{"ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", s.host.Path(part)}, As: owner,
	})
	if err != nil {
		return fmt.Errorf("make an SSH key: %w", err)
	}
	// The private key comes last: it is what is looked for.
	for _, suffix := range []string{".pub", ""} {
		if err := s.host.Rename(part+suffix, path+suffix); err != nil {
			return err
		}
	}
	return nil
}

// authorize lets oneadmin's key log in here: hypervisors have the same key. Keys that somebody has added stay.
func (s *Start) authorize(public string) error {
	const file = sshDir + "/authorized_keys"
	content, err := s.host.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(content)
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == public {
			return s.host.WriteFile(file, content, 0o600, host.Oneadmin())
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return s.host.WriteFile(file, []byte(text+public+"\n"), 0o600, host.Oneadmin())
}

func (s *Start) hostKeys(ctx context.Context) error {
	if err := s.host.Directory(hostKeyDir, 0o700, host.Owner{}); err != nil {
		return err
	}
	for _, kind := range hostKeyTypes() {
		path := hostKeyFile(kind)
		if has, err := s.exists(path); err != nil {
			return err
		} else if has {
			if err := s.private(path, host.Owner{}); err != nil {
				return err
			}
			continue
		}
		if err := s.makeKey(ctx, path, kind, "opennebula", host.Owner{}); err != nil {
			return err
		}
	}
	return nil
}
