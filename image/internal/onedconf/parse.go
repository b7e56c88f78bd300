// Package onedconf reads and edits files in the syntax of oned.conf: NAME = value and NAME = [ MEMBER = value, ... ]. An edit changes
// the characters of the value that it is about and no others, so comments, order and spacing stay as they are, and an edit that is
// made a second time changes nothing.
package onedconf

import (
	"fmt"
	"strings"
)

// File is a parsed file.
type File struct {
	name       string
	text       string
	attributes []attribute
}

// attribute is NAME = value: at the top level, or as a member of a list.
type attribute struct {
	name string
	// start and end delimit the value, with its quotes or brackets, in the text.
	start, end int
	quoted     bool
	list       bool
	members    []attribute
}

// Parse reads a file. The name is for errors.
func Parse(name, text string) (*File, error) {
	p := &parser{name: name, text: text}
	f := &File{name: name, text: text}
	for p.skipBlank(); p.at < len(p.text); p.skipBlank() {
		a, err := p.attribute(true)
		if err != nil {
			return nil, err
		}
		f.attributes = append(f.attributes, a)
	}
	return f, nil
}

// String is the text of the file with all edits.
func (f *File) String() string { return f.text }

// Empty tells whether the file has no attribute, but comments at most.
func (f *File) Empty() bool { return len(f.attributes) == 0 }

type parser struct {
	name, text string
	at         int
}

func (p *parser) errorf(format string, args ...any) error {
	line := 1 + strings.Count(p.text[:p.at], "\n")
	return fmt.Errorf("%s:%d: %s", p.name, line, fmt.Sprintf(format, args...))
}

func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// skipBlank passes over white space, line ends and comments.
func (p *parser) skipBlank() {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '#':
			p.skipUntil("\n")
		case strings.IndexByte(" \t\r\n", c) >= 0:
			p.at++
		default:
			return
		}
	}
}

func (p *parser) skipAll(characters string) {
	for p.at < len(p.text) && strings.IndexByte(characters, p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) skipUntil(characters string) {
	for p.at < len(p.text) && strings.IndexByte(characters, p.text[p.at]) < 0 {
		p.at++
	}
}

func (p *parser) attribute(top bool) (attribute, error) {
	start := p.at
	for p.at < len(p.text) && isNameByte(p.text[p.at]) {
		p.at++
	}
	a := attribute{name: p.text[start:p.at]}
	if a.name == "" {
		rest, _, _ := strings.Cut(p.text[p.at:], "\n")
		return a, p.errorf("the name of an attribute was expected, found %.20q", rest)
	}
	p.skipAll(" \t")
	if p.peek() != '=' {
		return a, p.errorf("%s: = was expected after the name", a.name)
	}
	p.at++
	p.skipAll(" \t")
	a.start = p.at
	switch p.peek() {
	case '[':
		if !top {
			return a, p.errorf("%s: a list inside of a list", a.name)
		}
		a.list = true
		if err := p.members(&a); err != nil {
			return a, err
		}
	case '"':
		a.quoted = true
		if err := p.quoted(a.name); err != nil {
			return a, err
		}
	default:
		p.skipUntil("=#,[] \t\r\n")
	}
	a.end = p.at
	return a, nil
}

// quoted passes over a string, in which \" stands for a quote.
func (p *parser) quoted(name string) error {
	for at := p.at + 1; at < len(p.text); at++ {
		switch {
		case p.text[at] == '"':
			p.at = at + 1
			return nil
		case strings.HasPrefix(p.text[at:], `\"`):
			at++
		}
	}
	return p.errorf("%s: the closing quote is missing", name)
}

func (p *parser) members(list *attribute) error {
	begin := p.at
	p.at++
	for {
		p.skipBlank()
		switch p.peek() {
		case ']':
			p.at++
			return nil
		case ',':
			p.at++
			continue
		case 0:
			p.at = begin
			return p.errorf("%s: the list has no closing ]", list.name)
		}
		member, err := p.attribute(false)
		if err != nil {
			return err
		}
		list.members = append(list.members, member)
	}
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
