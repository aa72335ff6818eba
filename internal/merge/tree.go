package merge

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8ssec/k8ssec/internal/manifest"
)

// file is a YAML file as spans of text.
type file struct {
	// header are the comments of the file itself: those before the first blank line.
	header string
	// mark is the "---" line before the first document, if there is one.
	mark string
	docs []*entry
	// tail are comments after the last document.
	tail string
}

// entry is one document, one field of a map or one item of a list. Its text is
//
//	lead              whole lines: comments and blank lines above it
//	head inline comment   "port:" "53" "  # DNS"; head of an item is "-", of a document nothing
//	child             a block of whole lines
//	tail              whole lines: comments below it that are indented less than the child
type entry struct {
	id string // key of a field, identity of a document; set for items when lists are matched
	// mark is the line that divides a document from the one before.
	mark          string
	offset        int // lines of the file above a document
	lead          string
	head          string
	inline        string
	comment       string
	child         *block
	tail          string
	col           int // column of the key or dash
	value         any
	yaml          *yaml.Node
	normalized    string
	hasNormalized bool
}

// block is a map or list whose fields or items stand on lines of their own.
type block struct {
	list bool
	col  int // column of the keys or dashes
	// items are the fields of a map, the items of a list. An opaque block, which could not be
	// split, has none and only text.
	items  []*entry
	opaque string
}

var (
	separator = regexp.MustCompile(`^---[ \t]*(#.*)?$`)
	marker    = regexp.MustCompile(`^(---|\.\.\.|%)`)
)

// parse splits a file. Its line ends are "\n".
func parse(data []byte) (*file, error) {
	f := &file{}
	var pending string // comments and separators that no object follows yet
	line := 0
	for _, chunk := range chunks(string(data)) {
		e, err := parseDocument(chunk)
		if err != nil {
			return nil, shift(err, line+strings.Count(chunk.mark, "\n"))
		}
		offset := line + strings.Count(chunk.mark, "\n")
		line = offset + strings.Count(chunk.body, "\n")
		if e == nil {
			pending += chunk.mark + chunk.body
			continue
		}
		e.mark, e.offset = chunk.mark, offset
		if len(f.docs) == 0 {
			if pending != "" {
				f.header, e.mark = pending+chunk.mark, ""
			} else if header, rest, ok := cutHeader(e.lead); ok && chunk.mark == "" {
				f.header, e.lead = header, rest
			}
		} else if pending != "" {
			e.mark, e.lead = "", pending+e.mark+e.lead
		}
		pending = ""
		f.docs = append(f.docs, e)
	}
	f.tail = pending
	if len(f.docs) > 0 {
		f.mark = f.docs[0].mark
	}
	name(f.docs)
	return f, nil
}

// cutHeader cuts the comments up to the first blank line off.
func cutHeader(lead string) (header, rest string, ok bool) {
	at := 0
	for line := range strings.Lines(lead) {
		at += len(line)
		if strings.TrimSpace(line) == "" {
			return lead[:at], lead[at:], at > len(line)
		}
	}
	return "", lead, false
}

type chunk struct{ mark, body string }

// chunks splits a file at its document markers.
func chunks(text string) []chunk {
	var all []chunk
	current := chunk{}
	start, at := 0, 0
	for line := range strings.Lines(text) {
		if separator.MatchString(strings.TrimRight(line, "\n")) {
			current.body = text[start:at]
			if current.body != "" || current.mark != "" {
				all = append(all, current)
			}
			current = chunk{mark: line}
			start = at + len(line)
		}
		at += len(line)
	}
	current.body = text[start:]
	return append(all, current)
}

func shift(err error, lines int) error {
	var all manifest.Errors
	if !errors.As(err, &all) {
		return err
	}
	shifted := make(manifest.Errors, len(all))
	for i, e := range all {
		one := *e
		one.Line += lines
		shifted[i] = &one
	}
	return shifted
}

// name gives each document its identity: kind, namespace and name. The second of the same in one
// file gets a number, so that nothing is lost.
func name(docs []*entry) {
	seen := map[string]int{}
	for _, d := range docs {
		d.id = identity(d.value)
		if seen[d.id]++; seen[d.id] > 1 {
			d.id = fmt.Sprintf("%s (%d)", d.id, seen[d.id])
		}
	}
}

// identity names an object: "NetworkPolicy team-a/dns". The version of its API is left out: it is
// what an upgrade changes.
func identity(value any) string {
	object, ok := value.(map[string]any)
	if !ok {
		return "document"
	}
	kind, _ := object["kind"].(string)
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if namespace, _ := metadata["namespace"].(string); namespace != "" {
		name = namespace + "/" + name
	}
	if kind == "" && name == "" {
		return "document"
	}
	return strings.TrimSpace(kind + " " + name)
}

