package chart

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const smallSchema = `{
  "type": "object",
  "additionalProperties": false,
  "definitions": {"port": {"type": "integer", "minimum": 0, "maximum": 65535}},
  "properties": {
    "enabled": {"type": "boolean"},
    "global": {"type": "object", "additionalProperties": true, "properties": {"own": {"type": "integer"}}},
    "name": {"type": "string", "pattern": "^[a-z]*$"},
    "names": {"type": "array", "items": {"enum": ["one", "two"]}},
    "port": {"$ref": "#/definitions/port"},
    "sub": {"type": "object", "additionalProperties": true}
  }
}`

func TestCheckSchema(t *testing.T) {
	for name, c := range map[string]struct {
		values, schema string
		want           []string
	}{
		"good":         {"port: 1\n", smallSchema, nil},
		"unknown":      {"port: 1\nother: {a: 1}\n", smallSchema, []string{"other is not in the schema"}},
		"without type": {"name: a\n", strings.Replace(smallSchema, `"type": "string", `, "", 1), []string{"name has no type in the schema"}},
		"free items": {
			"names: []\n", strings.Replace(smallSchema, `, "items": {"enum": ["one", "two"]}`, "", 1), []string{"names is a list whose items have no schema"},
		},
		"open": {
			"port: 1\n", strings.Replace(smallSchema, `"additionalProperties": false`, `"additionalProperties": true`, 1),
			[]string{"# takes any key beside its own, a misspelt one too: set additionalProperties to false"},
		},
		"global": {"global: {own: 1}\n", smallSchema, nil},
		"unsaid": {
			"port: 1\n", strings.Replace(smallSchema, `"sub": {"type": "object", "additionalProperties": true`, `"sub": {"type": "object"`, 1),
			[]string{"#/properties/sub does not say whether it has other keys: set additionalProperties"},
		},
		"dangling": {"port: 1\n", strings.Replace(smallSchema, "#/definitions/port", "#/definitions/part", 1), []string{"port has no type in the schema"}},
	} {
		got, err := CheckSchema(writeChart(t, map[string]string{"values.yaml": c.values, "values.schema.json": c.schema}))
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestUnrefused(t *testing.T) {
	dir := writeChart(t, small, map[string]string{
		"values.schema.json": smallSchema,
		"charts/sub/values.schema.json": `{"type": "object", "additionalProperties": false,
			"properties": {
				"ready": {"type": "boolean"},
				"text": {"type": "string", "maxLength": 3, "minLength": 0, "not": {"const": "long"}},
				"more": {"type": "object", "additionalProperties": true, "propertyNames": {"maxLength": 3}, "dependencies": {"a": ["b"]}}
			}}`,
	})
	cases := []Case{
		{Fails: true, Values: map[string]any{"port": 65536, "names": []any{"three"}}},
		{Fails: true, Values: map[string]any{"sub": map[string]any{"text": "long", "more": map[string]any{"long": 1, "a": 1}}}},
		{Values: map[string]any{"name": "BIG"}},
	}
	got, err := Unrefused(dir, cases)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"values.schema.json#/properties/name/pattern", "values.schema.json#/definitions/port/minimum",
		"charts/sub/values.schema.json#/properties/text/minLength",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
