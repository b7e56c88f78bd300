package yamlconf

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// editor makes one edit of a text.
type editor struct {
	text  string
	lines []int // where each line begins
}

func lineStarts(text string) []int {
	starts := []int{0}
	for i := range len(text) {
		if text[i] == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// lineAfter is where the line after the given one (counted from 1) begins.
func (e *editor) lineAfter(line int) int {
	if line < len(e.lines) {
		return e.lines[line]
	}
	return len(e.text)
}

// offset is where a node begins: its column counts characters, not bytes.
func (e *editor) offset(n *yaml.Node) int {
	at := e.lines[n.Line-1]
	rest := e.text[at:]
	column := 1
	for i := range rest {
		if column == n.Column {
			return at + i
		}
		column++
	}
	return len(e.text)
}

func (e *editor) set(root *yaml.Node, path []string, value *yaml.Node) (string, error) {
	if root == nil {
		return e.appendRoot(nest(path, value))
	}
	mapping := root
	for i, name := range path {
		key, old := pair(mapping, name)
		switch {
		case key == nil && mapping == root:
			return e.appendRoot(nest(path, value))
		case key == nil:
			return e.insert(mapping, nest(path[i:], value))
		case i == len(path)-1:
			return e.replace(key, old, value)
		case isNull(old):
			return e.replace(key, old, nest(path[i+1:], value))
		case old.Kind != yaml.MappingNode:
			return "", fmt.Errorf("%s has no keys below it", strings.Join(path[:i+1], "/"))
		}
		mapping = old
	}
	return "", errors.New("no key given")
}

// nest makes a mapping with one key, whose value has the next key, and so on.
func nest(path []string, value *yaml.Node) *yaml.Node {
	for i := len(path) - 1; i >= 0; i-- {
		key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: path[i]}
		value = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{key, value}}
	}
	return value
}

func (e *editor) appendRoot(mapping *yaml.Node) (string, error) {
	block, err := render(mapping, 0)
	if err != nil {
		return "", err
	}
	if e.text != "" && !strings.HasSuffix(e.text, "\n") {
		block = "\n" + block
	}
	return e.text + block, nil
}

// insert adds the pairs of a mapping to one that is in the file, behind its last line.
func (e *editor) insert(into, mapping *yaml.Node) (string, error) {
	if into.Style&yaml.FlowStyle != 0 || len(into.Content) == 0 {
		return "", errors.New("its mapping is written in braces: give it a line for each key")
	}
	block, err := render(mapping, into.Content[0].Column-1)
	if err != nil {
		return "", err
	}
	at := e.lineAfter(lastLine(into))
	if at == len(e.text) && !strings.HasSuffix(e.text, "\n") {
		block = "\n" + block
	}
	return e.text[:at] + block + e.text[at:], nil
}

// replace gives a key that is in the file another value.
func (e *editor) replace(key, old, value *yaml.Node) (string, error) {
	if old.Kind == yaml.AliasNode || old.Anchor != "" {
		return "", errors.New("the value has an anchor or is an alias of one: write it out")
	}
	if equal(old, value) {
		return e.text, nil
	}
	colon := e.offset(key) + len(key.Value)
	if key.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		colon += 2
	}
	colon += strings.IndexByte(e.text[colon:], ':') + 1
	start, end := colon, colon
	if inline := old.Line == key.Line && !(isNull(old) && old.Value == ""); inline {
		start = e.offset(old)
		length, err := e.inlineLength(old, start)
		if err != nil {
			return "", err
		}
		end = start + length
	}
	if value.Kind == yaml.ScalarNode {
		scalar, err := render(value, 0)
		if err != nil {
			return "", err
		}
		scalar = strings.TrimSuffix(scalar, "\n")
		if strings.Contains(scalar, "\n") {
			return "", errors.New("the value has several lines: it must have one")
		}
		if start == colon {
			scalar = " " + scalar
		}
		text := e.text[:start] + scalar + e.text[end:]
		if old.Line > key.Line && !isNull(old) {
			// The lines of the old value, which the new one does not have.
			first, after := e.lines[old.Line-1]+len(scalar), e.lineAfter(lastLine(old))+len(scalar)
			text = text[:first] + text[after:]
		}
		return text, nil
	}
	block, err := render(value, key.Column-1+2)
	if err != nil {
		return "", err
	}
	// What follows the old value on its line, a comment perhaps, stays; the new value goes on the lines below.
	head := strings.TrimRight(e.text[:start], " ") + e.text[end:e.lineAfter(key.Line)]
	if !strings.HasSuffix(head, "\n") {
		head += "\n"
	}
	rest := e.lineAfter(key.Line)
	if old.Line > key.Line && !isNull(old) {
		head += e.text[rest:e.lines[old.Line-1]]
		rest = e.lineAfter(lastLine(old))
	}
	return head + block + e.text[rest:], nil
}

// inlineLength is how long a value is that begins on the line of its key.
func (e *editor) inlineLength(n *yaml.Node, start int) (int, error) {
	line := e.text[start:e.lineAfter(n.Line)]
	line = strings.TrimRight(line, "\r\n")
	switch {
	case n.Kind == yaml.ScalarNode && n.Style == yaml.DoubleQuotedStyle:
		for i := 1; i < len(line); i++ {
			switch line[i] {
			case '\\':
				i++
			case '"':
				return i + 1, nil
			}
		}
	case n.Kind == yaml.ScalarNode && n.Style == yaml.SingleQuotedStyle:
		for i := 1; i < len(line); i++ {
			switch {
			case strings.HasPrefix(line[i:], "''"):
				i++
			case line[i] == '\'':
				return i + 1, nil
			}
		}
	case n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0:
		if i := strings.Index(line, " #"); i >= 0 {
			line = line[:i]
		}
		return len(strings.TrimRight(line, " \t")), nil
	case n.Style&yaml.FlowStyle != 0:
		if i := strings.Index(line, " #"); i >= 0 {
			line = line[:i]
		}
		line = strings.TrimRight(line, " \t")
		if strings.HasSuffix(line, "]") || strings.HasSuffix(line, "}") {
			return len(line), nil
		}
	}
	return 0, errors.New("the value that is there has several lines: write it on one, or as a block")
}

// lastLine is the line that a block ends on.
func lastLine(n *yaml.Node) int {
	last := n.Line
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		last += strings.Count(n.Value, "\n")
	}
	for _, child := range n.Content {
		last = max(last, lastLine(child))
	}
	return last
}

func equal(a, b *yaml.Node) bool {
	var x, y any
	return a.Decode(&x) == nil && b.Decode(&y) == nil && reflect.DeepEqual(x, y)
}

// render writes a node as lines that are indented.
func render(n *yaml.Node, indent int) (string, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(n); err != nil {
		return "", err
	}
	if err := encoder.Close(); err != nil {
		return "", err
	}
	var block strings.Builder
	for line := range strings.Lines(out.String()) {
		block.WriteString(strings.Repeat(" ", indent) + line)
	}
	return block.String(), nil
}
