package gate_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/gate"
)

func TestParseExceptions(t *testing.T) {
	date := func(text string) time.Time {
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	tests := map[string]struct {
		text string
		want []gate.Exception
	}{
		"none": {text: "# nothing yet\nexceptions: []\n"},
		"one in each style of YAML": {
			text: `# why
exceptions:
  - id: CVE-2026-1
    package: libc6
    reason: >-
      First line,
      second line.
    expires: 2026-12-31
  - {package: "rexml", expires: "2027-02-28", id: 'GHSA-vvfq-8hwr-qm4m', reason: not reachable}

  # the same vulnerability in another package
  - reason: not reachable
    id: CVE-2026-1
    package: libc-bin
    expires: 2026-12-31
`,
			want: []gate.Exception{
				{ID: "CVE-2026-1", Package: "libc6", Reason: "First line, second line.", Expires: date("2026-12-31"), File: "f.yaml", Line: 3},
				{ID: "GHSA-vvfq-8hwr-qm4m", Package: "rexml", Reason: "not reachable", Expires: date("2027-02-28"), File: "f.yaml", Line: 9},
				{ID: "CVE-2026-1", Package: "libc-bin", Reason: "not reachable", Expires: date("2026-12-31"), File: "f.yaml", Line: 12},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := gate.ParseExceptions("f.yaml", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("exceptions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseExceptionsRefuses(t *testing.T) {
	entry := func(fields ...string) string { return "exceptions:\n  - " + strings.Join(fields, "\n    ") + "\n" }
	const id, pkg, reason, expires = "id: CVE-1", "package: a", "reason: harmless", "expires: 2026-12-31"

	tests := map[string]struct {
		text string
		want []string // in the error
	}{
		"an empty file":       {"", []string{"f.yaml:1: the file says nothing"}},
		"comments alone":      {"# nothing\n", []string{"f.yaml:1: the file says nothing"}},
		"an empty document":   {"---\n", []string{"f.yaml:2: the file must have the keys exceptions"}},
		"a list":              {"- id: CVE-1\n", []string{"f.yaml:1: the file must have the keys exceptions"}},
		"no list":             {"exceptions:\n", []string{"f.yaml:1: exceptions must be a list"}},
		"an entry for a list": {"exceptions:\n  id: CVE-1\n", []string{"f.yaml:2: exceptions must be a list"}},
		"another key":         {"exceptions: []\nignore: []\n", []string{`f.yaml:2: unknown key "ignore"`}},
		"a misspelt key":      {"exception: []\n", []string{`f.yaml:1: unknown key "exception"`, "the file has no exceptions"}},
		"two lists":           {"exceptions: []\nexceptions: []\n", []string{"f.yaml:2: exceptions is given twice"}},
		"two documents":       {"exceptions: []\n---\nexceptions: []\n", []string{"f.yaml:2: a second YAML document"}},
		"no YAML":             {"exceptions: []\nfoo: [\n", []string{"f.yaml:2: the file is no YAML"}},
		"no YAML behind":      {"exceptions: []\n---\nfoo: [\n", []string{"the file is no YAML"}},
		"an entry that is text": {
			"exceptions:\n  - CVE-1\n",
			[]string{"f.yaml:2: an exception must have the keys id, package, reason, expires"},
		},
		"no id":         {entry(pkg, reason, expires), []string{"f.yaml:2: an exception has no id"}},
		"no package":    {entry(id, reason, expires), []string{"f.yaml:2: an exception has no package"}},
		"no reason":     {entry(id, pkg, expires), []string{"f.yaml:2: an exception has no reason"}},
		"no end":        {entry(id, pkg, reason), []string{"f.yaml:2: an exception has no expires"}},
		"unknown field": {entry(id, pkg, reason, expires, "owner: me"), []string{`f.yaml:6: unknown key "owner"`}},
		"merge key":     {entry(id, pkg, reason, expires, "<<: {}"), []string{`f.yaml:6: unknown key "<<"`}},
		"field twice":   {entry(id, pkg, reason, expires, id), []string{"f.yaml:6: id is given twice"}},
		"empty id":      {entry(`id: ""`, pkg, reason, expires), []string{"f.yaml:2: id is empty"}},
		"null package":  {entry(id, "package:", reason, expires), []string{"f.yaml:3: package must be text"}},
		"blank reason":  {entry(id, pkg, `reason: "  "`, expires), []string{"f.yaml:4: reason is empty"}},
		"a number":      {entry("id: 12", pkg, reason, expires), []string{"f.yaml:2: id must be text"}},
		"several ids":   {entry("id: [CVE-1, CVE-2]", pkg, reason, expires), []string{"f.yaml:2: id must be text"}},
		"two words":     {entry(id, "package: a b", reason, expires), []string{`f.yaml:3: package must be one word and is "a b"`}},
		"alias":         {entry("id: &x CVE-1", "package: *x", reason, expires), []string{"f.yaml:3: package must be text"}},
		"no date":       {entry(id, pkg, reason, "expires: never"), []string{`f.yaml:5: expires must be the last day`, `"never"`}},
		"date and time": {entry(id, pkg, reason, "expires: 2026-12-31T00:00:00Z"), []string{"f.yaml:5: expires must be the last day"}},
		"no such day":   {entry(id, pkg, reason, "expires: 2026-02-30"), []string{"f.yaml:5: expires must be the last day"}},
		"short date":    {entry(id, pkg, reason, "expires: 2026-2-3"), []string{"f.yaml:5: expires must be the last day"}},
		"date in a list": {
			entry(id, pkg, reason, "expires: [2026-12-31]"),
			[]string{"f.yaml:5: expires must be the last day"},
		},
		"twice the same": {
			entry(id, pkg, reason, expires) + "  - {" + strings.Join([]string{id, pkg, "reason: again", "expires: 2027-01-01"}, ", ") + "}\n",
			[]string{"f.yaml:6: CVE-1 in a is excepted already in line 2"},
		},
		"all that is wrong at once": {
			"exceptions:\n  - {id: CVE-1, package: a}\n  - {id: CVE-2, package: b, reason: harmless, expires: soon}\n",
			[]string{"f.yaml:2: an exception has no reason", "f.yaml:2: an exception has no expires", "f.yaml:3: expires must be"},
		},
		"too large": {"exceptions: []\n#" + strings.Repeat("x", 1<<20), []string{"more than the 1048576"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := gate.ParseExceptions("f.yaml", []byte(test.text))
			if err == nil {
				t.Fatalf("no error, and %v", got)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			if got != nil {
				t.Errorf("exceptions beside the error: %v", got)
			}
		})
	}
}

func TestExpiredAt(t *testing.T) {
	e := exception("CVE-1", "a", "2026-12-31", 1)
	tests := map[string]bool{
		"2026-01-01T00:00:00Z":      false,
		"2026-12-31T23:59:59Z":      false,
		"2027-01-01T00:00:00Z":      true,
		"2027-01-01T00:30:00+01:00": false, // still the day before in UTC
		"2026-12-31T23:30:00-01:00": true,
	}
	for text, want := range tests {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.ExpiredAt(at); got != want {
			t.Errorf("good through 2026-12-31, expired at %s: %t, want %t", text, got, want)
		}
	}
}

// The exceptions of the image that is released, and the example in that file's comment, must be understood.
func TestExceptionsOfTheImage(t *testing.T) {
	const name = "../../image/exceptions.yaml"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gate.ParseExceptions(name, data); err != nil {
		t.Error(err)
	}
	var example []string
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "#   "); ok {
			example = append(example, text)
		}
	}
	if len(example) == 0 {
		t.Fatal("there is no example in the comment")
	}
	got, err := gate.ParseExceptions("the example", fmt.Appendf(nil, "exceptions:\n%s", strings.Join(example, "")))
	if err != nil || len(got) != 1 {
		t.Errorf("the example is %d exceptions, want 1: %v", len(got), err)
	}
}
