package gate

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
)

const (
	// Code scanning wants a place in the repository for each result, and a package in an image has none. The Dockerfile decides
	// what is in the image, so each result is put on its first line, where it moves for no edit.
	sarifLocation = "image/Dockerfile"

	// Code scanning keeps 5,000 results of a run and refuses texts of more characters.
	maxSARIFResults = 5_000
	maxSARIFText    = 1024
)

// WriteSARIF writes the findings over the threshold as SARIF 2.1.0, as GitHub code scanning takes it: blocking ones, and excepted
// ones as suppressed results. Findings below the threshold are not in it. Of more than 5,000 results, the most that GitHub
// keeps, the worst blocking ones are written and the number of the others is the property omittedResults of the run.
func (v Verdict) WriteSARIF(w io.Writer) error {
	log := newSARIFLog()
	for _, f := range v.Blocking {
		log.add(f)
	}
	for _, e := range v.Excepted {
		log.add(e.Finding, sarif.NewSuppression().WithKind("external").WithStatus("accepted").
			WithJustification(e.Exception.justification()))
	}
	if err := log.write(w, v.Line); err != nil {
		return fmt.Errorf("write the verdict as SARIF: %w", err)
	}
	return nil
}

func (e Exception) justification() string {
	return fmt.Sprintf("%s (%s, good through %s)", e.Reason, e.Where(), e.Expires.Format(dateLayout))
}

// sarifLog gathers findings. Its lookups by map keep it linear where the library's search its lists.
type sarifLog struct {
	rules        []*sarif.ReportingDescriptor
	ruleIndex    map[string]int      // by vulnerability ID
	ruleSeverity map[string]Severity // the worst of the rule's findings
	seen         map[matchKey]int    // how many results there are with this fingerprint
	results      []sarifResult
	omitted      int
}

// The library leaves out a result's suppressions when there are none. SARIF wants them on all results or on no result: an empty
// list says that a result is not suppressed.
type (
	sarifResult struct {
		*sarif.Result
		Suppressions []*sarif.Suppression `json:"suppressions"`
	}
	sarifRun struct {
		*sarif.Run
		Results []sarifResult `json:"results"`
	}
	sarifReport struct {
		*sarif.Report
		Runs []sarifRun `json:"runs"`
	}
)

func newSARIFLog() *sarifLog {
	return &sarifLog{
		rules: []*sarif.ReportingDescriptor{}, ruleIndex: map[string]int{}, ruleSeverity: map[string]Severity{},
		seen: map[matchKey]int{}, results: []sarifResult{},
	}
}

func (l *sarifLog) add(f Finding, suppressions ...*sarif.Suppression) {
	if len(l.results) == maxSARIFResults {
		l.omitted++
		return
	}
	index := l.rule(f)
	location := sarif.NewPhysicalLocation().WithRegion(sarif.NewSimpleRegion(1, 1)).
		WithArtifactLocation(sarif.NewSimpleArtifactLocation(sarifLocation).WithURIBaseID("%SRCROOT%"))
	fix := "there is no fix yet"
	if f.Fixed != "" {
		fix = "fixed in " + f.Fixed
	}
	message := fmt.Sprintf("%s in %s %s (%s, on %s): %s.",
		f.ID, f.Package, f.Installed, f.Severity, strings.Join(f.Platforms, ", "), fix)
	l.results = append(l.results, sarifResult{
		Result: sarif.NewRuleResult(f.ID).WithRuleIndex(index).WithLevel(f.Severity.sarifLevel()).
			WithMessage(sarif.NewTextMessage(oneLine(message, maxSARIFText))).
			WithLocations([]*sarif.Location{sarif.NewLocationWithPhysicalLocation(location)}).
			WithPartialFingerprints(map[string]string{"primaryLocationLineHash": l.fingerprint(f)}),
		Suppressions: append([]*sarif.Suppression{}, suppressions...),
	})
}

