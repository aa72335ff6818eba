package schema

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/k8ssec/k8ssec/internal/manifest"
)

// Problem is one thing wrong with an object.
type Problem struct {
	// Path is the field: "spec.egress[0].ports", in the form that manifest.Lookup takes.
	Path string
	// Message says what is wrong and what to write, for people.
	Message string
	// Line and Column are where it stands in the file.
	Line, Column int
	// Warning marks what may be right on this cluster and cannot be judged here: a custom kind that
	// is not known, an API that is off unless the API server is told otherwise.
	Warning bool
}

// Validate holds an object, as manifest.Decode gives it, against the schema of its kind in a minor
// version of Kubernetes. It returns nothing for a valid one.
func Validate(minor int, object *yaml.Node) []Problem {
	v := &validator{minor: minor}
	v.object(object, false)
	return v.problems
}

// ValidatePatch is Validate for a part of an object, which kustomize merges into a whole one: nothing
// is required in it, and the directives of a strategic merge patch are allowed. A list is taken for a
// JSON patch (RFC 6902).
func ValidatePatch(minor int, object *yaml.Node) []Problem {
	v := &validator{minor: minor, patch: true}
	if object.Kind == yaml.SequenceNode {
		v.jsonPatch(object)
	} else {
		v.object(object, false)
	}
	return v.problems
}

// validator walks one object.
type validator struct {
	minor    int
	patch    bool
	source   *source
	path     []segment
	problems []Problem
}

// segment is a key, or an index where key is empty and index is not negative.
type segment struct {
	key   string
	index int
}

func (v *validator) push(key string) { v.path = append(v.path, segment{key: key, index: -1}) }
func (v *validator) pushIndex(i int) { v.path = append(v.path, segment{index: i}) }
func (v *validator) pop()            { v.path = v.path[:len(v.path)-1] }

func (v *validator) field() string {
	var b strings.Builder
	for _, s := range v.path {
		switch {
		case s.index >= 0:
			fmt.Fprintf(&b, "[%d]", s.index)
		case strings.ContainsAny(s.key, "./[]"):
			fmt.Fprintf(&b, "[%s]", s.key)
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.key)
		}
	}
	return b.String()
}

func (v *validator) problem(n *yaml.Node, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: v.field(), Message: fmt.Sprintf(format, args...), Line: n.Line, Column: n.Column})
}

func (v *validator) warn(n *yaml.Node, format string, args ...any) {
	v.problem(n, format, args...)
	v.problems[len(v.problems)-1].Warning = true
}

// object checks a whole object. One that is embedded in another need not say what it is.
func (v *validator) object(n *yaml.Node, embedded bool) {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	if n.Kind != yaml.MappingNode {
		v.problem(n, "%s stands where an object must be: a map with apiVersion and kind", kindOf(n))
		return
	}
	apiVersion, kind := child(n, "apiVersion"), child(n, "kind")
	if apiVersion == nil || kind == nil {
		if embedded || v.patch {
			return // such a patch says elsewhere what it is for
		}
		missing := "apiVersion and kind are"
		switch {
		case apiVersion != nil:
			missing = "kind is"
		case kind != nil:
			missing = "apiVersion is"
		}
		v.problem(n, "%s missing: without them nobody knows what this is", missing)
		return
	}
	for _, part := range []struct {
		name string
		node *yaml.Node
	}{{"apiVersion", apiVersion}, {"kind", kind}} {
		if s, ok := scalarOf(part.node).(string); !ok || s == "" {
			v.push(part.name)
			v.problem(part.node, "%s is not a name", shown(part.node))
			v.pop()
			return
		}
	}
	if apiVersion.Value == "v1" && kind.Value == "List" {
		v.list(n)
		return
	}
	f, ok, err := find(v.minor, apiVersion.Value, kind.Value)
	if err == nil && !ok {
		var text string
		var sure bool
		text, sure, err = missing(v.minor, apiVersion.Value, kind.Value)
		if err == nil {
			v.push("kind")
			if sure {
				v.problem(kind, "%s", text)
			} else if !embedded {
				v.warn(kind, "%s", text)
			}
			v.pop()
			return
		}
	}
	if err != nil {
		v.problem(n, "the schemas of this k8ssec are broken: %v", err)
		return
	}
	if f.offByDefault(apiVersion.Value) {
		v.push("apiVersion")
		v.warn(apiVersion, "%s is off in Kubernetes 1.%d unless the API server gets --runtime-config=%s=true", apiVersion.Value, v.minor, apiVersion.Value)
		v.pop()
	}
	outer := v.source
	v.source = f.source
	v.check(&Schema{Ref: f.kind.Definition}, n, false)
	v.source = outer
	if f.kind.Scope != File {
		v.metadata(n, f.kind.Scope, apiVersion.Value, kind.Value)
	}
}