func parseDocument(c chunk) (*entry, error) {
	docs, err := manifest.Decode([]byte(c.body))
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, nil
	}
	root := docs[0].Node
	for line := range strings.Lines(c.body) {
		if marker.MatchString(line) {
			return nil, manifest.Errors{{Line: 1, Column: 1, Message: "directives and markers other than --- are not merged: take them out"}}
		}
	}
	lines := strings.SplitAfter(c.body, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	value, err := manifest.Value(root)
	if err != nil {
		return nil, err
	}
	e := &entry{value: value, yaml: root}
	first := root.Line - 1
	e.lead = strings.Join(lines[:first], "")
	if !isBlock(root) {
		e.child = &block{opaque: strings.Join(lines[first:], "")}
		return e, nil
	}
	end := len(lines)
	for end > first+1 && (blank(lines[end-1]) || commentLine(lines[end-1]) && indentation(lines[end-1]) == 0) && root.Kind == yaml.MappingNode {
		end--
	}
	e.tail = strings.Join(lines[end:], "")
	e.child = parseBlock(lines, first, end, root)
	return e, nil
}

func isBlock(n *yaml.Node) bool {
	return (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && n.Style&yaml.FlowStyle == 0 && len(n.Content) > 0
}

func blank(line string) bool { return strings.TrimSpace(line) == "" }

func commentLine(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, " "), "#") }

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// parseBlock splits the lines [from, to) of a block map or list.
func parseBlock(lines []string, from, to int, n *yaml.Node) *block {
	b := &block{list: n.Kind == yaml.SequenceNode}
	// What does not split must not be changed: the lines of a list lose their dashes on the way.
	before := append([]string(nil), lines[from:to]...)
	var ok bool
	if b.list {
		ok = b.parseList(lines, from, to, n)
	} else {
		ok = b.parseMap(lines, from, to, n)
	}
	if !ok {
		copy(lines[from:to], before)
		b.items, b.opaque = nil, strings.Join(before, "")
		for i := from; i < to; i++ {
			if !blank(lines[i]) && !commentLine(lines[i]) {
				b.col = indentation(lines[i])
				break
			}
		}
	}
	return b
}

func (b *block) parseMap(lines []string, from, to int, n *yaml.Node) bool {
	b.col = n.Content[0].Column - 1
	count := len(n.Content) / 2
	starts := make([]int, count)
	for i := range count {
		key := n.Content[2*i]
		starts[i] = key.Line - 1
		if key.Column-1 != b.col || starts[i] < from || starts[i] >= to || i > 0 && starts[i] <= starts[i-1] {
			return false
		}
	}
	leads := b.leads(lines, starts, from, func(i int) *yaml.Node { return n.Content[2*i+1] })
	for i := range count {
		key, value := n.Content[2*i], n.Content[2*i+1]
		end := to
		if i+1 < count {
			end = leads[i+1]
		}
		line := lines[starts[i]]
		colon := keyEnd(line, b.col, key)
		if colon < 0 || strings.TrimSpace(line[:b.col]) != "" {
			return false
		}
		e := &entry{id: manifest.Key(key), lead: strings.Join(lines[leads[i]:starts[i]], ""), col: b.col, yaml: value}
		if !e.parseValue(lines, starts[i], end, colon) {
			return false
		}
		b.items = append(b.items, e)
	}
	return true
}

// keyEnd is where the key of a line ends, after its colon; -1 if the line is not of that form.
func keyEnd(line string, col int, key *yaml.Node) int {
	if len(line) <= col {
		return -1
	}
	at := col
	switch line[col] {
	case '"', '\'':
		end := quoteEnd(line, col)
		if end < 0 {
			return -1
		}
		at = end
	case '?', '&', '!', '*':
		if key.Value == "" || line[col] != key.Value[0] {
			return -1
		}
	}
	for ; at < len(line); at++ {
		if line[at] == ':' && (at+1 == len(line) || strings.IndexByte(" \t\n", line[at+1]) >= 0) {
			return at + 1
		}
	}
	return -1
}

// quoteEnd is the index after the quoted text that begins at start, on the same line; else -1.
func quoteEnd(line string, start int) int {
	quote := line[start]
	for i := start + 1; i < len(line); i++ {
		switch {
		case quote == '"' && line[i] == '\\':
			i++
		case quote == '\'' && line[i] == '\'' && i+1 < len(line) && line[i+1] == '\'':
			i++
		case line[i] == quote:
			return i + 1
		}
	}
	return -1
}

