package release_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"opennebula-kube/ci/httpfault"
	"opennebula-kube/ci/release"
)

const year = 365 * 24 * time.Hour

// fields are those that a repository has besides its checksums.
func fields() []string { return []string{"Date: " + releaseDate, "Architectures: amd64 arm64"} }

// What the pinned key does not vouch for, and what apt would not take, is passed over, and the rest is there.
func TestPassedOver(t *testing.T) {
	inRelease := place("7.0.1", "InRelease")
	key, stranger := repositoryKey(), newKey(0)
	config := func(change func(*packet.Config)) *packet.Config {
		c := &packet.Config{Time: at(published)}
		change(c)
		return c
	}
	for _, test := range []struct {
		name   string
		put    func(s stock, text string)
		reason string
	}{
		{"another key", func(s stock, text string) { s[inRelease] = signed(stranger, text) },
			"is signed by " + fingerprint(stranger) + ", not by the key " + fingerprint(key)},
		{"another key in the file of keys", func(s stock, text string) {
			s[keyFile] = armored(stranger, key)
			s[inRelease] = signed(stranger, text)
		}, "is signed by " + fingerprint(stranger) + ", not by the key " + fingerprint(key)},
		{"altered after it was signed", func(s stock, _ string) { s[inRelease] = strings.Replace(s[inRelease], "22 Oct", "23 Oct", 1) },
			"has no valid signature by the key " + fingerprint(key)},
		{"a signature of another text", func(s stock, text string) {
			own, _, _ := strings.Cut(signed(stranger, text), "-----BEGIN PGP SIGNATURE-----")
			_, genuine, _ := strings.Cut(s[place("7.0.0", "InRelease")], "-----BEGIN PGP SIGNATURE-----")
			s[inRelease] = own + "-----BEGIN PGP SIGNATURE-----" + genuine
		}, "has no valid signature by the key " + fingerprint(key)},
		{"a damaged signature", func(s stock, _ string) {
			text, _, _ := strings.Cut(s[inRelease], "-----BEGIN PGP SIGNATURE-----")
			s[inRelease] = text + "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"
		}, "has no valid signature by the key"},
		{"text before the signed one", func(s stock, text string) { s[inRelease] = text + "\n" + s[inRelease] }, "is not a clear-signed text and nothing else"},
		{"text after the signed one", func(s stock, text string) { s[inRelease] += text }, "is not a clear-signed text and nothing else"},
		{"two signed texts", func(s stock, text string) { s[inRelease] = signed(stranger, text) + s[inRelease] }, "is not a clear-signed text and nothing else"},
		{"not signed", func(s stock, text string) { s[inRelease] = text }, "is not a clear-signed text and nothing else"},
		{"nothing", func(s stock, _ string) { s[inRelease] = "" }, "is not a clear-signed text and nothing else"},
		{"only a Release file without a signature", func(s stock, text string) {
			delete(s, inRelease)
			s[place("7.0.1", "Release")] = text
		}, "no signed repository for Ubuntu 24.04 (InRelease)"},
		{"a signature that has expired", func(s stock, text string) {
			s[inRelease] = signedBy(key.PrivateKey, text, config(func(c *packet.Config) { c.SigLifetimeSecs = 3600 }))
		}, "that has expired or is dated in the future"},
		{"a signature from the future", func(s stock, text string) {
			s[inRelease] = signedBy(key.PrivateKey, text, config(func(c *packet.Config) { c.Time = at(published.AddDate(1, 0, 0)) }))
		}, "that has expired or is dated in the future"},
		{"a weak signature", func(s stock, text string) { s[inRelease] = weaklySigned(key, text) }, "relies on the weak hash SHA-1"},
		{"not valid any more", func(s stock, _ string) {
			s.vouch("7.0.1", append(fields(), "Valid-Until: Wed, 22 Oct 2025 21:30:00 UTC")...)
		}, "InRelease was valid until 2025-10-22T21:30:00Z only (Valid-Until)"},
		{"an end that cannot be read", func(s stock, _ string) { s.vouch("7.0.1", append(fields(), "Valid-Until: soon")...) },
			`has a field Valid-Until that is not a date such as Wed, 22 Oct 2025 10:00:00 UTC: "soon"`},
		{"not valid yet", func(s stock, _ string) {
			s.vouch("7.0.1", "Date: Wed, 22 Oct 2026 09:30:00 UTC", "Architectures: amd64")
		},
			"is dated in the future, 2026-10-22T09:30:00Z"},
		{"no date", func(s stock, _ string) { s.vouch("7.0.1", "Architectures: amd64") }, `has a field Date that is not a date`},
		{"a date that cannot be read", func(s stock, _ string) { s.vouch("7.0.1", "Date: yesterday") }, `10:00:00 UTC: "yesterday"`},
		{"a sum that cannot be read", func(s stock, text string) {
			s[inRelease] = signed(key, text+" abc Packages\n")
		}, `line "abc Packages"`},
		{"a size that cannot be read", func(s stock, text string) {
			s[inRelease] = signed(key, text+" abc 1k Packages\n")
		}, `line "abc 1k Packages"`},
		{"no fields", func(s stock, _ string) { s[inRelease] = signed(key, "welcome\n") }, "is not a Release file of an apt repository"},
		{"no text", func(s stock, _ string) { s[inRelease] = signed(key, "\n") }, "InRelease "},
		{"no checksums", func(s stock, _ string) { s[inRelease] = signed(key, strings.Join(fields(), "\n")+"\n") },
			"InRelease has no checksum of a package index for amd64 or arm64"},
		{"checksums that are not SHA-256", func(s stock, text string) { s[inRelease] = signed(key, strings.Replace(text, "SHA256:", "MD5Sum:", 1)) },
			"InRelease has no checksum of a package index for amd64 or arm64"},
		{"the repository of another version", func(s stock, _ string) {
			for _, file := range []string{"InRelease", indexFile("amd64")} {
				s[place("7.0.1", file)] = s[place("7.0.0", file)]
			}
		}, "its package indexes have no package opennebula 7.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := usual()
			test.put(s, s.description("7.0.1", fields()...))
			s.list("7.0.0", "7.0.1")
			if s[keyFile] = armored(key); strings.Contains(test.name, "in the file of keys") {
				s[keyFile] = armored(stranger, key)
			}
			u, _ := serve(t, s)
			got, err := u.Releases(t.Context())
			if err != nil || strings.Join(versions(got), " ") != "7.0.0" {
				t.Errorf("got %v, %v, want 7.0.0", versions(got), err)
			}
			if len(got.PassedOver) != 1 || got.PassedOver[0].Directory != "7.0.1" || !strings.Contains(got.PassedOver[0].Reason, test.reason) {
				t.Errorf("passed over %v, want 7.0.1: %q", got.PassedOver, test.reason)
			}
		})
	}
}