// list checks the items of a v1 List, which kubectl and kustomize unpack.
func (v *validator) list(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := n.Content[i]; key.Value {
		case "apiVersion", "kind", "metadata":
		case "items":
			v.push("items")
			if items := n.Content[i+1]; items.Kind == yaml.SequenceNode {
				for k, item := range items.Content {
					v.pushIndex(k)
					v.object(item, false)
					v.pop()
				}
			} else if !isNull(items) {
				v.problem(items, "%s stands where a list must be", kindOf(items))
			}
			v.pop()
		default:
			v.push(key.Value)
			v.problem(key, "unknown field %q%s", key.Value, suggestion(key.Value, []string{"items", "metadata"}, ""))
			v.pop()
		}
	}
}

// jsonPatch checks the operations of RFC 6902.
func (v *validator) jsonPatch(n *yaml.Node) {
	for i, item := range n.Content {
		v.pushIndex(i)
		op, path := child(item, "op"), child(item, "path")
		switch {
		case op == nil || path == nil:
			v.problem(item, "an operation of a JSON patch has op and path")
		case !slices.Contains([]string{"add", "remove", "replace", "move", "copy", "test"}, op.Value):
			v.problem(op, "%s is no operation of a JSON patch%s", shown(op), suggestion(op.Value, []string{"add", "remove", "replace", "move", "copy", "test"}, ""))
		case path.Value != "" && !strings.HasPrefix(path.Value, "/"):
			v.problem(path, "%s is no path: write it from the root, as in /spec/replicas", shown(path))
		}
		v.pop()
	}
}

// check holds a node against a schema. Inside of anyOf and its like (partial) an object may have
// more fields than the schema names.
func (v *validator) check(s *Schema, n *yaml.Node, partial bool) {
	for s.Ref != "" {
		target, err := v.source.schema(s.Ref)
		if err != nil {
			v.problem(n, "the schemas of this k8ssec are broken: %v", err)
			return
		}
		s = target
	}
	if isNull(n) {
		return // to the API the same as a field that is not there
	}
	if !v.typed(s, n) {
		return
	}
	if len(s.Enum) > 0 {
		v.enum(s, n)
	}
	switch n.Kind {
	case yaml.MappingNode:
		v.mapping(s, n, partial)
	case yaml.SequenceNode:
		v.sequence(s, n, partial)
	case yaml.ScalarNode:
		v.scalar(s, n)
	}
	v.combined(s, n)
}

