package release_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/release"
)

// stock is the files of an upstream, by path.
type stock map[string]string

// published is the day that every repository of a stock is dated.
var published = time.Date(2025, 10, 22, 9, 30, 0, 0, time.UTC)

const releaseDate = "Wed, 22 Oct 2025 09:30:00 UTC"

// place is the path of a file in the apt repository of a directory.
func place(directory, file string) string {
	return "/repo/" + directory + "/Ubuntu/24.04/dists/stable/" + file
}

func indexFile(architecture string) string { return "opennebula/binary-" + architecture + "/Packages" }

// packages makes an index with package opennebula in the versions given, among others.
func packages(architecture string, versions ...string) string {
	var b strings.Builder
	paragraph := func(name, version string) {
		fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\nDescription: cloud\n Several lines,\n .\n of text.\n\n", name, version, architecture)
	}
	paragraph("opennebula-common", "9.9.9-1")
	for _, v := range versions {
		paragraph("opennebula", v)
	}
	paragraph("opennebula-tools", "9.9.9-1")
	return b.String()
}

// add puts into the stock a directory with a repository that has package opennebula in the given Debian versions.
func (s stock) add(directory string, architectures []string, versions ...string) {
	for _, a := range architectures {
		s[place(directory, indexFile(a))] = packages(a, versions...)
	}
	s.vouch(directory, "Date: "+releaseDate, "Architectures: "+strings.Join(architectures, " "))
}

// vouch writes a directory's InRelease file, signed: the given fields, and the sums of its indexes.
func (s stock) vouch(directory string, fields ...string) {
	s[place(directory, "InRelease")] = signed(repositoryKey(), s.description(directory, fields...))
}

// description is the text of a directory's InRelease file.
func (s stock) description(directory string, fields ...string) string {
	release := "Origin: OpenNebula\n" + strings.Join(fields, "\n") + "\nSHA256:\n"
	root := place(directory, "")
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if file, ok := strings.CutPrefix(name, root); ok && file != "InRelease" {
			release += fmt.Sprintf(" %x %d %s\n", sha256.Sum256([]byte(s[name])), len(s[name]), file)
		}
	}
	return release
}

// list makes the listing page, with these directories among other things.
func (s stock) list(directories ...string) {
	page := "<html><head><title>Index of /repo/</title></head><body><h1>Index of /repo/</h1><pre><a href=\"../\">../</a>\n"
	for _, d := range append([]string{"Debian", "7.0.0-rc1", "v7.0.3", "7.01.0", "7", "7.0.0.1"}, directories...) {
		page += fmt.Sprintf("<a href=\"%s/\">%s/</a>  22-Oct-2025 09:30  -\n", d, d)
	}
	s[keyFile] = armored(repositoryKey())
	s["/repo/"] = page + "<a href=\"repo2.key\">repo2.key</a>  01-Jul-2025 08:00  3113\n<a href=\"7.0.9\">7.0.9</a>\n" +
		"<a href=\"https://opennebula.io/7.0.8/\">home</a> <a href=\"?C=N;O=D\">by name</a></pre></body></html>"
}

// ServeHTTP makes a stock a web server.
func (s stock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, ok := s[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	kind := "application/octet-stream"
	if r.URL.Path == "/repo/" {
		kind = "text/html; charset=utf-8"
	} else if path.Base(r.URL.Path) == "InRelease" {
		kind = "text/plain"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = io.WriteString(w, content)
}

// usual is an upstream with two releases, a pre-release, a version without a repository for Ubuntu 24.04, and one that its index lacks.
func usual() stock {
	s := stock{}
	both := []string{"amd64", "arm64"}
	s.add("7.0.0", []string{"amd64"}, "7.0.0-1")
	s.add("7.0.1", both, "7.0.1-1")
	s.add("7.1.80", both, "7.1.80-1")
	s.add("7.2.0", both, "7.0.1-1", "7.2.0~rc2-1")
	s.list("6.10.0", "7.0.0", "7.0.1", "7.1.80", "7.2.0", "7.4.0")
	return s
}

// patience makes attempts follow one another quickly.
var patience = release.Retry{Attempts: 3, WaitMin: time.Millisecond, WaitMax: 2 * time.Millisecond, Timeout: 20 * time.Second}

// serve starts a web server for handler, with a switch for faults, and returns an Upstream that reads it.
func serve(t testing.TB, handler http.Handler, options ...release.Option) (*release.Upstream, *httpfault.Switch) {
	t.Helper()
	faults := httpfault.New(handler)
	server := httptest.NewServer(faults)
	t.Cleanup(server.Close)
	return open(t, server.URL, append([]release.Option{release.WithRetry(patience)}, options...)...), faults
}

// serveWith is serve for an upstream whose packages another key signs.
func serveWith(t testing.TB, handler http.Handler, fingerprint string) (*release.Upstream, *httpfault.Switch) {
	t.Helper()
	faults := httpfault.New(handler)
	server := httptest.NewServer(faults)
	t.Cleanup(server.Close)
	return openWith(t, server.URL, fingerprint, release.WithRetry(patience)), faults
}

func open(t testing.TB, address string, options ...release.Option) *release.Upstream {
	t.Helper()
	return openWith(t, address, fingerprint(repositoryKey()), options...)
}

func openWith(t testing.TB, address, fingerprint string, options ...release.Option) *release.Upstream {
	t.Helper()
	clock := release.WithClock(func() time.Time { return published.AddDate(0, 0, 1) })
	u, err := release.NewUpstream(address, fingerprint, append([]release.Option{clock}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func versions(found release.Catalog) []string {
	var names []string
	for _, r := range found.Releases {
		names = append(names, r.Version)
	}
	return names
}

func zipped(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func digest(content string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content))) }

// direct is a transport that calls a handler without a network in between, so that time can be made to pass by itself.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (response *http.Response, err error) {
	defer func() {
		if recover() != nil {
			response, err = nil, io.ErrUnexpectedEOF
		}
	}()
	w := httptest.NewRecorder()
	served := r.Clone(r.Context())
	if served.Body == nil {
		served.Body = http.NoBody
	}
	d.handler.ServeHTTP(w, served)
	if err := context.Cause(r.Context()); err != nil {
		return nil, err
	}
	response = w.Result()
	response.Request = r
	return response, nil
}

// discard is a logger of a server whose complaints are expected.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }
