package release

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// keyFile is where an upstream has the keys that sign its packages. image/Dockerfile takes them from there too.
const keyFile = "/repo/repo2.key"

// shownKeys is how many keys an error lists.
const shownKeys = 5

// CheckFingerprint rejects what is not the fingerprint of a key as --upstream-fingerprint takes it: 40 hexadecimal digits.
func CheckFingerprint(fingerprint string) error {
	if decoded, err := hex.DecodeString(fingerprint); err != nil || len(decoded) != 20 {
		return fmt.Errorf("--upstream-fingerprint %q: not a key's fingerprint, which is 40 hexadecimal digits without spaces; "+
			"`gpg --show-keys <file>` prints it", fingerprint)
	}
	return nil
}

// pinnedKey is the key with the pinned fingerprint, as an upstream has it.
type pinnedKey struct {
	fingerprint string
	key         openpgp.EntityList
	others      []string // fingerprints of the other keys in the file
	now         func() time.Time
}

// pinnedKey reads the upstream's file of keys and takes the pinned one from it. Without that key nothing of the upstream can be trusted,
// so that its absence is an error.
func (u *Upstream) pinnedKey(ctx context.Context) (*pinnedKey, error) {
	key, err := get(ctx, u, "the keys", u.base+keyFile, u.limits.Keys, func(_ *http.Response, body io.Reader) (*pinnedKey, error) {
		file, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		return parseKeys(file, u.fingerprint, u.now)
	})
	if errors.Is(err, errAbsent) {
		return nil, fmt.Errorf("%w; an upstream, or a mirror of it, must have the key that signs its packages there", err)
	}
	return key, err
}

// parseKeys finds the key with a fingerprint in a file in ASCII armour. Only the first block of armour is read, as apt does.
func parseKeys(file []byte, fingerprint string, now func() time.Time) (*pinnedKey, error) {
	all, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("is not a file of OpenPGP keys in ASCII armour: %w", err)
	}
	found := &pinnedKey{fingerprint: fingerprint, now: now}
	for _, key := range all {
		has := fmt.Sprintf("%X", key.PrimaryKey.Fingerprint)
		// A key that says nothing valid of itself may sign nothing; the library relies on there being something.
		if signature, _ := key.PrimarySelfSignature(); has == fingerprint && signature != nil {
			found.key = append(found.key, key)
		} else {
			found.others = append(found.others, has)
		}
	}
	if len(found.key) == 0 {
		return nil, fmt.Errorf("do not have the key %s, which has to sign the packages: the file has %s; %s",
			fingerprint, list(found.others, "no key that can be read"), adviceOtherKey)
	}
	return found, nil
}

const adviceOtherKey = "do not trust the packages, unless you know that another key signs them, as on a mirror: then give its fingerprint " +
	"(--upstream-fingerprint)"

// list names up to shownKeys keys.
func list(keys []string, none string) string {
	switch {
	case len(keys) == 0:
		return none
	case len(keys) > shownKeys:
		return fmt.Sprintf("%s and %d others", strings.Join(keys[:shownKeys], ", "), len(keys)-shownKeys)
	}
	return strings.Join(keys, ", ")
}

var messageStart = []byte("-----BEGIN PGP SIGNED MESSAGE-----")

// verify returns the text of a clear-signed file once the pinned key, or a subkey of it, is found to have signed all of it.
func (k *pinnedKey) verify(file []byte) ([]byte, error) {
	message, rest := clearsign.Decode(file)
	// Nobody has signed what stands before or after the message.
	if message == nil || !bytes.HasPrefix(file, messageStart) || len(bytes.TrimSpace(rest)) > 0 || message.ArmoredSignature.Type != openpgp.SignatureType {
		return nil, errors.New("is not a clear-signed text and nothing else")
	}
	signatures, err := io.ReadAll(message.ArmoredSignature.Body)
	if err != nil {
		return nil, fmt.Errorf("has a signature that cannot be read: %w", err)
	}
	signature, _, err := openpgp.VerifyDetachedSignature(k.key, bytes.NewReader(message.Bytes), bytes.NewReader(signatures), &packet.Config{Time: k.now})
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return nil, fmt.Errorf("is signed by %s, not by the key %s", list(issuers(signatures), "nobody"), k.fingerprint)
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return nil, fmt.Errorf("is signed by the key %s, or a subkey of it, which has expired", k.fingerprint)
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return nil, fmt.Errorf("is signed by the key %s, or a subkey of it, which is revoked", k.fingerprint)
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return nil, fmt.Errorf("has a signature by the key %s that has expired or is dated in the future", k.fingerprint)
	case err != nil:
		return nil, fmt.Errorf("has no valid signature by the key %s: %w", k.fingerprint, err)
	case !slices.Contains([]crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}, signature.Hash):
		return nil, fmt.Errorf("has a signature by the key %s that relies on the weak hash %s", k.fingerprint, signature.Hash)
	}
	return append(message.Plaintext, '\n'), nil
}

// issuers are the keys that signatures say they are by.
func issuers(signatures []byte) []string {
	var keys []string
	packets := packet.NewReader(bytes.NewReader(signatures))
	for {
		next, err := packets.Next()
		if err != nil {
			return keys
		}
		switch signature, ok := next.(*packet.Signature); {
		case !ok:
		case signature.IssuerFingerprint != nil:
			keys = append(keys, fmt.Sprintf("%X", signature.IssuerFingerprint))
		case signature.IssuerKeyId != nil:
			keys = append(keys, fmt.Sprintf("%016X", *signature.IssuerKeyId))
		}
	}
}
