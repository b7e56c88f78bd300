package helmrepo_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/helmrepo"
)

// The new entry of these tests, as Helm itself would write it.
const entry = `  - apiVersion: v2
    appVersion: 7.0.1
    created: "2026-08-01T12:00:00.25Z"
    digest: DIGEST
    name: opennebula
    urls:
    - https://acme.github.io/charts/opennebula-0.2.0.tgz
    version: 0.2.0
`

// mergeCases are indexes as they are found, with a line NEW where the new entry is to be, and the entry expected there. THEN is the time
// of the index, to be renewed; what stands in << >> is to go.
var mergeCases = map[string]struct{ index, entry string }{
	"Helm's own": {`apiVersion: v1
entries:
  opennebula:
NEW
  - apiVersion: v2
    created: "2026-01-01T00:00:00Z"
    description: the chart
    digest: 1111
    name: opennebula
    urls:
    - https://elsewhere.example.org/opennebula-0.1.0.tgz
    version: 0.1.0
  zeta:
  - apiVersion: v2
    name: zeta
    urls:
    - zeta-1.0.0.tgz
    version: 1.0.0
generated: "THEN"
`, entry},
	"between two versions": {`apiVersion: v1
entries:
  opennebula:
  - {apiVersion: v2, name: opennebula, version: 0.3.0, urls: [a.tgz]}
NEW
  - apiVersion: v2
    name: opennebula
    urls: [a.tgz]
    version: 0.2.0-rc1
`, entry},
	"older than all, another chart follows": {`apiVersion: v1
entries:
  opennebula:
  - apiVersion: v2
    name: opennebula
    description: |
      the last lines

      # of this are no comment
    urls: [a.tgz]
    version: 1.0.0
NEW
  # About zeta.
  zeta: []
`, entry},
	"older than all, at the end without a line break": {`apiVersion: v1
generated: THEN
entries:
  opennebula:
  - apiVersion: v2
    name: opennebula
    urls: [a.tgz]
    version: 1.0.0
NEW`, entry},
	"new chart, generated after entries": {`# Written by hand.
apiVersion: "v1" # of the index

entries: # all of them
  alpha:
  - apiVersion: v2
    name: alpha
    urls:
    - alpha-1.0.0.tgz
    version: 1.0.0

NEW
# When.
generated: 'THEN' # by whom
`, "  opennebula:\n" + entry},
	"new chart, document end": {`---
apiVersion: v1
entries:
    alpha:
    -   apiVersion: v2
        name: alpha
        urls:
        - alpha-1.0.0.tgz
        version: 1.0.0
NEW
...
`, "    opennebula:\n" + strings.ReplaceAll(reindent(entry, 4), "      - apiVersion", "    -   apiVersion")},
	"indented lists": {`apiVersion: v1
entries:
  "opennebula":
    # About 0.1.0.
    - apiVersion: v2
      name: opennebula
      urls:
        - a.tgz
      version: 1.0.0
NEW
    # About 0.1.0.
    -
      apiVersion: v2
      name: opennebula
      urls:
        - a.tgz
      version: 0.1.0
`, strings.ReplaceAll(reindent(entry, 2), "    - https", "      - https")},
	"no indentation of lists within entries that are indented": {`apiVersion: v1
entries:
  alpha:
    - apiVersion: v2
      name: alpha
      urls:
      - a.tgz
      version: 1.0.0
NEW
`, "  opennebula:\n" + reindent(entry, 2)},
	"no charts":             {"apiVersion: v1\nentries:<< {}>>\nNEW\ngenerated: \"THEN\"\n", "  opennebula:\n" + entry},
	"no charts, commented":  {"apiVersion: v1\nentries:<< { }>> # none yet\nNEW\ngenerated: \"THEN\"\n", "  opennebula:\n" + entry},
	"null for charts":       {"entries:<< null>>\nNEW\napiVersion: v1\n", "  opennebula:\n" + entry},
	"nothing for charts":    {"entries:\nNEW\napiVersion: v1\n", "  opennebula:\n" + entry},
	"nothing, at the end":   {"apiVersion: v1\nentries:\nNEW", "  opennebula:\n" + entry},
	"entries lacking":       {"apiVersion: v1\nNEW\n", "entries:\n  opennebula:\n" + entry},
	"no versions":           {"apiVersion: v1\nentries:\n  opennebula:<< []>>\nNEW\n  zeta: []\n", entry},
	"aliases elsewhere":     {"apiVersion: v1\nentries:\n  zeta: &z\n  - {apiVersion: v2, name: zeta, version: 1.0.0, urls: [z.tgz]}\n  eta: *z\nNEW\n", "  opennebula:\n" + entry},
	"unreadable version":    {"apiVersion: v1\nentries:\n  opennebula:\nNEW\n  - {apiVersion: v2, name: opennebula, version: new, urls: [z.tgz]}\n", entry},
	"line separator inside": {"apiVersion: v1\nentries:\n  opennebula:\nNEW\n  - {apiVersion: v2, name: opennebula, description: \"a\u2028b\u0085c\", version: 0.1.0, urls: [z.tgz]}\n", entry},
	"wide characters": {"apiVersion: v1\nentries:\n  opennebula:\nNEW\n  - {apiVersion: v2, name: opennebula, description: Überblick 概要, version: 0.1.0, urls: [z.tgz]}\n" +
		"annotations: {\"ü\": \"ü\"}\ngenerated: \"THEN\"\n", entry},
}

