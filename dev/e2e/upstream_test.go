package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"opennebula-kube/ci/httpfault"
)

const (
	listing = "/repo/"
	index   = "/repo/7.2.0/Ubuntu/24.04/dists/stable/opennebula/binary-amd64/Packages"
)

// testUpstream has the upstream misbehave. That is never "no new version", and it leaves the registry as it was.
func testUpstream(t *testing.T, w *world) {
	image, charts := w.repository("upstream")
	nothingVisible := func(t *testing.T) {
		t.Helper()
		w.UpstreamFaults.Clear()
		wantTags(t, image, nil)
		wantTags(t, charts, nil)
	}

	packages := get(t, w.Upstream+index)
	for _, c := range []struct {
		name, path string
		effect     httpfault.Effect
	}{
		{"no answer", listing, httpfault.Hang()},
		{"connection dropped", listing, httpfault.Drop()},
		{"500", listing, httpfault.Status(http.StatusInternalServerError)},
		{"404", listing, httpfault.Status(http.StatusNotFound)},
		{"HTML that is no listing", listing, httpfault.Body("text/html", "<html><body>Down for maintenance</body></html>")},
		{"empty listing", listing, httpfault.Body("text/html", "")},
		{"cut listing", listing, httpfault.CutBody(200)},
		{"redirect", listing, httpfault.Redirect("http://elsewhere.example.org/repo/")},
		{"garbage", listing, httpfault.Garbage(100 << 20)},
		{"index: no answer", index, httpfault.Hang()},
		{"index: 503", index, httpfault.Status(http.StatusServiceUnavailable)},
		{"index: 403", index, httpfault.Status(http.StatusForbidden)},
		{"index: cut", index, httpfault.CutBody(500)},
		{"index: truncated", index, httpfault.Body("text/plain", packages[:len(packages)/2])},
		{"index: HTML", index, httpfault.Body("text/html", "<html>Not here</html>")},
		{"index: redirect", index, httpfault.Redirect("http://elsewhere.example.org/Packages")},
		{"index: garbage", index, httpfault.Garbage(100 << 20)},
	} {
		t.Run(c.name, func(t *testing.T) {
			hits := w.UpstreamFaults.Inject(httpfault.Fault{Path: c.path, Effect: c.effect})
			p := w.direct(t, w.engine(t, w.cache), image)
			p.Upstream = w.upstream(t, 500*time.Millisecond)
			report, err := only(p.Release(t.Context(), w.options()))
			if hits() == 0 {
				t.Error("the fault was not met")
			}
			wantError(t, report, err, w.Upstream+c.path)
			if report.Plan != nil || len(report.Stages) != 1 {
				t.Errorf("the run went on to plan %+v, stages %v", report.Plan, stages(report))
			}
			nothingVisible(t)
		})
	}

	t.Run("at the command line", func(t *testing.T) {
		w.UpstreamFaults.Inject(httpfault.Fault{Path: listing, Effect: httpfault.Status(http.StatusNotFound)})
		o := w.run(t, slices.Concat([]string{"release"}, w.releaseArgs(image), []string{"--chart-registry", charts})...).failed(t, w.Upstream+listing)
		if strings.Contains(o.stdout+o.stderr, "nothing to do") {
			t.Errorf("the run says that there is nothing to do:\n%s%s", o.stdout, o.stderr)
		}
		for _, args := range [][]string{{"releases"}, {"detect-version"}} {
			if o := w.run(t, append(args, w.upstreamArgs()...)...).failed(t, w.Upstream+listing); o.stdout != "" {
				t.Errorf("%s prints %q", args[0], o.stdout)
			}
		}
		nothingVisible(t)
	})

	wantUndetected := func(t *testing.T, o outcome) {
		t.Helper()
		if got := stages(o.report); !slices.Equal(got, []string{"detect failed"}) {
			t.Errorf("stages %v, want the detection to fail", got)
		}
		nothingVisible(t)
	}

	t.Run("signed by another key", func(t *testing.T) {
		key := strings.Repeat("0123456789", 4)
		wantUndetected(t, w.run(t, slices.Concat([]string{"release"}, w.releaseArgs(image), []string{"--upstream-fingerprint", key, "--chart-registry", charts})...).
			failed(t, "do not have the key "+key, w.UpstreamFingerprint, "--upstream-fingerprint"))
	})

	// The file of keys comes from where the packages do: who signs those anew adds a key there and leaves the right one in.
	t.Run("signed by a key beside the given one", func(t *testing.T) {
		right, err := openpgp.NewEntity("Repository", "", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%X", right.PrimaryKey.Fingerprint)
		hits := w.UpstreamFaults.Inject(httpfault.Fault{
			Path: "/repo/repo2.key", Effect: httpfault.Body("application/pgp-keys", keysWith(t, right, get(t, w.Upstream+"/repo/repo2.key"))),
		})
		o := w.run(t, slices.Concat([]string{"release"}, w.releaseArgs(image), []string{"--upstream-fingerprint", key, "--chart-registry", charts})...).
			failed(t, "the key "+key+" vouches for none", "is signed by "+w.UpstreamFingerprint, "--upstream-fingerprint")
		if hits() == 0 {
			t.Error("the keys were not asked for")
		}
		wantUndetected(t, o)
	})

	// One version that somebody has tampered with, in its own directory and in its line's, is passed over, and said; the others are there.
	t.Run("a version altered after it was signed", func(t *testing.T) {
		const inRelease = "/repo/7.2.0/Ubuntu/24.04/dists/stable/InRelease"
		altered := strings.Replace(get(t, w.Upstream+inRelease), "Origin: OpenNebula", "Origin: somebody", 1)
		w.UpstreamFaults.Inject(httpfault.Fault{
			Match: func(r *http.Request) bool {
				return strings.HasPrefix(r.URL.Path, "/repo/7.2") && strings.HasSuffix(r.URL.Path, "/InRelease")
			},
			Effect: httpfault.Body("text/plain", altered),
		})
		defer w.UpstreamFaults.Clear()
		o := w.run(t, append([]string{"detect-version"}, w.upstreamArgs()...)...).passed(t)
		if want := "passed over 7.2.0: InRelease has no valid signature by the key " + w.UpstreamFingerprint; o.stdout != "7.0.2\n" || !strings.Contains(o.stderr, want) {
			t.Errorf("it prints %q and %q, want 7.0.2 and %q", o.stdout, o.stderr, want)
		}
		w.run(t, append([]string{"detect-version", "--version", "7.2.0"}, w.upstreamArgs()...)...).failed(t, "upstream has 7.0.0, 7.0.1, 7.0.2", "7.2.0: InRelease has no valid signature")
	})

	// A version that nothing else here builds: no build cache may stand in for its packages.
	t.Run("packages are not what the index says", func(t *testing.T) {
		hits := w.UpstreamFaults.Inject(httpfault.Fault{
			Match:  func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ".deb") },
			Effect: httpfault.Garbage(1000),
		})
		o := w.run(t, slices.Concat([]string{"release"}, w.releaseArgs(image), []string{"--line", "7.0", "--version", "7.0.1", "--chart-registry", charts})...).
			failed(t, "build OpenNebula 7.0.1", w.Upstream+"/repo/7.0.1/")
		if hits() == 0 {
			t.Error("the fault was not met")
		}
		if got := stages(o.report); got[len(got)-1] != "build failed" {
			t.Errorf("stages %v, want the build to fail", got)
		}
		nothingVisible(t)
	})
}

// keysWith returns armored keys with one more among them.
func keysWith(t *testing.T, key *openpgp.Entity, armored string) string {
	t.Helper()
	keys, err := openpgp.ReadArmoredKeyRing(strings.NewReader(armored))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	w, err := armor.Encode(&all, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range append(keys, key) {
		if err := key.Serialize(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return all.String() + "\n"
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	return string(body)
}
