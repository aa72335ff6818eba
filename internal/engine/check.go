package engine

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"

	"encoding/json"

	"github.com/k8ssec/k8ssec/internal/diag"
)

// checker holds a tree against the schema and the controls in force.
type checker struct {
	l        *loader
	profiles []*Profile
	controls []*Control
	// lifted says whether an active waiver lifts a control in a namespace ("" for the cluster).
	lifted func(control, namespace string) bool

	cluster    cue.Value
	namespace  cue.Value
	floors     map[string]cue.Value
	profileFor map[string]*Profile
}

func newChecker(l *loader, profiles []*Profile, lifted func(control, namespace string) bool) (*checker, error) {
	schema, err := l.shipped("cue/posture")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	c := &checker{
		l: l, profiles: profiles, lifted: lifted,
		cluster:    schema.LookupPath(cue.ParsePath("#Posture")),
		namespace:  schema.LookupPath(cue.ParsePath("#Namespace")),
		floors:     map[string]cue.Value{},
		profileFor: map[string]*Profile{},
	}
	for _, p := range profiles {
		c.profileFor[p.Name] = p
		for _, control := range p.controls {
			if control.InForce {
				c.controls = append(c.controls, control)
			}
		}
	}
	return c, nil
}

// check returns the findings: first those of the schema; those of the controls only where the
// schema holds.
func (c *checker) check(root *node, kindOf func(namespace string) string) diag.List {
	rest := &node{object: make(map[string]*node, len(root.object)), pos: root.pos, layer: root.layer}
	for key, value := range root.object {
		if key != "namespaces" {
			rest.object[key] = value
		}
	}
	found := c.checkOne(rest, nil, "cluster", "", func(control *Control) (cue.Value, bool) {
		return control.cluster, control.cluster.Exists() && !c.lifted(control.ID, "")
	}, c.cluster)
	names := root.child("namespaces")
	if names == nil {
		return found
	}
	// What nobody but us wrote is held against our own controls by the tests.
	ownControls := slices.ContainsFunc(c.profiles, func(p *Profile) bool { return p.layer.user })
	for _, name := range names.keys() {
		if !ownControls && !names.object[name].byUser() {
			continue
		}
		kind := kindOf(name)
		key := "namespace " + kind
		for _, control := range c.controls {
			if c.lifted(control.ID, name) {
				key += " -" + control.ID
			}
		}
		found = append(found, c.checkOne(names.object[name], []string{"namespaces", name}, key, name, func(control *Control) (cue.Value, bool) {
			return control.namespace, control.namespace.Exists() && slices.Contains(control.kinds, kind) && !c.lifted(control.ID, name)
		}, c.namespace)...)
	}
	return append(found, c.checkKeys(names)...)
}

// checkKeys holds the names of namespaces against the schema: they are keys, which no
// per-namespace check sees.
func (c *checker) checkKeys(names *node) diag.List {
	var found diag.List
	for _, name := range names.keys() {
		if !isDNSLabel(name) {
			found = append(found, c.schemaFinding([]string{"namespaces", name}, names.object[name], true))
		}
	}
	return found
}

// isDNSLabel is #DNSLabel of the schema.
func isDNSLabel(s string) bool {
	if s == "" || len(s) > 63 || strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-") {
		return false
	}
	for _, r := range s {
		if r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return true
}

// checkOne holds one tree against the floor: the schema united with every constraint that applies.
// Single constraints are looked at only where the floor fails.
func (c *checker) checkOne(n *node, path []string, floorKey, namespace string, constraint func(*Control) (cue.Value, bool), schema cue.Value) diag.List {
	floor, ok := c.floors[floorKey]
	if !ok {
		constraints := []cue.Value{c.l.ctx.CompileString("{...}")}
		for _, control := range c.controls {
			if v, applies := constraint(control); applies {
				constraints = append(constraints, v)
			}
		}
		floor = united(constraints)
		c.floors[floorKey] = floor
	}
	data := c.l.ctx.BuildExpr(n.expr())
	// Two unions, because a closed schema with hundreds of open constraints in it is slow.
	if schema.Unify(data).Validate(cue.Concrete(true)) == nil && floor.Unify(data).Validate(cue.Concrete(true)) == nil {
		return nil
	}
	var found diag.List
	for _, e := range failing(schema, data) {
		at := append(slices.Clone(path), e.path...)
		found = append(found, c.schemaFinding(at, n.at(e.path...), e.key))
	}
	if len(found) > 0 {
		return found
	}
	broken := map[string][]*Control{}
	var order [][]string
	// Only the parts that fail, and the controls that speak of them, are looked at again.
	part := &node{object: map[string]*node{}}
	for _, e := range failing(floor, data) {
		if len(e.path) == 0 || n.object[e.path[0]] == nil {
			// What is missing is asked for because of something else: look at everything.
			part = n
			break
		}
		part.object[e.path[0]] = n.object[e.path[0]]
	}
	partData := c.l.ctx.BuildExpr(part.expr())
	for _, control := range c.controls {
		v, applies := constraint(control)
		if !applies || (part != n && !speaksOf(v, part)) {
			continue
		}
		for _, e := range failing(v, partData) {
			if len(e.path) == 0 || (part != n && part.object[e.path[0]] == nil) {
				continue
			}
			// A list that breaks a rule is one finding, not one for each element.
			for len(e.path) > 0 && n.at(e.path[:len(e.path)-1]...) != nil && n.at(e.path[:len(e.path)-1]...).isList {
				e.path = e.path[:len(e.path)-1]
			}
			key := pathText(e.path)
			if broken[key] == nil {
				order = append(order, e.path)
			}
			if !slices.Contains(broken[key], control) {
				broken[key] = append(broken[key], control)
			}
		}
	}
	for _, p := range order {
		at := append(slices.Clone(path), p...)
		found = append(found, c.controlFinding(at, n.at(p...), broken[pathText(p)], namespace))
	}
	if len(found) == 0 {
		// The floor alone fails: two controls exclude each other, which our own tests rule out for
		// shipped profiles.
		for _, e := range failing(floor, data) {
			at := append(slices.Clone(path), e.path...)
			d := c.schemaFinding(at, n.at(e.path...), false)
			d.Message = pathText(at) + " cannot satisfy all named profiles at once"
			d.Rule = "profiles that are named together must have a value in common"
			d.Fix = "name one of the profiles only: k8ssec explain shows which controls ask for " + last(at)
			found = append(found, d)
		}
	}
	return found
}