// reindent moves lines to the right.
func reindent(text string, by int) string {
	return regexp.MustCompile(`(?m)^`).ReplaceAllString(strings.TrimSuffix(text, "\n"), strings.Repeat(" ", by)) + "\n"
}

var removed = regexp.MustCompile(`<<(.*)>>`)

// asFound is the index of a case without its marks.
func asFound(index string) string {
	return strings.TrimSuffix(strings.Replace(removed.ReplaceAllString(index, "$1"), "NEW\n", "", 1), "\nNEW")
}

func TestMergeIndex(t *testing.T) {
	a := minimal(t, "opennebula", "0.2.0")
	for name, test := range mergeCases {
		for ending, eol := range map[string]string{"LF": "\n", "CRLF": "\r\n"} {
			t.Run(name+" "+ending, func(t *testing.T) {
				const then, renewed = "2026-01-01T00:00:00Z", "2026-08-01T12:00:00.25Z"
				added := strings.ReplaceAll(test.entry, "DIGEST", a.Digest)
				index, want := asFound(test.index), removed.ReplaceAllString(test.index, "")
				if body, ok := strings.CutSuffix(want, "NEW"); ok {
					want = body + added
				} else {
					want = strings.Replace(want, "NEW\n", added, 1)
				}
				index = strings.ReplaceAll(strings.ReplaceAll(index, "THEN", then), "\n", eol)
				want = strings.ReplaceAll(strings.ReplaceAll(want, "THEN", renewed), "\n", eol)

				merged, changed, err := helmrepo.MergeIndex([]byte(index), a, baseURL, now)
				if err != nil {
					t.Fatal(err)
				}
				if !changed {
					t.Error("said to be unchanged")
				}
				if diff := cmp.Diff(want, string(merged)); diff != "" {
					t.Fatal(diff)
				}
				if _, err := load(t, merged).Get("opennebula", "0.2.0"); err != nil {
					t.Error(err)
				}

				again, changed, err := helmrepo.MergeIndex(merged, a, "https://other.example.org", now.Add(time.Hour))
				if err != nil || changed || string(again) != string(merged) {
					t.Errorf("the same archive again: changed %v, error %v", changed, err)
				}
			})
		}
	}
}

func TestMergeIndexEmpty(t *testing.T) {
	a := minimal(t, "opennebula", "0.2.0")
	want := "apiVersion: v1\nentries:\n  opennebula:\n" + strings.ReplaceAll(entry, "DIGEST", a.Digest) + "generated: \"2026-08-01T12:00:00.25Z\"\n"
	for _, index := range []string{"", "\n \n"} {
		merged, changed, err := helmrepo.MergeIndex([]byte(index), a, baseURL, now)
		if err != nil || !changed {
			t.Fatalf("changed %v, error %v", changed, err)
		}
		if diff := cmp.Diff(want, string(merged)); diff != "" {
			t.Error(diff)
		}
	}
}

