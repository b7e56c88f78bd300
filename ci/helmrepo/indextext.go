package helmrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"
)

// indexText is an index as it is written: its nodes, and where they are in the text.
type indexText struct {
	lines
	indexNodes
}

// indexNodes is an index as YAML nodes.
type indexNodes struct {
	root    *yaml.Node
	entries *yaml.Node // value of `entries`; nil when there is no such key
}

// parseIndex reads an index that can be added to: one YAML document, written in lines, with an apiVersion.
func parseIndex(data []byte) (*indexNodes, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the index is not valid UTF-8")
	}
	var document, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the index is not valid YAML: %w", err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("the index is more than one YAML document")
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("the index is no YAML mapping: is it an index.yaml of Helm?")
	}
	x := &indexNodes{root: document.Content[0]}
	if flow(x.root) {
		return nil, errFlow("the index")
	}
	if _, apiVersion := lookup(x.root, "apiVersion"); apiVersion == nil || apiVersion.Value == "" {
		return nil, errors.New("the index has no apiVersion: is it an index.yaml of Helm?")
	}
	_, x.entries = lookup(x.root, "entries")
	if x.entries != nil && !isEmpty(x.entries) && x.entries.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d of the index: `entries` is no mapping of chart names", x.entries.Line)
	}
	if key, _ := lookup(x.entries, "<<"); key != nil {
		return nil, fmt.Errorf("line %d of the index: charts are merged into `entries` by `<<`, where nothing can be added safely", key.Line)
	}
	return x, nil
}

func errFlow(what string) error {
	return fmt.Errorf("%s is written in braces or brackets, as JSON is, where nothing can be added line by line: "+
		"rewrite it with `helm repo index --merge`", what)
}

// flow says whether a mapping or sequence is written in braces or brackets.
func flow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// isEmpty says whether a node is null, {} or [].
func isEmpty(n *yaml.Node) bool {
	return n.Kind != yaml.AliasNode && n.Tag == "!!null" || n.Kind != yaml.ScalarNode && n.Kind != yaml.AliasNode && len(n.Content) == 0
}

// lookup returns the key and value of a key in a mapping, or nils.
func lookup(mapping *yaml.Node, key string) (k, v *yaml.Node) {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

// after returns the key that follows a key in a mapping, or nil.
func after(mapping, key *yaml.Node) *yaml.Node {
	for i := 0; i+2 < len(mapping.Content); i += 2 {
		if mapping.Content[i] == key {
			return mapping.Content[i+2]
		}
	}
	return nil
}

// listed is what a version in the index is recognised by.
type listed struct {
	Version string `yaml:"version"`
	Digest  string `yaml:"digest"`
}

// list returns the versions of a chart in the order of the index.
func (x *indexNodes) list(name string) ([]listed, error) {
	_, value := lookup(x.entries, name)
	if value == nil || isEmpty(value) {
		return nil, nil
	}
	if value.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("line %d of the index: the versions of chart %s are no list", value.Line, name)
	}
	all := make([]listed, len(value.Content))
	for i, item := range value.Content {
		if err := item.Decode(&all[i]); err != nil {
			return nil, fmt.Errorf("line %d of the index: %w", item.Line, err)
		}
	}
	return all, nil
}

// endOf is the offset at which the block of a chart ends: where the next chart begins, or what follows `entries`, or the end. A nil key
// stands for the last chart.
func (x *indexText) endOf(key *yaml.Node) (int, error) {
	var next *yaml.Node
	if key != nil {
		next = after(x.entries, key)
	}
	if next == nil {
		entries, _ := lookup(x.root, "entries")
		next = after(x.root, entries)
	}
	if next == nil {
		return x.end(), nil
	}
	return x.above(next.Line)
}

// insertion finds the place for an entry and writes it in the style of the place.
func (x *indexText) insertion(entry *indexEntry) (edit, error) {
	entriesKey, _ := lookup(x.root, "entries")
	key, versions := lookup(x.entries, entry.Name)
	switch {
	case entriesKey == nil:
		text, err := x.chart(entry, 2)
		return x.insertAt(x.end(), "entries:"+x.eol()+text), err
	case isEmpty(x.entries):
		text, err := x.chart(entry, 2)
		if err != nil {
			return edit{}, err
		}
		return x.fill(entriesKey, x.entries, text)
	case flow(x.entries):
		return edit{}, errFlow("`entries` of the index")
	case key == nil:
		text, err := x.chart(entry, x.entries.Column-1)
		if err != nil {
			return edit{}, err
		}
		at, err := x.endOf(nil)
		return x.insertAt(at, text), err
	case isEmpty(versions):
		text, err := helmStyle(key.Column-1).item(entry, x.eol())
		if err != nil {
			return edit{}, err
		}
		return x.fill(key, versions, text)
	case flow(versions):
		return edit{}, errFlow("the list of versions of chart " + entry.Name + " in the index")
	}
	return x.insertVersion(entry, key, versions)
}

