package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"pault.ag/go/debian/control"
	"pault.ag/go/debian/version"
)

// index is what a repository's Packages index says about package opennebula.
type index struct {
	digest   string                       // of the uncompressed index, sha256:...
	versions map[string][]version.Version // all packagings, by OpenNebula's version X.Y.Z
}

// index reads the index of one architecture. It is nil when the repository vouches for none, and an error when there ought to be one.
func (u *Upstream) index(ctx context.Context, d directory, r repository, architecture string) (*index, error) {
	place := "opennebula/binary-" + architecture + "/Packages"
	if !r.vouches(place) && !r.vouches(place+".gz") {
		return nil, nil
	}
	for _, name := range []string{place, place + ".gz"} {
		if name == place && !r.vouches(place) {
			continue
		}
		found, err := get(ctx, u, "the package index", u.suite(d)+name, u.limits.Index,
			func(response *http.Response, body io.Reader) (*index, error) {
				if media := response.Header.Get("Content-Type"); strings.HasPrefix(media, "text/html") {
					return nil, fmt.Errorf("is not a package index: its content type is %q", media)
				}
				content, err := unpack(body, u.limits.Index)
				if err != nil {
					return nil, err
				}
				return readIndex(content, d, architecture, func() error { return r.verify(content, place) })
			})
		if !errors.Is(err, errAbsent) {
			return found, err
		}
	}
	return nil, fmt.Errorf("read the package index %s: 404 Not Found, also with .gz, though the repository's InRelease file lists it; "+
		"upstream may be in the middle of an update: run again later", u.suite(d)+place)
}

// readIndex reads an index to its end. An index that is not what verify expects is reported as that, not by what looks odd inside.
func readIndex(content *unpacked, d directory, architecture string, verify func() error) (*index, error) {
	versions, malformed := parsePackages(content, d, architecture)
	if _, err := io.Copy(io.Discard, content); err != nil {
		return nil, err
	}
	if err := verify(); err != nil {
		return nil, err
	}
	if malformed != nil {
		return nil, malformed
	}
	return &index{digest: "sha256:" + content.plain.sum(), versions: versions}, nil
}

// vouches tells whether the repository has the checksum of a file.
func (r repository) vouches(place string) bool {
	_, ok := r.files[place]
	return ok
}

// verify compares an index, read to its end, with its checksum: that of the uncompressed index or, where there is none, of the compressed one.
func (r repository) verify(content *unpacked, place string) error {
	if want, ok := r.files[place]; ok {
		return content.plain.verify(want)
	}
	return content.sent.verify(r.files[place+".gz"])
}

// meter keeps count and checksum of what passes by.
type meter struct {
	hash hash.Hash
	size int64
}

func newMeter() *meter { return &meter{hash: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	return m.hash.Write(p)
}

func (m *meter) sum() string { return hex.EncodeToString(m.hash.Sum(nil)) }

func (m *meter) verify(want control.FileHash) error {
	const advice = "upstream may be in the middle of an update: run again later"
	switch got := m.sum(); {
	case m.size < want.Size:
		return fmt.Errorf("truncated: has %d of the %d bytes that the repository's InRelease file says; %s", m.size, want.Size, advice)
	case m.size > want.Size:
		return fmt.Errorf("has %d bytes, the repository's InRelease file says %d; %s", m.size, want.Size, advice)
	case !strings.EqualFold(got, want.Hash):
		return fmt.Errorf("has SHA-256 %s, the repository's InRelease file says %s; %s", got, want.Hash, advice)
	}
	return nil
}
