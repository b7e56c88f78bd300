package apt

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// keyDate is when the signing key claims to have been made: before anything that it signs.
var keyDate = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// signingKey signs the repository.
type signingKey struct {
	entity *openpgp.Entity
	// armored is the public key in ASCII armour.
	armored []byte
}

// newSigningKey makes the key from a fixed seed. It is the same everywhere and thus no secret: it proves nothing but that apt
// checks signatures, and in return the repository, and every image that has its key, is the same everywhere too.
func newSigningKey() (*signingKey, error) {
	config := signatureConfig(keyDate)
	config.Rand = rand.NewChaCha8(sha256.Sum256([]byte("OpenNebula stand-in package repository")))
	config.Algorithm = packet.PubKeyAlgoEdDSA
	config.Curve = packet.Curve25519
	entity, err := openpgp.NewEntity("OpenNebula stand-in repository", "public test key", "repository@example.org", config)
	if err != nil {
		return nil, err
	}
	var armored bytes.Buffer
	w, err := armor.Encode(&armored, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, err
	}
	if err := entity.Serialize(w); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	armored.WriteByte('\n')
	return &signingKey{entity: entity, armored: armored.Bytes()}, nil
}

// signatureConfig dates signatures and keeps them free of randomness.
func signatureConfig(date time.Time) *packet.Config {
	random := false
	return &packet.Config{
		DefaultHash:                           crypto.SHA512,
		Time:                                  func() time.Time { return date },
		NonDeterministicSignaturesViaNotation: &random,
	}
}

// sign returns a Release file signed in place (InRelease) and its signature alone (Release.gpg).
func (k *signingKey) sign(release []byte, date time.Time) (inRelease, releaseGPG []byte, err error) {
	config := signatureConfig(date)
	var in, detached bytes.Buffer
	w, err := clearsign.Encode(&in, k.entity.PrivateKey, config)
	if err != nil {
		return nil, nil, fmt.Errorf("sign InRelease: %w", err)
	}
	if _, err := w.Write(release); err != nil {
		return nil, nil, fmt.Errorf("sign InRelease: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, nil, fmt.Errorf("sign InRelease: %w", err)
	}
	in.WriteByte('\n')
	if err := openpgp.ArmoredDetachSign(&detached, k.entity, bytes.NewReader(release), config); err != nil {
		return nil, nil, fmt.Errorf("sign Release: %w", err)
	}
	if _, err := io.WriteString(&detached, "\n"); err != nil {
		return nil, nil, err
	}
	return in.Bytes(), detached.Bytes(), nil
}
