package standin

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// node is an element of a document of OpenNebula's: it has a text or other elements. Values of templates are quoted (CDATA).
type node struct {
	name, text string
	quoted     bool
	children   []*node
}

func elem(name string, children ...*node) *node { return &node{name: name, children: children} }

func leaf(name string, value any) *node { return &node{name: name, text: fmt.Sprint(value)} }

func quoted(name string, value any) *node {
	return &node{name: name, text: fmt.Sprint(value), quoted: true}
}

// leaves makes elements of pairs of a name and a text.
func leaves(pairs ...any) []*node {
	var made []*node
	for i := 0; i+1 < len(pairs); i += 2 {
		made = append(made, leaf(pairs[i].(string), pairs[i+1]))
	}
	return made
}

// parseDocument reads an XML document whole: what follows its first element is an error.
func parseDocument(document string) (*node, error) {
	decoder := xml.NewDecoder(strings.NewReader(document))
	root := &node{}
	open := []*node{root}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) && len(open) == 1 && len(root.children) == 1 {
			return root.children[0], nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the XML document %.40q: %w", document, err)
		}
		innermost := open[len(open)-1]
		switch t := token.(type) {
		case xml.StartElement:
			child := &node{name: t.Name.Local}
			innermost.children = append(innermost.children, child)
			open = append(open, child)
		case xml.EndElement:
			if len(innermost.children) > 0 {
				innermost.text = ""
			}
			open = open[:len(open)-1]
		case xml.CharData:
			innermost.text += string(t)
			innermost.quoted = innermost.quoted || strings.HasSuffix(document[:decoder.InputOffset()], "]]>")
		}
	}
}

func (n *node) String() string {
	var out bytes.Buffer
	n.write(&out)
	return out.String()
}

func (n *node) write(out *bytes.Buffer) {
	out.WriteString("<" + n.name + ">")
	switch {
	case len(n.children) > 0:
		for _, child := range n.children {
			child.write(out)
		}
	case n.quoted:
		out.WriteString("<![CDATA[" + strings.ReplaceAll(n.text, "]]>", "]]]]><![CDATA[>") + "]]>")
	default:
		_ = xml.EscapeText(out, []byte(n.text))
	}
	out.WriteString("</" + n.name + ">")
}

// at is the first element at a path below a node, such as TEMPLATE/CONTEXT/TOKEN; nil when there is none.
func (n *node) at(path string) *node {
	for name := range strings.SplitSeq(path, "/") {
		if n == nil {
			return nil
		}
		i := slices.IndexFunc(n.children, func(child *node) bool { return child.name == name })
		if i < 0 {
			return nil
		}
		n = n.children[i]
	}
	return n
}

// get is the text at a path, empty when there is no such element.
func (n *node) get(path string) string {
	if found := n.at(path); found != nil {
		return found.text
	}
	return ""
}

// number is the integer at a path, 0 when there is none.
func (n *node) number(path string) int {
	value, _ := strconv.Atoi(n.get(path))
	return value
}

// all are the elements of a name right below a node; below none there are none.
func (n *node) all(name string) []*node {
	var found []*node
	if n == nil {
		return nil
	}
	for _, child := range n.children {
		if child.name == name {
			found = append(found, child)
		}
	}
	return found
}

// set gives the element at a path, which exists but for its last part, a text.
func (n *node) set(path string, value any) {
	if found := n.at(path); found != nil {
		found.text, found.children = fmt.Sprint(value), nil
		return
	}
	name := path
	if i := strings.LastIndex(path, "/"); i >= 0 {
		n, name = n.at(path[:i]), path[i+1:]
	}
	n.add(quoted(name, value))
}

// add puts attributes into a template, which is in the order of their names.
func (n *node) add(attributes ...*node) {
	n.children = append(n.children, attributes...)
	slices.SortStableFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
}

// take removes the attributes of a name and returns the text of the first one.
func (n *node) take(name string) string {
	text := n.get(name)
	n.drop(name)
	return text
}

func (n *node) drop(name string) {
	n.children = slices.DeleteFunc(n.children, func(child *node) bool { return child.name == name })
}

// merge puts the attributes of another template in the place of those that have their names.
func (n *node) merge(other *node) {
	for _, attribute := range other.children {
		n.drop(attribute.name)
	}
	n.add(other.children...)
}

