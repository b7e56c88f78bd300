package gate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	// maxExceptionsSize bounds an exceptions file; a thousand exceptions take less than half of it.
	maxExceptionsSize = 1 << 20

	dateLayout = time.DateOnly
)

// Exception lets one vulnerability in one package through until a date.
type Exception struct {
	// ID is the name of the vulnerability, as Trivy has it.
	ID string `json:"id"`
	// Package is the name of the package, as Trivy has it.
	Package string `json:"package"`
	// Reason is why it does no harm, or what is waited for.
	Reason string `json:"reason"`
	// Expires is the last day that the exception is good for, as midnight UTC at its beginning.
	Expires time.Time `json:"expires"`
	// File and Line are where the exception begins.
	File string `json:"file"`
	Line int    `json:"line"`
}

// ExpiredAt reports whether the exception is no longer good at the time now: its last day has passed everywhere in UTC.
func (e Exception) ExpiredAt(now time.Time) bool { return !now.Before(e.Expires.AddDate(0, 0, 1)) }

// Where is the file and line of the exception.
func (e Exception) Where() string { return fmt.Sprintf("%s:%d", e.File, e.Line) }

// matchKey is what an exception and a finding must have in common.
type matchKey struct{ id, pkg string }

func (e Exception) matches() matchKey { return matchKey{e.ID, e.Package} }

// ParseExceptions reads an exceptions file: YAML with one key, exceptions, a list of entries that have id, package, reason and
// expires (a date, YYYY-MM-DD), all of them and nothing else. Name is what errors call the file. The error names all entries
// that are wrong, each as file:line.
func ParseExceptions(name string, data []byte) ([]Exception, error) {
	p := &exceptionsParser{file: name, lines: map[matchKey]int{}}
	exceptions := p.parse(data)
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return exceptions, nil
}

type exceptionsParser struct {
	file  string
	lines map[matchKey]int // where each id and package was first seen
	errs  []error
}

func (p *exceptionsParser) fail(line int, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %w", p.file, line, fmt.Errorf(format, args...)))
}

func (p *exceptionsParser) parse(data []byte) []Exception {
	if len(data) > maxExceptionsSize {
		p.fail(1, "the file has %d bytes, more than the %d that are read", len(data), maxExceptionsSize)
		return nil
	}
	root := p.document(data)
	if root == nil {
		return nil
	}
	list := p.fields(root, "the file", "exceptions")["exceptions"]
	if list == nil {
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		p.fail(list.Line, "exceptions must be a list; write `exceptions: []` for none")
		return nil
	}
	var exceptions []Exception
	for _, node := range list.Content {
		if e, ok := p.entry(node); ok {
			exceptions = append(exceptions, e)
		}
	}
	return exceptions
}

// document returns the one document of the file, or nil after an error.
func (p *exceptionsParser) document(data []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		p.fail(1, "the file says nothing; write `exceptions: []` for none")
		return nil
	} else if err != nil {
		p.fail(yamlErrorLine(err), "the file is no YAML: %w", err)
		return nil
	}
	if err := decoder.Decode(&next); err == nil {
		p.fail(next.Line, "a second YAML document begins; write one only")
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.fail(yamlErrorLine(err), "the file is no YAML: %w", err)
		return nil
	}
	return doc.Content[0]
}

// yamlErrorLine takes the line out of an error of the YAML library, which has it in the text alone.
func yamlErrorLine(err error) int {
	line := 1
	// Left at 1 when the text has no line: the file is named at least.
	_, _ = fmt.Sscanf(err.Error(), "yaml: line %d:", &line)
	return line
}

// fields returns the values of a mapping, which must have exactly the keys named. What is a mapping for errors is what.
func (p *exceptionsParser) fields(node *yaml.Node, what string, keys ...string) map[string]*yaml.Node {
	if node.Kind != yaml.MappingNode {
		p.fail(node.Line, "%s must have the keys %s", what, strings.Join(keys, ", "))
		return nil
	}
	known := map[string]bool{}
	for _, key := range keys {
		known[key] = true
	}
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case !known[key.Value]:
			p.fail(key.Line, "unknown key %q: %s has only %s", key.Value, what, strings.Join(keys, ", "))
		case values[key.Value] != nil:
			p.fail(key.Line, "%s is given twice", key.Value)
		default:
			values[key.Value] = value
		}
	}
	for _, key := range keys {
		if values[key] == nil {
			p.fail(node.Line, "%s has no %s", what, key)
		}
	}
	return values
}

// entry reads one exception. What is wrong with it is said all at once.
func (p *exceptionsParser) entry(node *yaml.Node) (Exception, bool) {
	before := len(p.errs)
	fields := p.fields(node, "an exception", "id", "package", "reason", "expires")
	e := Exception{
		ID: p.word(fields, "id"), Package: p.word(fields, "package"), Reason: p.text(fields, "reason"),
		Expires: p.date(fields, "expires"), File: p.file, Line: node.Line,
	}
	if len(p.errs) > before {
		return Exception{}, false
	}
	if first, ok := p.lines[e.matches()]; ok {
		p.fail(node.Line, "%s in %s is excepted already in line %d", e.ID, e.Package, first)
		return Exception{}, false
	}
	p.lines[e.matches()] = node.Line
	return e, true
}

// text returns a field's text without surrounding space. A missing field has been complained about by fields.
func (p *exceptionsParser) text(fields map[string]*yaml.Node, key string) string {
	node := fields[key]
	if node == nil {
		return ""
	}
	if node.Kind != yaml.ScalarNode || node.Tag != "!!str" {
		p.fail(node.Line, "%s must be text; put it in quotes if it looks like a number or is empty", key)
		return ""
	}
	text := strings.TrimSpace(node.Value)
	if text == "" {
		p.fail(node.Line, "%s is empty", key)
	}
	return text
}

// word is text without space in it.
func (p *exceptionsParser) word(fields map[string]*yaml.Node, key string) string {
	text := p.text(fields, key)
	if len(strings.Fields(text)) > 1 {
		p.fail(fields[key].Line, "%s must be one word and is %q", key, text)
	}
	return text
}

func (p *exceptionsParser) date(fields map[string]*yaml.Node, key string) time.Time {
	node := fields[key]
	if node == nil {
		return time.Time{}
	}
	date, err := time.Parse(dateLayout, node.Value)
	if node.Kind != yaml.ScalarNode || err != nil {
		p.fail(node.Line, "%s must be the last day that the exception is good for, as YYYY-MM-DD, and is %q", key, node.Value)
	}
	return date
}