// What Helm reads of the new entry is what it reads of the chart, and an index that Helm writes of the result is the result.
func TestMergeIndexAsHelm(t *testing.T) {
	a := archive(t, "opennebula", "0.2.0")
	merged, _, err := helmrepo.MergeIndex(nil, a, baseURL, now)
	if err != nil {
		t.Fatal(err)
	}
	loaded := load(t, merged)
	path := t.TempDir() + "/index.yaml"
	if err := loaded.WriteFile(path, 0o644); err != nil {
		t.Fatal(err)
	}
	got := load(t, []byte(content(t, strings.TrimSuffix(path, "/index.yaml"))["index.yaml"]))
	if diff := cmp.Diff(loaded, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(content(t, strings.TrimSuffix(path, "/index.yaml"))["index.yaml"], string(merged)); diff != "" {
		t.Errorf("Helm would write (-) another index than (+):\n%s", diff)
	}
}

func TestMergeIndexOrder(t *testing.T) {
	var index []byte
	for _, version := range []string{"1.0.0", "0.9.0", "1.10.0", "1.2.0-rc.1", "1.2.0", "2.0.0-alpha", "1.2.0+build.5"} {
		var err error
		if index, _, err = helmrepo.MergeIndex(index, minimal(t, "opennebula", version), "", now); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, match := range regexp.MustCompile(`(?m)^    version: (.*)$`).FindAllSubmatch(index, -1) {
		got = append(got, string(match[1]))
	}
	want := []string{"2.0.0-alpha", "1.10.0", "1.2.0+build.5", "1.2.0", "1.2.0-rc.1", "1.0.0", "0.9.0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMergeIndexAddress(t *testing.T) {
	a := minimal(t, "opennebula", "0.2.0+1")
	for base, want := range map[string]string{
		"":                                 "opennebula-0.2.0+1.tgz",
		"https://acme.github.io/charts":    "https://acme.github.io/charts/opennebula-0.2.0+1.tgz",
		"https://acme.github.io/charts/":   "https://acme.github.io/charts/opennebula-0.2.0+1.tgz",
		"http://127.0.0.1:8080":            "http://127.0.0.1:8080/opennebula-0.2.0+1.tgz",
		"acme.github.io/charts":            "",
		"file:///srv/charts":               "",
		"https://acme.github.io/?q=charts": "",
		"https://acme.github.io/%zz":       "",
	} {
		merged, _, err := helmrepo.MergeIndex(nil, a, base, now)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "address of the chart repository") {
				t.Errorf("%s: error %v", base, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", base, err)
			continue
		}
		if got := load(t, merged).Entries["opennebula"][0].URLs; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, want %s", base, got, want)
		}
	}
}

func TestMergeIndexVersionTaken(t *testing.T) {
	a, other := archive(t, "opennebula", "0.2.0"), archiveFor(t, "opennebula", "0.2.0", "7.0.2")
	index, _, err := helmrepo.MergeIndex(nil, a, baseURL, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := helmrepo.MergeIndex(index, other, baseURL, now); !errors.Is(err, helmrepo.ErrVersionTaken) ||
		!strings.Contains(err.Error(), "run again") || !strings.Contains(err.Error(), a.Digest) {
		t.Errorf("another archive of the same version: %v", err)
	}
	without := regexp.MustCompile(`(?m)^    digest: .*\n`).ReplaceAllString(string(index), "")
	if _, _, err := helmrepo.MergeIndex([]byte(without), a, baseURL, now); !errors.Is(err, helmrepo.ErrVersionTaken) {
		t.Errorf("an entry without a digest: %v", err)
	}
	prefixed := strings.ReplaceAll(string(index), a.Digest, "sha256:"+strings.ToUpper(a.Digest))
	if _, changed, err := helmrepo.MergeIndex([]byte(prefixed), a, baseURL, now); changed || err != nil {
		t.Errorf("the same digest, written otherwise: changed %v, error %v", changed, err)
	}
	_, item, _ := strings.Cut(string(index), "  opennebula:\n")
	item, _, _ = strings.Cut(item, "generated:")
	twice := strings.Replace(string(index), "generated:", strings.ReplaceAll(item, a.Digest, other.Digest)+"generated:", 1)
	if _, _, err := helmrepo.MergeIndex([]byte(twice), a, baseURL, now); !errors.Is(err, helmrepo.ErrVersionTaken) {
		t.Errorf("a version that is there twice, once with another digest: %v", err)
	}
}

func TestMergeIndexFaults(t *testing.T) {
	a := minimal(t, "opennebula", "0.2.0")
	for name, test := range map[string]struct{ index, want string }{
		"no YAML":               {"apiVersion: [v1\n", "not valid YAML"},
		"cut off":               {"apiVersion: v1\nentries:\n  opennebula:\n  - apiVersion: \"v2", "not valid YAML"},
		"a web page":            {"<!DOCTYPE html>\n<html></html>\n", "no YAML mapping"},
		"only a comment":        {"# nothing\n", "no YAML mapping"},
		"a list":                {"- apiVersion: v1\n", "no YAML mapping"},
		"another file":          {"name: opennebula\n", "no apiVersion"},
		"empty apiVersion":      {"apiVersion: \"\"\nentries: {}\n", "no apiVersion"},
		"UTF-16":                {"\xff\xfea\x00:\x00 \x00b\x00\n\x00", "not valid UTF-8"},
		"two documents":         {"apiVersion: v1\nentries: {}\n---\napiVersion: v1\n", "more than one"},
		"JSON":                  {`{"apiVersion": "v1", "entries": {}}`, "helm repo index"},
		"entries in braces":     {"apiVersion: v1\nentries: {zeta: []}\n", "`entries` of the index is written in braces"},
		"versions in brackets":  {"apiVersion: v1\nentries:\n  opennebula: [{apiVersion: v2, name: opennebula, version: 0.1.0}]\n", "versions of chart opennebula"},
		"entries a list":        {"apiVersion: v1\nentries:\n- a\n", "no mapping of chart names"},
		"entries a text":        {"apiVersion: v1\nentries: none\n", "no mapping of chart names"},
		"versions a mapping":    {"apiVersion: v1\nentries:\n  opennebula:\n    a: b\n", "no list"},
		"versions an alias":     {"apiVersion: v1\nentries:\n  zeta: &z\n  - {name: zeta}\n  opennebula: *z\n", "no list"},
		"a version a text":      {"apiVersion: v1\nentries:\n  opennebula:\n  - none\n", "line 4"},
		"merged charts":         {"apiVersion: v1\nannotations: &a {}\nentries:\n  <<: *a\n  zeta: []\n", "merged into `entries`"},
		"unknown field":         {"apiVersion: v1\nentries: {}\nfoo: bar\n", "Helm can read"},
		"duplicate chart":       {"apiVersion: v1\nentries:\n  opennebula: []\n  opennebula: []\n", "opennebula"},
		"version a number":      {"apiVersion: v1\nentries:\n  zeta:\n  - {apiVersion: v2, name: zeta, version: 1.0}\n", "Helm can read"},
		"no time":               {"apiVersion: v1\nentries:\n  zeta:\n  - {apiVersion: v2, name: zeta, version: 1.0.0, created: today}\n", "Helm can read"},
		"empty over two lines":  {"apiVersion: v1\nentries: {\n}\n", "make the line `entries:`"},
		"explicit keys":         {"apiVersion: v1\nentries:\n  ? opennebula\n  : - {apiVersion: v2, name: opennebula, version: 0.1.0}\n", "rewrite it"},
		"ends within a literal": {"apiVersion: v1\nentries:\n  zeta:\n  - apiVersion: v2\n    version: 1.0.0\n    description: |\n      no line break after this", "would not say the same"},
	} {
		t.Run(name, func(t *testing.T) {
			merged, changed, err := helmrepo.MergeIndex([]byte(test.index), a, baseURL, now)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "opennebula 0.2.0") {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if merged != nil || changed {
				t.Errorf("changed %v, result %q", changed, merged)
			}
		})
	}
}

func TestMergeIndexForgedArchive(t *testing.T) {
	good := minimal(t, "opennebula", "0.2.0")
	for name, forge := range map[string]func(*helmrepo.Archive){
		"other data":    func(a *helmrepo.Archive) { a.Data = append(a.Data[:len(a.Data):len(a.Data)], 0) },
		"other version": func(a *helmrepo.Archive) { a.Version = "0.3.0" },
		"other file":    func(a *helmrepo.Archive) { a.Filename = "../opennebula-0.2.0.tgz" },
	} {
		a := good
		forge(&a)
		if _, _, err := helmrepo.MergeIndex(nil, a, "", now); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// largeIndex is an index as Helm writes it.
func largeIndex(entries int) []byte {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nentries:\n")
	for i := range entries {
		if i%500 == 0 {
			fmt.Fprintf(&b, "  chart-%02d:\n", i/500)
		}
		fmt.Fprintf(&b, "  - apiVersion: v2\n    appVersion: 7.0.%d\n    created: \"2026-01-01T00:00:00Z\"\n"+
			"    description: OpenNebula's control plane on Kubernetes\n    digest: %064x\n    home: https://opennebula.io\n"+
			"    kubeVersion: '>=1.29.0-0'\n    name: chart-%02d\n    sources:\n    - https://github.com/OpenNebula/one\n    type: application\n"+
			"    urls:\n    - https://acme.github.io/charts/chart-0.%d.0.tgz\n    version: 0.%d.0\n", i%10, i, i/500, 1000-i%500, 1000-i%500)
	}
	b.WriteString("generated: \"2026-01-01T00:00:00Z\"\n")
	return []byte(b.String())
}

func BenchmarkMergeIndex(b *testing.B) {
	index := largeIndex(5000)
	a := minimal(b, "chart-05", "1.0.0")
	b.SetBytes(int64(len(index)))
	b.ReportAllocs()
	for b.Loop() {
		if _, changed, err := helmrepo.MergeIndex(index, a, baseURL, now); err != nil || !changed {
			b.Fatal(changed, err)
		}
	}
}

func FuzzMergeIndex(f *testing.F) {
	for _, test := range mergeCases {
		index := strings.ReplaceAll(asFound(test.index), "THEN", "2026-01-01T00:00:00Z")
		f.Add([]byte(index))
		f.Add([]byte(strings.ReplaceAll(index, "\n", "\r\n")))
	}
	f.Add([]byte("apiVersion: v1\nentries: &e\n  zeta: []\nannotations: *e\n"))
	f.Add([]byte("\xef\xbb\xbfapiVersion: v1\nentries: {}\n"))
	a := minimal(f, "opennebula", "0.2.0")
	f.Fuzz(func(t *testing.T, index []byte) {
		merged, changed, err := helmrepo.MergeIndex(index, a, baseURL, now)
		if err != nil {
			return
		}
		if !changed {
			if string(merged) != string(index) {
				t.Fatal("unchanged, but not the same bytes")
			}
			return
		}
		checkKept(t, string(index), string(merged), a)
		if _, err := load(t, merged).Get("opennebula", "0.2.0"); err != nil {
			t.Fatal(err)
		}
	})
}

// checkKept checks that the lines of an index are in merged, in order and each in one piece, but for the time and an empty value.
func checkKept(t *testing.T, index, merged string, a helmrepo.Archive) {
	t.Helper()
	replaced := regexp.MustCompile(`^\s*(["']?(generated|entries|` + a.Name + `)["']?)\s*:`)
	rest := merged
	for _, line := range regexp.MustCompile("[\r\n\u0085\u2028\u2029]").Split(index, -1) {
		if line = strings.TrimRight(line, " \t"); line == "" || replaced.MatchString(line) {
			continue
		}
		_, after, found := strings.Cut(rest, line)
		if !found {
			t.Fatalf("line %q is lost or has moved:\n%s", line, merged)
		}
		rest = after
	}
}
