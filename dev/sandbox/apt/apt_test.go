package apt_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/google/go-cmp/cmp"
	"pault.ag/go/debian/control"

	"opennebula-kube/dev/sandbox/apt"
)

// fakeStandin stands in for the stand-in program where nothing runs it: compiling that takes longer than all the rest.
func fakeStandin(t testing.TB) func(context.Context, string) (string, error) {
	dir := t.TempDir()
	return func(_ context.Context, architecture string) (string, error) {
		path := filepath.Join(dir, architecture)
		return path, os.WriteFile(path, []byte("#!/bin/sh\necho "+architecture+"\n"), 0o755)
	}
}

func build(t testing.TB, versions ...apt.Version) (*apt.Repository, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := apt.Build(t.Context(), apt.Options{Dir: dir, Versions: versions, Standin: fakeStandin(t)})
	if err != nil {
		t.Fatal(err)
	}
	return r, dir
}

func serve(t testing.TB, r *apt.Repository) string {
	t.Helper()
	server := httptest.NewServer(r.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

// get returns the status and the body of what is at an address, without following redirects.
func get(t testing.TB, address string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func mustGet(t testing.TB, address string) string {
	t.Helper()
	response, body := get(t, address)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s: %s", address, response.Status, body)
	}
	return body
}

// packages reads a Packages index.
func packages(t testing.TB, index string) map[string]control.BinaryIndex {
	t.Helper()
	var list []control.BinaryIndex
	if err := control.Unmarshal(&list, strings.NewReader(index)); err != nil {
		t.Fatalf("parse Packages index: %v\n%s", err, index)
	}
	byName := map[string]control.BinaryIndex{}
	for _, p := range list {
		byName[p.Package] = p
	}
	return byName
}

func distribution(base, version string) string { return base + "/repo/" + version + "/Ubuntu/24.04" }

func indexAddress(base, version, architecture string) string {
	return distribution(base, version) + "/dists/stable/opennebula/binary-" + architecture + "/Packages"
}

func release(version string, year int, month time.Month, architectures ...string) apt.Version {
	return apt.Version{Version: version, Date: time.Date(year, month, 2, 3, 4, 5, 0, time.UTC), Architectures: architectures}
}

func hrefs(page string) []string {
	var found []string
	for _, line := range strings.Split(page, "\n") {
		if _, rest, ok := strings.Cut(line, `<a href="`); ok {
			href, _, _ := strings.Cut(rest, `"`)
			found = append(found, href)
		}
	}
	return found
}

func TestListing(t *testing.T) {
	r, _ := build(t, apt.DefaultVersions()...)
	page := mustGet(t, serve(t, r)+"/repo/")
	want := []string{"../", "7.0/", "7.0.0/", "7.0.1/", "7.0.2/", "7.2/", "7.2.0/", "7.3.80/", "7.4/", "7.4.0/", "7.4.1/", "Debian/",
		"repo2.key"}
	if diff := cmp.Diff(want, hrefs(page)); diff != "" {
		t.Errorf("links of the listing (-want +got):\n%s\n%s", diff, page)
	}
	if !strings.Contains(page, "01-Jul-2025 10:00") {
		t.Errorf("7.0.0 is not dated in the listing:\n%s", page)
	}
}

// What is in the index of each version and architecture: "" is no index, "-" an index without package opennebula.
func TestIndexes(t *testing.T) {
	r, _ := build(t, apt.DefaultVersions()...)
	base := serve(t, r)
	tests := []struct{ version, amd64, arm64 string }{
		{"7.0", "7.0.2-1", "7.0.2-1"},
		{"7.0.0", "7.0.0-1", ""},
		{"7.0.1", "7.0.1-1", "7.0.1-1"},
		{"7.0.2", "7.0.2-1", "7.0.2-1"},
		{"7.2", "7.2.0-1", "7.2.0-1"},
		{"7.2.0", "7.2.0-1", "7.2.0-1"},
		{"7.3.80", "7.3.80-1", "7.3.80-1"},
		{"7.4", "-", "-"},
		{"7.4.0", "-", "-"},
		{"7.4.1", "", ""},
	}
	for _, tt := range tests {
		for architecture, want := range map[string]string{"amd64": tt.amd64, "arm64": tt.arm64} {
			address := indexAddress(base, tt.version, architecture)
			response, index := get(t, address)
			if response.StatusCode == http.StatusNotFound {
				if want != "" {
					t.Errorf("%s %s: no index, want opennebula %s", tt.version, architecture, want)
				}
				continue
			}
			found := packages(t, index)
			got := "-"
			if p, ok := found["opennebula"]; ok {
				got = p.Version.String()
				if p.Architecture.String() != architecture {
					t.Errorf("%s %s: opennebula is for %s", tt.version, architecture, p.Architecture)
				}
			}
			if got != want {
				t.Errorf("%s %s: index has opennebula %s, want %q", tt.version, architecture, got, want)
			}
			if _, ok := found["python3-pyone"]; !ok {
				t.Errorf("%s %s: python3-pyone, for all architectures, is not in the index", tt.version, architecture)
			}
			zipped := mustGet(t, address+".gz")
			plain, err := gzip.NewReader(strings.NewReader(zipped))
			if err != nil {
				t.Fatal(err)
			}
			unzipped, err := io.ReadAll(plain)
			if err != nil || string(unzipped) != index {
				t.Errorf("%s %s: Packages.gz is not Packages compressed (%v)", tt.version, architecture, err)
			}
		}
	}
}

func TestPackageSets(t *testing.T) {
	r, _ := build(t, release("7.0.2", 2025, 12, "amd64"), release("7.2.0", 2026, 4, "amd64"), release("7.4.0", 2026, 7, "amd64"))
	base := serve(t, r)
	always := []string{"opennebula", "opennebula-common", "opennebula-common-onecfg", "opennebula-fireedge", "opennebula-flow",
		"opennebula-gate", "opennebula-guacd", "opennebula-libs", "opennebula-migration", "opennebula-prometheus", "opennebula-rubygems",
		"opennebula-tools", "python3-pyone"}
	for version, more := range map[string][]string{"7.0.2": nil, "7.2.0": {"opennebula-form"}, "7.4.0": {"opennebula-form", "opennebula-ks"}} {
		found := packages(t, mustGet(t, indexAddress(base, version, "amd64")))
		var names []string
		for name := range found {
			names = append(names, name)
		}
		slices.Sort(names)
		want := slices.Sorted(slices.Values(slices.Concat(always, more)))
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s: packages (-want +got):\n%s", version, diff)
		}
		// Every dependency is in the index, in the same version.
		for name, p := range found {
			for _, relation := range p.GetDepends().Relations {
				for _, possibility := range relation.Possibilities {
					other, ok := found[possibility.Name]
					if !ok || possibility.Version == nil || possibility.Version.Number != other.Version.String() {
						t.Errorf("%s: %s depends on %s, which is not in the index in that version", version, name, possibility.Name)
					}
				}
			}
		}
	}
}

// Everything that the index names is served, and is what the index says.
func TestPool(t *testing.T) {
	r, _ := build(t, release("7.0.1", 2025, 10, "amd64", "arm64"))
	base := serve(t, r)
	for _, architecture := range []string{"amd64", "arm64"} {
		for name, p := range packages(t, mustGet(t, indexAddress(base, "7.0.1", architecture))) {
			body := mustGet(t, distribution(base, "7.0.1")+"/"+p.Filename)
			sum := sha256.Sum256([]byte(body))
			if got := hex.EncodeToString(sum[:]); got != p.SHA256 || len(body) != p.Size {
				t.Errorf("%s %s: %d bytes, SHA-256 %s; the index says %d bytes, %s", name, architecture, len(body), got, p.Size, p.SHA256)
			}
		}
	}
}

func TestSignatures(t *testing.T) {
	r, _ := build(t, release("7.0.1", 2025, 10, "amd64"))
	base := serve(t, r)
	keyring, err := openpgp.ReadArmoredKeyRing(strings.NewReader(mustGet(t, base+"/repo/repo2.key")))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%X", keyring[0].PrimaryKey.Fingerprint); len(keyring) != 1 || r.Fingerprint() != want {
		t.Errorf("fingerprint %s, want %s, that of the only key of %d that are served", r.Fingerprint(), want, len(keyring))
	}
	dists := distribution(base, "7.0.1") + "/dists/stable/"
	plain := mustGet(t, dists+"Release")
	if _, err := openpgp.CheckArmoredDetachedSignature(keyring, strings.NewReader(plain), strings.NewReader(mustGet(t, dists+"Release.gpg")),
		nil); err != nil {
		t.Errorf("Release.gpg: %v", err)
	}
	block, _ := clearsign.Decode([]byte(mustGet(t, dists+"InRelease")))
	if block == nil {
		t.Fatal("InRelease is not signed")
	}
	if _, err := block.VerifySignature(keyring, nil); err != nil {
		t.Errorf("InRelease: %v", err)
	}
	if diff := cmp.Diff(plain, string(block.Plaintext)); diff != "" {
		t.Errorf("InRelease differs from Release (-Release +InRelease):\n%s", diff)
	}
	if !strings.Contains(plain, "\nDate: Thu, 02 Oct 2025 03:04:05 UTC\n") {
		t.Errorf("Release has another date:\n%s", plain)
	}
	sum := sha256.Sum256([]byte(mustGet(t, indexAddress(base, "7.0.1", "amd64"))))
	if !strings.Contains(plain, hex.EncodeToString(sum[:])) {
		t.Errorf("Release does not have the index's SHA-256:\n%s", plain)
	}
}

