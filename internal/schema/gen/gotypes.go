package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/internal/schema"
)

// goTypes makes schemas from the Go types of configuration files. It reads the source, because most
// of these packages cannot be imported, and four versions of one not at once.
type goTypes struct {
	bundle   *schema.Bundle
	modules  map[string]string // module to directory
	packages map[string]*goPackage
}

// goPackage is one parsed package.
type goPackage struct {
	types  map[string]*goType
	consts map[string][]any // type to its constants
}

type goType struct {
	spec    *ast.TypeSpec
	doc     string
	imports map[string]string
}

func newGoTypes(b *schema.Bundle) *goTypes {
	return &goTypes{bundle: b, modules: map[string]string{}, packages: map[string]*goPackage{}}
}

// neighbours are the modules whose types the others use, by the same release.
var neighbours = []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/component-base", "k8s.io/apiserver"}

// addModules makes the types of a module and of its neighbours known.
func (g *goTypes) addModules(module, version, release string) error {
	wanted := map[string]string{module: version, "sigs.k8s.io/kustomize/kyaml": "v0.21.1"}
	for _, n := range neighbours {
		wanted[n] = "v0." + release
	}
	for m, v := range wanted {
		if _, ok := g.modules[m]; ok {
			continue
		}
		dir, err := moduleDir(m, v)
		if err != nil {
			return err
		}
		g.modules[m] = dir
		if m == module {
			g.bundle.Sources = append(g.bundle.Sources, m+"@"+v)
		}
	}
	return nil
}

func (g *goTypes) addKind(apiVersion, kind, pkg, name string) error {
	definition, err := g.define(pkg, name)
	if err != nil {
		return err
	}
	g.bundle.Kinds[apiVersion+" "+kind] = schema.Kind{Definition: definition, Scope: schema.File}
	return nil
}

// define adds the schema of a named type, and those that it needs.
func (g *goTypes) define(pkg, name string) (string, error) {
	key := pkg + "." + name
	if _, ok := g.bundle.Definitions[key]; ok {
		return key, nil
	}
	g.bundle.Definitions[key] = json.RawMessage("{}") // ends recursion
	p, err := g.load(pkg)
	if err != nil {
		return "", err
	}
	t, ok := p.types[name]
	if !ok {
		return "", fmt.Errorf("no type %s", key)
	}
	s, err := g.schemaOf(pkg, t, t.spec.Type)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	g.bundle.Definitions[key] = text
	return key, nil
}

// load parses the package of an import path.
func (g *goTypes) load(pkg string) (*goPackage, error) {
	if p, ok := g.packages[pkg]; ok {
		return p, nil
	}
	dir := ""
	for module, moduleDir := range g.modules {
		if rest, ok := strings.CutPrefix(pkg+"/", module+"/"); ok {
			dir = filepath.Join(moduleDir, rest)
		}
	}
	if dir == "" {
		return nil, fmt.Errorf("no module for %s", pkg)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	p := &goPackage{types: map[string]*goType{}, consts: map[string][]any{}}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") || strings.HasPrefix(e.Name(), "zz_") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if err := p.add(file); err != nil {
			return nil, err
		}
	}
	g.packages[pkg] = p
	return p, nil
}

func (p *goPackage) add(file *ast.File) error {
	imports := map[string]string{}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		alias := imported[strings.LastIndex(imported, "/")+1:]
		if spec.Name != nil {
			alias = spec.Name.Name
		}
		imports[alias] = imported
	}
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				doc := spec.Doc.Text()
				if len(decl.Specs) == 1 {
					doc += decl.Doc.Text()
				}
				p.types[spec.Name.Name] = &goType{spec: spec, doc: doc, imports: imports}
			case *ast.ValueSpec:
				t, ok := spec.Type.(*ast.Ident)
				if decl.Tok != token.CONST || !ok {
					continue
				}
				for _, v := range spec.Values {
					if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						s, err := strconv.Unquote(lit.Value)
						if err != nil {
							return err
						}
						p.consts[t.Name] = append(p.consts[t.Name], s)
					}
				}
			}
		}
	}
	return nil
}

// opaque are types whose JSON is not that of their fields.
var opaque = map[string]*schema.Schema{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":                                 {Type: "string", Format: "duration"},
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":                                     {Type: "string", Format: "date-time"},
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":                                {Type: "string", Format: "date-time"},
	"k8s.io/apimachinery/pkg/api/resource.Quantity":                                 {Format: "quantity"},
	"k8s.io/apimachinery/pkg/api/resource.QuantityValue":                            {Format: "quantity"},
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":                                 {Type: "object", Open: true},
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString":                               {IntOrString: true},
	"k8s.io/apimachinery/pkg/runtime.RawExtension":                                  {Type: "object", Embedded: true},
	"k8s.io/apimachinery/pkg/runtime.Unknown":                                       {Type: "object", Embedded: true},
	"k8s.io/component-base/logs/api/v1.TimeOrMetaDuration":                          {Format: "duration-or-nanoseconds"},
	"k8s.io/kubernetes/cmd/kubeadm/app/apis/bootstraptoken/v1.BootstrapTokenString": {Type: "string"},
}

