package gate_test

import (
	"io"
	"testing"

	"opennebula-kube/ci/gate"
)

// FuzzReport holds that a report of any content gives an error or a verdict that is consistent, and that can be written.
func FuzzReport(f *testing.F) {
	exceptions := []byte("exceptions: [{id: CVE-1, package: a, reason: b, expires: 2026-12-31}]")
	f.Add(report(f), exceptions, false)
	f.Add(report(f, vuln{VulnerabilityID: "CVE-1", PkgName: "a", InstalledVersion: "1", FixedVersion: "2", Severity: "CRITICAL"}),
		exceptions, false)
	f.Add(report(f, vuln{VulnerabilityID: "GHSA-1|\n<b>", PkgName: "a", Severity: "HIGH", Title: "\x1b[31m|", PrimaryURL: "javascript:x"}),
		exceptions, true)
	f.Add([]byte(`{"SchemaVersion":3}`), exceptions, false)
	f.Add([]byte("null"), []byte{}, false)
	f.Fuzz(func(t *testing.T, data, exceptions []byte, ignoreUnfixed bool) {
		p := policy()
		p.IgnoreUnfixed = ignoreUnfixed
		if parsed, err := gate.ParseExceptions("f.yaml", exceptions); err == nil {
			p.Exceptions = parsed
		}
		v, err := gate.Evaluate([]gate.Scan{scan("linux/amd64", data)}, p, now)
		if err != nil {
			if v.Passed {
				t.Error("passed beside an error")
			}
			return
		}
		if v.Passed != (len(v.Blocking) == 0) {
			t.Errorf("passed=%t with %d blocking", v.Passed, len(v.Blocking))
		}
		over := v.Counts[gate.Critical] + v.Counts[gate.High]
		if got := len(v.Blocking) + len(v.Excepted) + v.IgnoredUnfixed; got != over {
			t.Errorf("%d findings over the threshold, and %d blocking, excepted or ignored", over, got)
		}
		if got := len(v.Expired) + len(v.Unused); got > len(p.Exceptions) {
			t.Errorf("%d exceptions expired or unused of %d", got, len(p.Exceptions))
		}
		// TestSARIF holds logs against SARIF's schema: with that in here, there would be less than one run a second.
		for _, write := range []func(io.Writer) error{v.WriteTable, v.WriteMarkdown, v.WriteJSON, v.WriteSARIF} {
			if err := write(io.Discard); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzExceptions holds that a file of any content gives an error or exceptions that are whole.
func FuzzExceptions(f *testing.F) {
	f.Add(read(f, "exceptions.yaml"))
	for _, seed := range []string{
		"exceptions: []", "", "---", "exceptions: &a [*a]", "exceptions: [{<<: {}}]", "exceptions:\n- &a {id: a, package: b}\n- *a",
		"exceptions: [{id: a, package: b, reason: c, expires: 2026-01-01}]", "? [a]\n: b", "%YAML 1.2\n---\nexceptions: []\n...\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		exceptions, err := gate.ParseExceptions("f.yaml", data)
		if err != nil {
			if exceptions != nil {
				t.Errorf("exceptions beside an error: %v", exceptions)
			}
			return
		}
		type key struct{ id, pkg string }
		seen := map[key]bool{}
		for _, e := range exceptions {
			if e.ID == "" || e.Package == "" || e.Reason == "" || e.Expires.IsZero() || e.Line < 1 {
				t.Errorf("an exception that is not whole: %+v", e)
			}
			if k := (key{e.ID, e.Package}); seen[k] {
				t.Errorf("%v is there twice", k)
			} else {
				seen[k] = true
			}
		}
	})
}
