package merge

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8ssec/k8ssec/internal/manifest"
)

// Strategy says what becomes of a conflict.
type Strategy int

const (
	// Refuse reports conflicts; the result is not to be used.
	Refuse Strategy = iota
	// Yours takes your value wherever there is a conflict.
	Yours
	// New takes the new value wherever there is a conflict.
	New
)

// Conflict is one place that both sides changed, to different values.
type Conflict struct {
	// Field is where: "NetworkPolicy team-a/dns: spec.egress[0].ports", or the lines of a text.
	Field string
	// Line and Column are where the value stands in yours, counted from 1; 0 if it is gone there.
	Line, Column int
	// Base, Yours and New are the three values; nil where there is none.
	Base, Yours, New *string
}

// Result is a merged file.
type Result struct {
	Data []byte
	// Conflicts are all places that both sides changed, also those that a Strategy decided.
	Conflicts []Conflict
}

// File is one file in its three versions; nil where there is none.
type File struct {
	Path             string
	Base, Yours, New []byte
}

// IsYAML reports whether a path is merged by object and field.
func IsYAML(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}

// Merge merges one file. An error is of type manifest.Errors and about yours, which cannot be read;
// every other disagreement is a conflict.
func Merge(f File, s Strategy) (*Result, error) {
	switch {
	case bytes.Equal(f.Base, f.New), bytes.Equal(f.Yours, f.New):
		return &Result{Data: f.Yours}, nil
	case f.Base != nil && bytes.Equal(f.Base, f.Yours):
		return &Result{Data: f.New}, nil
	}
	yours, shape := normalLines(f.Yours)
	base, _ := normalLines(f.Base)
	next, _ := normalLines(f.New)
	var result *Result
	if IsYAML(f.Path) {
		var err error
		if result, err = mergeYAML(base, yours, next, s); err != nil {
			return nil, err
		}
	} else {
		result = mergeText(string(base), string(yours), string(next), s)
	}
	result.Data = shape.restore(result.Data)
	return result, nil
}

// shape is how the lines of a file end.
type shape struct{ mark, crlf bool }

var byteOrderMark = []byte("\xef\xbb\xbf")

// normalLines gives a file line ends of "\n", the last line too.
func normalLines(data []byte) ([]byte, shape) {
	var s shape
	data, s.mark = bytes.CutPrefix(data, byteOrderMark)
	if bytes.Contains(data, []byte("\r\n")) {
		s.crlf = true
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(slices.Clone(data), '\n')
	}
	return data, s
}

func (s shape) restore(data []byte) []byte {
	if s.crlf {
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	}
	if s.mark {
		data = append(slices.Clone(byteOrderMark), data...)
	}
	return data
}

type merger struct {
	strategy  Strategy
	conflicts []Conflict
	kind      string // of the object that is being merged
	offset    int    // lines of yours above it
}

func mergeYAML(base, yours, next []byte, s Strategy) (*Result, error) {
	y, err := parse(yours)
	if err != nil {
		return nil, err
	}
	b, errBase := parse(base)
	n, errNew := parse(next)
	if errBase != nil || errNew != nil {
		// Ours to get right; if it ever is not, the person decides.
		return whole(base, yours, next, s), nil //nolint:nilerr // it becomes a conflict
	}
	m := &merger{strategy: s}
	renamed(b.docs, y.docs, n.docs)
	merged := &file{mark: y.mark, header: pick(b.header, y.header, n.header), tail: pick(b.tail, y.tail, n.tail)}
	merged.docs = m.entries("", b.docs, y.docs, n.docs)
	var w writer
	w.file(merged)
	if !holds(w.Bytes(), merged) {
		return whole(base, yours, next, s), nil
	}
	return &Result{Data: slices.Clone(w.Bytes()), Conflicts: m.conflicts}, nil
}

