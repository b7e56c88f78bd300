package chart

import (
	"strings"
	"testing"
)

func TestDifference(t *testing.T) {
	const first, again = "---\n# Source: a\na: 1\npassword: x\n---\nb: |\n  two\n", "a: 1\npassword: y\n---\nb: |\n  two\n"
	for other, want := range map[string]string{
		"a: 1\npassword: z\n---\nb: |\n  two\n":                   "",
		"---\na: 1\npassword: z\n\n---\nb: |\n  two\n  \n\n---\n": "",
		"a: 2\npassword: z\n---\nb: |\n  two\n":                   `"a": 2`,
		"a: 1\ntoken: z\n---\nb: |\n  two\n":                      `"token": "z"`,
		"a: 1\npassword: z\n---\nb: |+\n  two\n\n":                `"two\n\n"`,
		"b: |\n  two\n---\na: 1\npassword: z\n":                   `"b": "two`,
		"a: 1\npassword: z\n":                                     `"b": "two`,
	} {
		got, err := Difference(first, again, other)
		if err != nil {
			t.Fatal(err)
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s in it", other, got, want)
		}
	}
	if _, err := Difference(first, first+"c: 3\n", first); err == nil || !strings.Contains(err.Error(), "must stay within a value") {
		t.Errorf("another number of lines: %v", err)
	}
	if _, err := Difference("a: [", again, first); err == nil {
		t.Error("what is no YAML is compared")
	}
}