// A subkey signs for its key.
func TestSubkeySigns(t *testing.T) {
	key := newKey(0)
	if err := key.AddSigningSubkey(&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: at(keyDate)}); err != nil {
		t.Fatal(err)
	}
	subkey := key.Subkeys[len(key.Subkeys)-1]
	s := usual()
	text := s.description("7.0.1", fields()...)
	s[place("7.0.1", "InRelease")] = signedBy(subkey.PrivateKey, text, &packet.Config{Time: at(published)})
	s.list("7.0.1")
	s[keyFile] = armored(newKey(0), key, repositoryKey())
	u, faults := serveWith(t, s, fingerprint(key))
	got, err := u.Releases(t.Context())
	if err != nil || strings.Join(versions(got), " ") != "7.0.1" {
		t.Errorf("got %v, %v, want 7.0.1", versions(got), err)
	}
	if err := key.RevokeSubkey(&key.Subkeys[len(key.Subkeys)-1], packet.KeySuperseded, "", &packet.Config{Time: at(published)}); err != nil {
		t.Fatal(err)
	}
	faults.Inject(httpfault.Fault{Path: keyFile, Effect: httpfault.Body("text/plain", armored(key))})
	if got, err := u.Releases(t.Context()); err == nil || !strings.Contains(err.Error(), "which is revoked") {
		t.Errorf("signed by a subkey that is revoked: got %v, %v", versions(got), err)
	}
}

// Nothing is left of an upstream whose key is not what it was. The error says which key was expected, which there are, and what to do.
func TestNothingIsSigned(t *testing.T) {
	stranger, expired, revoked := newKey(0), newKey(year/2), newKey(0)
	if err := revoked.RevokeKey(packet.KeyCompromised, "", &packet.Config{Time: at(published)}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		pin  *openpgp.Entity
		keys string
		by   *openpgp.Entity
		says []string
	}{
		{"a mirror with a key of its own", repositoryKey(), armored(stranger), stranger,
			[]string{keyFile + ": do not have the key " + fingerprint(repositoryKey()), "the file has " + fingerprint(stranger), "--upstream-fingerprint"}},
		{"a mirror with a key of its own beside the pinned one", repositoryKey(), armored(repositoryKey(), stranger), stranger,
			[]string{"the key " + fingerprint(repositoryKey()) + " vouches for none of the 2 versions", "7.0.1: InRelease is signed by " + fingerprint(stranger),
				keyFile + " has " + fingerprint(stranger), "--upstream-fingerprint"}},
		{"many keys", repositoryKey(), armored(newKey(0), newKey(0), newKey(0), newKey(0), newKey(0), newKey(0), newKey(0)), stranger, []string{"and 2 others"}},
		{"an expired key", expired, armored(expired), expired, []string{"7.0.1: InRelease is signed by the key " + fingerprint(expired), "which has expired"}},
		{"a revoked key", revoked, armored(revoked), revoked, []string{"7.0.1: InRelease is signed by the key " + fingerprint(revoked), "which is revoked"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := usual()
			for _, v := range []string{"7.0.0", "7.0.1"} {
				s[place(v, "InRelease")] = signed(test.by, s.description(v, fields()...))
			}
			s.list("7.0.0", "7.0.1")
			s[keyFile] = test.keys
			u, _ := serveWith(t, s, fingerprint(test.pin))
			got, err := u.Releases(t.Context())
			if err == nil {
				t.Fatalf("got %v, want an error", versions(got))
			}
			for _, part := range append(test.says, u.URL()) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got error %q, want %q in it", err, part)
				}
			}
		})
	}
}

