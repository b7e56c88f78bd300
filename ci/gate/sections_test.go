package gate

import (
	"strings"
	"testing"
)

func TestPlaceKeepsFileAndLine(t *testing.T) {
	for file, want := range map[string]string{
		"image/exceptions.yaml":                          "image/exceptions.yaml:12",
		strings.Repeat("/deep", 50) + "/exceptions.yaml": "…deep/deep/deep/deep/deep/deep/deep/deep/exceptions.yaml:12",
	} {
		got := place(Exception{File: file, Line: 12})
		if !strings.HasSuffix(got, strings.TrimPrefix(want, "…deep")) || len([]rune(got)) > maxPlace {
			t.Errorf("%s: %q of %d characters", file, got, len([]rune(got)))
		}
	}
}
