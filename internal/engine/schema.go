package engine

import (
	"encoding/json"
	"fmt"

	"cuelang.org/go/cue"
	"cuelang.org/go/encoding/jsonschema"

	"github.com/k8ssec/k8ssec"
)

// SchemaCUE returns the posture's schema as CUE source, for editors and for people.
func SchemaCUE() ([]byte, error) {
	return k8ssec.Assets.ReadFile("cue/posture/posture.cue")
}

// SchemaJSON returns a JSON Schema of the cluster file, for editors.
func SchemaJSON() ([]byte, error) {
	l := newLoader("")
	v, err := l.shipped("cue/posture")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	expr, err := jsonschema.Generate(v.LookupPath(cue.ParsePath("#Posture")), nil)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	raw, err := l.ctx.BuildExpr(expr).MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	// Only the profiles must stand in a cluster file: every other value has a default.
	optional(tree)
	tree["title"] = "k8ssec cluster file"
	return json.MarshalIndent(tree, "", "  ")
}

// optional drops every "required": the schema describes a complete posture, a cluster file a part.
func optional(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, isList := v["required"].([]any); isList {
			delete(v, "required")
		}
		for _, child := range v {
			optional(child)
		}
	case []any:
		for _, child := range v {
			optional(child)
		}
	}
}
