package release_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/release"
)

func TestReleasesOfAnUsualUpstream(t *testing.T) {
	s := usual()
	u, _ := serve(t, s)
	got, err := u.Releases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	amd0, amd1, arm1 := s[place("7.0.0", indexFile("amd64"))], s[place("7.0.1", indexFile("amd64"))], s[place("7.0.1", indexFile("arm64"))]
	want := []release.Release{{
		Version: "7.0.0", Line: "7.0", Directory: "7.0.0", Date: published, PackageVersion: "7.0.0-1",
		Architectures: []string{"amd64"}, Indexes: map[string]string{"amd64": digest(amd0)},
	}, {
		Version: "7.0.1", Line: "7.0", Directory: "7.0.1", Date: published, PackageVersion: "7.0.1-1",
		Architectures: []string{"amd64", "arm64"}, Indexes: map[string]string{"amd64": digest(amd1), "arm64": digest(arm1)},
	}}
	if diff := cmp.Diff(want, got.Releases); diff != "" {
		t.Errorf("releases (-want +got):\n%s", diff)
	}
}

// The index decides, in all the ways that it and its directory may disagree.
func TestIndexDecides(t *testing.T) {
	both := []string{"amd64", "arm64"}
	for _, test := range []struct {
		name string
		put  func(stock)
		want string // version directory architectures packageVersion; ...
	}{
		{"the version is there", func(s stock) { s.add("7.0.1", both, "7.0.1-1") }, "7.0.1 7.0.1 amd64,arm64 7.0.1-1"},
		{"another version only", func(s stock) { s.add("7.0.1", both, "7.0.0-1") }, ""},
		{"a release candidate only", func(s stock) { s.add("7.0.1", both, "7.0.1~rc1-1") }, ""},
		{"a beginning of the version only", func(s stock) { s.add("7.0.1", both, "7.0.10-1", "7.0-1") }, ""},
		{"a repacked version", func(s stock) { s.add("7.0.1", both, "7.0.1+dfsg-1") }, ""},
		{"an epoch is no part of the version", func(s stock) { s.add("7.0.1", both, "1:7.0.1-1") }, "7.0.1 7.0.1 amd64,arm64 1:7.0.1-1"},
		{"a native package", func(s stock) { s.add("7.0.1", both, "7.0.1") }, "7.0.1 7.0.1 amd64,arm64 7.0.1"},
		{"the newest of several packagings", func(s stock) { s.add("7.0.1", both, "7.0.1-2", "7.0.1-10", "7.0.1-9") },
			"7.0.1 7.0.1 amd64,arm64 7.0.1-10"},
		{"one architecture of two", func(s stock) {
			s.add("7.0.1", both, "7.0.1-1")
			s[place("7.0.1", indexFile("arm64"))] = packages("arm64")
			s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64 arm64")
		}, "7.0.1 7.0.1 amd64 7.0.1-1"},
		{"architectures are packaged one after the other", func(s stock) {
			s.add("7.0.1", both, "7.0.1-1")
			s[place("7.0.1", indexFile("amd64"))] = packages("amd64", "7.0.1-1", "7.0.1-2")
			s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64 arm64")
		}, "7.0.1 7.0.1 amd64,arm64 7.0.1-1"},
		{"architectures have no packaging in common", func(s stock) {
			s.add("7.0.1", both, "7.0.1-1")
			s[place("7.0.1", indexFile("amd64"))] = packages("amd64", "7.0.1-2")
			s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64 arm64")
		}, ""},
		{"architectures that no image is made for", func(s stock) { s.add("7.0.1", []string{"amd64", "i386", "source"}, "7.0.1-1") },
			"7.0.1 7.0.1 amd64 7.0.1-1"},
		{"a package of another architecture", func(s stock) {
			s[place("7.0.1", indexFile("amd64"))] = packages("arm64", "7.0.1-1")
			s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64")
		}, ""},
		{"a package for all architectures", func(s stock) {
			s[place("7.0.1", indexFile("amd64"))] = packages("all", "7.0.1-1")
			s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64")
		}, "7.0.1 7.0.1 amd64 7.0.1-1"},
		{"a Release file without architectures", func(s stock) {
			s.add("7.0.1", both, "7.0.1-1")
			s.vouch("7.0.1", "Date: "+releaseDate)
		}, "7.0.1 7.0.1 amd64,arm64 7.0.1-1"},
		{"a line stands for the versions that it has", func(s stock) { s.add("7.0", both, "7.0.0-1", "7.0.1-1", "7.2.0-1", "7.0.80-1", "7.0-1") },
			"7.0.0 7.0 amd64,arm64 7.0.0-1; 7.0.1 7.0 amd64,arm64 7.0.1-1"},
		{"a version's own directory goes before its line's", func(s stock) {
			s.add("7.0", both, "7.0.0-1", "7.0.1-1")
			s.add("7.0.1", []string{"amd64"}, "7.0.1-2")
		}, "7.0.0 7.0 amd64,arm64 7.0.0-1; 7.0.1 7.0.1 amd64 7.0.1-2"},
		{"a pre-release in its line's directory", func(s stock) { s.add("7.1", both, "7.1.80-1", "7.1.85-1") }, ""},
		{"no repository for this Ubuntu", func(s stock) { s["/repo/7.0.1/Ubuntu/22.04/dists/stable/InRelease"] = "x" }, ""},
		{"versions of two digits are in order", func(s stock) {
			s.add("7.10.0", both, "7.10.0-1")
			s.add("7.2.0", both, "7.2.0-1")
			s.add("10.0.0", both, "10.0.0-1")
		}, "7.2.0 7.2.0 amd64,arm64 7.2.0-1; 7.10.0 7.10.0 amd64,arm64 7.10.0-1; 10.0.0 10.0.0 amd64,arm64 10.0.0-1"},
		{"before the first supported version", func(s stock) { s.add("6.10.0", both, "6.10.0-1") }, ""},
		{"only a compressed index", func(s stock) {
			s[place("7.0.1", indexFile("amd64")+".gz")] = zipped(t, packages("amd64", "7.0.1-1"))
			s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64")
		}, "7.0.1 7.0.1 amd64 7.0.1-1"},
		{"a compressed index under the name of an uncompressed one", func(s stock) {
			s.add("7.0.1", []string{"amd64"}, "7.0.1-1")
			name := place("7.0.1", indexFile("amd64"))
			s[name] = zipped(t, s[name])
		}, "7.0.1 7.0.1 amd64 7.0.1-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := stock{}
			test.put(s)
			s.add("99.0.0", both, "99.0.0-1") // an upstream that has nothing at all is another matter
			s.list("6.10.0", "7.0", "7.1", "7.10.0", "7.2.0", "7.0.1", "7.1.80", "10.0.0", "99.0.0")
			u, _ := serve(t, s)
			all, err := u.Releases(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range all.Releases[:len(all.Releases)-1] {
				got = append(got, fmt.Sprintf("%s %s %s %s", r.Version, r.Directory, strings.Join(r.Architectures, ","), r.PackageVersion))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("releases (-want +got):\n%s", diff)
			}
		})
	}
}