// leads finds the line on which the comments above each entry begin.
func (b *block) leads(lines []string, starts []int, from int, value func(int) *yaml.Node) []int {
	leads := make([]int, len(starts))
	for i, start := range starts {
		low := from
		if i > 0 {
			low = lastLine(lines, value(i-1), starts[i-1]) + 1
		}
		at := start
		for at > low && (blank(lines[at-1]) || commentLine(lines[at-1]) && (indentation(lines[at-1]) <= b.col || i == 0)) {
			at--
		}
		if i == 0 {
			at = from
		}
		leads[i] = at
	}
	return leads
}

// lastLine is the last line of a quoted text or flow collection, which may hold what looks like a
// comment. For every other value it is the line on which its entry begins.
func lastLine(lines []string, n *yaml.Node, start int) int {
	quoted := n.Kind == yaml.ScalarNode && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0
	flow := n.Kind != yaml.ScalarNode && n.Style&yaml.FlowStyle != 0
	if !quoted && !flow {
		return start
	}
	depth := 0
	var quote byte
	for l, c := n.Line-1, n.Column-1; l < len(lines); l, c = l+1, 0 {
		line := lines[l]
		for ; c < len(line); c++ {
			switch ch := line[c]; {
			case quote == '"' && ch == '\\':
				c++
			case quote == '\'' && ch == '\'' && c+1 < len(line) && line[c+1] == '\'':
				c++
			case quote != 0 && ch == quote:
				quote = 0
				if depth == 0 {
					return l
				}
			case quote != 0:
			case ch == '#' && (c == 0 || line[c-1] == ' ' || line[c-1] == '\t'):
				c = len(line)
			case (ch == '"' || ch == '\'') && (depth == 0 || strings.IndexByte(" [{,:\t", line[max(c-1, 0)]) >= 0 || c == 0):
				quote = ch
			case ch == '{' || ch == '[':
				depth++
			case ch == '}' || ch == ']':
				if depth--; depth == 0 {
					return l
				}
			}
		}
	}
	return start
}

func (b *block) parseList(lines []string, from, to int, n *yaml.Node) bool {
	first := from
	for first < to && (blank(lines[first]) || commentLine(lines[first])) {
		first++
	}
	if first == to {
		return false
	}
	b.col = indentation(lines[first])
	var starts []int
	for i := first; i < to; i++ {
		if indentation(lines[i]) == b.col && isDash(lines[i][b.col:]) {
			starts = append(starts, i)
		}
	}
	if len(starts) != len(n.Content) {
		return false
	}
	for i, item := range n.Content {
		if item.Line-1 < starts[i] || i+1 < len(starts) && item.Line-1 >= starts[i+1] {
			return false
		}
	}
	leads := b.leads(lines, starts, from, func(i int) *yaml.Node { return n.Content[i] })
	for i, item := range n.Content {
		end := to
		if i+1 < len(starts) {
			end = leads[i+1]
		}
		e := &entry{lead: strings.Join(lines[leads[i]:starts[i]], ""), col: b.col, yaml: item}
		if !e.parseValue(lines, starts[i], end, b.col+1) {
			return false
		}
		b.items = append(b.items, e)
	}
	return true
}

func isDash(text string) bool {
	return text == "-\n" || text == "-" || strings.HasPrefix(text, "- ")
}

// parseValue splits the lines [start, end) of an entry whose key or dash ends at column at.
func (e *entry) parseValue(lines []string, start, end, at int) bool {
	value, err := manifest.Value(e.yaml)
	if err != nil {
		return false
	}
	e.value = value
	line := lines[start]
	rest := strings.TrimRight(line[at:], "\n")
	e.head = line[:at]
	dash := line[at-1] == '-' && at == e.col+1
	if isBlock(e.yaml) && (dash || e.yaml.Line-1 > start) {
		from := start + 1
		switch text := strings.TrimSpace(rest); {
		case dash && text != "":
			lines[start] = line[:e.col] + " " + line[at:]
			from = start
		case text == "":
		case strings.HasPrefix(text, "#"):
			e.comment = strings.TrimRight(rest, " \t")
		default:
			return false
		}
		col := -1
		for i := from; i < end; i++ {
			if !blank(lines[i]) && !commentLine(lines[i]) {
				col = indentation(lines[i])
				break
			}
		}
		if col < 0 {
			return false
		}
		stop := end
		for stop > from+1 && (blank(lines[stop-1]) || commentLine(lines[stop-1]) && indentation(lines[stop-1]) < col) {
			stop--
		}
		e.tail = strings.Join(lines[stop:end], "")
		e.child = parseBlock(lines, from, stop, e.yaml)
		return true
	}
	if isBlock(e.yaml) {
		return false
	}
	stop := end
	scalar := e.yaml.Kind == yaml.ScalarNode
	literal := scalar && e.yaml.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	low := lastLine(lines, e.yaml, start) + 1
	for stop > low && (blank(lines[stop-1]) || commentLine(lines[stop-1]) && (!literal || indentation(lines[stop-1]) <= e.col)) {
		stop--
	}
	e.tail = strings.Join(lines[stop:end], "")
	text := strings.TrimLeft(rest, " \t")
	if text != "" {
		e.head += rest[:len(rest)-len(text)]
	}
	if stop > start+1 {
		e.inline = text + "\n" + strings.TrimRight(strings.Join(lines[start+1:stop], ""), "\n")
		return true
	}
	i := commentStart(text, !scalar || e.yaml.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0)
	e.inline = strings.TrimRight(text[:i], " \t")
	e.comment = strings.TrimRight(text[len(e.inline):], " \t")
	if e.inline == "" && e.comment != "" {
		e.head, e.comment = strings.TrimRight(e.head, " \t"), e.head[len(strings.TrimRight(e.head, " \t")):]+e.comment
	}
	return true
}

