package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// pos is a place in one of the user's files; the zero value is none.
type pos struct {
	file         string
	line, column int
}

func posOf(p token.Pos) pos {
	if !p.IsValid() {
		return pos{}
	}
	position := p.Position()
	return pos{file: position.Filename, line: position.Line, column: position.Column}
}

// node is a concrete value with its origin. Nodes are shared between trees and never changed once
// built; merging makes new ones.
type node struct {
	// Exactly one form: an object, a list or a scalar (string, json.Number, bool, nil).
	object map[string]*node
	list   []*node
	scalar any
	isList bool
	// pos is the value's own place; layer says which layer wrote it.
	pos   pos
	layer *layer
}

// layer is one source of values.
type layer struct {
	// name is for people: "cluster.cue", "profile cis", "the defaults".
	name string
	// profile is the profile's name, or empty.
	profile string
	// user marks what the user wrote and can change: the cluster file and profiles of their own.
	user bool
	root *node
	// namespaceDefaults are by kind.
	namespaceDefaults map[string]*node
}

func (n *node) isObject() bool { return n != nil && n.object != nil }

// child returns the value below key, or nil.
func (n *node) child(key string) *node {
	if n == nil || n.object == nil {
		return nil
	}
	return n.object[key]
}

// at follows a path of object keys and list indexes.
func (n *node) at(path ...string) *node {
	for _, key := range path {
		switch {
		case n == nil:
			return nil
		case n.isList:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(n.list) {
				return nil
			}
			n = n.list[i]
		default:
			n = n.child(key)
		}
	}
	return n
}

// keys returns an object's keys, sorted.
func (n *node) keys() []string {
	return slices.Sorted(maps.Keys(n.object))
}

// byUser says whether the user wrote any part of the value.
func (n *node) byUser() bool {
	if n.layer != nil && n.layer.user {
		return true
	}
	for _, child := range n.object {
		if child.byUser() {
			return true
		}
	}
	return slices.ContainsFunc(n.list, (*node).byUser)
}

// str returns a string scalar, or "".
func (n *node) str() string {
	if n == nil {
		return ""
	}
	s, _ := n.scalar.(string)
	return s
}

// merge lays over on top of under: objects field by field, all else as a whole.
func merge(under, over *node) *node {
	if under == nil {
		return over
	}
	if over == nil {
		return under
	}
	if !under.isObject() || !over.isObject() {
		return over
	}
	merged := &node{object: make(map[string]*node, len(under.object)+len(over.object)), pos: over.pos, layer: over.layer}
	maps.Copy(merged.object, under.object)
	for key, value := range over.object {
		merged.object[key] = merge(under.object[key], value)
	}
	return merged
}

// with returns a copy of n in which the value at path is value; missing objects are made.
func (n *node) with(value *node, path ...string) *node {
	if len(path) == 0 {
		return value
	}
	c := &node{}
	if n != nil {
		*c = *n
	}
	if c.isList {
		c.list = slices.Clone(c.list)
		if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < len(c.list) {
			c.list[i] = c.list[i].with(value, path[1:]...)
		}
		return c
	}
	c.object = maps.Clone(c.object)
	if c.object == nil {
		c.object = map[string]*node{}
	}
	c.object[path[0]] = c.object[path[0]].with(value, path[1:]...)
	return c
}

// text is the value as a person would write it, shortened.
func (n *node) text() string {
	const limit = 80
	var s string
	switch {
	case n == nil:
		return ""
	case n.isList:
		parts := make([]string, 0, len(n.list))
		for _, item := range n.list {
			parts = append(parts, item.text())
		}
		s = "[" + strings.Join(parts, ", ") + "]"
	case n.object != nil:
		s = "{" + strings.Join(n.keys(), ", ") + "}"
	default:
		b, err := json.Marshal(n.scalar)
		if err != nil {
			return ""
		}
		s = string(b)
	}
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit-1]) + "…"
	}
	return s
}