// holds reports whether a text has the values of the merged documents, and no others.
func holds(text []byte, f *file) bool {
	docs, err := manifest.Decode(text)
	if err != nil || len(docs) != len(f.docs) {
		return false
	}
	for i, d := range docs {
		value, err := manifest.Value(d.Node)
		if err != nil || !equal(value, f.docs[i].value) {
			return false
		}
	}
	return true
}

// whole is a conflict about everything.
func whole(base, yours, next []byte, s Strategy) *Result {
	text := func(data []byte) *string { t := string(data); return &t }
	r := &Result{Data: yours, Conflicts: []Conflict{{Field: "the file", Line: 1, Column: 1, Base: text(base), Yours: text(yours), New: text(next)}}}
	if s == New {
		r.Data = next
	}
	return r
}

// pick merges what is no value: comments. Where both sides changed them, yours stay.
func pick(base, yours, next string) string {
	if base == yours {
		return next
	}
	return yours
}

// renamed finds objects that were renamed on one side, by what is in them.
func renamed(base, yours, next []*entry) {
	ids := func(list []*entry) map[string]bool {
		set := map[string]bool{}
		for _, e := range list {
			set[e.id] = true
		}
		return set
	}
	inBase := ids(base)
	for _, side := range [][]*entry{yours, next} {
		here := ids(side)
		for _, b := range base {
			if here[b.id] {
				continue
			}
			for _, e := range side {
				if !inBase[e.id] && sameContent(b.value, e.value) {
					e.id = b.id
					here[b.id] = true
					break
				}
			}
		}
	}
}

// sameContent reports whether two objects of one kind and namespace have almost the same content.
func sameContent(a, b any) bool {
	x, okX := a.(map[string]any)
	y, okY := b.(map[string]any)
	if !okX || !okY || x["kind"] != y["kind"] {
		return false
	}
	mx, _ := x["metadata"].(map[string]any)
	my, _ := y["metadata"].(map[string]any)
	if mx["namespace"] != my["namespace"] {
		return false
	}
	content := func(object map[string]any) map[string]int {
		rest := map[string]any{}
		for key, value := range object {
			if key != "apiVersion" && key != "kind" && key != "metadata" {
				rest[key] = value
			}
		}
		return leavesOf(rest)
	}
	cx, cy := content(x), content(y)
	return len(cx) >= 3 && likeness(cx, cy) >= 0.8
}

// entries merges documents, fields or items that have their ids.
func (m *merger) entries(at string, base, yours, next []*entry) []*entry {
	b, y, n := byID(base), byID(yours), byID(next)
	out := make([]*entry, 0, len(yours))
	var left []string // comments of yours whose field is gone
	for _, id := range order(base, yours, next) {
		e := m.entry(m.fieldPath(at, id, b[id], y[id], n[id]), b[id], y[id], n[id])
		switch {
		case e == nil && y[id] != nil:
			left = append(left, addedComments(b[id], y[id])...)
		case e != nil && len(left) > 0:
			c := *e
			c.hasNormalized = false
			c.lead = strings.Repeat(" ", c.col) + strings.Join(left, "\n"+strings.Repeat(" ", c.col)) + "\n" + c.lead
			e, left = &c, nil
			out = append(out, e)
		case e != nil:
			out = append(out, e)
		}
	}
	if len(left) > 0 && len(out) > 0 {
		c := *out[len(out)-1]
		c.hasNormalized = false
		c.tail += strings.Repeat(" ", c.col) + strings.Join(left, "\n"+strings.Repeat(" ", c.col)) + "\n"
		out[len(out)-1] = &c
	}
	return out
}

// addedComments are the comments in an entry of yours that base does not have.
func addedComments(b, y *entry) []string {
	if b == nil || b.normalize() == y.normalize() {
		return nil
	}
	count := map[string]int{}
	for line := range strings.Lines(b.normalize()) {
		count[strings.TrimSpace(line)]++
	}
	var added []string
	for line := range strings.Lines(y.normalize()) {
		line = strings.TrimSpace(line)
		if count[line]--; count[line] >= 0 {
			continue
		}
		if i := commentStart(line, true); i < len(line) {
			added = append(added, line[i:])
		}
	}
	return added
}