// The digest that a release remembers is that of the content, however it was sent.
func TestIndexDigestIsOfTheUncompressedIndex(t *testing.T) {
	content := packages("amd64", "7.0.1-1")
	name := place("7.0.1", indexFile("amd64"))
	for _, file := range []string{name, name + ".gz"} {
		s := stock{name: content}
		s.list("7.0.1")
		s.vouch("7.0.1", "Date: "+releaseDate, "Architectures: amd64")
		delete(s, name)
		s[file] = zipped(t, content)
		u, _ := serve(t, s)
		got, err := u.Releases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Releases) != 1 || got.Releases[0].Indexes["amd64"] != digest(content) {
			t.Errorf("%s: got %+v, want one release with index %s", file, got, digest(content))
		}
	}
}

func TestDateOfARelease(t *testing.T) {
	for _, field := range []string{"Wed, 22 Oct 2025 09:30:00 UTC", "Wed, 22 Oct 2025 11:30:00 +0200", "Wed, 22 Oct 2025 09:30:00 GMT"} {
		s := usual()
		s.vouch("7.0.0", "Date: "+field, "Architectures: amd64")
		s.list("7.0.0")
		u, _ := serve(t, s)
		got, err := u.Releases(t.Context())
		if err != nil || len(got.Releases) != 1 || !got.Releases[0].Date.Equal(published) || got.Releases[0].Date.Location() != time.UTC {
			t.Errorf("Date: %s: got %+v, %v, want one release of %s", field, got, err, published)
		}
	}
}

