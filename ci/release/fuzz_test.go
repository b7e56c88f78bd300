package release

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
)

// FuzzListing: whatever a page says, what is found in it are releases from the first supported version on, each once and in order, and
// names that cannot lead out of the listing.
func FuzzListing(f *testing.F) {
	for _, page := range []string{
		"",
		`<html><body><pre><a href="../">../</a><a href="7.0.0/">7.0.0/</a> 01-Jul-2025<a href="7.0/">7.0/</a><a href="Debian/">Debian/</a></pre>`,
		`<a href="7.1.80/"><a href="7.0.0-rc1/"><a href="7.0.0+x/"><a href="07.0.0/"><a href="v7.0.0/">`,
		`<a href="/repo/7.0.0/"><a href="http://upstream.example/repo/7.0.1/"><a href="//elsewhere.example/repo/7.0.2/"><a href="..%2f7.0.3/">`,
		`<a href="7.0.0/?C=N"><a href="7.0.0/#x"><a href="7.0.0/../7.0.1/"><a href="%37.0.0/"><a href=" 7.0.0/ ">`,
		`<a href="18446744073709551616.0.0/"><a href="99999999999.0/"><a href="7..0/">`,
		`<table><tr><td><a href=7.0.0/><table><a href=7.2.0/></frameset><svg><a href="7.4.0/">`,
		"\x00<a href=\"7.0.0/\">\xff\xfe",
	} {
		f.Add([]byte(page))
	}
	address, err := url.Parse("http://upstream.example/repo/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		directories, err := parseListing(bytes.NewReader(page), address)
		if err != nil {
			if directories != nil {
				t.Errorf("got %v beside error %v", directories, err)
			}
			return
		}
		seen := map[string]bool{}
		for _, d := range directories {
			if strings.Trim(d.name, "0123456789.") != "" || strings.Contains(d.name, "..") {
				t.Errorf("directory %q is not named after a version", d.name)
			}
			if seen[d.name] {
				t.Errorf("directory %q is there twice", d.name)
			}
			seen[d.name] = true
			if d.version.Major() < firstMajor || !isRelease(d.version) || !d.proposes(d.version) {
				t.Errorf("directory %q, version %s: not a release that is taken", d.name, d.version)
			}
		}
		if !slices.IsSortedFunc(directories, func(a, b directory) int { return a.version.Compare(b.version) }) {
			t.Errorf("%v are not in order", directories)
		}
	})
}

// FuzzPackages: whatever an index says, what is found in it are versions that the directory proposes, and the same however it was sent.
func FuzzPackages(f *testing.F) {
	const usual = "Package: opennebula-common\nVersion: 7.0.1-1\nArchitecture: all\n\n" +
		"Package: opennebula\nVersion: 7.0.1-1\nArchitecture: amd64\nDescription: cloud\n Text.\n .\n More.\n\n" +
		"Package: opennebula\nArchitecture: all\nVersion: 1:7.0.1-2\n"
	for _, content := range []string{
		"",
		"\n\n\n",
		usual,
		usual[:len(usual)/2],
		strings.ReplaceAll(usual, "\n", "\r\n"),
		strings.ReplaceAll(usual, "7.0.1", "7.0.1~rc1"),
		strings.ReplaceAll(usual, "7.0.1", "7.0.1+dfsg"),
		"# comment\nVersion: 7.0.1\nPackage:opennebula\nArchitecture: amd64",
		"Package: opennebula\nVersion: 7.0.1-1-1\nArchitecture: amd64\nVersion: 7.0.0\n",
		"-----BEGIN PGP SIGNED MESSAGE-----\nPackage: opennebula\n",
		"<html><body>Package: opennebula</body></html>",
		" \nPackage: opennebula\n :\n",
		"\x1f\x8b\x08\x00",
	} {
		f.Add([]byte(content))
	}
	exact := directory{name: "7.0.1", version: semver.MustParse("7.0.1")}
	line := directory{name: "7.0", line: true, version: semver.MustParse("7.0.0")}
	const limit = 1 << 16
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, d := range []directory{exact, line} {
			plain, err := read(content, d, limit)
			if err != nil {
				if plain != nil {
					t.Errorf("got %v beside error %v", plain, err)
				}
				continue
			}
			for name, all := range plain.versions {
				if found, err := semver.StrictNewVersion(name); err != nil || !d.proposes(found) {
					t.Errorf("version %q is none that directory %s proposes", name, d.name)
				}
				for _, v := range all {
					if v.Version != name {
						t.Errorf("package version %s is not of version %s", v, name)
					}
				}
			}
			if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
				continue
			}
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			packed, err := read(b.Bytes(), d, limit)
			if err != nil {
				t.Fatalf("compressed: %v", err)
			}
			if packed.digest != plain.digest || !reflect.DeepEqual(packed.versions, plain.versions) {
				t.Errorf("got %v, compressed %v", plain, packed)
			}
		}
	})
}

func read(content []byte, d directory, limit int64) (*index, error) {
	body := &boundedBody{body: bytes.NewReader(content), limit: limit, left: limit}
	unpacked, err := unpack(body, limit)
	if err != nil {
		return nil, err
	}
	found, err := readIndex(unpacked, d, "amd64", func() error { return nil })
	if err == nil {
		if n, _ := io.Copy(io.Discard, body); n != 0 {
			panic("an index was not read to its end")
		}
	}
	return found, err
}
