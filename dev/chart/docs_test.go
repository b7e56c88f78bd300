package chart

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUndocumented(t *testing.T) {
	dir := writeChart(t, map[string]string{"values.yaml": `# -- First.
first: 1
# Not for the README.
second: 2
third:
  # -- Has a text
  # of two lines.
  text: a
  none: []

# -- Free.
fourth:
  a: 1
`})
	got, err := Undocumented(dir)
	if diff := cmp.Diff([]string{"second", "third.none"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
