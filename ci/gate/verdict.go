package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Finding is one vulnerability in one version of one package. Where several platforms have it, it is one finding.
type Finding struct {
	// ID is the name of the vulnerability: CVE-..., GHSA-..., or what the distribution calls it.
	ID string `json:"id"`
	// Package is the name of the package that has it.
	Package string `json:"package"`
	// Installed is the version of the package in the image.
	Installed string `json:"installed"`
	// Fixed is the version that mends it; empty while there is none.
	Fixed string `json:"fixed"`
	// Severity is the worst that any platform's report says.
	Severity Severity `json:"severity"`
	// Title says in a line what it is; may be empty.
	Title string `json:"title"`
	// URL is where to read about it; may be empty.
	URL string `json:"url"`
	// Platforms are the platforms that have it, as os/architecture, sorted.
	Platforms []string `json:"platforms"`
}

// Excepted is a finding that an exception let through.
type Excepted struct {
	Finding   Finding   `json:"finding"`
	Exception Exception `json:"exception"`
}

// Verdict is what the gate decided and why. Lists of findings are sorted, the worst first.
type Verdict struct {
	// Line is the release line of what was judged, such as 7.2; may be empty. Code scanning keeps what it is told of each line apart.
	Line string `json:"line,omitempty"`
	// Passed is whether the image may be released: nothing blocks.
	Passed bool `json:"passed"`
	// Threshold are the severities that block, the worst first.
	Threshold []Severity `json:"threshold"`
	// Platforms are the platforms scanned, sorted.
	Platforms []string `json:"platforms"`
	// DatabaseUpdatedAt is when the vulnerability database was made: the oldest, if the scans differ. UTC.
	DatabaseUpdatedAt time.Time `json:"databaseUpdatedAt"`
	// EndOfLife is whether the operating system of the image gets no more security updates, so that its vulnerabilities are
	// no longer looked for by anybody either.
	EndOfLife bool `json:"endOfLife"`
	// Counts is the number of findings of each severity, whatever became of them.
	Counts map[Severity]int `json:"counts"`
	// Fixed is how many of Counts have a fix.
	Fixed map[Severity]int `json:"fixed"`
	// Blocking are the findings that stop the release.
	Blocking []Finding `json:"blocking"`
	// Excepted are the findings that would block, were it not for an exception.
	Excepted []Excepted `json:"excepted"`
	// Expired are the exceptions that would have let a blocking finding through before they expired.
	Expired []Exception `json:"expired"`
	// Unused are the exceptions, expired or not, that match no finding that would block: they can go.
	Unused []Exception `json:"unused"`
	// IgnoredUnfixed is the number of findings over the threshold that pass because there is no fix for them and the policy
	// ignores such.
	IgnoredUnfixed int `json:"ignoredUnfixed"`
}

// Fixable returns the IDs of the blocking findings for which there is a fix, sorted, each once.
func (v Verdict) Fixable() []string {
	var ids []string
	for _, f := range v.Blocking {
		if f.Fixed != "" {
			ids = append(ids, f.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Summary is the number of findings by severity in a line, such as "1 critical, 12 low".
func (v Verdict) Summary() string {
	var parts []string
	for _, s := range Severities() {
		if n := v.Counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, strings.ToLower(string(s))))
		}
	}
	if len(parts) == 0 {
		return "no known vulnerabilities"
	}
	return strings.Join(parts, ", ")
}
