package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Undocumented are the values in values.yaml of the chart in dir that neither they themselves nor a value around them has a comment on,
// as helm-docs reads them: "# -- " and a text.
func Undocumented(dir string) ([]string, error) {
	file := filepath.Join(dir, "values.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	values := document.Content[0]
	if values.Kind == yaml.MappingNode && len(values.Content) > 0 {
		// The parser takes the comment on the first value for the file's.
		values.Content[0].HeadComment += "\n" + document.HeadComment
	}
	return undocumented(values, ""), nil
}

func undocumented(values *yaml.Node, path string) []string {
	if values.Kind != yaml.MappingNode || len(values.Content) == 0 {
		return []string{path}
	}
	var found []string
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		if !strings.Contains("\n"+key.HeadComment, "\n# -- ") {
			found = append(found, undocumented(value, strings.TrimPrefix(path+"."+key.Value, "."))...)
		}
	}
	return found
}