func byID(list []*entry) map[string]*entry {
	m := make(map[string]*entry, len(list))
	for _, e := range list {
		m[e.id] = e
	}
	return m
}

// order is the order of the result: yours, unless only the new one was rearranged. What stands on one
// side only goes behind what it stands behind there.
func order(base, yours, next []*entry) []string {
	first, second := yours, next
	if b, y, n := common(base, yours, next); slices.Equal(b, y) && !slices.Equal(b, n) {
		first, second = next, yours
	}
	out := make([]string, 0, len(first)+len(second))
	at := map[string]bool{}
	for _, e := range first {
		out = append(out, e.id)
		at[e.id] = true
	}
	previous := ""
	for i, e := range second {
		if !at[e.id] {
			where := 0
			if i > 0 {
				where = slices.Index(out, previous) + 1
			} else if k := slices.IndexFunc(second, func(s *entry) bool { return at[s.id] }); k >= 0 {
				where = slices.Index(out, second[k].id)
			}
			out = slices.Insert(out, where, e.id)
			at[e.id] = true
		}
		previous = e.id
	}
	return out
}

// common are the ids that all three have, in the order of each.
func common(base, yours, next []*entry) (b, y, n []string) {
	count := map[string]int{}
	lists := [][]*entry{base, yours, next}
	for _, list := range lists {
		for _, e := range list {
			count[e.id]++
		}
	}
	out := make([][]string, len(lists))
	for i, list := range lists {
		for _, e := range list {
			if count[e.id] == len(lists) {
				out[i] = append(out[i], e.id)
			}
		}
	}
	return out[0], out[1], out[2]
}

// fieldPath is the path of an entry, for people.
func (m *merger) fieldPath(at, id string, versions ...*entry) string {
	var e *entry
	for _, v := range versions {
		if v != nil {
			e = v
		}
	}
	switch {
	case e.head == "":
		m.kind, _, _ = strings.Cut(id, " ")
		m.offset = 0
		if y := versions[1]; y != nil {
			m.offset = y.offset
		}
		return id + ":"
	case strings.HasPrefix(id, unnamed):
		return at + "[" + id[len(unnamed)+1:] + "]"
	case e.isItem():
		return at + "[" + id + "]"
	case strings.ContainsAny(id, "./ []"):
		return at + "[" + id + "]"
	case strings.HasSuffix(at, ":"):
		return at + " " + id
	}
	return at + "." + id
}

// isItem reports whether an entry is an item of a list.
func (e *entry) isItem() bool { return strings.TrimSpace(e.head) == "-" }

// entry merges one entry; nil where it is gone.
func (m *merger) entry(at string, b, y, n *entry) *entry {
	switch {
	case y == nil && n == nil:
		return nil
	case b == nil && y == nil:
		return n
	case b == nil && n == nil:
		return y
	case y == nil: // yours deleted it
		if equal(b.value, n.value) {
			return nil
		}
		return m.conflict(at, b, nil, n)
	case n == nil: // the new one has it no more
		if equal(b.value, y.value) {
			return nil
		}
		return m.conflict(at, b, y, nil)
	case y.normalize() == n.normalize():
		return y
	case b != nil && b.normalize() == n.normalize():
		return y
	case b != nil && b.normalize() == y.normalize():
		return n
	}
	e := *y
	e.hasNormalized = false
	if b == nil {
		b = &entry{value: absent{}, lead: n.lead, comment: n.comment, tail: n.tail}
	}
	e.lead = pick(b.lead, y.lead, m.moved(n.lead, y.col-n.col))
	e.tail = pick(b.tail, y.tail, m.moved(n.tail, y.col-n.col))
	if e.comment = y.comment; b.comment == y.comment {
		e.comment = n.comment
	}
	m.value(at, &e, b, y, n)
	return &e
}