// Checksums of a compressed index count when there are no others, and for nothing else.
func TestOnlyTheCompressedIndexIsVouchedFor(t *testing.T) {
	compressed := place("7.0.1", indexFile("amd64")+".gz")
	content := zipped(t, packages("amd64", "7.0.1-1"))
	s := stock{compressed: content}
	s.list("7.0.1")
	s.vouch("7.0.1", fields()...)
	u, faults := serve(t, s)
	if got, err := u.Releases(t.Context()); err != nil || strings.Join(versions(got), " ") != "7.0.1" {
		t.Fatalf("got %v, %v, want 7.0.1", versions(got), err)
	}
	asked := faults.Inject(httpfault.Fault{Path: place("7.0.1", indexFile("amd64")), Effect: httpfault.Status(500)})
	for name, body := range map[string]string{
		"another index": zipped(t, packages("amd64", "7.0.1-2")), "the index, not compressed": packages("amd64", "7.0.1-1"), "more": content + "\n",
	} {
		faults.Inject(httpfault.Fault{Path: compressed, Effect: httpfault.Body("application/gzip", body), Times: 1})
		if got, err := u.Releases(t.Context()); err == nil || !strings.Contains(err.Error(), u.URL()+compressed) {
			t.Errorf("%s: got %v, error %v, want one that names the index", name, versions(got), err)
		}
	}
	if asked() > 0 {
		t.Error("an index was asked for that nobody vouches for")
	}
}

// FuzzInRelease: a file that is taken for signed has the very text that was signed.
func FuzzInRelease(f *testing.F) {
	s := usual()
	genuine := s[place("7.0.1", "InRelease")]
	f.Add([]byte(genuine))
	f.Add([]byte(genuine + "\n\n"))
	f.Add([]byte(strings.ReplaceAll(genuine, "\n", "\r\n")))
	f.Add([]byte(strings.Replace(genuine, "Architectures", "- Architectures", 1)))
	f.Add([]byte(strings.Replace(genuine, "Oct", "Nov", 1)))
	f.Add([]byte(signed(newKey(0), s.description("7.0.1", fields()...))))
	s.list("7.0.0", "7.0.1")
	u := open(f, "http://upstream.example", release.WithTransport(direct{s}))
	want, err := u.Releases(f.Context())
	if err != nil || len(want.Releases) != 2 {
		f.Fatalf("got %v, %v, want two releases", want, err)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		forged := stock{}
		for name, content := range s {
			forged[name] = content
		}
		forged[place("7.0.1", "InRelease")] = string(file)
		u := open(t, "http://upstream.example", release.WithTransport(direct{forged}), release.WithRetry(patience))
		got, err := u.Releases(t.Context())
		switch {
		case err != nil:
			if len(file) <= 256<<10 {
				t.Errorf("got error %v, want the version to be passed over", err)
			}
		case len(got.Releases) == 2:
			if got.Releases[1].Date != want.Releases[1].Date || got.Releases[1].Indexes["arm64"] != want.Releases[1].Indexes["arm64"] {
				t.Errorf("got %+v, want %+v", got.Releases[1], want.Releases[1])
			}
		case len(got.PassedOver) != 1:
			t.Errorf("got %+v: the version is neither there nor passed over", got)
		}
	})
}

// FuzzKeys: whatever a file of keys has in it, what the pinned key has not signed is not taken.
func FuzzKeys(f *testing.F) {
	stranger := newKey(0)
	s := usual()
	s.list("7.0.0", "7.0.1")
	for _, v := range []string{"7.0.0", "7.0.1"} {
		s[place(v, "InRelease")] = signed(stranger, s.description(v, fields()...))
	}
	f.Add([]byte(armored(stranger)))
	f.Add([]byte(armored(repositoryKey(), stranger)))
	f.Add([]byte(armored(stranger, repositoryKey())))
	f.Add([]byte(armored(repositoryKey()) + armored(stranger)))
	f.Add([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n=AAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		forged := stock{}
		for name, content := range s {
			forged[name] = content
		}
		forged[keyFile] = string(file)
		u := open(t, "http://upstream.example", release.WithTransport(direct{forged}), release.WithRetry(patience))
		if got, err := u.Releases(t.Context()); err == nil {
			t.Errorf("got %v, want an error", versions(got))
		}
	})
}
