package kubeschema

// quantity is the type for amounts, which the OpenAPI document has as a string alone.
const quantity = "io.k8s.apimachinery.pkg.api.resource.Quantity"

// kept are the keywords that mean the same in OpenAPI and in JSON schema, and hold no schemas.
var kept = []string{
	"$ref", "type", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minimum", "maximum",
	"minProperties", "maxProperties", "required",
}

// strict turns a schema of an OpenAPI document, the type of that name or a part of one, into a JSON schema that knows no other fields.
func strict(schema map[string]any, name string) map[string]any {
	out := map[string]any{}
	for _, keyword := range kept {
		if value, ok := schema[keyword]; ok {
			out[keyword] = value
		}
	}
	if intOrString := schema["x-kubernetes-int-or-string"] == true; intOrString || schema["format"] == "int-or-string" {
		out["type"] = []any{"integer", "string"}
	}
	if name == quantity {
		out["type"] = []any{"number", "string"}
	}
	if items, ok := schema["items"].(map[string]any); ok {
		out["items"] = strict(items, "")
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		if list, ok := schema[keyword].([]any); ok {
			out[keyword] = conditions(list)
		}
	}
	if not, ok := schema["not"].(map[string]any); ok {
		out["not"] = condition(not)
	}
	properties, hasProperties := schema["properties"].(map[string]any)
	if hasProperties {
		fields := make(map[string]any, len(properties))
		for field, value := range properties {
			if property, ok := value.(map[string]any); ok {
				fields[field] = strict(property, "")
			}
		}
		out["properties"] = fields
	}
	switch more := schema["additionalProperties"].(type) {
	case map[string]any:
		out["additionalProperties"] = strict(more, "")
	case nil:
		if hasProperties && schema["x-kubernetes-preserve-unknown-fields"] != true {
			out["additionalProperties"] = false
		}
	}
	if schema["nullable"] == true {
		if is, ok := out["type"].(string); ok {
			out["type"] = []any{is, "null"}
		}
	}
	return out
}

func conditions(list []any) []any {
	out := make([]any, 0, len(list))
	for _, value := range list {
		if schema, ok := value.(map[string]any); ok {
			out = append(out, condition(schema))
		}
	}
	return out
}

// condition is strict for a schema that stands beside another one for the same object: the fields that it does not name are the
// other's business.
func condition(schema map[string]any) map[string]any {
	out := strict(schema, "")
	delete(out, "additionalProperties")
	if properties, ok := schema["properties"].(map[string]any); ok {
		fields := make(map[string]any, len(properties))
		for field, value := range properties {
			if property, ok := value.(map[string]any); ok {
				fields[field] = condition(property)
			}
		}
		out["properties"] = fields
	}
	return out
}
