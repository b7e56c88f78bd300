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
	"time"

	"pault.ag/go/debian/control"
	"pault.ag/go/debian/version"
)

// index is what a repository's Packages index says about package opennebula.
type index struct {
	digest   string                     // of the uncompressed index, sha256:...
	modified time.Time                  // as the server says; zero when it does not
	versions map[string]version.Version // by OpenNebula's version X.Y.Z, the newest packaging of each
}

// index reads the index of one architecture. It is nil when the directory has none, and an error when it ought to have one.
func (u *Upstream) index(ctx context.Context, d directory, r repository, architecture string) (*index, error) {
	place := "opennebula/binary-" + architecture + "/Packages"
	for _, name := range []string{place, place + ".gz"} {
		found, err := get(ctx, u, "the package index", u.suite(d)+name, u.limits.Index,
			func(response *http.Response, body io.Reader) (*index, error) {
				if media := response.Header.Get("Content-Type"); strings.HasPrefix(media, "text/html") {
					return nil, fmt.Errorf("is no package index: its content type is %q", media)
				}
				content, err := unpack(body, u.limits.Index)
				if err != nil {
					return nil, err
				}
				found, err := readIndex(content, d, architecture, func() error { return r.verify(content, place) })
				if err != nil {
					return nil, err
				}
				// A date that cannot be read is as good as none.
				found.modified, _ = http.ParseTime(response.Header.Get("Last-Modified"))
				return found, nil
			})
		if !errors.Is(err, errAbsent) {
			return found, err
		}
	}
	if r.lists(place) {
		return nil, fmt.Errorf("read the package index %s: 404 Not Found, also with .gz, though the repository's Release file lists it; "+
			"upstream may be in the middle of an update: run again later", u.suite(d)+place)
	}
	return nil, nil
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

// lists tells whether the Release file lists a file, as it is or compressed.
func (r repository) lists(place string) bool {
	_, plain := r.files[place]
	_, packed := r.files[place+".gz"]
	return plain || packed
}

// verify compares an index, read to its end, with what the Release file says of it. Of an index that no Release file vouches for it can
// only see that it does not end in the middle of a line.
func (r repository) verify(content *unpacked, place string) error {
	if want, ok := r.files[place]; ok {
		return content.plain.verify(want)
	}
	if want, ok := r.files[place+".gz"]; ok && content.packed {
		return content.sent.verify(want)
	}
	if content.plain.last != '\n' {
		return fmt.Errorf("truncated: its %d bytes do not end with the end of a line", content.plain.size)
	}
	return nil
}

// meter keeps count and checksum of what passes by.
type meter struct {
	hash hash.Hash
	size int64
	last byte
}

func newMeter() *meter { return &meter{hash: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	if len(p) > 0 {
		m.last = p[len(p)-1]
	}
	m.size += int64(len(p))
	return m.hash.Write(p)
}

func (m *meter) sum() string { return hex.EncodeToString(m.hash.Sum(nil)) }

func (m *meter) verify(want control.FileHash) error {
	const advice = "upstream may be in the middle of an update: run again later"
	switch got := m.sum(); {
	case m.size < want.Size:
		return fmt.Errorf("truncated: has %d of the %d bytes that the repository's Release file says; %s", m.size, want.Size, advice)
	case m.size > want.Size:
		return fmt.Errorf("has %d bytes, the repository's Release file says %d; %s", m.size, want.Size, advice)
	case !strings.EqualFold(got, want.Hash):
		return fmt.Errorf("has SHA-256 %s, the repository's Release file says %s; %s", got, want.Hash, advice)
	}
	return nil
}