// commentStart is where the comment after a value on one line begins.
func commentStart(text string, quotes bool) int {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quotes && (c == '"' || c == '\'') && (i == 0 || strings.IndexByte(" [{,:\t", text[i-1]) >= 0):
			if end := quoteEnd(text, i); end > 0 {
				i = end - 1
			}
		case c == '#' && (i == 0 || text[i-1] == ' ' || text[i-1] == '\t'):
			return i
		}
	}
	return len(text)
}

// normalize is the text of an entry at column 0: what two entries are compared by.
func (e *entry) normalize() string {
	if !e.hasNormalized {
		var w writer
		w.entry(e, 0)
		e.normalized, e.hasNormalized = w.String(), true
	}
	return e.normalized
}

// writer puts spans together again.
type writer struct{ bytes.Buffer }

func (w *writer) file(f *file) {
	w.WriteString(f.header)
	for i, d := range f.docs {
		switch {
		case i == 0 && f.header == "":
			w.WriteString(f.mark)
		case i > 0 && d.mark != "":
			w.WriteString(d.mark)
		case i > 0 && !strings.Contains(d.lead, "---\n"):
			w.WriteString("---\n")
		}
		w.WriteString(d.lead)
		w.block(d.child, d.child.col)
		w.WriteString(d.tail)
	}
	w.WriteString(f.tail)
}

// block writes a block with its keys or dashes at column col.
func (w *writer) block(b *block, col int) {
	if b.items == nil {
		w.indented(b.opaque, col-b.col)
		return
	}
	for _, e := range b.items {
		w.entry(e, col)
	}
}

// entry writes an entry with its key or dash at column col.
func (w *writer) entry(e *entry, col int) {
	by := col - e.col
	w.indented(e.lead, by)
	if e.head == "" { // a document
		w.block(e.child, e.child.col)
		w.WriteString(e.tail)
		return
	}
	if e.child != nil && strings.HasSuffix(e.head, "-") && e.comment == "" {
		start := w.Len()
		w.block(e.child, e.child.col+by)
		w.dash(start, col)
		w.indented(e.tail, by)
		return
	}
	w.indented(e.head, by)
	if e.inline != "" {
		if c := e.head[len(e.head)-1]; c != ' ' && c != '\t' {
			w.WriteByte(' ')
		}
		first, rest, more := strings.Cut(e.inline, "\n")
		w.WriteString(first)
		if more {
			w.WriteByte('\n')
			w.indented(rest, by)
		}
	}
	w.WriteString(e.comment)
	w.WriteByte('\n')
	if e.child != nil {
		w.block(e.child, e.child.col+by)
	}
	w.indented(e.tail, by)
}

// dash puts the dash of an item before the first field of the block that begins at start.
func (w *writer) dash(start, col int) {
	text := w.Bytes()
	for at := start; at < len(text); {
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if line := string(text[at:end]); !blank(line) && !commentLine(line) {
			if at+col < end && text[at+col] == ' ' {
				text[at+col] = '-'
			}
			return
		}
		at = end
	}
}

// indented writes lines, moved to the right by a number of columns, or to the left as far as each
// line has room.
func (w *writer) indented(text string, by int) {
	if by == 0 || text == "" {
		w.WriteString(text)
		return
	}
	for line := range strings.Lines(text) {
		switch {
		case blank(line):
		case by > 0:
			w.WriteString(strings.Repeat(" ", by))
		default:
			line = line[min(-by, indentation(line)):]
		}
		w.WriteString(line)
	}
}