// absent is the value of what is not there; it equals nothing.
type absent struct{}

func (absent) MarshalJSON() ([]byte, error) { return nil, errors.New("absent") }

func (m *merger) moved(text string, by int) string {
	var w writer
	w.indented(text, by)
	return w.String()
}

// value merges the value of e, which is a copy of y.
func (m *merger) value(at string, e, b, y, n *entry) {
	if reflect.TypeOf(y.value) == reflect.TypeOf(n.value) && m.collection(at, e, b, y, n) {
		return
	}
	switch {
	case equal(b.value, n.value), equal(y.value, n.value):
		return
	case equal(b.value, y.value):
		e.take(n)
		return
	}
	if m.lines(e, b, y, n) {
		return
	}
	if winner := m.conflict(at, b, y, n); winner == n {
		e.take(n)
	}
}

// take puts the value of another entry into e.
func (e *entry) take(n *entry) {
	e.value, e.yaml = n.value, n.yaml
	e.inline, e.child = "", nil
	var w writer
	switch {
	case n.child != nil:
		e.child = n.child
		if by := e.col - n.col; by != 0 {
			w.block(n.child, n.child.col+by)
			e.child = &block{list: n.child.list, col: n.child.col + by, opaque: w.String()}
		}
		e.head = strings.TrimRight(e.head, " \t")
	default:
		first, rest, more := strings.Cut(n.inline, "\n")
		w.WriteString(first)
		if more {
			w.WriteByte('\n')
			w.indented(rest, e.col-n.col)
		}
		e.inline = w.String()
		if strings.HasPrefix(e.inline, "|") || strings.HasPrefix(e.inline, ">") {
			e.comment = ""
		}
	}
}

// collection merges a map or list entry by entry; false if it is neither, or cannot be split.
func (m *merger) collection(at string, e, b, y, n *entry) bool {
	_, list := y.value.([]any)
	if _, isMap := y.value.(map[string]any); !isMap && !list {
		return false
	}
	ys, okY := y.entries(list)
	ns, okN := n.entries(list)
	if !okY || !okN {
		return false
	}
	bs, ok := b.entries(list)
	if !ok {
		bs = nil
	}
	if list {
		field := at[strings.LastIndexAny(at, ". ")+1:]
		if !m.keyed(field, bs, ys, ns) {
			if _, isList := b.value.([]any); !isList && b.value != nil {
				return false // two new lists: all of both would be more than either wants
			}
			align(bs, ys, ns)
			if rearranged(bs, ys, ns) {
				return false
			}
		}
	}
	items := m.entries(at, bs, ys, ns)
	e.set(items, list, y, n)
	return true
}

// rearranged reports whether both sides changed the order of a list, to different ones.
func rearranged(base, yours, next []*entry) bool {
	b, y, n := common(base, yours, next)
	return !slices.Equal(b, y) && !slices.Equal(b, n) && !slices.Equal(y, n)
}

// set makes the merged entries the value of e.
func (e *entry) set(items []*entry, list bool, y, n *entry) {
	e.inline, e.child = "", nil
	if list {
		values := make([]any, len(items))
		for i, item := range items {
			values[i] = item.value
		}
		e.value = values
	} else {
		values := make(map[string]any, len(items))
		for _, item := range items {
			values[item.id] = item.value
		}
		e.value = values
	}
	if len(items) == 0 && e.head != "" {
		e.inline = "{}"
		if list {
			e.inline = "[]"
		}
		return
	}
	col := e.col + 2
	switch {
	case y.child != nil && y.child.items != nil:
		col = y.child.col
	case n.child != nil && n.child.items != nil:
		col = e.col + n.child.col - n.col
	case list && !e.isItem():
		col = e.col
	}
	e.child = &block{list: list, col: col, items: items}
	e.head = strings.TrimRight(e.head, " \t")
}