// What a listed directory says about itself must not make the pipeline ask for it when it can be no release.
func TestOnlyPossibleReleasesAreAskedFor(t *testing.T) {
	s := usual()
	var mu sync.Mutex
	asked := map[string]bool{}
	u, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if parts := strings.Split(r.URL.Path, "/"); len(parts) > 3 {
			asked[parts[2]] = true
		}
		s.ServeHTTP(w, r)
	}))
	if _, err := u.Releases(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]bool{"7.0.0": true, "7.0.1": true, "7.2.0": true, "7.4.0": true}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("directories asked for (-want +got):\n%s", diff)
	}
}

// Listings differ in how they write their links.
func TestListings(t *testing.T) {
	link := func(href string) string { return `<a href="` + href + `">x</a>` }
	for _, test := range []struct {
		name, page string
		want       []string
	}{
		{"relative", link("7.0.0/"), []string{"7.0.0"}},
		{"relative with a dot", link("./7.0.0/"), []string{"7.0.0"}},
		{"absolute path", link("/repo/7.0.0/"), []string{"7.0.0"}},
		{"attributes and case", `<A class=d HREF=7.0.0/>7.0.0</A>`, []string{"7.0.0"}},
		{"the same twice", link("7.0.0/") + link("7.0.0/"), []string{"7.0.0"}},
		{"unclosed tags", `<table><tr><td><a href="7.0.0/">7.0.0<tr><td><a href='7.0.1/'>`, []string{"7.0.0", "7.0.1"}},
		{"pre-releases beside releases", link("7.1.80/") + link("7.0.0/") + link("7.3.85/"), []string{"7.0.0"}},
		{"nothing but pre-releases", link("7.1.80/"), nil},
		{"other hosts and deeper links", link("7.0.0/") + link("//other.example/repo/7.0.1/") + link("7.0.1/Ubuntu/"), []string{"7.0.0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := usual()
			s["/repo/"] = test.page
			u, _ := serve(t, s)
			got, err := u.Releases(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, versions(got)); diff != "" {
				t.Errorf("versions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpstreamAddress(t *testing.T) {
	for _, test := range []struct{ address, url, problem string }{
		{address: "https://downloads.opennebula.io", url: "https://downloads.opennebula.io"},
		{address: "http://127.0.0.1:8080/mirror//", url: "http://127.0.0.1:8080/mirror"},
		{address: "downloads.opennebula.io", problem: "not an http or https address"},
		{address: "ftp://downloads.opennebula.io", problem: "not an http or https address"},
		{address: "https://", problem: "not an http or https address"},
		{address: "", problem: "not an http or https address"},
		{address: "https://me:hunter2@downloads.opennebula.io", problem: "credentials"},
		{address: "https://me:hunter2@downloads.opennebula.io:port", problem: "cannot be parsed"},
		{address: "https://downloads.opennebula.io/?a=b", problem: "no query"},
		{address: "https://downloads.opennebula.io/#top", problem: "no fragment"},
	} {
		u, err := release.NewUpstream(test.address, fingerprint(repositoryKey()))
		switch {
		case test.problem == "" && err != nil:
			t.Errorf("%s: %v", test.address, err)
		case test.problem == "" && u.URL() != test.url:
			t.Errorf("%s: got URL %s, want %s", test.address, u.URL(), test.url)
		case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s: got error %v, want one with %q and no password", test.address, err, test.problem)
		}
	}
}

func TestUpstreamFingerprint(t *testing.T) {
	const capitals = "0123456789ABCDEF0123456789ABCDEF01234567"
	u, err := release.NewUpstream("https://upstream.example", strings.ToLower(capitals))
	if err != nil || u.Fingerprint() != capitals {
		t.Errorf("got %+v, %v, want fingerprint %s", u, err, capitals)
	}
	for _, bad := range []string{"", "906DC27C", "05A05927906DC27C", "0B2D 385C 7C93 04B1 1A03  67B9 05A0 5927 906D C27C", strings.Repeat("x", 40)} {
		if _, err := release.NewUpstream("https://upstream.example", bad); err == nil || !strings.Contains(err.Error(), "40 hexadecimal digits") {
			t.Errorf("fingerprint %q: got error %v, want one that says what a fingerprint is", bad, err)
		}
	}
}

// An upstream need not be at the root of its host.
func TestUpstreamBelowAPath(t *testing.T) {
	server := httptest.NewServer(http.StripPrefix("/mirror", usual()))
	defer server.Close()
	got, err := open(t, server.URL+"/mirror/").Releases(t.Context())
	if want := []string{"7.0.0", "7.0.1"}; err != nil || !slices.Equal(versions(got), want) {
		t.Errorf("got %v, %v, want %v", versions(got), err, want)
	}
}
