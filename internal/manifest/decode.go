package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of a file that Decode reads. The largest real ones are bundles of
// CustomResourceDefinitions: a few megabytes, less than thirty levels.
const (
	maxFileSize  = 32 << 20
	maxFileDepth = 100
)

// Document is one YAML document of a file.
type Document struct {
	// Line is the line of the first key, counted from 1.
	Line int
	// Node is the root of the document: a mapping in every Kubernetes object.
	Node *yaml.Node
	// What the object says of itself; empty where it does not.
	APIVersion, Kind, Namespace, Name string
}

// Error is something wrong at one place of a file. Line and Column count from 1; Column is 0 where
// the parser does not know it.
type Error struct {
	Line, Column int
	Message      string
}

func (e *Error) Error() string {
	switch {
	case e.Line == 0:
		return e.Message
	case e.Column == 0:
		return fmt.Sprintf("%d: %s", e.Line, e.Message)
	}
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// Errors are all that is wrong with one file, in the order of the lines.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As each single error.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, one := range e {
		errs[i] = one
	}
	return errs
}

// Decode splits a YAML file into its documents; empty ones are left out. Every error it returns is
// of type Errors. Anchors, aliases, merge keys, custom tags and duplicate keys are errors: they make
// a file mean something else than a reviewer reads, and kubectl and kustomize do not agree on them.
// CRLF line ends and a UTF-8 byte order mark are accepted.
func Decode(data []byte) ([]Document, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if err := checkText(data); err != nil {
		return nil, Errors{err}
	}
	var docs []Document
	var errs Errors
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, append(errs, syntaxError(data))
		}
		if root.Kind != yaml.DocumentNode || len(root.Content) != 1 {
			continue
		}
		node := root.Content[0]
		if node.Kind == yaml.ScalarNode && node.Style == 0 && node.Value == "" {
			continue // an empty document, or one of comments only
		}
		before := len(errs)
		checkNode(node, 0, &errs)
		if len(errs) > before {
			continue
		}
		docs = append(docs, newDocument(node))
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return docs, nil
}

func newDocument(node *yaml.Node) Document {
	d := Document{Line: node.Line, Node: node}
	d.APIVersion = text(child(node, "apiVersion"))
	d.Kind = text(child(node, "kind"))
	metadata := child(node, "metadata")
	d.Namespace = text(child(metadata, "namespace"))
	d.Name = text(child(metadata, "name"))
	return d
}