// entries are the fields or items of a value; false if it is no map (list) or cannot be split.
func (e *entry) entries(list bool) ([]*entry, bool) {
	switch {
	case e.child != nil && e.child.list == list && e.child.items != nil:
		return e.child.items, true
	case e.value == nil:
		return nil, true
	case e.child != nil || e.yaml == nil:
		return nil, false
	case e.yaml.Kind == yaml.MappingNode && list, e.yaml.Kind == yaml.SequenceNode && !list, e.yaml.Kind == yaml.ScalarNode:
		return nil, false
	case len(e.yaml.Content) == 0:
		return nil, true
	}
	// In braces on one line: write it out first.
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(blockStyle(e.yaml)); err != nil {
		return nil, false
	}
	docs, err := manifest.Decode(b.Bytes())
	if err != nil || len(docs) != 1 || !isBlock(docs[0].Node) {
		return nil, false
	}
	lines := strings.SplitAfter(b.String(), "\n")
	blk := parseBlock(lines[:len(lines)-1], docs[0].Node.Line-1, len(lines)-1, docs[0].Node)
	return blk.items, blk.items != nil
}

func blockStyle(n *yaml.Node) *yaml.Node {
	c := *n
	c.Style &^= yaml.FlowStyle
	c.HeadComment, c.LineComment, c.FootComment = "", "", ""
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		c.Content[i] = blockStyle(item)
	}
	return &c
}

// lines merges two edits of one text of several lines.
func (m *merger) lines(e, b, y, n *entry) bool {
	if b.yaml == nil || y.yaml == nil || n.yaml == nil {
		return false
	}
	texts := make([]string, 3)
	head, _, _ := strings.Cut(y.inline, "\n")
	for i, v := range []*entry{b, y, n} {
		text, ok := v.value.(string)
		if !ok || v.yaml.Style&yaml.LiteralStyle == 0 || !strings.HasPrefix(v.inline, head+"\n") {
			return false
		}
		texts[i] = text
	}
	r := mergeText(texts[0], texts[1], texts[2], Refuse)
	if len(r.Conflicts) > 0 {
		return false
	}
	_, body, _ := strings.Cut(y.inline, "\n")
	by := indentation(body)
	var w writer
	w.WriteString(head + "\n")
	w.indented(string(r.Data), by)
	e.inline = strings.TrimRight(w.String(), "\n")
	e.value = string(r.Data)
	return true
}

// conflict records a conflict and returns the version to go on with.
func (m *merger) conflict(at string, b, y, n *entry) *entry {
	c := Conflict{Field: strings.TrimSuffix(at, ":"), Base: m.show(b), Yours: m.show(y), New: m.show(n)}
	if y != nil && y.yaml != nil {
		c.Line, c.Column = m.offset+y.yaml.Line, y.yaml.Column
	}
	m.conflicts = append(m.conflicts, c)
	if m.strategy == New {
		return n
	}
	return y
}

// show is the value of an entry as it would be written; nil for none. The values of a Secret are not
// shown.
func (m *merger) show(e *entry) *string {
	if e == nil {
		return nil
	}
	if _, ok := e.value.(absent); ok {
		return nil
	}
	text := e.inline
	if e.child != nil {
		var w writer
		w.block(e.child, 0)
		text = strings.TrimRight(w.String(), "\n")
	}
	if m.kind == "Secret" {
		text = "(not shown)"
	}
	return &text
}

// Describe is one line for people.
func (c Conflict) Describe() string {
	return fmt.Sprintf("%s: base %s, yours %s, new %s", c.Field, short(c.Base), short(c.Yours), short(c.New))
}

func short(value *string) string {
	if value == nil {
		return "nothing"
	}
	text := strings.Join(strings.Fields(*value), " ")
	if len(text) > 60 {
		text = text[:57] + "..."
	}
	return fmt.Sprintf("%q", text)
}