func TestReproducible(t *testing.T) {
	versions := []apt.Version{release("7.0.1", 2025, 10, "amd64", "arm64"), release("7.2.0", 2026, 4, "amd64")}
	snapshot := func(versions ...apt.Version) map[string]string {
		_, dir := build(t, versions...)
		found := map[string]string{}
		err := filepath.WalkDir(filepath.Join(dir, "repo"), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(dir, path)
			found[name] = fmt.Sprintf("%x %s", sha256.Sum256(data), info.ModTime().UTC())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if diff := cmp.Diff(snapshot(versions...), snapshot(versions[1], versions[0])); diff != "" {
		t.Errorf("two repositories with the same versions differ:\n%s", diff)
	}
}

func TestAddVersion(t *testing.T) {
	listed := release("7.4.0", 2026, 7)
	listed.Content = apt.ListedOnly
	r, _ := build(t, release("7.2.0", 2026, 4, "amd64"), listed)
	base := serve(t, r)
	version := func(directory string) string {
		response, index := get(t, indexAddress(base, directory, "amd64"))
		if response.StatusCode != http.StatusOK {
			return response.Status
		}
		p, ok := packages(t, index)["opennebula"]
		if !ok {
			return "index without opennebula"
		}
		return p.Version.String()
	}
	check := func(want map[string]string) {
		t.Helper()
		got := map[string]string{}
		for directory := range want {
			got[directory] = version(directory)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("directory -> version of opennebula (-want +got):\n%s", diff)
		}
	}
	add := func(v apt.Version) {
		t.Helper()
		if err := r.AddVersion(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	const missing = "404 Not Found"
	check(map[string]string{"7.2": "7.2.0-1", "7.2.0": "7.2.0-1", "7.4": missing, "7.4.0": missing, "7.5.80": missing})

	add(release("7.4.0", 2026, 7, "amd64"))
	add(release("7.2.1", 2026, 8, "amd64"))
	add(release("7.5.80", 2026, 8, "amd64"))
	again := release("7.2.0", 2026, 4, "amd64")
	again.Revision = 2
	add(again)
	check(map[string]string{"7.2": "7.2.1-1", "7.2.0": "7.2.0-2", "7.2.1": "7.2.1-1", "7.4": "7.4.0-1", "7.4.0": "7.4.0-1",
		"7.5": missing, "7.5.80": "7.5.80-1"})

	// A version without packages does not take the line from one with packages.
	incomplete := release("7.2.2", 2026, 9, "amd64")
	incomplete.Content = apt.WithoutServer
	add(incomplete)
	check(map[string]string{"7.2": "7.2.1-1", "7.2.2": "index without opennebula"})

	var names []string
	for _, v := range r.Versions() {
		names = append(names, v.Version)
	}
	if diff := cmp.Diff([]string{"7.2.0", "7.2.1", "7.2.2", "7.4.0", "7.5.80"}, names); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestAddVersionFails(t *testing.T) {
	r, dir := build(t, release("7.0.0", 2025, 7, "amd64"))
	noPackages := release("7.0.1", 2025, 10)
	tests := []struct {
		name    string
		version apt.Version
		message string
	}{
		{"no version", release("7.0", 2025, 10, "amd64"), `version "7.0"`},
		{"pre-release in words", release("7.0.1-rc1", 2025, 10, "amd64"), "not of the form X.Y.Z"},
		{"older than the key", release("7.0.1", 2024, 10, "amd64"), "when the signing key was made"},
		{"no architecture", noPackages, "no architectures"},
		{"unknown architecture", release("7.0.1", 2025, 10, "riscv64"), `architecture "riscv64"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := r.AddVersion(t.Context(), tt.version); err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want one with %q", err, tt.message)
			}
		})
	}
	t.Run("no stand-in", func(t *testing.T) {
		failing := func(context.Context, string) (string, error) { return "", errors.New("no compiler") }
		_, err := apt.Build(t.Context(), apt.Options{Dir: t.TempDir(), Versions: apt.DefaultVersions(), Standin: failing})
		if err == nil || !strings.Contains(err.Error(), "7.0.0") || !strings.Contains(err.Error(), "no compiler") {
			t.Errorf("error %v, want one that names the version and the cause", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.AddVersion(ctx, release("7.0.1", 2025, 10, "amd64")); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
	t.Run("directory not empty", func(t *testing.T) {
		_, err := apt.Build(t.Context(), apt.Options{Dir: dir, Standin: fakeStandin(t)})
		if err == nil || !strings.Contains(err.Error(), "is not empty") {
			t.Errorf("error %v, want one about the directory", err)
		}
	})
	// Nothing of the failures is left.
	if got := len(r.Versions()); got != 1 {
		t.Errorf("%d versions, want 1", got)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "work")); err != nil || len(left) != 0 {
		t.Errorf("work directory: %v, %v; want it empty", left, err)
	}
}

func TestHandler(t *testing.T) {
	r, _ := build(t, release("7.0.1", 2025, 10, "amd64"))
	base := serve(t, r)
	tests := []struct {
		path, contentType, location string
		status                      int
	}{
		{"/repo/repo2.key", "application/pgp-keys", "", 200},
		{"/repo/7.0.1/Ubuntu/24.04/dists/stable/Release", "text/plain; charset=utf-8", "", 200},
		{"/repo/7.0.1/Ubuntu/24.04/dists/stable/opennebula/binary-amd64/Packages.gz", "application/gzip", "", 200},
		{"/repo/7.0.1/", "text/html; charset=utf-8", "", 200},
		{"/repo/7.0.1", "", "7.0.1/", 301},
		{"/repo", "", "repo/", 301},
		{"/repo/7.9.9/", "text/plain; charset=utf-8", "", 404},
		{"/work/", "text/plain; charset=utf-8", "", 404},
		{"/repo/../work/", "text/plain; charset=utf-8", "", 404},
		{"/", "text/plain; charset=utf-8", "", 404},
	}
	for _, tt := range tests {
		response, _ := get(t, base+tt.path)
		got := []any{response.StatusCode, response.Header.Get("Content-Type"), response.Header.Get("Location")}
		if diff := cmp.Diff([]any{tt.status, tt.contentType, tt.location}, got); diff != "" {
			t.Errorf("%s: status, type, location (-want +got):\n%s", tt.path, diff)
		}
	}
	response, _ := get(t, indexAddress(base, "7.0.1", "amd64"))
	if got := response.Header.Get("Last-Modified"); got != "Thu, 02 Oct 2025 03:04:05 GMT" {
		t.Errorf("the index was last modified %q, want the date of the release", got)
	}
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/repo/", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", answer.Status)
	}
}

// needs skips a test on a machine without a program that it runs.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("this machine has no %s, which the test runs", program)
		}
	}
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Env = append(os.Environ(), env...)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}
	return string(output)
}

// extract unpacks a package of the repository with dpkg's own tool and returns the directory.
func extract(t *testing.T, dir, version, name, architecture string) string {
	t.Helper()
	deb := filepath.Join(dir, "repo", version, "Ubuntu/24.04/pool/opennebula/o/opennebula", name+"_"+version+"-1_"+architecture+".deb")
	target := t.TempDir()
	run(t, nil, "dpkg-deb", "--raw-extract", deb, target)
	return target
}

func TestPackageContents(t *testing.T) {
	needs(t, "dpkg-deb")
	_, dir := build(t, release("7.2.0", 2026, 4, "amd64"), release("7.4.0", 2026, 7, "amd64"))
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for version, want := range map[string][2]string{"7.2.0": {":host: 127.0.0.1", ":server:"}, "7.4.0": {"  :bind: 127.0.0.1", ":host:"}} {
		conf := read(filepath.Join(extract(t, dir, version, "opennebula-gate", "all"), "etc/one/onegate-server.conf"))
		if !strings.Contains(conf, want[0]) || strings.Contains(conf, want[1]) {
			t.Errorf("%s: onegate-server.conf: want %q and not %q:\n%s", version, want[0], want[1], conf)
		}
	}

	for version, want := range map[string]bool{"7.2.0": false, "7.4.0": true} {
		conf := read(filepath.Join(extract(t, dir, version, "opennebula-fireedge", "amd64"), "etc/logrotate.d/opennebula-fireedge"))
		if got := strings.Contains(conf, "    delaycompress\n}"); got != want || !strings.Contains(conf, "/var/log/one/fireedge.log") {
			t.Errorf("%s: logs are kept compressed: %t, want %t:\n%s", version, got, want, conf)
		}
	}

	server := extract(t, dir, "7.2.0", "opennebula", "amd64")
	conffiles := strings.Split(strings.TrimSpace(read(filepath.Join(server, "DEBIAN/conffiles"))), "\n")
	for _, want := range []string{"/etc/logrotate.d/opennebula", "/etc/one/monitord.conf", "/etc/one/oned.conf", "/etc/one/tmrc"} {
		if !slices.Contains(conffiles, want) {
			t.Errorf("%s is no configuration file of opennebula, which has %q", want, conffiles)
		}
	}
	for _, path := range conffiles {
		if !strings.HasPrefix(path, "/etc/") {
			t.Errorf("%s is a configuration file of opennebula", path)
		}
	}
	for path, want := range map[string]fs.FileMode{
		"usr/lib/one/sh/override": fs.ModeDir | 0o755, "usr/share/one/pre_cleanup": 0o755, "etc/one/oned.conf": 0o644,
		"var/lib/one/remotes/etc/vnm/OpenNebulaNetwork.conf": 0o644, "DEBIAN/postinst": 0o755,
	} {
		info, err := os.Stat(filepath.Join(server, path))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != want {
			t.Errorf("%s has mode %s, want %s", path, info.Mode(), want)
		}
	}
	for path, target := range map[string]string{"usr/bin/oned": "/usr/lib/one/standin", "usr/bin/onedb": "/usr/lib/one/standin"} {
		if got, err := os.Readlink(filepath.Join(server, path)); err != nil || got != target {
			t.Errorf("%s links to %q (%v), want %q", path, got, err, target)
		}
	}

	common := extract(t, dir, "7.2.0", "opennebula-common", "all")
	if got := read(filepath.Join(common, "usr/share/one/VERSION")); got != "7.2.0\n" {
		t.Errorf("VERSION: %q", got)
	}
	if got := read(filepath.Join(common, "DEBIAN/preinst")); !strings.Contains(got, "--uid 9869") || !strings.Contains(got, "--gid 9869") {
		t.Errorf("preinst does not make oneadmin with uid and gid 9869:\n%s", got)
	}

	for version, want := range map[string]string{"7.2.0": "7.0.0_to_7.2.0.rb", "7.4.0": "7.0.0_to_7.2.0.rb 7.2.0_to_7.4.0.rb"} {
		files := extract(t, dir, version, "opennebula-migration", "all")
		for _, tables := range []string{"shared", "local"} {
			found, err := filepath.Glob(filepath.Join(files, "usr/lib/one/ruby/onedb", tables, "7.*"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range found {
				found[i] = filepath.Base(found[i])
			}
			if got := strings.Join(found, " "); got != want {
				t.Errorf("%s: migrators of %s tables %q, want %q", version, tables, got, want)
			}
		}
	}
}

// TestPostinst runs the script of opennebula-common with and without systemd-tmpfiles: an image has to be built where there is none.
func TestPostinst(t *testing.T) {
	needs(t, "sh")
	for name, want := range map[string]int{"with systemd-tmpfiles": 0, "without": 127} {
		t.Run(name, func(t *testing.T) {
			programs := t.TempDir()
			for _, program := range []string{"chown", "chmod", "systemd-tmpfiles"} {
				if program == "systemd-tmpfiles" && want != 0 {
					continue
				}
				script := "#!/bin/sh\necho " + program + " \"$@\"\n"
				if err := os.WriteFile(filepath.Join(programs, program), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			shell, err := exec.LookPath("sh")
			if err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), shell, "packages/opennebula-common/DEBIAN/postinst", "configure")
			command.Env = []string{"PATH=" + programs}
			out, err := command.CombinedOutput()
			if got := command.ProcessState.ExitCode(); got != want {
				t.Errorf("status %d (%v), want %d:\n%s", got, err, want, out)
			}
			if made := strings.Contains(string(out), "systemd-tmpfiles --create /usr/lib/tmpfiles.d/opennebula-common.conf\n"); made != (want == 0) {
				t.Errorf("output:\n%s", out)
			}
		})
	}
}

// aptRoot is a directory in which apt-get works without root and without touching the machine's own state.
func aptRoot(t *testing.T, source, key string) []string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/apt.conf.d", "empty"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"status": "", "key.asc": key, "apt.conf": "",
		"sources.list": "deb [arch=amd64 signed-by=" + filepath.Join(root, "key.asc") + "] " + source + " stable opennebula\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	options := []string{"-q", "-y"}
	for _, option := range []string{
		"Dir::State=" + root + "/state", "Dir::State::status=" + root + "/status", "Dir::Cache=" + root + "/cache",
		"Dir::Etc=" + root + "/etc", "Dir::Etc::sourcelist=" + root + "/sources.list", "Dir::Etc::sourceparts=" + root + "/empty",
		"Dir::Etc::trusted=" + root + "/none.gpg", "Dir::Etc::trustedparts=" + root + "/empty",
		"APT::Architecture=amd64", "APT::Architectures=amd64", "APT::Sandbox::User=", "APT::Update::Error-Mode=any", "Acquire::Retries=0",
		"Acquire::http::Proxy=DIRECT", "Acquire::Languages=none",
	} {
		options = append(options, "-o", option)
	}
	return options
}

// The real apt-get takes the repository's signature, finds all of the documented set, and downloads it.
func TestAptGet(t *testing.T) {
	needs(t, "apt-get", "gpgv", "dpkg")
	r, _ := build(t, release("7.0.1", 2025, 10, "amd64"))
	base := serve(t, r)
	key := mustGet(t, base+"/repo/repo2.key")
	env := []string{"APT_CONFIG=/dev/null", "LC_ALL=C"}

	options := aptRoot(t, distribution(base, "7.0.1"), key)
	run(t, env, "apt-get", append(options, "update")...)
	output := run(t, env, "apt-get", append(options, "install", "--download-only", "opennebula", "opennebula-fireedge", "opennebula-gate",
		"opennebula-flow")...)
	for _, name := range []string{"opennebula-rubygems", "opennebula-tools", "opennebula-guacd"} {
		if !strings.Contains(output, name) {
			t.Errorf("apt-get does not install %s:\n%s", name, output)
		}
	}

	t.Run("changed index", func(t *testing.T) {
		handler := r.Handler()
		changed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if strings.HasSuffix(request.URL.Path, "/InRelease") {
				recorder := httptest.NewRecorder()
				handler.ServeHTTP(recorder, request)
				_, _ = w.Write(bytes.Replace(recorder.Body.Bytes(), []byte("Codename: stable"), []byte("Codename: stolen"), 1))
				return
			}
			handler.ServeHTTP(w, request)
		}))
		defer changed.Close()
		command := exec.CommandContext(t.Context(), "apt-get", append(aptRoot(t, distribution(changed.URL, "7.0.1"), key), "update")...)
		command.Env = append(os.Environ(), env...)
		if output, err := command.CombinedOutput(); err == nil || !strings.Contains(string(output), "BADSIG") {
			t.Errorf("apt-get takes a changed InRelease: %v\n%s", err, output)
		}
	})
}

// The stand-in compiles for both architectures, to the same bytes each time.
func TestCompileStandin(t *testing.T) {
	if testing.Short() {
		t.Skip("compiling the stand-in for two architectures is not short")
	}
	cache := t.TempDir()
	compile := apt.CompileStandin(filepath.Join("..", "..", ".."), cache)
	magic := map[string][]byte{"amd64": {0x3e, 0}, "arm64": {0xb7, 0}}
	for architecture, machine := range magic {
		path, err := compile(t.Context(), architecture)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(data, []byte("\x7fELF")) || !bytes.Equal(data[18:20], machine) {
			t.Errorf("%s: no ELF program for %s", path, architecture)
		}
	}
	other, err := apt.CompileStandin(filepath.Join("..", "..", ".."), t.TempDir())(t.Context(), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(cache, "standin-amd64"))
	if err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(other); err != nil || !bytes.Equal(first, second) {
		t.Errorf("compiled twice, the program differs (%v)", err)
	}
	if _, err := compile(t.Context(), "pdp11"); err == nil || !strings.Contains(err.Error(), "pdp11") {
		t.Errorf("architecture pdp11: error %v", err)
	}
}

// BenchmarkBuild makes the default repository with the real stand-in, compiled before.
func BenchmarkBuild(b *testing.B) {
	compile := apt.CompileStandin(filepath.Join("..", "..", ".."), b.TempDir())
	for _, architecture := range []string{"amd64", "arm64"} {
		if _, err := compile(b.Context(), architecture); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		options := apt.Options{Dir: b.TempDir(), Versions: apt.DefaultVersions(), Standin: compile}
		if _, err := apt.Build(b.Context(), options); err != nil {
			b.Fatal(err)
		}
	}
}
