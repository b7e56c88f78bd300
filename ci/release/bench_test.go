package release_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkDetect reads an upstream of 1,000 listed versions, each with a repository for two architectures, over a real connection. The
// indexes of the newest have 10 MB each.
func BenchmarkDetect(b *testing.B) {
	const count, size = 1000, 10 << 20
	both := []string{"amd64", "arm64"}
	s := stock{}
	var listed []string
	for i := range count {
		v := fmt.Sprintf("7.%d.%d", i/50, i%50)
		s.add(v, both, v+"-1")
		listed = append(listed, v)
	}
	newest := listed[count-1]
	for _, a := range both {
		s[place(newest, indexFile(a))] = largeIndex(a, newest+"-1", size)
	}
	s.vouch(newest, "Date: "+releaseDate, "Architectures: amd64 arm64")
	s.list(listed...)
	server := httptest.NewServer(s)
	defer server.Close()
	u := open(b, server.URL)
	b.SetBytes(2 * size)
	for b.Loop() {
		got, err := u.Releases(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if len(got.Releases) != count || got.Releases[count-1].Version != newest {
			b.Fatalf("got %d releases, want %d up to %s", len(got.Releases), count, newest)
		}
	}
}

// BenchmarkIndex reads one index of 10 MB.
func BenchmarkIndex(b *testing.B) {
	const size = 10 << 20
	s := stock{place("7.0.1", indexFile("amd64")): largeIndex("amd64", "7.0.1-1", size)}
	s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64")
	s.list("7.0.1")
	server := httptest.NewServer(s)
	defer server.Close()
	u := open(b, server.URL)
	b.SetBytes(size)
	for b.Loop() {
		got, err := u.Releases(b.Context())
		if err != nil || len(got.Releases) != 1 {
			b.Fatalf("got %v, %v, want one release", got, err)
		}
	}
}

// largeIndex makes an index of about size bytes in which the package comes last.
func largeIndex(architecture, version string, size int) string {
	var large strings.Builder
	for i := 0; large.Len() < size; i++ {
		fmt.Fprintf(&large, "Package: ruby-gem-%d\nVersion: 1.%d-1\nArchitecture: %s\nMaintainer: A Person <person@upstream.example>\n"+
			"Depends: libc6 (>= 2.34), ruby (>= 1:3.0), ruby-gem-%d\nFilename: pool/r/ruby-gem-%d.deb\nSHA256: %064x\nDescription: a gem\n"+
			" One of the many gems that the software needs.\n\n", i, i, architecture, i+1, i, i)
	}
	large.WriteString(packages(architecture, version))
	return large.String()
}