// typed reports whether the node has the type of the schema.
func (v *validator) typed(s *Schema, n *yaml.Node) bool {
	switch {
	case s.IntOrString:
		switch value := scalarOf(n).(type) {
		case string:
			return true
		case int64, uint64:
			return true
		case float64:
			if value == float64(int64(value)) {
				return true
			}
		}
		v.problem(n, "%s stands where a whole number or a string must be", shown(n))
		return false
	case s.Format == "quantity":
		return v.quantity(n)
	case s.Format == "duration-or-nanoseconds":
		if _, ok := scalarOf(n).(int64); ok {
			return true
		}
		return v.duration(n)
	case s.Type == "":
		return true
	case s.Type == "object" && n.Kind == yaml.MappingNode, s.Type == "array" && n.Kind == yaml.SequenceNode:
		return true
	case s.Type == "object" || s.Type == "array" || n.Kind != yaml.ScalarNode:
		v.problem(n, "%s stands where %s must be%s", shown(n), typeName(s.Type), listHint(s, n))
		return false
	}
	switch value := scalarOf(n).(type) {
	case string:
		if s.Type == "string" {
			return true
		}
	case bool:
		if s.Type == "boolean" {
			return true
		}
	case int64, uint64:
		if s.Type == "integer" || s.Type == "number" {
			return true
		}
	case float64:
		if s.Type == "number" || s.Type == "integer" && value == float64(int64(value)) {
			return true
		}
	}
	v.problem(n, "%s", wrongScalar(s.Type, n))
	return false
}

// listHint helps where one item stands for a list of them.
func listHint(s *Schema, n *yaml.Node) string {
	if s.Type == "array" && n.Kind == yaml.ScalarNode {
		return `: write "- ` + n.Value + `" on a line of its own`
	}
	return ""
}

// wrongScalar explains a scalar of the wrong type. Most of these come from quotes, or from the words
// that YAML takes for booleans.
func wrongScalar(want string, n *yaml.Node) string {
	value := scalarOf(n)
	text, isString := value.(string)
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0
	switch {
	case want == "string":
		what := "a number"
		if _, ok := value.(bool); ok {
			what = "a boolean"
			if n.Value != "true" && n.Value != "false" {
				what = "a boolean to YAML"
			}
		}
		return fmt.Sprintf("%s is %s and must be a string: write %q with the quotes", n.Value, what, n.Value)
	case want == "boolean" && isString && quoted && (text == "true" || text == "false"):
		return fmt.Sprintf("%q is a string because of its quotes and must be a boolean: write %s", text, text)
	case isString && quoted && isNumber(text):
		return fmt.Sprintf("%q is a string because of its quotes and must be %s: write %s", text, typeName(want), text)
	}
	return fmt.Sprintf("%s stands where %s must be", shown(n), typeName(want))
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

func (v *validator) quantity(n *yaml.Node) bool {
	switch scalarOf(n).(type) {
	case int64, uint64, float64, string:
		if _, err := resource.ParseQuantity(n.Value); err == nil {
			return true
		}
	}
	v.problem(n, "%s is no quantity: write a number with a unit, as in 500m, 128Mi or 10Gi", shown(n))
	return false
}

func (v *validator) duration(n *yaml.Node) bool {
	if s, ok := scalarOf(n).(string); ok {
		if _, err := time.ParseDuration(s); err == nil {
			return true
		}
	}
	v.problem(n, "%s is no duration: write one as in 30s, 5m or 1h30m", shown(n))
	return false
}

func (v *validator) enum(s *Schema, n *yaml.Node) {
	value := scalarOf(n)
	var names []string
	for _, allowed := range s.Enum {
		if allowed == value {
			return
		}
		if number, ok := allowed.(float64); ok {
			if i, ok := value.(int64); ok && float64(i) == number {
				return
			}
		}
		names = append(names, fmt.Sprint(allowed))
	}
	v.problem(n, "%s is not one of %s%s", shown(n), strings.Join(names, ", "), suggestion(n.Value, names, ""))
}

// directives of a strategic merge patch.
func isDirective(key string) bool {
	return key == "$patch" || key == "$retainKeys" || strings.HasPrefix(key, "$setElementOrder/") || strings.HasPrefix(key, "$deleteFromPrimitiveList/")
}

func (v *validator) mapping(s *Schema, n *yaml.Node, partial bool) {
	if s.Type == "" && len(s.Properties) == 0 && len(s.Required) == 0 && s.Additional == nil {
		return
	}
	if s.Embedded {
		v.object(n, true)
		return
	}
	open := s.Open || partial || s.Type == "" || s.Type == "object" && len(s.Properties) == 0 && s.Additional == nil && !s.Closed
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := manifest.Key(key)
		inner := s.Properties[name]
		if inner == nil {
			inner = s.Additional
		}
		v.push(name)
		switch {
		case inner != nil:
			v.check(inner, value, partial)
		case open || v.patch && isDirective(name):
		default:
			known := slices.Sorted(maps.Keys(s.Properties))
			v.problem(key, "unknown field %q%s", name, suggestion(name, known, knownHere(known)))
		}
		v.pop()
	}
	if !v.patch {
		for _, name := range s.Required {
			if value := child(n, name); value == nil || isNull(value) {
				v.push(name)
				v.problem(n, "%s is required", name)
				v.pop()
			}
		}
	}
	count := len(n.Content) / 2
	if s.MinProperties != nil && count < *s.MinProperties {
		v.problem(n, "at least %s must be in it", plural(*s.MinProperties, "field"))
	}
	if s.MaxProperties != nil && count > *s.MaxProperties {
		v.problem(n, "at most %s may be in it, and there are %d", plural(*s.MaxProperties, "field"), count)
	}
}

