package gate_test

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"

	"opennebula-kube/ci/gate"
)

// BenchmarkEvaluate judges a report with 50,000 findings, each with all that Trivy says about one.
func BenchmarkEvaluate(b *testing.B) {
	const findings = 50_000
	var report struct {
		SchemaVersion int
		Metadata      json.RawMessage
		Results       []struct {
			Class           string
			Packages        json.RawMessage
			Vulnerabilities []map[string]any
		}
	}
	if err := json.Unmarshal(read(b, "trivy-amd64.json"), &report); err != nil {
		b.Fatal(err)
	}
	samples := report.Results[0].Vulnerabilities
	vulns := make([]map[string]any, findings)
	for i := range vulns {
		vulns[i] = map[string]any{}
		for key, value := range samples[i%len(samples)] {
			vulns[i][key] = value
		}
		vulns[i]["VulnerabilityID"] = fmt.Sprintf("CVE-2026-%d", i)
	}
	report.Results[0].Vulnerabilities = vulns
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		b.Fatal(err)
	}
	p := policy()
	for i := range 100 {
		p.Exceptions = append(p.Exceptions, exception(fmt.Sprintf("CVE-2026-%d", i), "openssh-server", "2026-12-31", i+1))
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		v, err := gate.Evaluate([]gate.Scan{scan("linux/amd64", data)}, p, now)
		if err != nil {
			b.Fatal(err)
		}
		if v.Passed || len(v.Excepted) == 0 {
			b.Fatalf("passed=%t, %d excepted", v.Passed, len(v.Excepted))
		}
	}
}

// BenchmarkWrite writes a verdict with 20,000 blocking findings in each form.
func BenchmarkWrite(b *testing.B) {
	v := many(20_000)
	for name, write := range map[string]func(io.Writer) error{
		"table": v.WriteTable, "markdown": v.WriteMarkdown, "json": v.WriteJSON, "sarif": v.WriteSARIF,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := write(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
