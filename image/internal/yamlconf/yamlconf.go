// Package yamlconf edits OpenNebula's YAML files. An edit replaces the characters of the value that it is about, or adds lines, and
// leaves all others alone: comments, order, blank lines and quotes stay as they are. An edit that is made a second time changes nothing.
package yamlconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Get decodes the value at a path of keys into v and tells whether there is one.
func Get(name string, text []byte, path []string, v any) (bool, error) {
	root, err := parse(name, text)
	if err != nil {
		return false, err
	}
	node := root
	for _, key := range path {
		if node == nil || node.Kind != yaml.MappingNode {
			return false, nil
		}
		_, node = pair(node, key)
	}
	if node == nil {
		return false, nil
	}
	if err := node.Decode(v); err != nil {
		return false, fmt.Errorf("%s: %s: %w", name, strings.Join(path, "/"), err)
	}
	return true, nil
}

// Set gives the value at a path of keys, such as :log and :level, and returns the new text. Keys that are missing are added behind the
// others of their mapping. Strings come out in double quotes: without them Ruby would take one that begins with a colon for a symbol.
func Set(name string, text []byte, path []string, value any) ([]byte, error) {
	edited, err := set(name, text, path, value)
	if err != nil {
		return nil, fmt.Errorf("%s: set %s: %w", name, strings.Join(path, "/"), err)
	}
	return edited, nil
}

func set(name string, text []byte, path []string, value any) ([]byte, error) {
	if len(path) == 0 {
		return nil, errors.New("no key given")
	}
	root, err := parse(name, text)
	if err != nil {
		return nil, err
	}
	node, err := toNode(value)
	if err != nil {
		return nil, err
	}
	e := editor{text: string(text), lines: lineStarts(string(text))}
	edited, err := e.set(root, path, node)
	if err != nil {
		return nil, err
	}
	if err := verify(name, text, []byte(edited), path, node); err != nil {
		return nil, err
	}
	return []byte(edited), nil
}

// parse returns the mapping that a file is, nil when there is nothing in it but comments.
func parse(name string, text []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document in it", name)
	}
	switch root := document.Content[0]; {
	case root.Kind == yaml.MappingNode:
		return root, nil
	case isNull(root):
		return nil, nil
	}
	return nil, fmt.Errorf("%s: keys and values were expected at the top level", name)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// pair returns the key and the value of a mapping, nil when it has no such key.
func pair(mapping *yaml.Node, key string) (k, v *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

func toNode(value any) (*yaml.Node, error) {
	node := new(yaml.Node)
	if err := node.Encode(value); err != nil {
		return nil, err
	}
	quoteStrings(node)
	return node, nil
}

// quoteStrings puts the values that are strings into double quotes, but not the keys.
func quoteStrings(n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!str" {
			n.Style = yaml.DoubleQuotedStyle
		}
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			quoteStrings(n.Content[i])
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			quoteStrings(item)
		}
	}
}

// verify compares what the edited text means with what it is to mean. The edit works on characters: where a form is not foreseen, this
// makes it an error and not a broken file.
func verify(name string, before, after []byte, path []string, value *yaml.Node) error {
	var want, got map[string]any
	if err := yaml.Unmarshal(before, &want); err != nil {
		return err
	}
	if want == nil {
		want = make(map[string]any)
	}
	var plain any
	if err := value.Decode(&plain); err != nil {
		return err
	}
	at := want
	for _, key := range path[:len(path)-1] {
		next, ok := at[key].(map[string]any)
		if !ok {
			next = make(map[string]any)
			at[key] = next
		}
		at = next
	}
	at[path[len(path)-1]] = plain
	if err := yaml.Unmarshal(after, &got); err != nil {
		return fmt.Errorf("the file is written in a form that cannot be edited: %w", err)
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Errorf("%s is written in a form that cannot be edited: write the value into the file by hand", name)
	}
	return nil
}
