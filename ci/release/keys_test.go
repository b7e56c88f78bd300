package release_test

import (
	"bytes"
	"crypto"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// keyFile is where an upstream has its keys.
const keyFile = "/repo/repo2.key"

// keyDate is when the keys of the tests are made, before all that they sign.
var keyDate = published.AddDate(-1, 0, 0)

// repositoryKey is the key that signs what a stock has.
var repositoryKey = sync.OnceValue(func() *openpgp.Entity { return newKey(0) })

// newKey makes a key that lives so long; 0 is for ever.
func newKey(lifetime time.Duration) *openpgp.Entity {
	key, err := openpgp.NewEntity("Repository", "", "repository@upstream.example", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: at(keyDate), KeyLifetimeSecs: uint32(lifetime.Seconds()),
	})
	if err != nil {
		panic(err)
	}
	return key
}

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func fingerprint(key *openpgp.Entity) string { return fmt.Sprintf("%X", key.PrimaryKey.Fingerprint) }

// armored is a file of keys.
func armored(keys ...*openpgp.Entity) string {
	var file bytes.Buffer
	w, err := armor.Encode(&file, openpgp.PublicKeyType, nil)
	if err != nil {
		panic(err)
	}
	for _, key := range keys {
		if err := key.Serialize(w); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return file.String() + "\n"
}

// signed is a text with a key's signature, in the form of InRelease.
func signed(key *openpgp.Entity, text string) string {
	return signedBy(key.PrivateKey, text, &packet.Config{Time: at(published)})
}

func signedBy(key *packet.PrivateKey, text string, config *packet.Config) string {
	var file strings.Builder
	w, err := clearsign.Encode(&file, key, config)
	if err != nil {
		panic(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return file.String() + "\n"
}

// weaklySigned is a text signed by way of SHA-1.
func weaklySigned(key *openpgp.Entity, text string) string {
	signature := &packet.Signature{
		Version: 4, SigType: packet.SigTypeText, PubKeyAlgo: key.PrimaryKey.PubKeyAlgo, Hash: crypto.SHA1, CreationTime: published,
		IssuerKeyId: &key.PrimaryKey.KeyId,
	}
	hash := crypto.SHA1.New()
	hash.Write([]byte(strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\r\n")))
	if err := signature.Sign(hash, key.PrivateKey, &packet.Config{NonDeterministicSignaturesViaNotation: new(false)}); err != nil {
		panic(err)
	}
	var file bytes.Buffer
	file.WriteString("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\n" + text)
	w, err := armor.Encode(&file, openpgp.SignatureType, nil)
	if err != nil {
		panic(err)
	}
	if err := signature.Serialize(w); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return file.String() + "\n"
}