// ids are the numbers in a list of ID elements.
func (n *node) ids(path string) (ids []int) {
	list := n.at(path)
	if list == nil {
		return nil
	}
	for _, id := range list.all("ID") {
		if value, err := strconv.Atoi(id.text); err == nil {
			ids = append(ids, value)
		}
	}
	return ids
}

// setID puts an id into a list, in order, or takes it out.
func (n *node) setID(path string, id int, in bool) {
	ids := slices.DeleteFunc(n.ids(path), func(has int) bool { return has == id })
	if in {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	list := n.at(path)
	list.children = nil
	for _, id := range ids {
		list.children = append(list.children, leaf("ID", id))
	}
}

// hash is a document as names and values, for JSON: a text, more values, or a list where a name comes more than once. What is empty becomes as given.
func (n *node) hash(empty any) any {
	if len(n.children) == 0 {
		if n.text == "" {
			return empty
		}
		return n.text
	}
	members := map[string]any{}
	for _, child := range n.children {
		switch has := members[child.name].(type) {
		case nil:
			members[child.name] = child.hash(empty)
		case []any:
			members[child.name] = append(has, child.hash(empty))
		default:
			members[child.name] = []any{has, child.hash(empty)}
		}
	}
	return members
}

// asJSON is what is below a node in JSON.
func asJSON(n *node) string {
	encoded, _ := json.Marshal(n.hash(""))
	return string(encoded)
}

// parseTemplate reads a template, in XML or in OpenNebula's own syntax, as an element TEMPLATE whose names are in upper case.
func parseTemplate(template string) (*node, error) {
	made := elem("TEMPLATE")
	if strings.HasPrefix(strings.TrimSpace(template), "<") {
		root, err := parseDocument(template)
		if err != nil {
			return nil, err
		}
		made.add(root.children...)
		made.normalize()
		return made, nil
	}
	p := &configParser{name: "template", rest: template, line: 1}
	for p.skipBlank(); p.rest != ""; p.skipBlank() {
		attribute, err := p.templateAttribute(false)
		if err != nil {
			return nil, fmt.Errorf("Parse error: %w", err)
		}
		made.add(attribute)
	}
	made.normalize()
	return made, nil
}

// normalize makes names upper case, has the attributes in order and the values quoted.
func (n *node) normalize() {
	for _, child := range n.children {
		child.name, child.quoted = strings.ToUpper(child.name), len(child.children) == 0
		child.normalize()
	}
	n.add()
}

func (p *configParser) templateAttribute(inList bool) (*node, error) {
	key := strings.TrimSpace(p.advance(lengthUntil(p.rest, "=[],#\"\n")))
	if key == "" || !p.accept("=") {
		return nil, p.errorf("NAME = value was expected, found %q and %.10q", key, p.rest)
	}
	made := leaf(key, "")
	// A value that is not there ends with the line.
	p.advance(len(p.rest) - len(strings.TrimLeft(p.rest, " \t")))
	switch {
	case strings.HasPrefix(p.rest, "[") && !inList:
		p.advance(1)
		for !p.accept("]") {
			p.skipBlank()
			if p.rest == "" {
				return nil, p.errorf("%s: no ] at the end of the list", key)
			}
			attribute, err := p.templateAttribute(true)
			if err != nil {
				return nil, err
			}
			made.children = append(made.children, attribute)
			p.accept(",")
		}
	case strings.HasPrefix(p.rest, `"`):
		p.advance(1)
		var text strings.Builder
		for {
			text.WriteString(p.advance(lengthUntil(p.rest, `"\`)))
			if p.rest == "" {
				return nil, p.errorf("%s: no closing quote", key)
			}
			if p.advance(1) == `"` {
				break
			}
			// A backslash stands before a quote; before anything else it stands for itself.
			if !strings.HasPrefix(p.rest, `"`) {
				text.WriteString(`\`)
				continue
			}
			text.WriteString(p.advance(1))
		}
		made.text = text.String()
	case inList:
		made.text = strings.TrimSpace(p.advance(lengthUntil(p.rest, ",]\n")))
	default:
		made.text = strings.TrimSpace(p.advance(lengthUntil(p.rest, "#\n")))
	}
	return made, nil
}
