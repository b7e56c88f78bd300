package helmrepo

import (
	"fmt"
	"os"
	"path/filepath"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
)

// Severity is how bad a Message is.
type Severity string

// The severities of Helm's linter. A chart with an ERROR is not fit to be published.
const (
	Info    Severity = "INFO"
	Warning Severity = "WARNING"
	Error   Severity = "ERROR"
)

// Message is something that Helm's linter has to say about a chart.
type Message struct {
	Severity Severity
	// Path is the file it is about, relative to the chart.
	Path string
	Text string
}

// String is the message on one line, as `helm lint` prints it.
func (m Message) String() string { return fmt.Sprintf("[%s] %s: %s", m.Severity, m.Path, m.Text) }

// Unfit counts the messages that keep a chart from being published: warnings and errors.
func Unfit(messages []Message) int {
	unfit := 0
	for _, m := range messages {
		if m.Severity != Info {
			unfit++
		}
	}
	return unfit
}

// Lint runs Helm's linter on the chart in chartDir with its default values. What the linter finds are messages, whatever their severity;
// the error is for a directory that holds no chart.
func Lint(chartDir string) ([]Message, error) {
	if _, err := os.Stat(filepath.Join(chartDir, "Chart.yaml")); err != nil {
		return nil, fmt.Errorf("lint chart %s: %w", chartDir, err)
	}
	found := lint.RunAll(chartDir, nil, "default").Messages
	messages := make([]Message, 0, len(found))
	for _, m := range found {
		messages = append(messages, Message{Severity: severity(m.Severity), Path: m.Path, Text: m.Err.Error()})
	}
	return messages, nil
}

// severity takes one that Helm may add for an error, so that nothing new passes unseen.
func severity(helm int) Severity {
	switch helm {
	case support.InfoSev:
		return Info
	case support.WarningSev:
		return Warning
	}
	return Error
}
