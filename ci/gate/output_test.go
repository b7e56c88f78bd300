package gate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"opennebula-kube/ci/gate"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, name)), string(got)); diff != "" {
		t.Errorf("%s (-want +got), write it anew with -update if that is meant:\n%s", name, diff)
	}
}

// testdataVerdict is the verdict on the reports and the exceptions of testdata.
func testdataVerdict(t testing.TB) gate.Verdict {
	t.Helper()
	exceptions, err := gate.ParseExceptions("image/exceptions.yaml", read(t, "exceptions.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := gate.Evaluate([]gate.Scan{
		scan("linux/amd64", read(t, "trivy-amd64.json")),
		scan("linux/arm64", read(t, "trivy-arm64.json")),
	}, policy(exceptions...), now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func passedVerdict(t *testing.T) gate.Verdict {
	t.Helper()
	v, err := gate.Evaluate([]gate.Scan{scan("linux/amd64", report(t))}, policy(), now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func written(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestVerdictOnTestdata(t *testing.T) {
	want := outcome{
		Blocking: []string{"CVE-2026-10002/libssl3t64", "CVE-2026-10005/libgcc-s1", "CVE-2024-6387/openssh-server", "CVE-2024-49761/rexml"},
		Excepted: []string{"CVE-2026-10003/libc6 by 3"},
		Expired:  []int{8},
		Unused:   []int{13, 18},
	}
	if diff := cmp.Diff(want, short(testdataVerdict(t))); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestGolden(t *testing.T) {
	for prefix, v := range map[string]gate.Verdict{"failed": testdataVerdict(t), "passed": passedVerdict(t)} {
		t.Run(prefix, func(t *testing.T) {
			golden(t, prefix+".txt", written(t, v.WriteTable))
			golden(t, prefix+".md", written(t, v.WriteMarkdown))
			golden(t, prefix+".json", written(t, v.WriteJSON))
			golden(t, prefix+".sarif", written(t, v.WriteSARIF))
		})
	}
}

func TestJSONHoldsTheWholeVerdict(t *testing.T) {
	want := testdataVerdict(t)
	var got gate.Verdict
	if err := json.Unmarshal(written(t, want.WriteJSON), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the verdict read back (-want +got):\n%s", diff)
	}
}

// sarifOf reads a SARIF log back and holds it against the schema.
func sarifOf(t testing.TB, data []byte) *sarif.Run {
	t.Helper()
	log, err := sarif.FromBytes(data, sarif.WithStrictValidation())
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Validate(); err != nil {
		t.Error(err)
	}
	if len(log.Runs) != 1 {
		t.Fatalf("%d runs, want 1", len(log.Runs))
	}
	return log.Runs[0]
}

func TestSARIF(t *testing.T) {
	v := testdataVerdict(t)
	run := sarifOf(t, written(t, v.WriteSARIF))
	if got, want := len(run.Results), len(v.Blocking)+len(v.Excepted); got != want {
		t.Errorf("%d results, want %d", got, want)
	}
	fingerprints := map[string]bool{}
	for _, result := range run.Results {
		rule := run.Tool.Driver.Rules[result.RuleIndex]
		if *rule.ID != *result.RuleID {
			t.Errorf("result of %s points at rule %s", *result.RuleID, *rule.ID)
		}
		if score := rule.Properties.Properties["security-severity"]; score == nil {
			t.Errorf("rule %s has no security-severity", *rule.ID)
		}
		if rule.Help == nil || rule.ShortDescription == nil || rule.FullDescription == nil {
			t.Errorf("rule %s lacks a text that code scanning wants", *rule.ID)
		}
		if uri := *result.Locations[0].PhysicalLocation.ArtifactLocation.URI; uri != "image/Dockerfile" {
			t.Errorf("result of %s is at %s", *result.RuleID, uri)
		}
		fingerprint := result.PartialFingerprints["primaryLocationLineHash"]
		if fingerprint == "" || fingerprints[fingerprint] {
			t.Errorf("result of %s has the fingerprint %q of another", *result.RuleID, fingerprint)
		}
		fingerprints[fingerprint] = true
		if want := *result.RuleID == "CVE-2026-10003"; (len(result.Suppressions) == 1) != want {
			t.Errorf("result of %s is suppressed: %t, want %t", *result.RuleID, !want, want)
		}
	}
}

func TestSARIFFingerprintsOutliveAnUpdate(t *testing.T) {
	fingerprint := func(installed string, others ...gate.Finding) string {
		f := gate.Finding{ID: "CVE-1", Package: "a", Installed: installed, Severity: gate.High}
		v := gate.Verdict{Blocking: append([]gate.Finding{f}, others...)}
		run := sarifOf(t, written(t, v.WriteSARIF))
		seen := map[string]bool{}
		for _, result := range run.Results {
			seen[result.PartialFingerprints["primaryLocationLineHash"]] = true
		}
		if len(seen) != len(run.Results) {
			t.Errorf("%d results have %d fingerprints", len(run.Results), len(seen))
		}
		return run.Results[0].PartialFingerprints["primaryLocationLineHash"]
	}
	if a, b := fingerprint("1"), fingerprint("2"); a != b {
		t.Errorf("an update of the package changes the fingerprint from %s to %s", a, b)
	}
	fingerprint("1", gate.Finding{ID: "CVE-1", Package: "a", Installed: "2", Severity: gate.High},
		gate.Finding{ID: "CVE-1", Package: "b", Installed: "1", Severity: gate.High})
}

func TestSARIFRuleIsAsSevereAsItsWorstFinding(t *testing.T) {
	v := gate.Verdict{
		Blocking: []gate.Finding{{ID: "CVE-1", Package: "a", Severity: gate.Unknown}, {ID: "CVE-2", Package: "b", Severity: gate.Unknown}},
		Excepted: []gate.Excepted{{Finding: gate.Finding{ID: "CVE-1", Package: "c", Severity: gate.Critical}}},
	}
	rules := sarifOf(t, written(t, v.WriteSARIF)).Tool.Driver.Rules
	if len(rules) != 2 {
		t.Fatalf("%d rules, want 2", len(rules))
	}
	got := []any{rules[0].Properties.Properties["security-severity"], rules[0].DefaultConfiguration.Level,
		rules[1].Properties.Properties["security-severity"], rules[1].DefaultConfiguration.Level}
	if diff := cmp.Diff([]any{"9.5", "error", nil, "note"}, got); diff != "" {
		t.Errorf("scores and levels (-want +got):\n%s", diff)
	}
}

func TestSARIFLevels(t *testing.T) {
	want := map[gate.Severity][2]any{
		gate.Critical: {"error", "9.5"}, gate.High: {"error", "8.0"}, gate.Medium: {"warning", "5.5"}, gate.Low: {"note", "2.0"},
		gate.Unknown: {"note", nil},
	}
	for severity, want := range want {
		v := gate.Verdict{Blocking: []gate.Finding{{ID: "CVE-1", Package: "a", Severity: severity}}}
		run := sarifOf(t, written(t, v.WriteSARIF))
		got := [2]any{run.Results[0].Level, run.Tool.Driver.Rules[0].Properties.Properties["security-severity"]}
		if got != want {
			t.Errorf("%s has level and score %v, want %v", severity, got, want)
		}
	}
}

// many returns a verdict with n blocking findings, each with texts as long as reports have them.
func many(n int) gate.Verdict {
	v := gate.Verdict{Threshold: []gate.Severity{gate.High}, Platforms: []string{"linux/amd64", "linux/arm64"}}
	for i := range n {
		v.Blocking = append(v.Blocking, gate.Finding{
			ID: fmt.Sprintf("CVE-2026-%d", 10_000+i), Package: "linux-libc-dev", Installed: "6.8.0-31.31", Fixed: "6.8.0-49.49",
			Severity: gate.High, Title: strings.Repeat("| kernel: use after free ", 12), URL: "https://avd.aquasec.com/nvd/cve",
			Platforms: v.Platforms,
		})
	}
	return v
}

func TestSARIFStaysWithinWhatGitHubTakes(t *testing.T) {
	var log struct {
		Runs []struct {
			Results    []struct{ RuleID string }
			Properties struct{ OmittedResults int }
			Tool       struct {
				Driver struct{ Rules []struct{ ID string } }
			}
		}
	}
	if err := json.Unmarshal(written(t, many(5_007).WriteSARIF), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if len(run.Results) != 5_000 || len(run.Tool.Driver.Rules) != 5_000 || run.Properties.OmittedResults != 7 {
		t.Errorf("%d results of %d rules, %d omitted, want 5000 of 5000 and 7",
			len(run.Results), len(run.Tool.Driver.Rules), run.Properties.OmittedResults)
	}
}

func TestMarkdownStaysWithinWhatGitHubTakes(t *testing.T) {
	v := many(20_000)
	for _, f := range v.Blocking {
		v.Excepted = append(v.Excepted, gate.Excepted{Finding: f, Exception: exception(f.ID, f.Package, "2026-12-31", 1)})
		v.Expired = append(v.Expired, exception(f.ID, f.Package, "2026-10-31", 1))
		v.Unused = append(v.Unused, exception(f.ID, "other", "2026-12-31", 1))
	}
	got := string(written(t, v.WriteMarkdown))
	if len(got) > 1<<20 {
		t.Errorf("%d bytes, more than 1 MiB", len(got))
	}
	rows := strings.Count(got, "\n| HIGH | [CVE")
	if rows < 1000 {
		t.Errorf("%d rows, though there is room for more", rows)
	}
	for _, want := range []string{
		fmt.Sprintf("\n%d of 20000 left out", 20_000-rows), "#### Excepted\n", "#### Expired", "#### Unused", "\n20000 of 20000 left out",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

// hostile is a verdict whose texts try to be more than text.
func hostile() gate.Verdict {
	const text = "a|b\n\n<script>alert(1)</script> [x](javascript:y) `c` *d* @everyone https://evil.example \x1b[31mred\u202e\tend"
	f := gate.Finding{
		ID: "CVE-1|<b>", Package: text, Installed: text, Severity: gate.High, Title: text, URL: "javascript:alert(1)",
		Platforms: []string{"linux/amd64"},
	}
	linked := f
	linked.ID, linked.URL = "CVE-2", "https://example.org/a)b|c>d?<script>`"
	return gate.Verdict{
		Threshold: []gate.Severity{gate.High}, Platforms: []string{"linux/amd64"}, DatabaseUpdatedAt: now, Blocking: []gate.Finding{f, linked},
		Excepted: []gate.Excepted{{Finding: f, Exception: gate.Exception{ID: f.ID, Package: text, Reason: text, File: text}}},
	}
}

func TestHostileTextStaysText(t *testing.T) {
	v := hostile()
	t.Run("table", func(t *testing.T) {
		got := string(written(t, v.WriteTable))
		if i := strings.IndexFunc(got, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == '\u202e' }); i >= 0 {
			t.Errorf("a control character at %d:\n%q", i, got)
		}
		if got, want := strings.Count(got, "\n"), 19; got != want {
			t.Errorf("%d lines, want %d: a text has broken its line", got, want)
		}
	})
	t.Run("Markdown", func(t *testing.T) {
		got := string(written(t, v.WriteMarkdown))
		for _, bad := range []string{"<script", "<b>", "](javascript", "[x]", "`", "*d*", "@", "https://evil", "\x1b"} {
			if strings.Contains(got, bad) {
				t.Errorf("%q went through:\n%s", bad, got)
			}
		}
		if !strings.Contains(got, "[CVE-2](<https://example.org/a") {
			t.Errorf("a good link is gone:\n%s", got)
		}
		for line := range strings.Lines(got) {
			if pipes := strings.Count(line, "|"); strings.HasPrefix(line, "| HIGH | ") && pipes != 5+1 && pipes != 7+1 && pipes != 8+1 {
				t.Errorf("%d pipes in a row: a text has broken its cell:\n%s", pipes, line)
			}
		}
	})
	t.Run("SARIF", func(t *testing.T) {
		run := sarifOf(t, written(t, v.WriteSARIF))
		if got := run.Tool.Driver.Rules[0].HelpURI; got != nil {
			t.Errorf("help is at %s", *got)
		}
		if got := *run.Tool.Driver.Rules[0].Help.Markdown; strings.Contains(got, "<script") || strings.Contains(got, "<b>") {
			t.Errorf("HTML in the help:\n%s", got)
		}
		if got := *run.Results[0].Message.Text; strings.ContainsAny(got, "\n\x1b") {
			t.Errorf("the message is more than a line: %q", got)
		}
	})
}

type brokenWriter struct{}

var errBroken = errors.New("disk full")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteErrorsAreReturned(t *testing.T) {
	v := testdataVerdict(t)
	for name, write := range map[string]func(io.Writer) error{
		"table": v.WriteTable, "Markdown": v.WriteMarkdown, "JSON": v.WriteJSON, "SARIF": v.WriteSARIF,
	} {
		if err := write(brokenWriter{}); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v, want %v", name, err, errBroken)
		}
	}
}
