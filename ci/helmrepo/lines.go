package helmrepo

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// lines is a text by line numbers as the YAML parser counts them.
type lines struct {
	data   []byte
	starts []int // offset of each line, and of the end
}

func newLines(data []byte) lines {
	starts := []int{0}
	for i := 0; i < len(data); {
		n := breakLength(data[i:])
		if n > 0 {
			starts = append(starts, i+n)
		}
		i += max(n, 1)
	}
	if starts[len(starts)-1] != len(data) {
		starts = append(starts, len(data))
	}
	return lines{data: data, starts: starts}
}

// breakLength is the length of the line break that data begins with, 0 when it begins with none. YAML 1.1 has more breaks than editors do.
func breakLength(data []byte) int {
	if len(data) == 0 || data[0] > '\r' && data[0] < 0x80 {
		return 0
	}
	for _, br := range []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
		if len(data) >= len(br) && string(data[:len(br)]) == br {
			return len(br)
		}
	}
	return 0
}

// count is the number of lines.
func (l lines) count() int { return len(l.starts) - 1 }

// line is line n, counted from 1, with its break.
func (l lines) line(n int) []byte { return l.data[l.starts[n-1]:l.starts[n]] }

// start is the offset at which line n begins.
func (l lines) start(n int) int { return l.starts[n-1] }

// eol is the line break in use.
func (l lines) eol() string {
	if first := l.line(1); bytes.HasSuffix(first, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// offset is where a node begins.
func (l lines) offset(n *yaml.Node) (int, error) {
	if n.Line < 1 || n.Line > l.count() {
		return 0, errPosition
	}
	at := l.start(n.Line)
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(l.data[at:])
		at += size
	}
	if at > l.starts[n.Line] {
		return 0, errPosition
	}
	return at, nil
}

var errPosition = errors.New("its lines are not where the YAML parser says: rewrite it with `helm repo index`")

// indent is the number of spaces that a line begins with, and what follows them.
func indent(line []byte) (int, []byte) {
	rest := bytes.TrimLeft(line, " ")
	return len(line) - len(rest), rest
}

// above is the offset of line n, or of the first of the comment lines right above it that are indented as far.
func (l lines) above(n int) (int, error) {
	if n < 1 || n > l.count() {
		return 0, errPosition
	}
	width, _ := indent(l.line(n))
	for n > 1 {
		w, rest := indent(l.line(n - 1))
		if w != width || !bytes.HasPrefix(rest, []byte("#")) {
			break
		}
		n--
	}
	return l.start(n), nil
}

// end is the offset at which the document ends: a line of three dots, or the end of the text.
func (l lines) end() int {
	for n := 1; n <= l.count(); n++ {
		if marker := bytes.TrimRight(l.line(n), " \t\r\n"); string(marker) == "..." {
			return l.start(n)
		}
	}
	return len(l.data)
}

// edit puts text in the place of data[from:to].
type edit struct {
	from, to int
	text     string
}

// apply makes edits; they must not overlap.
func apply(data []byte, edits []edit) ([]byte, error) {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		if e.from < at {
			return nil, errPosition
		}
		out.Write(data[at:e.from])
		out.WriteString(e.text)
		at = e.to
	}
	out.Write(data[at:])
	return out.Bytes(), nil
}
