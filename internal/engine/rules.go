package engine

import (
	"strconv"
	"strings"
	"sync"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/k8ssec/k8ssec"
)

// rule is what the schema's @rule attribute says of a field.
type rule struct {
	must  string
	write string
}

// definitions are the schema's definitions by name, as syntax: attributes sit on definitions, and
// evaluated values do not carry them to the fields that use the definition.
var definitions = sync.OnceValue(func() map[string]*ast.Field {
	found := map[string]*ast.Field{}
	data, err := k8ssec.Assets.ReadFile("cue/posture/posture.cue")
	if err != nil {
		return found
	}
	file, err := parser.ParseFile("cue/posture/posture.cue", data)
	if err != nil {
		return found
	}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.Field); ok {
			if name, _, err := ast.LabelName(f.Label); err == nil {
				found[name] = f
			}
		}
	}
	return found
})

// ruleFor finds the rule of the field at path. key asks for the rule of the last key itself, where
// the path ends in a map.
func ruleFor(path []string, key bool) rule {
	var found rule
	var expr ast.Expr = ast.NewIdent("#Posture")
	for i, step := range path {
		field, pattern, element := descend(expr, step)
		atEnd := i == len(path)-1
		switch {
		case field != nil:
			// On the way down only the nearest rule counts.
			found = fieldRule(field)
			expr = field.Value
			if pattern != nil && key && atEnd {
				return exprRule(pattern)
			}
		case element != nil:
			if r := exprRule(element); r.must != "" {
				found = r
			}
			expr = element
		default:
			return found
		}
	}
	return found
}

// descend finds the field named step below expr: a regular field, a pattern (with its label), or
// the element of a list.
func descend(expr ast.Expr, step string) (field *ast.Field, pattern, element ast.Expr) {
	switch x := expr.(type) {
	case *ast.Ident:
		if def := definitions()[x.Name]; def != nil {
			return descend(def.Value, step)
		}
	case *ast.BinaryExpr:
		if x.Op == token.AND || x.Op == token.OR {
			if f, p, e := descend(x.Y, step); f != nil || e != nil {
				return f, p, e
			}
			return descend(x.X, step)
		}
	case *ast.ParenExpr:
		return descend(x.X, step)
	case *ast.ListLit:
		if _, err := strconv.Atoi(step); err != nil || len(x.Elts) == 0 {
			return nil, nil, nil
		}
		if e, ok := x.Elts[len(x.Elts)-1].(*ast.Ellipsis); ok {
			return nil, nil, e.Type
		}
		return nil, nil, x.Elts[0]
	case *ast.StructLit:
		for _, decl := range x.Elts {
			f, ok := decl.(*ast.Field)
			if !ok {
				continue
			}
			if list, ok := f.Label.(*ast.ListLit); ok && len(list.Elts) == 1 {
				field, pattern = f, list.Elts[0]
				continue
			}
			if name, _, err := ast.LabelName(f.Label); err == nil && name == step {
				return f, nil, nil
			}
		}
		return field, pattern, nil
	}
	return nil, nil, nil
}

func fieldRule(f *ast.Field) rule {
	if r := attribute(f); r.must != "" {
		return r
	}
	return exprRule(f.Value)
}

func exprRule(expr ast.Expr) rule {
	switch x := expr.(type) {
	case *ast.Ident:
		if def := definitions()[x.Name]; def != nil {
			return fieldRule(def)
		}
		if x.Name == "bool" {
			return rule{"true or false, without quotes", "true"}
		}
	case *ast.BinaryExpr:
		if r := exprRule(x.X); r.must != "" {
			return r
		}
		return exprRule(x.Y)
	}
	return rule{}
}

func attribute(f *ast.Field) rule {
	for _, a := range f.Attrs {
		name, body := a.Split()
		if name != "rule" {
			continue
		}
		first, rest := quotedPrefix(body)
		_, second, _ := strings.Cut(rest, "write=")
		write, _ := quotedPrefix(second)
		return rule{must: first, write: write}
	}
	return rule{}
}

// quotedPrefix splits a leading string literal off.
func quotedPrefix(s string) (value, rest string) {
	quotedText, err := strconv.QuotedPrefix(strings.TrimSpace(s))
	if err != nil {
		return "", s
	}
	value, err = strconv.Unquote(quotedText)
	if err != nil {
		return "", s
	}
	return value, strings.TrimSpace(s)[len(quotedText):]
}
