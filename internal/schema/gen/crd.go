package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/internal/schema"
)

// crd is the part of a CustomResourceDefinition that we read.
type crd struct {
	Spec struct {
		Group    string
		Names    struct{ Kind string }
		Scope    schema.Scope
		Versions []struct {
			Name   string
			Served bool
			Schema struct {
				OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
			}
		}
	}
}

// addCRD adds the served versions of one CustomResourceDefinition.
func addCRD(b *schema.Bundle, module, version, file string) error {
	dir, err := moduleDir(module, version)
	if err != nil {
		return err
	}
	b.Sources = append(b.Sources, module+"@"+version)
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return err
	}
	var c crd
	if err := yaml.Unmarshal(text, &c); err != nil {
		return err
	}
	added := 0
	for _, v := range c.Spec.Versions {
		if !v.Served {
			continue
		}
		s, err := convert(v.Schema.OpenAPIV3Schema)
		if err != nil {
			return err
		}
		shut(s)
		s.Properties["apiVersion"] = &schema.Schema{Type: "string"}
		s.Properties["kind"] = &schema.Schema{Type: "string"}
		s.Properties["metadata"] = &schema.Schema{Ref: metaV1 + "ObjectMeta"}
		name := c.Spec.Group + "." + v.Name + "." + c.Spec.Names.Kind
		definition, err := json.Marshal(s)
		if err != nil {
			return err
		}
		b.Definitions[name] = definition
		b.Kinds[c.Spec.Group+"/"+v.Name+" "+c.Spec.Names.Kind] = schema.Kind{Definition: name, Scope: c.Spec.Scope}
		added++
	}
	if added == 0 {
		return fmt.Errorf("no served version")
	}
	return nil
}

// shut closes the objects that name no field: the API server prunes all that is in them.
func shut(s *schema.Schema) {
	if s == nil {
		return
	}
	if s.Type == "object" && len(s.Properties) == 0 && s.Additional == nil && !s.Open && !s.Embedded {
		s.Closed = true
	}
	for _, p := range s.Properties {
		shut(p)
	}
	shut(s.Items)
	shut(s.Additional)
}