// kindName names the kind of a value for people.
func (n *node) kindName() string {
	switch {
	case n.isList:
		return "a list"
	case n.object != nil:
		return "an object"
	}
	switch n.scalar.(type) {
	case string:
		return "a text"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	default:
		return "null"
	}
}

// literalNode turns an expression that is plain data into a node. It reports false for everything
// else (references, comprehensions, arithmetic, repeated fields, ...), which CUE itself evaluates
// then; a test holds that both give the same result.
func literalNode(expr ast.Expr, in *layer) (*node, bool) {
	n := &node{pos: posOf(expr.Pos()), layer: in}
	switch x := expr.(type) {
	case *ast.StructLit:
		return literalFields(x.Elts, n)
	case *ast.ListLit:
		n.isList = true
		n.list = make([]*node, 0, len(x.Elts))
		for _, elt := range x.Elts {
			item, ok := literalNode(elt, in)
			if !ok {
				return nil, false
			}
			n.list = append(n.list, item)
		}
		return n, true
	case *ast.BasicLit:
		return n, literalScalar(x, n)
	case *ast.UnaryExpr:
		lit, ok := x.X.(*ast.BasicLit)
		if !ok || x.Op != token.SUB || !literalScalar(lit, n) {
			return nil, false
		}
		number, ok := n.scalar.(json.Number)
		n.scalar = "-" + number
		return n, ok
	}
	return nil, false
}

func literalFields(decls []ast.Decl, n *node) (*node, bool) {
	n.object = make(map[string]*node, len(decls))
	for _, decl := range decls {
		switch decl := decl.(type) {
		case *ast.CommentGroup, *ast.Package:
			continue
		case *ast.Field:
			if decl.Constraint != token.ILLEGAL || len(decl.Attrs) > 0 || decl.Alias != nil {
				return nil, false
			}
			name, isIdent, err := ast.LabelName(decl.Label)
			if err != nil || (isIdent && (strings.HasPrefix(name, "_") || strings.HasPrefix(name, "#"))) {
				return nil, false
			}
			value, ok := literalNode(decl.Value, n.layer)
			if !ok {
				return nil, false
			}
			value.pos = posOf(decl.Value.Pos())
			if before := n.object[name]; before != nil {
				// "a: b: 1, a: c: 2" is one object; anything else repeated is CUE's to judge.
				merged, ok := join(before, value)
				if !ok {
					return nil, false
				}
				value = merged
			}
			n.object[name] = value
		default:
			return nil, false
		}
	}
	return n, true
}

// join unites two objects that have no field in common but objects.
func join(a, b *node) (*node, bool) {
	if !a.isObject() || !b.isObject() {
		return nil, false
	}
	for key, value := range b.object {
		if before := a.object[key]; before != nil {
			merged, ok := join(before, value)
			if !ok {
				return nil, false
			}
			value = merged
		}
		a.object[key] = value
	}
	return a, true
}

func literalScalar(lit *ast.BasicLit, n *node) bool {
	switch lit.Kind {
	case token.STRING:
		if !strings.HasPrefix(lit.Value, `"`) || strings.HasPrefix(lit.Value, `"""`) || strings.ContainsAny(lit.Value, "\\") {
			s, err := unquote(lit.Value)
			if err != nil {
				return false
			}
			n.scalar = s
			return true
		}
		n.scalar = lit.Value[1 : len(lit.Value)-1]
	case token.INT:
		for _, c := range lit.Value {
			if c < '0' || c > '9' {
				return false
			}
		}
		if len(lit.Value) > 1 && lit.Value[0] == '0' {
			return false
		}
		n.scalar = json.Number(lit.Value)
	case token.TRUE:
		n.scalar = true
	case token.FALSE:
		n.scalar = false
	default:
		return false
	}
	return true
}

// integer returns an int scalar.
func (n *node) integer() (int, error) {
	number, ok := n.scalar.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s is not a number", n.text())
	}
	return strconv.Atoi(string(number))
}
