package main

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/k8ssec/k8ssec/internal/schema"
)

func TestConvert(t *testing.T) {
	var raw map[string]any
	if err := json.Unmarshal([]byte(`{"description": "x", "type": "object", "required": ["a"], "x-kubernetes-preserve-unknown-fields": true,
		"properties": {"description": {"type": "string", "maxLength": 3}, "a": {"$ref": "#/definitions/io.A"}, "b": {"x-kubernetes-int-or-string": true}},
		"additionalProperties": false, "oneOf": [{"required": ["b"]}]}`), &raw); err != nil {
		t.Fatal(err)
	}
	three := 3
	want := &schema.Schema{
		Type: "object", Required: []string{"a"}, Open: true, OneOf: []*schema.Schema{{Required: []string{"b"}}},
		Properties: map[string]*schema.Schema{"description": {Type: "string", MaxLength: &three}, "a": {Ref: "io.A"}, "b": {IntOrString: true}},
	}
	if got, err := convert(raw); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := convert(map[string]any{"type": "string", "multipleOf": 2.0}); err == nil {
		t.Error("a keyword that we do not know is lost in silence")
	}
}

func TestDefinitionName(t *testing.T) {
	imports := map[string]string{"corev1": "k8s.io/api/core/v1", "apiextensionsv1": "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"}
	for in, want := range map[string]string{
		`"k8s.io/api/core/v1.Pod"`:                  "io.k8s.api.core.v1.Pod",
		`corev1.Pod{}.OpenAPIModelName()`:           "io.k8s.api.core.v1.Pod",
		`apiextensionsv1.JSON{}.OpenAPIModelName()`: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
		`other()`: "",
	} {
		e, err := parser.ParseExpr(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := definitionName(e, imports); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestEnums(t *testing.T) {
	// Fifty properties, because fewer enums mean that the form of the source is not understood.
	var properties strings.Builder
	definition := &schema.Schema{Properties: map[string]*schema.Schema{}}
	for i := range 50 {
		name := fmt.Sprintf("p%d", i)
		properties.WriteString(`"` + name + `": {SchemaProps: spec.SchemaProps{Type: []string{"string"}, Enum: []interface{}{"a", "b"}}},`)
		definition.Properties[name] = &schema.Schema{Type: "string"}
	}
	properties.WriteString(`"list": {SchemaProps: spec.SchemaProps{Items: &spec.SchemaOrArray{Schema: &spec.Schema{SchemaProps: spec.SchemaProps{Enum: []interface{}{"c"}}}}}},`)
	definition.Properties["list"] = &schema.Schema{Type: "array", Items: &schema.Schema{Type: "string"}}
	source := `package openapi
import corev1 "k8s.io/api/core/v1"
func GetOpenAPIDefinitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	return map[string]common.OpenAPIDefinition{corev1.Pod{}.OpenAPIModelName(): schema_Pod(ref)}
}
func schema_Pod(ref common.ReferenceCallback) common.OpenAPIDefinition {
	return common.OpenAPIDefinition{Schema: spec.Schema{SchemaProps: spec.SchemaProps{Properties: map[string]spec.Schema{` + properties.String() + `}}}}
}`
	name := filepath.Join(t.TempDir(), "zz.go")
	if err := os.WriteFile(name, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := addEnums(map[string]*schema.Schema{"io.k8s.api.core.v1.Pod": definition}, name); err != nil {
		t.Fatal(err)
	}
	if got := definition.Properties["p0"].Enum; !reflect.DeepEqual(got, []any{"a", "b"}) {
		t.Errorf("got %v", got)
	}
	if got := definition.Properties["list"].Items.Enum; !reflect.DeepEqual(got, []any{"c"}) {
		t.Errorf("got %v", got)
	}
	if err := addEnums(map[string]*schema.Schema{}, name); err == nil {
		t.Error("no enum at all is no error")
	}
}

func TestGoTypes(t *testing.T) {
	dir := t.TempDir()
	for name, source := range map[string]string{
		"one/types.go": `package one
import ("example.org/two"; metav1 "k8s.io/apimachinery/pkg/apis/meta/v1")
// Level is closed.
// +enum
type Level string
const (LevelB Level = "b"; LevelA Level = "a")
type Open string
const OpenA Open = "a"
type Base struct { Kind string ` + "`json:\"kind\"`" + ` }
type Config struct {
	Base ` + "`json:\",inline\"`" + `
	Level *Level ` + "`json:\"level,omitempty\"`" + `
	Open Open ` + "`json:\"open\"`" + `
	Timeout metav1.Duration ` + "`json:\"timeout\"`" + `
	Items []two.Item ` + "`json:\"items\"`" + `
	Nothing struct{} ` + "`json:\"nothing\"`" + `
	Skipped string ` + "`json:\"-\"`" + `
	Self *Config ` + "`json:\"self\"`" + `
	Data []byte
}`,
		"two/types.go":      "package two\ntype Item struct { Values map[string]int32 `json:\"values\"` }\n",
		"two/types_test.go": "package two\ntype Item int\n",
	} {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := newBundle()
	g := newGoTypes(b)
	g.modules["example.org"] = dir
	if err := g.addKind("x/v1", "Config", "example.org/one", "Config"); err != nil {
		t.Fatal(err)
	}
	var got schema.Schema
	if err := json.Unmarshal(b.Definitions["example.org/one.Config"], &got); err != nil {
		t.Fatal(err)
	}
	want := schema.Schema{Type: "object", Properties: map[string]*schema.Schema{
		"kind": {Type: "string"}, "level": {Type: "string", Enum: []any{"a", "b"}}, "open": {Type: "string"},
		"timeout": {Type: "string", Format: "duration"}, "items": {Type: "array", Items: &schema.Schema{Ref: "example.org/two.Item"}},
		"nothing": {Type: "object", Closed: true}, "self": {Ref: "example.org/one.Config"}, "Data": {Type: "string", Format: "byte"},
	}}
	if !reflect.DeepEqual(got, want) {
		text, err := json.MarshalIndent(got, "", " ")
		t.Errorf("got %s, %v", text, err)
	}
	if err := g.addKind("x/v1", "None", "example.org/one", "None"); err == nil {
		t.Error("no type is no error")
	}
}
