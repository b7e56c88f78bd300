package gate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opennebula-kube/ci/gate"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// vuln is a vulnerability as Trivy reports it, as far as the gate reads it.
type vuln struct {
	VulnerabilityID, PkgName, InstalledVersion, Severity string
	FixedVersion, Title, PrimaryURL                      string `json:",omitempty"`
}

// report is a report on an Ubuntu image with the vulnerabilities given.
func report(t testing.TB, vulns ...vuln) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"SchemaVersion": 2,
		"Metadata":      map[string]any{"OS": map[string]any{"Family": "ubuntu", "Name": "24.04"}},
		"Results": []any{map[string]any{
			"Class": "os-pkgs", "Packages": []any{map[string]any{"Name": "base-files"}}, "Vulnerabilities": vulns,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func scan(platform string, report []byte) gate.Scan {
	return gate.Scan{Platform: platform, Report: report, DatabaseUpdatedAt: now.Add(-6 * time.Hour)}
}

func policy(exceptions ...gate.Exception) gate.Policy {
	return gate.Policy{
		Threshold: []gate.Severity{gate.Critical, gate.High}, MaxDatabaseAge: 24 * time.Hour, Exceptions: exceptions,
	}
}

func exception(id, pkg, expires string, line int) gate.Exception {
	date, err := time.Parse(time.DateOnly, expires)
	if err != nil {
		panic(err)
	}
	return gate.Exception{ID: id, Package: pkg, Reason: "harmless here", Expires: date, File: "exceptions.yaml", Line: line}
}

// outcome is a verdict in short: each finding as id/package, each exception as its line.
type outcome struct {
	Passed             bool
	Blocking, Excepted []string
	Expired, Unused    []int
	IgnoredUnfixed     int
}

func short(v gate.Verdict) outcome {
	o := outcome{Passed: v.Passed, IgnoredUnfixed: v.IgnoredUnfixed}
	for _, f := range v.Blocking {
		o.Blocking = append(o.Blocking, f.ID+"/"+f.Package)
	}
	for _, e := range v.Excepted {
		o.Excepted = append(o.Excepted, fmt.Sprintf("%s/%s by %d", e.Finding.ID, e.Finding.Package, e.Exception.Line))
	}
	for _, e := range v.Expired {
		o.Expired = append(o.Expired, e.Line)
	}
	for _, e := range v.Unused {
		o.Unused = append(o.Unused, e.Line)
	}
	return o
}

func TestEvaluate(t *testing.T) {
	fixed := vuln{VulnerabilityID: "CVE-1", PkgName: "a", InstalledVersion: "1", FixedVersion: "2", Severity: "CRITICAL"}
	unfixed := vuln{VulnerabilityID: "CVE-2", PkgName: "b", InstalledVersion: "1", Severity: "HIGH"}
	medium := vuln{VulnerabilityID: "CVE-3", PkgName: "c", InstalledVersion: "1", FixedVersion: "2", Severity: "MEDIUM"}
	unrated := vuln{VulnerabilityID: "CVE-4", PkgName: "d", InstalledVersion: "1", Severity: "UNKNOWN"}

	tests := map[string]struct {
		vulns  []vuln
		policy func(*gate.Policy)
		want   outcome
	}{
		"a clean image passes": {want: outcome{Passed: true}},
		"what is below the threshold passes": {
			vulns: []vuln{medium, unrated},
			want:  outcome{Passed: true},
		},
		"what is over the threshold blocks, fixed or not, the worst first": {
			vulns: []vuln{unfixed, medium, fixed},
			want:  outcome{Blocking: []string{"CVE-1/a", "CVE-2/b"}},
		},
		"the threshold is a list of severities": {
			vulns:  []vuln{unfixed, medium, fixed, unrated},
			policy: func(p *gate.Policy) { p.Threshold = []gate.Severity{gate.Unknown, gate.Medium} },
			want:   outcome{Blocking: []string{"CVE-3/c", "CVE-4/d"}},
		},
		"what has no fix can be ignored": {
			vulns:  []vuln{unfixed},
			policy: func(p *gate.Policy) { p.IgnoreUnfixed = true },
			want:   outcome{Passed: true, IgnoredUnfixed: 1},
		},
		"what has a fix blocks though unfixed is ignored, and only what is over the threshold counts as ignored": {
			vulns:  []vuln{fixed, unfixed, unrated},
			policy: func(p *gate.Policy) { p.IgnoreUnfixed = true },
			want:   outcome{Blocking: []string{"CVE-1/a"}, IgnoredUnfixed: 1},
		},
		"an exception lets its finding through and no other": {
			vulns:  []vuln{fixed, unfixed},
			policy: func(p *gate.Policy) { p.Exceptions = []gate.Exception{exception("CVE-1", "a", "2026-12-31", 3)} },
			want:   outcome{Blocking: []string{"CVE-2/b"}, Excepted: []string{"CVE-1/a by 3"}},
		},
		"all excepted passes": {
			vulns: []vuln{fixed, unfixed},
			policy: func(p *gate.Policy) {
				p.Exceptions = []gate.Exception{exception("CVE-1", "a", "2026-12-31", 3), exception("CVE-2", "b", "2026-12-31", 7)}
			},
			want: outcome{Passed: true, Excepted: []string{"CVE-1/a by 3", "CVE-2/b by 7"}},
		},
		"an exception is for one package": {
			vulns:  []vuln{fixed},
			policy: func(p *gate.Policy) { p.Exceptions = []gate.Exception{exception("CVE-1", "b", "2026-12-31", 3)} },
			want:   outcome{Blocking: []string{"CVE-1/a"}, Unused: []int{3}},
		},
		"an exception is good through its last day": {
			vulns:  []vuln{fixed},
			policy: func(p *gate.Policy) { p.Exceptions = []gate.Exception{exception("CVE-1", "a", "2026-11-24", 3)} },
			want:   outcome{Passed: true, Excepted: []string{"CVE-1/a by 3"}},
		},
		"an expired exception counts as none and is named": {
			vulns:  []vuln{fixed},
			policy: func(p *gate.Policy) { p.Exceptions = []gate.Exception{exception("CVE-1", "a", "2026-11-23", 3)} },
			want:   outcome{Blocking: []string{"CVE-1/a"}, Expired: []int{3}},
		},
		"an expired exception that matches nothing is unused": {
			policy: func(p *gate.Policy) { p.Exceptions = []gate.Exception{exception("CVE-1", "a", "2026-11-23", 3)} },
			want:   outcome{Passed: true, Unused: []int{3}},
		},
		"an exception without a date has expired": {
			vulns:  []vuln{fixed},
			policy: func(p *gate.Policy) { p.Exceptions = []gate.Exception{{ID: "CVE-1", Package: "a", Line: 3}} },
			want:   outcome{Blocking: []string{"CVE-1/a"}, Expired: []int{3}},
		},
		"an exception for what is below the threshold is unused": {
			vulns:  []vuln{medium},
			policy: func(p *gate.Policy) { p.Exceptions = []gate.Exception{exception("CVE-3", "c", "2026-12-31", 3)} },
			want:   outcome{Passed: true, Unused: []int{3}},
		},
		"an exception for what is ignored as unfixed is unused": {
			vulns: []vuln{unfixed},
			policy: func(p *gate.Policy) {
				p.IgnoreUnfixed, p.Exceptions = true, []gate.Exception{exception("CVE-2", "b", "2026-12-31", 3)}
			},
			want: outcome{Passed: true, Unused: []int{3}, IgnoredUnfixed: 1},
		},
		"ids need not be CVEs": {
			vulns: []vuln{
				{VulnerabilityID: "GHSA-vvfq-8hwr-qm4m", PkgName: "nokogiri", InstalledVersion: "1", Severity: "HIGH"},
				{VulnerabilityID: "DLA-3000-1", PkgName: "tzdata", InstalledVersion: "1", Severity: "HIGH"},
				{VulnerabilityID: "TEMP-0841856-B18BAF", PkgName: "bash", InstalledVersion: "1", Severity: "HIGH"},
			},
			policy: func(p *gate.Policy) {
				p.Exceptions = []gate.Exception{exception("TEMP-0841856-B18BAF", "bash", "2026-12-31", 3)}
			},
			want: outcome{
				Blocking: []string{"GHSA-vvfq-8hwr-qm4m/nokogiri", "DLA-3000-1/tzdata"},
				Excepted: []string{"TEMP-0841856-B18BAF/bash by 3"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := policy()
			if test.policy != nil {
				test.policy(&p)
			}
			v, err := gate.Evaluate([]gate.Scan{scan("linux/amd64", report(t, test.vulns...))}, p, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, short(v)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvaluateMergesPlatforms(t *testing.T) {
	both := vuln{VulnerabilityID: "CVE-1", PkgName: "a", InstalledVersion: "1", FixedVersion: "2", Severity: "LOW"}
	worse := both
	worse.Severity, worse.Title, worse.PrimaryURL = "HIGH", "a: it breaks", "https://example.org/1"
	arm := vuln{VulnerabilityID: "CVE-2", PkgName: "a", InstalledVersion: "1", Severity: "HIGH"}
	other := both
	other.InstalledVersion, other.Severity = "1.1", "MEDIUM"

	older := scan("linux/arm64", report(t, worse, worse, arm))
	older.DatabaseUpdatedAt = now.Add(-7 * time.Hour).In(time.FixedZone("", 3600))
	v, err := gate.Evaluate([]gate.Scan{older, scan("linux/amd64", report(t, both, other))}, policy(), now)
	if err != nil {
		t.Fatal(err)
	}
	want := gate.Verdict{
		Threshold:         []gate.Severity{gate.Critical, gate.High},
		Platforms:         []string{"linux/amd64", "linux/arm64"},
		DatabaseUpdatedAt: now.Add(-7 * time.Hour),
		Counts:            map[gate.Severity]int{gate.Critical: 0, gate.High: 2, gate.Medium: 1, gate.Low: 0, gate.Unknown: 0},
		Fixed:             map[gate.Severity]int{gate.Critical: 0, gate.High: 1, gate.Medium: 1, gate.Low: 0, gate.Unknown: 0},
		Blocking: []gate.Finding{
			{
				ID: "CVE-1", Package: "a", Installed: "1", Fixed: "2", Severity: gate.High, Title: "a: it breaks",
				URL: "https://example.org/1", Platforms: []string{"linux/amd64", "linux/arm64"},
			},
			{ID: "CVE-2", Package: "a", Installed: "1", Severity: gate.High, Platforms: []string{"linux/arm64"}},
		},
		Excepted: []gate.Excepted{}, Expired: []gate.Exception{}, Unused: []gate.Exception{},
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestEvaluateFailsClosed(t *testing.T) {
	good := func() gate.Scan { return scan("linux/amd64", report(t)) }
	with := func(text string) func(*testing.T) ([]gate.Scan, gate.Policy) {
		return func(*testing.T) ([]gate.Scan, gate.Policy) {
			return []gate.Scan{good(), scan("linux/arm64", []byte(text))}, policy()
		}
	}
	database := func(at time.Time) func(*testing.T) ([]gate.Scan, gate.Policy) {
		return func(*testing.T) ([]gate.Scan, gate.Policy) {
			s := good()
			s.DatabaseUpdatedAt = at
			return []gate.Scan{s}, policy()
		}
	}
	change := func(edit func(*gate.Policy)) func(*testing.T) ([]gate.Scan, gate.Policy) {
		return func(*testing.T) ([]gate.Scan, gate.Policy) {
			p := policy()
			edit(&p)
			return []gate.Scan{good()}, p
		}
	}
	const metadata = `"Metadata":{"OS":{"Family":"ubuntu","Name":"24.04"}}`
	const packages = `"Class":"os-pkgs","Packages":[{"Name":"base-files"}]`

	tests := map[string]struct {
		input func(*testing.T) ([]gate.Scan, gate.Policy)
		want  string // in the error
	}{
		"no scans": {
			func(*testing.T) ([]gate.Scan, gate.Policy) { return nil, policy() },
			"nothing was scanned",
		},
		"a scan of no platform": {
			func(*testing.T) ([]gate.Scan, gate.Policy) { return []gate.Scan{scan("", report(t))}, policy() },
			"does not say which platform",
		},
		"one platform twice": {
			func(*testing.T) ([]gate.Scan, gate.Policy) { return []gate.Scan{good(), good()}, policy() },
			"two scans of linux/amd64",
		},
		"no report":                {with(""), "report on linux/arm64: it is empty"},
		"no JSON":                  {with("FATAL error: out of disk"), "no JSON report"},
		"a truncated report":       {with(string(report(t)[:100])), "no JSON report"},
		"two reports in one":       {with(string(report(t)) + string(report(t))), "no JSON report"},
		"another JSON":             {with(`{"bomFormat":"CycloneDX"}`), "SchemaVersion is 0"},
		"null":                     {with(`null`), "SchemaVersion is 0"},
		"a list":                   {with(`[]`), "no JSON report"},
		"no schema version":        {with(`{` + metadata + `,"Results":[{` + packages + `}]}`), "SchemaVersion is 0 and only 2"},
		"an old schema version":    {with(`{"SchemaVersion":1,` + metadata + `,"Results":[{` + packages + `}]}`), "SchemaVersion is 1"},
		"a future schema version":  {with(`{"SchemaVersion":3,` + metadata + `,"Results":[{` + packages + `}]}`), "SchemaVersion is 3"},
		"no metadata":              {with(`{"SchemaVersion":2,"Results":[{` + packages + `}]}`), "no operating system"},
		"no OS":                    {with(`{"SchemaVersion":2,"Metadata":{},"Results":[{` + packages + `}]}`), "no operating system"},
		"an OS without a family":   {with(`{"SchemaVersion":2,"Metadata":{"OS":{}},"Results":[{` + packages + `}]}`), "no operating system"},
		"an OS of the family none": {with(`{"SchemaVersion":2,"Metadata":{"OS":{"Family":"none"}},"Results":[{` + packages + `}]}`), "no operating system"},
		"no results":               {with(`{"SchemaVersion":2,` + metadata + `}`), "no result of class os-pkgs"},
		"results on gems alone": {
			with(`{"SchemaVersion":2,` + metadata + `,"Results":[{"Class":"lang-pkgs","Packages":[{"Name":"rexml"}]}]}`),
			"no result of class os-pkgs",
		},
		"an OS without packages": {
			with(`{"SchemaVersion":2,` + metadata + `,"Results":[{"Class":"os-pkgs"}]}`),
			"lists no packages",
		},
		"an unknown severity": {
			with(string(report(t, vuln{VulnerabilityID: "CVE-1", PkgName: "a", Severity: "SEVERE"}))),
			`CVE-1 in a has the unknown severity "SEVERE"`,
		},
		"a severity in lower case": {
			with(string(report(t, vuln{VulnerabilityID: "CVE-1", PkgName: "a", Severity: "critical"}))),
			`unknown severity "critical"`,
		},
		"no severity": {
			with(string(report(t, vuln{VulnerabilityID: "CVE-1", PkgName: "a"}))),
			`unknown severity ""`,
		},
		"a vulnerability without id": {
			with(string(report(t, vuln{PkgName: "a", Severity: "HIGH"}))),
			"lacks its id or package",
		},
		"a vulnerability without package": {
			with(string(report(t, vuln{VulnerabilityID: "CVE-1", Severity: "HIGH"}))),
			"lacks its id or package",
		},
		"a database of unknown age":         {database(time.Time{}), "age of the vulnerability database is unknown"},
		"a database too old":                {database(now.Add(-24*time.Hour - time.Minute)), "24h1m0s old, more than the 24h0m0s allowed"},
		"a database from the future":        {database(now.Add(time.Hour + time.Minute)), "1h1m0s in the future"},
		"a policy without threshold":        {change(func(p *gate.Policy) { p.Threshold = nil }), "no severity that blocks"},
		"a policy of unknown severity":      {change(func(p *gate.Policy) { p.Threshold = []gate.Severity{"SEVERE"} }), `unknown severity "SEVERE"`},
		"a policy without database age":     {change(func(p *gate.Policy) { p.MaxDatabaseAge = 0 }), "must be more than 0"},
		"a policy of negative age":          {change(func(p *gate.Policy) { p.MaxDatabaseAge = -time.Hour }), "must be more than 0"},
		"a report with a number for a name": {with(`{"SchemaVersion":2,` + metadata + `,"Results":[{` + packages + `,"Vulnerabilities":[{"PkgName":1}]}]}`), "no JSON report"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			scans, p := test.input(t)
			v, err := gate.Evaluate(scans, p, now)
			if err == nil {
				t.Fatalf("no error, and passed=%t", v.Passed)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
			if v.Passed {
				t.Error("the verdict beside the error says passed")
			}
		})
	}
}

func TestEvaluateTakesDatabasesWithinBounds(t *testing.T) {
	for _, at := range []time.Time{now.Add(-24 * time.Hour), now, now.Add(time.Hour)} {
		s := scan("linux/amd64", report(t))
		s.DatabaseUpdatedAt = at
		if _, err := gate.Evaluate([]gate.Scan{s}, policy(), now); err != nil {
			t.Errorf("database of %s at %s: %v", at, now, err)
		}
	}
}

func TestEvaluateTellsEndOfLife(t *testing.T) {
	text := `{"SchemaVersion":2,"Metadata":{"OS":{"Family":"ubuntu","Name":"18.04","EOSL":true}},` +
		`"Results":[{"Class":"os-pkgs","Packages":[{"Name":"base-files"}]}]}`
	v, err := gate.Evaluate([]gate.Scan{scan("linux/amd64", []byte(text)), scan("linux/arm64", report(t))}, policy(), now)
	if err != nil {
		t.Fatal(err)
	}
	if !v.EndOfLife {
		t.Error("one platform is at its end of life and the verdict does not say so")
	}
	var table strings.Builder
	if err := v.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "end of life") {
		t.Errorf("the table does not say so:\n%s", table.String())
	}
}

func TestFixable(t *testing.T) {
	v := gate.Verdict{Blocking: []gate.Finding{
		{ID: "CVE-2", Package: "b", Fixed: "2"}, {ID: "CVE-3", Package: "c"},
		{ID: "CVE-1", Package: "a", Fixed: "2"}, {ID: "CVE-2", Package: "a", Fixed: "3"},
	}}
	if diff := cmp.Diff([]string{"CVE-1", "CVE-2"}, v.Fixable()); diff != "" {
		t.Errorf("fixable (-want +got):\n%s", diff)
	}
}

func TestSummary(t *testing.T) {
	tests := map[string]map[gate.Severity]int{
		"no known vulnerabilities":    {gate.High: 0},
		"1 critical, 12 low":          {gate.Low: 12, gate.Critical: 1, gate.Medium: 0},
		"2 high, 3 medium, 1 unknown": {gate.Unknown: 1, gate.Medium: 3, gate.High: 2},
	}
	for want, counts := range tests {
		if got := (gate.Verdict{Counts: counts}).Summary(); got != want {
			t.Errorf("summary of %v is %q, want %q", counts, got, want)
		}
	}
}

func TestParseSeverity(t *testing.T) {
	for _, want := range gate.Severities() {
		for _, name := range []string{string(want), strings.ToLower(string(want)), " " + string(want)} {
			if got, err := gate.ParseSeverity(name); err != nil || got != want {
				t.Errorf("ParseSeverity(%q) = %q, %v, want %q", name, got, err, want)
			}
		}
	}
	for _, name := range []string{"", "severe", "HIGH,LOW"} {
		if got, err := gate.ParseSeverity(name); err == nil {
			t.Errorf("ParseSeverity(%q) = %q and no error", name, got)
		}
	}
}