// insertVersion puts an entry before the first older version of the chart, or after them all.
func (x *indexText) insertVersion(entry *indexEntry, key, versions *yaml.Node) (edit, error) {
	have, err := x.list(entry.Name)
	if err != nil {
		return edit{}, err
	}
	place, err := newestFirst(have, entry.Version)
	if err != nil {
		return edit{}, err
	}
	at, err := x.placeOf(key, versions, place)
	if err != nil {
		return edit{}, err
	}
	text, err := styleOf(versions).item(entry, x.eol())
	return x.insertAt(at, text), err
}

// placeOf is the offset at which item i of the versions of a chart begins, or would.
func (x *indexText) placeOf(key, versions *yaml.Node, i int) (int, error) {
	if i == len(versions.Content) {
		return x.endOf(key)
	}
	line, err := x.dashLine(versions, i)
	if err != nil {
		return 0, err
	}
	return x.above(line)
}

// newestFirst is the index that a version has among others that are sorted from the newest to the oldest. What is no version counts as
// older than all, as it does with Helm.
func newestFirst(have []listed, version string) (int, error) {
	v, err := semver.NewVersion(version)
	if err != nil {
		return 0, fmt.Errorf("version %q: %w", version, err)
	}
	for i, h := range have {
		other, err := semver.NewVersion(h.Version)
		if older := err != nil || !other.GreaterThan(v); older {
			return i, nil
		}
	}
	return len(have), nil
}

// dashLine is the line with the dash of item i of a list.
func (x *indexText) dashLine(list *yaml.Node, i int) (int, error) {
	first := list.Line
	if i > 0 {
		first = list.Content[i-1].Line + 1
	}
	for n := min(list.Content[i].Line, x.count()); n >= first; n-- {
		if width, rest := indent(x.line(n)); width == list.Column-1 && bytes.HasPrefix(rest, []byte("-")) {
			return n, nil
		}
	}
	return 0, errPosition
}

// insertAt is an edit that puts whole lines at an offset.
func (x *indexText) insertAt(offset int, text string) edit {
	if offset > 0 && !bytes.ContainsAny(x.data[offset-1:offset], "\r\n") {
		text = x.eol() + text
	}
	return edit{from: offset, to: offset, text: text}
}

// fill is an edit that takes the empty value of a key (nothing, null, {} or []) away and puts lines below the key.
func (x *indexText) fill(key, empty *yaml.Node, text string) (edit, error) {
	from, err := x.offset(empty)
	if err != nil {
		return edit{}, err
	}
	if _, err := x.offset(key); err != nil {
		return edit{}, err
	}
	line := x.line(key.Line)
	end := x.start(key.Line) + len(bytes.TrimRight(line, "\r\n"))
	if from > end { // nothing: the parser places it where the next token is
		from = end
	}
	token := emptyValue.Find(x.data[from:end])
	rest := bytes.TrimSpace(x.data[from+len(token) : end])
	if empty.Line != key.Line && len(token) > 0 || len(rest) > 0 && rest[0] != '#' {
		return edit{}, fmt.Errorf("line %d of the index: cannot tell where to write below `%s`: make the line `%s:`",
			key.Line, key.Value, key.Value)
	}
	for from > 0 && x.data[from-1] == ' ' {
		from--
	}
	if len(rest) > 0 {
		text = " " + string(rest) + x.eol() + text
	} else {
		text = x.eol() + text
	}
	to := end + breakLength(x.data[end:])
	return edit{from: from, to: to, text: text}, nil
}

// emptyValue is what stands in the text for a value that is null or has nothing in it.
var emptyValue = regexp.MustCompile(`^(\{ *\}|\[ *\]|~|null|Null|NULL)`)

// dated is an edit that sets the time of the index, if it has one and on one line.
func (x *indexText) dated(now time.Time) []edit {
	_, node := lookup(x.root, "generated")
	if node == nil || node.Value == "" {
		return nil
	}
	at, err := x.offset(node)
	if err != nil {
		return nil
	}
	quote := ""
	switch node.Style {
	case yaml.DoubleQuotedStyle:
		quote = `"`
	case yaml.SingleQuotedStyle:
		quote = "'"
	}
	if old := quote + node.Value + quote; bytes.HasPrefix(x.data[at:], []byte(old)) {
		return []edit{{from: at, to: at + len(old), text: quote + timestamp(now) + quote}}
	}
	return nil
}

// timestamp is a time as Helm writes it.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
