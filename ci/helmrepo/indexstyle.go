package helmrepo

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// style is how a list of versions is laid out. All counts are of spaces.
type style struct {
	dash    int  // before the dash
	pad     int  // between the dash and what it lists
	compact bool // lists within an entry are indented no further than their key
}

// helmStyle is how Helm lays out a list below a key.
func helmStyle(key int) style { return style{dash: key, pad: 1, compact: true} }

// styleOf is how a list with at least one item is laid out.
func styleOf(list *yaml.Node) style {
	first := list.Content[0]
	s := style{dash: list.Column - 1, pad: max(first.Column-list.Column-1, 1), compact: true}
	if key, urls := lookup(first, "urls"); urls != nil && urls.Kind == yaml.SequenceNode && !flow(urls) {
		s.compact = urls.Column == key.Column
	}
	return s
}

// chart is a chart with one entry as lines of the index, its name indented by so many spaces and the rest like the last chart there.
func (x *indexText) chart(entry *indexEntry, key int) (string, error) {
	s := helmStyle(key)
	if x.entries != nil && len(x.entries.Content) > 0 {
		name, list := x.entries.Content[len(x.entries.Content)-2], x.entries.Content[len(x.entries.Content)-1]
		if list.Kind == yaml.SequenceNode && !isEmpty(list) && !flow(list) {
			s = styleOf(list)
			s.dash += key + 1 - name.Column
		}
	}
	return s.chart(entry, key, x.eol())
}

func (s style) chart(entry *indexEntry, key int, eol string) (string, error) {
	name, err := yaml.Marshal(entry.Name)
	if err != nil {
		return "", err
	}
	item, err := s.item(entry, eol)
	return strings.Repeat(" ", key) + strings.TrimSpace(string(name)) + ":" + eol + item, err
}

// item is an entry as lines of the index.
func (s style) item(entry *indexEntry, eol string) (string, error) {
	// The names and the omission of fields are those of JSON, for Helm's types have no others.
	data, err := json.Marshal(entry)
	if err != nil {
		return "", err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return "", err
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if s.compact {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(fields); err != nil {
		return "", err
	}
	var out strings.Builder
	lead := strings.Repeat(" ", s.dash) + "-" + strings.Repeat(" ", s.pad)
	for line := range strings.Lines(text.String()) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			out.WriteString(lead + line)
		}
		out.WriteString(eol)
		lead = strings.Repeat(" ", s.dash+1+s.pad)
	}
	return out.String(), nil
}

// newIndex is an index with one entry, as Helm lays it out.
func newIndex(entry *indexEntry, now time.Time) ([]byte, error) {
	chart, err := helmStyle(2).chart(entry, 2, "\n")
	return []byte("apiVersion: v1\nentries:\n" + chart + "generated: \"" + timestamp(now) + "\"\n"), err
}