// fingerprint is what code scanning knows a result by from run to run: the versions are no part of it, or an alert that somebody
// has dismissed would come back with each update of the package.
func (l *sarifLog) fingerprint(f Finding) string {
	key := matchKey{f.ID, f.Package}
	l.seen[key]++
	return fmt.Sprintf("%x:%d", sha256.Sum256([]byte(f.ID+"\x00"+f.Package)), l.seen[key])
}

// rule returns the index of the rule for a vulnerability, which it makes at the first finding. The rule is as severe as the worst
// of its findings.
func (l *sarifLog) rule(f Finding) int {
	index, ok := l.ruleIndex[f.ID]
	if !ok {
		index = len(l.rules)
		l.ruleIndex[f.ID] = index
		l.rules = append(l.rules, newSARIFRule(f))
	}
	if worst, ok := l.ruleSeverity[f.ID]; !ok || f.Severity.rank() < worst.rank() {
		l.ruleSeverity[f.ID] = f.Severity
		properties := sarif.NewPropertyBag().WithTags([]string{"security", "vulnerability", string(f.Severity)}).
			Add("precision", "very-high")
		if score := f.Severity.sarifScore(); score != "" {
			properties.Add("security-severity", score)
		}
		l.rules[index].WithProperties(properties).
			WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(f.Severity.sarifLevel()))
	}
	return index
}

func newSARIFRule(f Finding) *sarif.ReportingDescriptor {
	title := oneLine(f.ID+": "+f.Title, maxSARIFText)
	if f.Title == "" {
		title = oneLine(f.ID+" in "+f.Package, maxSARIFText)
	}
	help := "Update the package to a version that has the fix: rebuild the image once its distribution has it. If the vulnerability " +
		"does no harm here, or there is no fix yet, add an entry with a reason and an end date to image/exceptions.yaml."
	text, markdown := title+"\n\n"+help, markdownText(title)+"\n\n"+help
	rule := sarif.NewRule(f.ID).WithName("PackageVulnerability").WithDescription(title).
		WithFullDescription(sarif.NewMultiformatMessageString().WithText(title))
	if target := webURL(f.URL); target != "" {
		rule.WithHelpURI(target)
		text += "\n\n" + target
		markdown += fmt.Sprintf("\n\n[%s](<%s>)", markdownText(oneLine(f.ID, maxSARIFText)), markdownURL(target))
	}
	return rule.WithHelp(sarif.NewMultiformatMessageString().WithText(text).WithMarkdown(markdown))
}

func (l *sarifLog) write(w io.Writer, line string) error {
	run := sarif.NewRun()
	run.Tool = sarif.NewTool().WithDriver(sarif.NewToolComponent().WithName("opennebula-kube gate").
		WithFullName("opennebula-kube's release gate on Trivy's findings").WithRules(l.rules))
	if line != "" {
		// What GitHub calls a category: of two logs of one category it keeps the later.
		run.AutomationDetails = sarif.NewRunAutomationDetails().WithID("opennebula-" + line + "/")
	}
	if l.omitted > 0 {
		run.Properties = sarif.NewPropertyBag().Add("omittedResults", l.omitted)
	}
	return encode(w, sarifReport{Report: sarif.NewReport(), Runs: []sarifRun{{Run: run, Results: l.results}}})
}

// sarifLevel is what GitHub shows a result as where it has no score.
func (s Severity) sarifLevel() string {
	switch s {
	case Critical, High:
		return sarif.LevelError
	case Medium:
		return sarif.LevelWarning
	default:
		return sarif.LevelNote
	}
}

// sarifScore is a score in the middle of the range that GitHub calls by the same word; empty where there is no such word.
func (s Severity) sarifScore() string {
	switch s {
	case Critical:
		return "9.5"
	case High:
		return "8.0"
	case Medium:
		return "5.5"
	case Low:
		return "2.0"
	default:
		return ""
	}
}