// united unites values pairwise: each union is evaluated at once, so a chain would cost the square.
func united(values []cue.Value) cue.Value {
	for len(values) > 1 {
		half := values[:0:0]
		for i := 0; i < len(values); i += 2 {
			v := values[i]
			if i+1 < len(values) {
				v = v.Unify(values[i+1])
			}
			half = append(half, v)
		}
		values = half
	}
	return values[0]
}

// speaksOf says whether a constraint has a field in common with the part.
func speaksOf(constraint cue.Value, part *node) bool {
	fields, err := constraint.Fields(cue.Optional(true))
	if err != nil {
		return true
	}
	for fields.Next() {
		if part.object[fields.Selector().Unquoted()] != nil {
			return true
		}
	}
	return false
}

type failure struct {
	path []string
	// key says that the last key of path is itself what is wrong.
	key bool
}

// failing returns the paths, below the constraint's own, at which data does not satisfy it, without
// those that lie above another.
func failing(constraint, data cue.Value) []failure {
	err := constraint.Unify(data).Validate(cue.Concrete(true))
	if err == nil {
		return nil
	}
	var prefix []string
	for _, selector := range constraint.Path().Selectors() {
		prefix = append(prefix, strings.Trim(selector.String(), `"`))
	}
	var found []failure
	for _, e := range cueerrors.Errors(err) {
		format, args := e.Msg()
		path := unquoted(e.Path())
		if len(path) >= len(prefix) && slices.Equal(path[:len(prefix)], prefix) {
			path = path[len(prefix):]
		}
		f := failure{path: path, key: strings.Contains(fmt.Sprintf(format, args...), "not allowed")}
		if !slices.ContainsFunc(found, func(g failure) bool { return slices.Equal(f.path, g.path) }) {
			found = append(found, f)
		}
	}
	return slices.DeleteFunc(found, func(f failure) bool {
		return slices.ContainsFunc(found, func(g failure) bool {
			return len(g.path) > len(f.path) && slices.Equal(g.path[:len(f.path)], f.path)
		})
	})
}

// unquoted takes the quotes off the labels of an error's path.
func unquoted(path []string) []string {
	plainPath := make([]string, len(path))
	for i, label := range path {
		plainPath[i] = label
		if strings.HasPrefix(label, `"`) {
			if s, err := unquote(label); err == nil {
				plainPath[i] = s
			}
		}
	}
	return plainPath
}

// schemaFinding describes a value that makes no sense at all.
func (c *checker) schemaFinding(path []string, value *node, key bool) diag.Diagnostic {
	r := ruleFor(path, key)
	if strings.HasPrefix(r.must, "true or false") {
		r.write = "false"
	}
	d := diag.Diagnostic{Severity: diag.Error, Field: pathText(path), Rule: r.must}
	name := last(path)
	if i := len(path) - 1; i > 0 && strings.Trim(path[i], "0123456789") == "" {
		name = ""
	}
	switch {
	case key:
		d.Value = quote(path[len(path)-1])
		d.Message = fmt.Sprintf("%s is not a valid name in %s", d.Value, pathText(path[:len(path)-1]))
		d.Fix = "rename it, for instance to " + r.write
	case value == nil:
		d.Message = pathText(path) + " is missing"
		d.Rule = strings.TrimSuffix("it must be given: "+r.must, ": ")
		d.Fix = example(name, r.write)
	default:
		d.Value = value.text()
		d.Message = pathText(path) + " is " + value.text()
		d.Fix = example(name, r.write)
		if r.must != "" {
			d.Message += ", which is not " + r.must
			d.Rule = r.must
		} else {
			d.Rule = pathText(path) + " does not fit the schema; see k8ssec schema"
		}
	}
	c.place(&d, path, value)
	return d
}

