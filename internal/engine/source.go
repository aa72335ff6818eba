package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/token"

	"github.com/k8ssec/k8ssec/internal/diag"
)

// clusterLayer reads a cluster file into a layer. The file is data: most are plain literals and
// never reach the evaluator; those that compute are evaluated on their own, out of sight of any
// profile.
func (l *loader) clusterLayer(name string, data []byte) (*layer, error) {
	file, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	in := &layer{name: name, user: true}
	for spec := range file.ImportSpecs() {
		path, err := unquote(spec.Path.Value)
		if err != nil || strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
			at := posOf(spec.Pos())
			return nil, diag.List{{
				Severity: diag.Error, File: at.file, Line: at.line, Column: at.column, Value: spec.Path.Value,
				Message: "a cluster file cannot import " + spec.Path.Value,
				Rule:    "the cluster file is data; only CUE's own packages, such as \"strings\", can be imported",
				Fix:     `name the profile instead: profiles: ["cis"], or profiles: ["./profiles/acme"] for your own`,
			}}
		}
	}
	root, ok := (*node)(nil), false
	if len(file.Decls) > 0 {
		root, ok = literalFields(file.Decls, &node{pos: pos{name, 1, 1}, layer: in})
	}
	if !ok {
		if root, err = l.evaluate(file, in); err != nil {
			return nil, err
		}
	}
	in.root = root
	if len(root.object) == 0 {
		return nil, diag.List{{
			Severity: diag.Error, File: name, Line: 1, Column: 1,
			Message: "the cluster file is empty",
			Rule:    "a cluster file names at least its profiles",
			Fix:     `profiles: ["cis"]`,
		}}
	}
	return in, nil
}

func (l *loader) evaluate(file *ast.File, in *layer) (*node, error) {
	inst := l.build.NewInstance("", nil)
	if err := inst.AddSyntax(file); err != nil {
		return nil, evaluationErrors(in.name, err)
	}
	if err := inst.Complete(); err != nil {
		return nil, evaluationErrors(in.name, err)
	}
	v := l.ctx.BuildInstance(inst)
	if err := v.Err(); err != nil {
		return nil, evaluationErrors(in.name, err)
	}
	if err := v.Validate(cue.Concrete(true)); err != nil {
		return nil, evaluationErrors(in.name, err)
	}
	return fromValue(v, in, 0)
}

// fromValue converts an evaluated, concrete value. Hidden fields and definitions stay behind.
func fromValue(v cue.Value, in *layer, depth int) (*node, error) {
	n := &node{pos: posOf(v.Pos()), layer: in}
	if depth > maxDepth {
		return nil, diag.List{{
			Severity: diag.Error, File: n.pos.file, Line: n.pos.line, Column: n.pos.column,
			Message: fmt.Sprintf("the value is nested more than %d levels deep", maxDepth),
			Fix:     "no posture is this deep; check what was computed here",
		}}
	}
	switch v.Kind() {
	case cue.StructKind:
		n.object = map[string]*node{}
		fields, err := v.Fields()
		if err != nil {
			return nil, evaluationErrors(in.name, err)
		}
		for fields.Next() {
			child, err := fromValue(fields.Value(), in, depth+1)
			if err != nil {
				return nil, err
			}
			n.object[fields.Selector().Unquoted()] = child
		}
		return n, nil
	case cue.ListKind:
		n.isList = true
		n.list = []*node{}
		items, err := v.List()
		if err != nil {
			return nil, evaluationErrors(in.name, err)
		}
		for items.Next() {
			child, err := fromValue(items.Value(), in, depth+1)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, child)
		}
		return n, nil
	case cue.StringKind:
		s, err := v.String()
		n.scalar = s
		return n, err
	case cue.BoolKind:
		b, err := v.Bool()
		n.scalar = b
		return n, err
	case cue.NullKind:
		return n, nil
	case cue.IntKind, cue.FloatKind, cue.NumberKind:
		b, err := v.MarshalJSON()
		n.scalar = json.Number(b)
		return n, err
	default:
		return nil, diag.List{{
			Severity: diag.Error, File: cmpOr(n.pos.file, in.name), Line: n.pos.line, Column: n.pos.column,
			Field: v.Path().String(), Message: v.Path().String() + " has no value",
			Rule: "every field of " + in.name + " is a concrete value", Fix: lastOf(v.Path()) + ": ...",
		}}
	}
}

func lastOf(p cue.Path) string {
	selectors := p.Selectors()
	if len(selectors) == 0 {
		return "field"
	}
	return selectors[len(selectors)-1].String()
}

// evaluationErrors puts the evaluator's findings about one of the user's files into our words.
func evaluationErrors(name string, err error) diag.List {
	var found diag.List
	for _, e := range cueerrors.Errors(err) {
		at := posOf(e.Position())
		inputs := e.InputPositions()
		for _, p := range inputs {
			if p := posOf(p); at.file == "" || (p.file == name && at.file != name) {
				at = p
			}
		}
		path := e.Path()
		format, args := e.Msg()
		message := fmt.Sprintf(format, args...)
		d := diag.Diagnostic{
			Severity: diag.Error, File: cmpOr(at.file, name), Line: at.line, Column: at.column, Field: pathText(path),
		}
		where := pathText(path)
		if where == "" {
			where = "the file"
		}
		switch {
		case strings.Contains(message, "conflicting values"):
			d.Message = where + " is given two different values" + lines(inputs)
			d.Rule = "a field has one value"
			d.Fix = "keep one of them"
		case strings.Contains(message, "incomplete value"), strings.Contains(message, "non-concrete"):
			d.Message = where + " has no value"
			d.Rule = "every field of " + name + " is a concrete value, not a type or a choice"
			d.Fix = last(path) + ": ..."
		case strings.Contains(message, "reference"):
			d.Message = where + " uses a name that is not defined: " + plain(message)
			d.Rule = "a text stands in quotes; a bare word is the name of another field"
			d.Fix = "put the text in quotes"
			if _, name, ok := strings.Cut(message, `reference "`); ok {
				name, _, _ = strings.Cut(name, `"`)
				d.Fix = last(path) + ": " + quote(name)
			}
		default:
			d.Message = where + ": " + plain(message)
			d.Fix = "write a concrete value"
		}
		if d.Line == 0 {
			d.Line, d.Column = 1, 1
		}
		if d.Rule == "" {
			d.Rule = "every field of " + name + " is a concrete value"
		}
		found = append(found, d)
	}
	return found.Sort()
}

func last(path []string) string {
	if len(path) == 0 {
		return "field"
	}
	return pathText(path[len(path)-1:])
}

func lines(positions []token.Pos) string {
	var at []string
	for _, p := range positions {
		if p := posOf(p); p.line > 0 {
			at = append(at, itoa(p.line))
		}
	}
	if len(at) < 2 {
		return ""
	}
	return ", on lines " + strings.Join(slices.Compact(at), " and ")
}

// Format returns CUE source in the standard layout.
func Format(source []byte) ([]byte, error) { return format.Source(source) }