// knownHere lists the fields that there are, if they are few.
func knownHere(names []string) string {
	switch {
	case len(names) == 0:
		return "; nothing can be set here"
	case len(names) <= 12:
		return "; known here: " + strings.Join(names, ", ")
	}
	return ""
}

func (v *validator) sequence(s *Schema, n *yaml.Node, partial bool) {
	if s.Items != nil {
		for i, item := range n.Content {
			v.pushIndex(i)
			if isNull(item) {
				v.problem(item, "an item of the list is empty")
			} else {
				v.check(s.Items, item, partial)
			}
			v.pop()
		}
	}
	if s.MinItems != nil && len(n.Content) < *s.MinItems && !v.patch {
		v.problem(n, "the list needs at least %s", plural(*s.MinItems, "item"))
	}
	if s.MaxItems != nil && len(n.Content) > *s.MaxItems {
		v.problem(n, "the list may have at most %s, and it has %d", plural(*s.MaxItems, "item"), len(n.Content))
	}
}

// scalar checks what goes beyond the type.
func (v *validator) scalar(s *Schema, n *yaml.Node) {
	switch value := scalarOf(n).(type) {
	case string:
		v.text(s, n, value)
	case int64:
		if s.Format == "int32" && value != int64(int32(value)) {
			v.problem(n, "%d does not fit into 32 bits", value)
		}
		v.between(s, n, float64(value))
	case uint64:
		if s.Format == "int32" || s.Format == "int64" {
			v.problem(n, "%d is too large", value)
		}
		v.between(s, n, float64(value))
	case float64:
		v.between(s, n, value)
	}
}

func (v *validator) between(s *Schema, n *yaml.Node, value float64) {
	switch {
	case s.Minimum != nil && (value < *s.Minimum || s.ExclusiveMinimum && value == *s.Minimum):
		v.problem(n, "%s is too small: %s %s", n.Value, map[bool]string{false: "at least", true: "more than"}[s.ExclusiveMinimum], number(*s.Minimum))
	case s.Maximum != nil && (value > *s.Maximum || s.ExclusiveMaximum && value == *s.Maximum):
		v.problem(n, "%s is too large: %s %s", n.Value, map[bool]string{false: "at most", true: "less than"}[s.ExclusiveMaximum], number(*s.Maximum))
	}
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (v *validator) text(s *Schema, n *yaml.Node, value string) {
	switch s.Format {
	case "byte":
		if _, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(value)); err != nil {
			v.problem(n, "the value is not base64; plain text goes into stringData")
		}
	case "date-time":
		if _, err := time.Parse(time.RFC3339, value); err != nil {
			v.problem(n, "%s is no time: write one as in 2026-01-31T12:00:00Z", shown(n))
		}
	case "duration":
		v.duration(n)
	case "ipv4", "ipv6", "ip":
		if a, err := netip.ParseAddr(value); err != nil || s.Format == "ipv4" && !a.Is4() || s.Format == "ipv6" && !a.Is6() {
			v.problem(n, "%s is no address of that kind (%s)", shown(n), s.Format)
		}
	case "cidr":
		if _, err := netip.ParsePrefix(value); err != nil {
			v.problem(n, "%s is no network: write one as in 10.0.0.0/8", shown(n))
		}
	}
	if s.MinLength != nil && utf8.RuneCountInString(value) < *s.MinLength {
		if value == "" {
			v.problem(n, "it must not be empty")
		} else {
			v.problem(n, "%s is too short: at least %s", shown(n), plural(*s.MinLength, "character"))
		}
	}
	if s.MaxLength != nil && utf8.RuneCountInString(value) > *s.MaxLength {
		v.problem(n, "%s is too long: at most %s", shown(n), plural(*s.MaxLength, "character"))
	}
	if s.Pattern != "" {
		re, err := compiled(s.Pattern)
		if err != nil {
			v.problem(n, "the schemas of this k8ssec are broken: %v", err)
		} else if !re.MatchString(value) {
			v.problem(n, "%s does not have the form %s", shown(n), s.Pattern)
		}
	}
}

