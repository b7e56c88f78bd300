// Package kubeschema makes JSON schemas of the kinds that a Kubernetes release and some extensions of it have. They are strict: an
// object has no fields but those that its kind has, and a field that is null is refused.
package kubeschema

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"
)

// Set is the schemas for one Kubernetes release.
type Set struct {
	// KubeVersion is the release, as in 1.29.14.
	KubeVersion string
	// Location is where the schemas are, as kubeconform's schema location.
	Location string
	// Extensions are the group/version/Kind of those kinds that are not Kubernetes' own.
	Extensions []string
}

// definitions is the file with all types, which those of the kinds refer to.
const definitions = "definitions.json"

// Write makes the schemas for a release, which is Oldest, Newest or another version of their module, as files in dir. It downloads the
// modules that it has not yet.
func Write(ctx context.Context, release, dir string) (Set, error) {
	set := Set{
		KubeVersion: strings.TrimPrefix(release[strings.LastIndex(release, "@")+1:], "v"),
		Location:    filepath.Join(dir, "{{.Group}}", "{{.ResourceAPIVersion}}", "{{.ResourceKind}}.json"),
	}
	if !semver.IsValid("v" + set.KubeVersion) {
		return Set{}, fmt.Errorf("release %q is not module@version", release)
	}
	types := map[string]any{}
	kinds := map[string]string{}
	if err := readKubernetes(ctx, release, types, kinds); err != nil {
		return Set{}, err
	}
	for _, module := range slices.Sorted(maps.Keys(extensions)) {
		found, err := readExtension(ctx, module, extensions[module], types, kinds)
		if err != nil {
			return Set{}, err
		}
		set.Extensions = append(set.Extensions, found...)
	}
	if err := writeJSON(filepath.Join(dir, definitions), map[string]any{"definitions": types}); err != nil {
		return Set{}, err
	}
	for kind, name := range kinds {
		parts := strings.Split(kind, "/")
		// kubeconform takes the version of the core group for its group.
		if parts[0] == "" {
			parts[0] = parts[1]
		}
		file := filepath.Join(dir, parts[0], parts[1], strings.ToLower(parts[2])+".json")
		reference := map[string]any{"$ref": "../../" + definitions + "#/definitions/" + name}
		if err := writeJSON(file, reference); err != nil {
			return Set{}, err
		}
	}
	return set, nil
}

func writeJSON(file string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// objectMeta is the type of the field metadata.
const objectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// readKubernetes adds what the OpenAPI document of a Kubernetes release has: the types by their name, and the names of kinds by
// group/version/Kind.
func readKubernetes(ctx context.Context, module string, types map[string]any, kinds map[string]string) error {
	dir, err := moduleDir(ctx, module)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		return err
	}
	var document struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(data, &document); err != nil {
		return fmt.Errorf("OpenAPI document of %s: %w", module, err)
	}
	for name, schema := range document.Definitions {
		identities, _ := schema["x-kubernetes-group-version-kind"].([]any)
		types[name] = strict(schema, name)
		// Types with more than one are options of calls, such as DeleteOptions.
		if len(identities) != 1 {
			continue
		}
		id, _ := identities[0].(map[string]any)
		kinds[fmt.Sprintf("%s/%s/%s", id["group"], id["version"], id["kind"])] = name
	}
	if types[objectMeta] == nil || kinds["/v1/Service"] == "" {
		return fmt.Errorf("OpenAPI document of %s has no %s, or no Service: it is of another form than this reads", module, objectMeta)
	}
	return nil
}

var yamlDocuments = regexp.MustCompile(`(?m)^---.*$`)

// readExtension adds the kinds that the custom resource definitions of a module define, and returns them.
func readExtension(ctx context.Context, module, pattern string, types map[string]any, kinds map[string]string) ([]string, error) {
	files, err := moduleFiles(ctx, module, pattern)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, text := range yamlDocuments.Split(string(data), -1) {
			more, err := readDefinition([]byte(text), types, kinds)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			found = append(found, more...)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no custom resource definitions in %s", module, pattern)
	}
	return found, nil
}

func readDefinition(text []byte, types map[string]any, kinds map[string]string) ([]string, error) {
	var definition struct {
		Kind string
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Served bool
				Schema struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(text, &definition); err != nil {
		return nil, err
	}
	if definition.Kind != "CustomResourceDefinition" {
		return nil, nil
	}
	var found []string
	for _, version := range definition.Spec.Versions {
		if !version.Served {
			continue
		}
		kind := fmt.Sprintf("%s/%s/%s", definition.Spec.Group, version.Name, definition.Spec.Names.Kind)
		name := strings.ReplaceAll(kind, "/", ".")
		schema := version.Schema.OpenAPIV3Schema
		properties, ok := schema["properties"].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("custom resource definition of %s has no properties", kind)
		}
		properties["metadata"] = map[string]any{"$ref": "#/definitions/" + objectMeta}
		types[name] = strict(schema, name)
		kinds[kind] = name
		found = append(found, kind)
	}
	return found, nil
}