func example(name, write string) string {
	switch {
	case write == "":
		write = "..."
	case name == "", strings.HasPrefix(write, name+":"):
		return write
	}
	if name == "" {
		return write
	}
	return name + ": " + write
}

// place fills in where the value stands, or the nearest value above it that the user wrote.
func (c *checker) place(d *diag.Diagnostic, path []string, value *node) {
	if value != nil && value.layer != nil && value.layer.user {
		d.File, d.Line, d.Column = value.pos.file, value.pos.line, value.pos.column
		return
	}
	for i := len(path); i >= 0; i-- {
		for _, p := range slices.Backward(c.userLayers()) {
			if n := p.root.at(path[:i]...); n != nil && n.pos.file != "" {
				d.File, d.Line, d.Column = n.pos.file, n.pos.line, n.pos.column
				return
			}
		}
	}
}

func (c *checker) userLayers() []*layer {
	var layers []*layer
	for _, p := range c.profiles {
		if p.layer.user {
			layers = append(layers, p.layer)
		}
	}
	return append(layers, c.l.cluster)
}

// controlFinding describes a value that breaks controls.
func (c *checker) controlFinding(path []string, value *node, controls []*Control, namespace string) diag.Diagnostic {
	first := controls[0]
	ids := make([]string, len(controls))
	for i, control := range controls {
		ids[i] = control.ID
		// The control of the highest profile says it best: it is the one that was asked for.
		if c.rank(control) > c.rank(first) {
			first = control
		}
	}
	d := diag.Diagnostic{
		Severity: diag.Error, Field: pathText(path), Control: first.ID,
		Rule: first.Title, Why: first.Why, Fix: first.Fix,
	}
	if value != nil {
		d.Value = value.text()
	}
	d.Message = fmt.Sprintf("%s is %s, weaker than profile %s allows", pathText(path), cmpOr(d.Value, "missing"), first.Profile)
	if value != nil && value.layer != nil && !value.layer.user {
		d.Message = fmt.Sprintf("%s is %s by default, and profile %s does not allow that", pathText(path), d.Value, first.Profile)
		if d.Fix == "" {
			d.Fix = fmt.Sprintf("write a value that it allows, here or among the defaults of profile %s: %s: ...", first.Profile, pathText(path))
		}
	}
	if value != nil && value.layer != nil && value.layer.user && value.layer.profile != "" {
		d.Message = fmt.Sprintf("profile %s sets %s to %s, weaker than profile %s allows", value.layer.profile, pathText(path), d.Value, first.Profile)
	}
	if d.Fix == "" {
		d.Fix = "remove " + last(path) + "; the profile's own value holds then"
	}
	others := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == first.ID })
	d.Controls = slices.Clone(others)
	also := ""
	if len(others) > 0 {
		for i, id := range others {
			others[i] = quote(id)
		}
		also = ", also: [" + strings.Join(others, ", ") + "]"
	}
	scope := "cluster: true"
	if namespace != "" {
		scope = "namespace: " + quote(namespace)
	}
	d.Fix += fmt.Sprintf("\nor, for a time: waivers: %q: {control: %q%s, scope: {%s}, reason: \"...\", owner: \"...\", expires: \"YYYY-MM-DD\"}",
		strings.ToLower(strings.ReplaceAll(first.ID, ".", "-")), first.ID, also, scope)
	c.place(&d, path, value)
	return d
}

// rank is the place of a control's profile in the canonical order.
func (c *checker) rank(control *Control) int {
	return slices.IndexFunc(c.profiles, func(p *Profile) bool { return p.Name == control.Profile })
}

// expr is the value as CUE syntax.
func (n *node) expr() ast.Expr {
	switch {
	case n.isList:
		list := &ast.ListLit{Elts: make([]ast.Expr, len(n.list))}
		for i, item := range n.list {
			list.Elts[i] = item.expr()
		}
		return list
	case n.object != nil:
		s := &ast.StructLit{Elts: make([]ast.Decl, 0, len(n.object))}
		for _, key := range n.keys() {
			s.Elts = append(s.Elts, &ast.Field{Label: ast.NewString(key), Value: n.object[key].expr()})
		}
		return s
	}
	switch v := n.scalar.(type) {
	case string:
		return ast.NewString(v)
	case bool:
		return ast.NewBool(v)
	case json.Number:
		kind := token.INT
		if strings.ContainsAny(string(v), ".eE") {
			kind = token.FLOAT
		}
		if rest, ok := strings.CutPrefix(string(v), "-"); ok {
			return &ast.UnaryExpr{Op: token.SUB, X: ast.NewLit(kind, rest)}
		}
		return ast.NewLit(kind, string(v))
	default:
		return ast.NewNull()
	}
}
