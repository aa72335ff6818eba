package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/k8ssec/k8ssec/internal/schema"
)

// metaV1 begins the names of the definitions that every object shares.
const metaV1 = "io.k8s.apimachinery.pkg.apis.meta.v1."

// swagger is the part of Kubernetes' OpenAPI v2 document that we read.
type swagger struct {
	Paths map[string]struct {
		Post *struct {
			Action     string    `json:"x-kubernetes-action"`
			GVK        groupKind `json:"x-kubernetes-group-version-kind"`
			Parameters []struct {
				In     string `json:"in"`
				Schema struct {
					Ref string `json:"$ref"`
				} `json:"schema"`
			} `json:"parameters"`
		} `json:"post"`
	} `json:"paths"`
	Definitions map[string]map[string]any `json:"definitions"`
}

type groupKind struct{ Group, Version, Kind string }

func (k groupKind) apiVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// addSwagger adds the kinds of one Kubernetes release that a client can create.
func addSwagger(b *schema.Bundle, version string) error {
	dir, err := moduleDir("k8s.io/kubernetes", version)
	if err != nil {
		return err
	}
	b.Sources = append(b.Sources, "k8s.io/kubernetes@"+version)
	text, err := os.ReadFile(filepath.Join(dir, "api/openapi-spec/swagger.json"))
	if err != nil {
		return err
	}
	var s swagger
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	definitions := map[string]*schema.Schema{}
	for name, raw := range s.Definitions {
		converted, err := convert(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		definitions[name] = converted
	}
	special(definitions)
	if err := addEnums(definitions, filepath.Join(dir, "pkg/generated/openapi/zz_generated.openapi.go")); err != nil {
		return err
	}
	for path, ops := range s.Paths {
		if ops.Post == nil || ops.Post.Action != "post" || strings.Contains(path, "{name}") {
			continue
		}
		kind := schema.Kind{Scope: schema.Cluster}
		if strings.Contains(path, "/namespaces/{namespace}/") {
			kind.Scope = schema.Namespaced
		}
		for _, p := range ops.Post.Parameters {
			if p.In == "body" {
				kind.Definition = strings.TrimPrefix(p.Schema.Ref, "#/definitions/")
			}
		}
		if definitions[kind.Definition] == nil {
			return fmt.Errorf("%s: no schema", path)
		}
		b.Kinds[ops.Post.GVK.apiVersion()+" "+ops.Post.GVK.Kind] = kind
	}
	return addReachable(b, definitions)
}

// special mends what OpenAPI cannot say of some types.
func special(definitions map[string]*schema.Schema) {
	for name, s := range definitions {
		switch {
		case strings.HasSuffix(name, ".resource.Quantity"):
			*s = schema.Schema{Format: "quantity"}
		case strings.HasSuffix(name, ".intstr.IntOrString"):
			*s = schema.Schema{IntOrString: true}
		case strings.HasSuffix(name, ".RawExtension"), strings.HasSuffix(name, ".FieldsV1"), strings.HasSuffix(name, ".Patch"):
			s.Open = true
		case s.Type == "object" && len(s.Properties) == 0 && s.Additional == nil:
			s.Closed = true
		}
	}
}

// addReachable adds the definitions that the kinds need, and no others.
func addReachable(b *schema.Bundle, definitions map[string]*schema.Schema) error {
	var add func(name string) error
	var visit func(s *schema.Schema) error
	visit = func(s *schema.Schema) error {
		if s == nil {
			return nil
		}
		if s.Ref != "" {
			return add(s.Ref)
		}
		for _, p := range s.Properties {
			if err := visit(p); err != nil {
				return err
			}
		}
		for _, list := range [][]*schema.Schema{s.AllOf, s.AnyOf, s.OneOf, {s.Items, s.Additional, s.Not}} {
			for _, p := range list {
				if err := visit(p); err != nil {
					return err
				}
			}
		}
		return nil
	}
	add = func(name string) error {
		if _, ok := b.Definitions[name]; ok {
			return nil
		}
		s, ok := definitions[name]
		if !ok {
			return fmt.Errorf("no definition %s", name)
		}
		text, err := json.Marshal(s)
		if err != nil {
			return err
		}
		b.Definitions[name] = text
		return visit(s)
	}
	for _, k := range b.Kinds {
		if err := add(k.Definition); err != nil {
			return err
		}
	}
	return nil
}

// ignored are the keywords that say nothing about whether an object is valid, or nothing that can
// be judged without the cluster (CEL rules are the API server's).
var ignored = map[string]bool{
	"description": true, "title": true, "default": true, "example": true, "externalDocs": true,
	"x-kubernetes-group-version-kind": true, "x-kubernetes-unions": true, "x-kubernetes-validations": true,
	"x-kubernetes-list-type": true, "x-kubernetes-list-map-keys": true, "x-kubernetes-map-type": true,
	"x-kubernetes-patch-strategy": true, "x-kubernetes-patch-merge-key": true, "nullable": true,
}

// convert turns the JSON of a schema into ours. A keyword that it does not know is an error, so that
// none is lost in silence.
func convert(raw map[string]any) (*schema.Schema, error) {
	known := map[string]any{}
	for key, value := range raw {
		switch {
		case ignored[key]:
		case key == "$ref":
			known[key] = strings.TrimPrefix(value.(string), "#/definitions/")
		case key == "x-kubernetes-preserve-unknown-fields":
			known["open"] = value
		case key == "x-kubernetes-int-or-string":
			known["intOrString"] = value
		case key == "x-kubernetes-embedded-resource":
			known["embedded"] = value
		case key == "properties":
			properties := map[string]*schema.Schema{}
			for name, p := range value.(map[string]any) {
				s, err := convert(p.(map[string]any))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
				properties[name] = s
			}
			known[key] = properties
		case key == "items" || key == "not" || key == "additionalProperties":
			inner, ok := value.(map[string]any)
			if !ok { // additionalProperties: true or false
				if value == true {
					known["open"] = true
				}
				continue
			}
			s, err := convert(inner)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			known[key] = s
		case key == "allOf" || key == "anyOf" || key == "oneOf":
			var list []*schema.Schema
			for _, p := range value.([]any) {
				s, err := convert(p.(map[string]any))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", key, err)
				}
				list = append(list, s)
			}
			known[key] = list
		default:
			known[key] = value
		}
	}
	text, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	var s schema.Schema
	if err := d.Decode(&s); err != nil {
		return nil, err
	}
	return &s, nil
}
