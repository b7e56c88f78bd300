package gate

import (
	"fmt"
	"slices"
	"strings"
)

// Severity is how bad a vulnerability is, in Trivy's words.
type Severity string

// The severities that Trivy knows.
const (
	Critical Severity = "CRITICAL"
	High     Severity = "HIGH"
	Medium   Severity = "MEDIUM"
	Low      Severity = "LOW"
	Unknown  Severity = "UNKNOWN" // nobody has rated the vulnerability yet
)

// Severities returns all severities, the worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low, Unknown} }

// ParseSeverity reads a severity as a person writes it, in upper or lower case.
func ParseSeverity(name string) (Severity, error) {
	s := Severity(strings.ToUpper(strings.TrimSpace(name)))
	if !s.valid() {
		return "", fmt.Errorf("unknown severity %q: want one of %s", name, join(Severities()))
	}
	return s, nil
}

func (s Severity) valid() bool { return s.rank() >= 0 }

// rank is 0 for the worst severity and -1 for none that is known.
func (s Severity) rank() int {
	switch s {
	case Critical:
		return 0
	case High:
		return 1
	case Medium:
		return 2
	case Low:
		return 3
	case Unknown:
		return 4
	}
	return -1
}

// sorted returns the severities, the worst first, each once.
func sorted(severities []Severity) []Severity {
	return slices.Compact(slices.SortedFunc(slices.Values(severities), func(a, b Severity) int { return a.rank() - b.rank() }))
}

func join(severities []Severity) string {
	names := make([]string, len(severities))
	for i, s := range severities {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}
