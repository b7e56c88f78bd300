package standin

import (
	"fmt"
	"strings"
	"unicode"
)

// parseConfig reads the syntax of oned.conf: NAME = value, where a value is a word, a quoted string, or a list in brackets of
// NAME = value pairs. Pairs in brackets come out as "DB.BACKEND". Of a name that occurs twice the last counts.
func parseConfig(name, text string) (map[string]string, error) {
	p := &configParser{name: name, rest: text, line: 1}
	values := map[string]string{}
	for p.skipBlank(); p.rest != ""; p.skipBlank() {
		if err := p.attribute("", values); err != nil {
			return nil, err
		}
	}
	return values, nil
}

type configParser struct {
	name, rest string
	line       int
}

func (p *configParser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.name, p.line, fmt.Sprintf(format, args...))
}

func (p *configParser) advance(n int) string {
	taken := p.rest[:n]
	p.line += strings.Count(taken, "\n")
	p.rest = p.rest[n:]
	return taken
}

// skipBlank passes over white space and comments.
func (p *configParser) skipBlank() {
	for {
		p.advance(len(p.rest) - len(strings.TrimLeftFunc(p.rest, unicode.IsSpace)))
		if !strings.HasPrefix(p.rest, "#") {
			return
		}
		p.advance(lengthUntil(p.rest, "\n"))
	}
}

func (p *configParser) accept(token string) bool {
	p.skipBlank()
	if !strings.HasPrefix(p.rest, token) {
		return false
	}
	p.advance(len(token))
	return true
}

func (p *configParser) attribute(prefix string, values map[string]string) error {
	key := strings.TrimSpace(p.advance(lengthUntil(p.rest, "=[],#\"\n")))
	if key == "" {
		return p.errorf("a name was expected, found %.10q", p.rest)
	}
	if !p.accept("=") {
		return p.errorf("%s: = was expected", key)
	}
	switch {
	case p.accept("["):
		if prefix != "" {
			return p.errorf("%s: a list in a list", key)
		}
		for !p.accept("]") {
			p.skipBlank()
			if p.rest == "" {
				return p.errorf("%s: no ] at the end of the list", key)
			}
			if err := p.attribute(key+".", values); err != nil {
				return err
			}
			p.accept(",")
		}
	case p.accept(`"`):
		end := strings.Index(p.rest, `"`)
		if end < 0 {
			return p.errorf("%s: no closing quote", key)
		}
		values[prefix+key] = p.advance(end)
		p.advance(1)
	default:
		values[prefix+key] = strings.TrimSpace(p.advance(lengthUntil(p.rest, ",]#\n")))
	}
	return nil
}

// lengthUntil is how many bytes of text come before the first of the given characters.
func lengthUntil(text, characters string) int {
	if i := strings.IndexAny(text, characters); i >= 0 {
		return i
	}
	return len(text)
}