// combined checks allOf, anyOf, oneOf and not.
func (v *validator) combined(s *Schema, n *yaml.Node) {
	for _, part := range s.AllOf {
		v.check(part, n, true)
	}
	if len(s.AnyOf) > 0 && !slices.ContainsFunc(s.AnyOf, func(part *Schema) bool { return v.fits(part, n) }) && !v.patch {
		v.problem(n, "it must be %s", alternatives(s.AnyOf, "at least one of"))
	}
	if len(s.OneOf) > 0 && !v.patch {
		fitting := 0
		for _, part := range s.OneOf {
			if v.fits(part, n) {
				fitting++
			}
		}
		if fitting != 1 {
			v.problem(n, "it must be %s", alternatives(s.OneOf, "exactly one of"))
		}
	}
	if s.Not != nil && v.fits(s.Not, n) {
		v.problem(n, "this combination is not allowed%s", alternatives([]*Schema{s.Not}, ": not with"))
	}
}

func (v *validator) fits(s *Schema, n *yaml.Node) bool {
	trial := &validator{minor: v.minor, source: v.source}
	trial.check(s, n, true)
	return len(trial.problems) == 0
}

// alternatives names what each alternative asks for.
func alternatives(list []*Schema, how string) string {
	var names []string
	for _, s := range list {
		switch {
		case len(s.Required) > 0:
			names = append(names, strings.Join(s.Required, " with "))
		case s.Type != "":
			names = append(names, typeName(s.Type))
		case s.Pattern != "":
			names = append(names, "the form "+s.Pattern)
		case len(s.Enum) > 0:
			names = append(names, strings.Trim(fmt.Sprint(s.Enum), "[]"))
		case s.Format != "":
			names = append(names, s.Format)
		case s.Not != nil:
			names = append(names, "none of "+alternatives([]*Schema{s.Not}, ""))
		case len(s.AnyOf) > 0:
			names = append(names, alternatives(s.AnyOf, ""))
		}
	}
	return strings.TrimSpace(how + " " + strings.Join(names, ", "))
}

func typeName(t string) string {
	switch t {
	case "object":
		return "a map"
	case "array":
		return "a list"
	case "integer":
		return "a whole number"
	case "number":
		return "a number"
	case "boolean":
		return "true or false"
	}
	return "a " + t
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	return shown(n)
}

// shown is a node as a message shows it.
func shown(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return kindOf(n)
	}
	text := n.Value
	if r := []rune(text); len(r) > 60 {
		text = string(r[:60]) + "..."
	}
	if _, ok := scalarOf(n).(string); ok {
		return strconv.Quote(text)
	}
	if text == "" {
		return "nothing"
	}
	return text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func scalarOf(n *yaml.Node) any {
	if n.Kind != yaml.ScalarNode {
		return n.Kind
	}
	return manifest.Scalar(n)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && manifest.Scalar(n) == nil }

func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