// closed are string types that take their constants and nothing else, by the validation of the
// component that reads them, but do not say so in a +enum marker.
var closed = []string{
	"k8s.io/apiserver/pkg/apis/audit/v1.Level",
	"k8s.io/apiserver/pkg/apis/audit/v1.Stage",
	"k8s.io/apiserver/pkg/apis/apiserver/v1.AudienceMatchPolicyType",
	"k8s.io/apiserver/pkg/apis/apiserver/v1.EgressSelectorType",
	"k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4.EncryptionAlgorithmType",
	"k8s.io/kubernetes/plugin/pkg/admission/eventratelimit/apis/eventratelimit/v1alpha1.LimitType",
	"k8s.io/kubelet/config/v1beta1.ImagePullCredentialsVerificationPolicy",
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4.NodeRole",
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4.ClusterIPFamily",
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4.ProxyMode",
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4.MountPropagation",
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4.PortMappingProtocol",
}

var basic = map[string]*schema.Schema{
	"string": {Type: "string"}, "bool": {Type: "boolean"},
	"int": {Type: "integer"}, "int32": {Type: "integer", Format: "int32"}, "int64": {Type: "integer", Format: "int64"},
	"uint": {Type: "integer"}, "uint16": {Type: "integer"}, "uint32": {Type: "integer"}, "uint64": {Type: "integer"},
	"float32": {Type: "number"}, "float64": {Type: "number"},
	"any": {Open: true},
}

// schemaOf is the schema of a type expression in the package pkg.
func (g *goTypes) schemaOf(pkg string, in *goType, e ast.Expr) (*schema.Schema, error) {
	switch e := e.(type) {
	case *ast.StarExpr:
		return g.schemaOf(pkg, in, e.X)
	case *ast.InterfaceType:
		return basic["any"], nil
	case *ast.ArrayType:
		if id, ok := e.Elt.(*ast.Ident); ok && id.Name == "byte" {
			return &schema.Schema{Type: "string", Format: "byte"}, nil
		}
		items, err := g.schemaOf(pkg, in, e.Elt)
		return &schema.Schema{Type: "array", Items: items}, err
	case *ast.MapType:
		values, err := g.schemaOf(pkg, in, e.Value)
		return &schema.Schema{Type: "object", Additional: values}, err
	case *ast.StructType:
		s := &schema.Schema{Type: "object", Properties: map[string]*schema.Schema{}}
		if err := g.fields(s, pkg, in, e); err != nil {
			return nil, err
		}
		s.Closed = len(s.Properties) == 0
		return s, nil
	case *ast.Ident:
		if s, ok := basic[e.Name]; ok {
			return s, nil
		}
		return g.named(pkg, e.Name)
	case *ast.SelectorExpr:
		alias, ok := e.X.(*ast.Ident)
		if !ok {
			return nil, fmt.Errorf("a selector of %T", e.X)
		}
		imported, ok := in.imports[alias.Name]
		if !ok {
			return nil, fmt.Errorf("no import %s", alias.Name)
		}
		return g.named(imported, e.Sel.Name)
	}
	return nil, fmt.Errorf("a type of %T", e)
}

// named is the schema of a named type: a reference for a struct, the thing itself for all else.
func (g *goTypes) named(pkg, name string) (*schema.Schema, error) {
	key := pkg + "." + name
	if s, ok := opaque[key]; ok {
		return s, nil
	}
	p, err := g.load(pkg)
	if err != nil {
		return nil, err
	}
	t, ok := p.types[name]
	if !ok {
		return nil, fmt.Errorf("no type %s", key)
	}
	if _, ok := t.spec.Type.(*ast.StructType); ok {
		_, err := g.define(pkg, name)
		return &schema.Schema{Ref: key}, err
	}
	s, err := g.schemaOf(pkg, t, t.spec.Type)
	if err != nil {
		return nil, err
	}
	if s.Type == "string" && len(p.consts[name]) > 0 && (strings.Contains(t.doc, "+enum") || slices.Contains(closed, key)) {
		enum := slices.Clone(p.consts[name])
		slices.SortFunc(enum, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		return &schema.Schema{Type: "string", Enum: slices.Compact(enum)}, nil
	}
	return s, nil
}

// fields adds the fields of a struct, with those of embedded ones.
func (g *goTypes) fields(s *schema.Schema, pkg string, in *goType, st *ast.StructType) error {
	for _, f := range st.Fields.List {
		tag := ""
		if f.Tag != nil {
			text, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				return err
			}
			tag = reflect.StructTag(text).Get("json")
		}
		name, _, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		inner, err := g.schemaOf(pkg, in, f.Type)
		if err != nil {
			return err
		}
		if len(f.Names) == 0 && name == "" {
			if err := g.inline(s, inner); err != nil {
				return err
			}
			continue
		}
		names := []string{name}
		if name == "" {
			names = nil
			for _, n := range f.Names {
				if n.IsExported() {
					names = append(names, n.Name)
				}
			}
		}
		for _, n := range names {
			s.Properties[n] = inner
		}
	}
	return nil
}

// inline copies the properties of an embedded struct.
func (g *goTypes) inline(s, embedded *schema.Schema) error {
	if embedded.Ref == "" {
		return fmt.Errorf("embeds something that is no struct: %+v", embedded)
	}
	var inner schema.Schema
	if err := json.Unmarshal(g.bundle.Definitions[embedded.Ref], &inner); err != nil {
		return err
	}
	for name, p := range inner.Properties {
		if _, ok := s.Properties[name]; !ok {
			s.Properties[name] = p
		}
	}
	return nil
}