// child returns the value of a key, or nil.
func child(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Kind == yaml.ScalarNode && node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

func text(node *yaml.Node) string {
	if node == nil || node.Kind != yaml.ScalarNode {
		return ""
	}
	return node.Value
}

// checkText refuses what is no YAML text at all, before the parser sees it.
func checkText(data []byte) *Error {
	if len(data) > maxFileSize {
		return &Error{Message: fmt.Sprintf("the file has %d MB; a manifest may have %d", len(data)>>20, maxFileSize>>20)}
	}
	line, start := 1, 0
	for i := 0; i < len(data); {
		c := data[i]
		if c < utf8.RuneSelf {
			if c == '\n' {
				line++
				start = i + 1
			}
			if c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0x7f {
				return &Error{line, i - start + 1, fmt.Sprintf("the character 0x%02x has no place in YAML; is this a binary file?", c)}
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return &Error{line, i - start + 1, fmt.Sprintf("the byte 0x%02x is not UTF-8; save the file as UTF-8", c)}
		}
		i += size
	}
	return nil
}

// checkNode collects what is wrong below a node.
func checkNode(node *yaml.Node, depth int, errs *Errors) {
	fail := func(n *yaml.Node, format string, args ...any) {
		*errs = append(*errs, &Error{n.Line, n.Column, fmt.Sprintf(format, args...)})
	}
	if depth > maxFileDepth {
		fail(node, "nested deeper than %d levels", maxFileDepth)
		return
	}
	if node.Kind == yaml.AliasNode {
		fail(node, "alias *%s: write the value out, so that what is reviewed is what is applied", node.Value)
		return
	}
	if node.Anchor != "" {
		fail(node, "anchor &%s: write the value out where it is used, so that what is reviewed is what is applied", node.Anchor)
	}
	if node.Style&yaml.TaggedStyle != 0 && !standardTag(node) {
		fail(node, "tag %s: Kubernetes objects are plain maps, lists, strings, numbers and booleans", node.Tag)
	}
	if node.Kind != yaml.MappingNode {
		for _, item := range node.Content {
			checkNode(item, depth+1, errs)
		}
		return
	}
	seen := make(map[string]int, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			fail(key, "a key must be a plain word")
		case key.Value == "<<" && key.Style == 0:
			fail(key, "merge key <<: write the fields out, so that what is reviewed is what is applied")
		default:
			name := Key(key)
			if line, ok := seen[name]; ok {
				fail(key, "%q stands here twice; the first is on line %d", name, line)
			} else {
				seen[name] = key.Line
			}
			checkNode(key, depth+1, errs)
		}
		checkNode(value, depth+1, errs)
	}
}

// standardTag reports whether an explicit tag says no more than what the node is.
func standardTag(node *yaml.Node) bool {
	switch node.ShortTag() {
	case "!!str":
		return node.Kind == yaml.ScalarNode
	case "!!map":
		return node.Kind == yaml.MappingNode
	case "!!seq":
		return node.Kind == yaml.SequenceNode
	}
	return false
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parseError parses all of data and returns the words and the line of the parser's error.
func parseError(data []byte) (message string, line int) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return "", 0
		}
		if err != nil {
			message = err.Error()
			line = 1
			if m := yamlLine.FindStringSubmatch(message); m != nil {
				message = message[len(m[0]):]
				if n, err := strconv.Atoi(m[1]); err == nil {
					line = n
				}
			}
			return message, line
		}
	}
}

// errorLine finds the line of a syntax error. The parser names the line on which the broken map or
// list began, or the one before it; the first line without which the error is gone is the one that
// a person has to look at.
func errorLine(lines [][]byte, message string) int {
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		found, _ := parseError(bytes.Join(lines[:i+1], []byte("\n")))
		return found == message
	})
}

// maxSearch is the size up to which a broken file is parsed some more times to find the line.
const maxSearch = 1 << 20

// syntaxError puts an error of the parser into the file and its words into plain ones.
func syntaxError(data []byte) *Error {
	message, n := parseError(data)
	lines := bytes.Split(data, []byte("\n"))
	if len(data) <= maxSearch {
		n = errorLine(lines, message)
	}
	e := &Error{Line: min(n, len(lines))}
	line := lines[e.Line-1]
	indent := len(line) - len(bytes.TrimLeft(line, " \t"))
	e.Column = indent + 1
	switch {
	case bytes.ContainsRune(line[:indent], '\t') || strings.Contains(message, "cannot start any token"):
		if tab := bytes.IndexByte(line, '\t'); tab >= 0 {
			e.Column = tab + 1
			e.Message = "a tab cannot indent YAML; use spaces"
			return e
		}
		e.Message = "not valid YAML: a value that begins with @, %, | or ` needs quotes here"
	case strings.Contains(message, "mapping values are not allowed"):
		e.Message = "not valid YAML: a key is not allowed here; is the indentation right, or does a value with \": \" in it need quotes?"
	case strings.Contains(message, "did not find expected key"):
		e.Message = "not valid YAML: expected a key; is the indentation right?"
	case strings.Contains(message, "did not find expected '-' indicator"):
		e.Message = "not valid YAML: expected a list item (\"- \"); is the indentation right?"
	case strings.Contains(message, "could not find expected ':'"):
		e.Message = "not valid YAML: expected \": \" after a key"
	case strings.Contains(message, "unknown anchor"):
		e.Message = "not valid YAML: an alias (*name) without an anchor; a value that begins with * needs quotes"
	case strings.Contains(message, "exceeded max depth"):
		e.Message = fmt.Sprintf("nested deeper than %d levels", maxFileDepth)
	default:
		e.Message = "not valid YAML: " + message
	}
	return e
}
