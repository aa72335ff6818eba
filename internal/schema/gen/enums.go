package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/internal/schema"
)

// addEnums adds the values that closed string types take. The published OpenAPI document leaves
// them out; the generated Go code that every API server serves its own document from has them.
func addEnums(definitions map[string]*schema.Schema, name string) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	imports := map[string]string{}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		alias := path.Base(imported)
		if spec.Name != nil {
			alias = spec.Name.Name
		}
		imports[alias] = imported
	}
	functions := map[string]*ast.FuncDecl{}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			functions[f.Name.Name] = f
		}
	}
	list, ok := functions["GetOpenAPIDefinitions"]
	if !ok {
		return fmt.Errorf("%s: no list of definitions", name)
	}
	found := 0
	ast.Inspect(list, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		definition := definitions[definitionName(kv.Key, imports)]
		call, ok := kv.Value.(*ast.CallExpr)
		if definition == nil || !ok {
			return true
		}
		if f, ok := call.Fun.(*ast.Ident); ok && functions[f.Name] != nil {
			ast.Inspect(functions[f.Name], func(n ast.Node) bool {
				lit, ok := n.(*ast.CompositeLit)
				if properties := field(lit, "Properties"); ok && properties != nil {
					found += enumsOf(properties, definition)
					return false
				}
				return true
			})
		}
		return false
	})
	if found < 50 {
		return fmt.Errorf("%s: only %d enums; has the form of the generated code changed?", name, found)
	}
	return nil
}

// definitionName is the name in the document of corev1.Pod{}.OpenAPIModelName() or of
// "k8s.io/api/core/v1.Pod".
func definitionName(key ast.Expr, imports map[string]string) string {
	full := ""
	switch key := key.(type) {
	case *ast.BasicLit:
		full, _ = strconv.Unquote(key.Value)
	case *ast.CallExpr:
		method, ok := key.Fun.(*ast.SelectorExpr)
		if !ok {
			return ""
		}
		lit, ok := method.X.(*ast.CompositeLit)
		if !ok {
			return ""
		}
		if t, ok := lit.Type.(*ast.SelectorExpr); ok {
			if pkg, ok := t.X.(*ast.Ident); ok {
				full = imports[pkg.Name] + "." + t.Sel.Name
			}
		}
	}
	host, rest, ok := strings.Cut(full, "/")
	if !ok {
		return ""
	}
	parts := strings.Split(host, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, ".") + "." + strings.ReplaceAll(rest, "/", ".")
}

// field is the composite literal of a field, through SchemaProps if need be.
func field(lit *ast.CompositeLit, name string) *ast.CompositeLit {
	if lit == nil {
		return nil
	}
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, ok := kv.Key.(*ast.Ident)
		if !ok {
			continue
		}
		value := kv.Value
		if u, ok := value.(*ast.UnaryExpr); ok {
			value = u.X
		}
		inner, _ := value.(*ast.CompositeLit)
		if key.Name == name {
			return inner
		}
		if key.Name == "SchemaProps" {
			if found := field(inner, name); found != nil {
				return found
			}
		}
	}
	return nil
}

// enumsOf copies the enums of a literal of properties into a definition and counts them.
func enumsOf(properties *ast.CompositeLit, definition *schema.Schema) int {
	found := 0
	for _, e := range properties.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, ok := kv.Key.(*ast.BasicLit)
		if !ok {
			continue
		}
		name, err := strconv.Unquote(key.Value)
		if err != nil || definition.Properties[name] == nil {
			continue
		}
		lit, _ := kv.Value.(*ast.CompositeLit)
		target := definition.Properties[name]
		for lit != nil && target != nil {
			if enum := field(lit, "Enum"); enum != nil && len(target.Enum) == 0 {
				for _, v := range enum.Elts {
					if b, ok := v.(*ast.BasicLit); ok {
						if s, err := strconv.Unquote(b.Value); err == nil {
							target.Enum = append(target.Enum, s)
						}
					}
				}
				found++
			}
			switch {
			case field(lit, "Items") != nil:
				lit, target = field(field(lit, "Items"), "Schema"), target.Items
			case field(lit, "AdditionalProperties") != nil:
				lit, target = field(field(lit, "AdditionalProperties"), "Schema"), target.Additional
			default:
				lit = nil
			}
		}
	}
	return found
}
