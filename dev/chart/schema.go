package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// Charts are the directories of the chart in dir and of its subcharts.
func Charts(dir string) ([]string, error) {
	subcharts, err := filepath.Glob(filepath.Join(dir, "charts", "*", "Chart.yaml"))
	dirs := []string{dir}
	for _, file := range subcharts {
		dirs = append(dirs, filepath.Dir(file))
	}
	return dirs, err
}

// schema is a values.schema.json.
type schema struct{ root map[string]any }

func readSchema(dir string) (schema, error) {
	data, err := os.ReadFile(filepath.Join(dir, "values.schema.json"))
	if err != nil {
		return schema{}, err
	}
	var s schema
	if err := json.Unmarshal(data, &s.root); err != nil {
		return schema{}, fmt.Errorf("%s: %w", filepath.Join(dir, "values.schema.json"), err)
	}
	return s, nil
}

// CheckSchema returns what is wrong between values.yaml and values.schema.json of the chart in dir, subcharts aside: values that the
// schema does not have or gives no type, lists without a schema for their items, and objects of which the schema does not say whether
// they may have other keys, or lets in others beside its own.
func CheckSchema(dir string) ([]string, error) {
	s, err := readSchema(dir)
	if err != nil {
		return nil, err
	}
	values, err := readValues(filepath.Join(dir, "values.yaml"))
	if err != nil {
		return nil, err
	}
	problems := s.closed(s.root, "#")
	return append(problems, s.describes(values, s.root, "")...), nil
}

// describes holds a value against its schema.
func (s schema) describes(value any, schema map[string]any, path string) []string {
	schema = s.resolve(schema)
	if schema["type"] == nil && schema["enum"] == nil && schema["const"] == nil && schema["oneOf"] == nil && schema["anyOf"] == nil {
		return []string{fmt.Sprintf("%s has no type in the schema", path)}
	}
	if isType(schema, "array") && schema["items"] == nil {
		return []string{fmt.Sprintf("%s is a list whose items have no schema", path)}
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	properties, _ := schema["properties"].(map[string]any)
	var problems []string
	for _, key := range slices.Sorted(maps.Keys(object)) {
		inner := strings.TrimPrefix(path+"."+key, ".")
		if property, ok := properties[key].(map[string]any); ok {
			problems = append(problems, s.describes(object[key], property, inner)...)
			continue
		}
		switch free := schema["additionalProperties"].(type) {
		case map[string]any:
			problems = append(problems, s.describes(object[key], free, inner)...)
		case bool:
			if !free {
				problems = append(problems, fmt.Sprintf("%s is not in the schema", inner))
			}
		}
	}
	return problems
}

// closed looks for objects with keys that nobody has thought of, in a schema and those within it.
func (s schema) closed(schema map[string]any, pointer string) []string {
	var problems []string
	properties, _ := schema["properties"].(map[string]any)
	if isType(schema, "object") || properties != nil {
		switch more := schema["additionalProperties"]; {
		case more == nil:
			problems = append(problems, pointer+" does not say whether it has other keys: set additionalProperties")
		// What is global is for all charts of a release: others have keys of theirs in it.
		case more == true && len(properties) > 0 && pointer != "#/properties/global":
			problems = append(problems, pointer+" takes any key beside its own, a misspelt one too: set additionalProperties to false")
		}
	}
	within(schema, pointer, func(inner map[string]any, pointer string) { problems = append(problems, s.closed(inner, pointer)...) })
	return problems
}

// within calls f with the schemas directly within a schema, and where they are.
func within(schema map[string]any, pointer string, f func(inner map[string]any, pointer string)) {
	for _, keyword := range []string{"properties", "patternProperties", "definitions", "$defs"} {
		named, _ := schema[keyword].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(named)) {
			if inner, ok := named[key].(map[string]any); ok {
				f(inner, pointer+"/"+keyword+"/"+key)
			}
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[keyword].(map[string]any); ok {
			f(inner, pointer+"/"+keyword)
		}
	}
}

// resolve follows references within the schema.
func (s schema) resolve(schema map[string]any) map[string]any {
	for {
		reference, ok := schema["$ref"].(string)
		if !ok {
			return schema
		}
		var at any = s.root
		for _, key := range strings.Split(strings.TrimPrefix(reference, "#/"), "/") {
			inner, _ := at.(map[string]any)
			at = inner[key]
		}
		if schema, ok = at.(map[string]any); !ok {
			return map[string]any{}
		}
	}
}

func isType(schema map[string]any, want string) bool {
	if list, ok := schema["type"].([]any); ok {
		return slices.Contains(list, any(want))
	}
	return schema["type"] == want
}

// restrictions are the keywords that refuse a value of the right type.
var restrictions = []string{
	"enum", "const", "pattern", "format", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"minItems", "maxItems", "uniqueItems", "contains", "minProperties", "maxProperties", "propertyNames", "oneOf", "anyOf", "not", "dependencies",
}

// Unrefused are the restrictions in the schemas of the chart in dir and its subcharts that no case which fails runs into, as JSON pointers.
func Unrefused(dir string, cases []Case) ([]string, error) {
	loaded, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	dirs, err := Charts(dir)
	if err != nil {
		return nil, err
	}
	var unrefused []string
	for _, each := range dirs {
		s, err := readSchema(each)
		if err != nil {
			return nil, err
		}
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		const url = "file:///values.schema.json"
		if err := compiler.AddResource(url, any(s.root)); err != nil {
			return nil, err
		}
		compiled, err := compiler.Compile(url)
		if err != nil {
			return nil, err
		}
		hit := map[string]bool{}
		for _, c := range cases {
			if !c.Fails {
				continue
			}
			values, err := util.CoalesceValues(loaded, c.Values)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			own := values.AsMap()
			if each != dir {
				own, _ = own[filepath.Base(each)].(map[string]any)
			}
			if err := refusals(compiled, own, hit); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		file, err := filepath.Rel(dir, filepath.Join(each, "values.schema.json"))
		if err != nil {
			return nil, err
		}
		for _, pointer := range restricted(s.root, "#") {
			if !hit[url+pointer] {
				unrefused = append(unrefused, filepath.ToSlash(file)+pointer)
			}
		}
	}
	return unrefused, nil
}

// refusals notes in hit the restrictions that refuse the values.
func refusals(compiled *jsonschema.Schema, values map[string]any, hit map[string]bool) error {
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	var invalid *jsonschema.ValidationError
	if err := compiled.Validate(instance); err != nil && !errors.As(err, &invalid) {
		return err
	}
	var note func(e *jsonschema.ValidationError)
	note = func(e *jsonschema.ValidationError) {
		switch e.ErrorKind.(type) {
		case *kind.Not: // tells no keyword
			hit[e.SchemaURL+"/not"] = true
		case *kind.PropertyNames: // is located at the keyword
			hit[e.SchemaURL] = true
		case *kind.Dependency: // tells dependency
			hit[e.SchemaURL+"/dependencies"] = true
		default:
			if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
				hit[e.SchemaURL+"/"+path[0]] = true
			}
		}
		for _, cause := range e.Causes {
			note(cause)
		}
	}
	if invalid != nil {
		note(invalid)
	}
	return nil
}

// restricted returns where a schema, and those within it, have restrictions.
func restricted(schema map[string]any, pointer string) []string {
	var found []string
	for _, keyword := range slices.Sorted(maps.Keys(schema)) {
		if slices.Contains(restrictions, keyword) {
			found = append(found, pointer+"/"+keyword)
		}
	}
	within(schema, pointer, func(inner map[string]any, pointer string) { found = append(found, restricted(inner, pointer)...) })
	return found
}
