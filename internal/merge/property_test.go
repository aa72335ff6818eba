package merge

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/k8ssec/k8ssec/internal/manifest"
)

// renders are the golden outputs of every profile, platform, minor and CNI: real files, and what
// really changes between two of them.
func renders(t testing.TB) []map[string]string {
	t.Helper()
	names, err := filepath.Glob("../app/testdata/golden/*.txtar")
	if err != nil || len(names) < 10 {
		t.Fatalf("%d golden outputs, %v", len(names), err)
	}
	read := func(name string) map[string]string {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for _, f := range archive.Files {
			files[f.Name] = string(f.Data)
		}
		return files
	}
	const reference = "../app/testdata/golden/cis-kubeadm-1.37-cilium.txtar"
	base := read(reference)
	var all []map[string]string
	for _, name := range names {
		files := maps.Clone(base)
		differs := read(name)
		maps.Copy(files, differs)
		for _, gone := range strings.Fields(differs["absent"]) {
			delete(files, gone)
		}
		maps.DeleteFunc(files, func(name, _ string) bool { return !IsYAML(name) || strings.HasPrefix(name, "patches/") })
		all = append(all, files)
	}
	return all
}

// editor makes edits as a person would: line by line.
type editor struct {
	t     *rapid.T
	lines []string
	// tokens must be in the file for good, each in one place.
	tokens []string
	// gone are fields that were deleted: identity of the object and keys.
	gone [][]string
	// set are fields with the value that they got.
	set map[string]string
}

// place is one value of a file, with the keys that lead to it; nil keys where a list is on the way.
type place struct {
	keys       []string
	key, value *yaml.Node
	siblings   int
	last       int // line after it, from 0
}

// places lists all fields and items of a file.
func (e *editor) places() []place {
	docs, err := manifest.Decode([]byte(strings.Join(e.lines, "")))
	if err != nil {
		e.t.Fatalf("the edited file cannot be read: %v\n%s", err, strings.Join(e.lines, ""))
	}
	var all []place
	for i, d := range docs {
		end := len(e.lines)
		if i+1 < len(docs) {
			end = docs[i+1].Node.Line - 1
		}
		value, _ := manifest.Value(d.Node)
		var walk func(keys []string, n *yaml.Node, end int)
		walk = func(keys []string, n *yaml.Node, end int) {
			if n.Style&yaml.FlowStyle != 0 {
				return
			}
			step := 1
			if n.Kind == yaml.MappingNode {
				step = 2
			}
			for i := 0; i < len(n.Content) && n.Kind != yaml.ScalarNode; i += step {
				last := end
				if i+step < len(n.Content) {
					last = n.Content[i+step].Line - 1
				}
				p := place{value: n.Content[i+step-1], siblings: len(n.Content)/step - 1, last: last}
				if step == 2 {
					p.key = n.Content[i]
					if keys != nil {
						p.keys = append(slices.Clone(keys), manifest.Key(p.key))
					}
				}
				all = append(all, p)
				walk(p.keys, p.value, last)
			}
		}
		walk([]string{identity(value)}, d.Node, end)
	}
	return all
}

func (e *editor) edit(n int) {
	places := e.places()
	if len(places) == 0 {
		return
	}
	p := places[rapid.IntRange(0, len(places)-1).Draw(e.t, "place")]
	token := fmt.Sprintf("edit%dx", n)
	at := p.value
	if p.key != nil {
		at = p.key
	}
	line, col := at.Line-1, at.Column-1
	indent := strings.Repeat(" ", col)
	onDash := strings.Contains(e.lines[line][:col], "-")
	simple := p.value.Kind == yaml.ScalarNode && p.value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && p.value.Line == at.Line &&
		(p.last == p.value.Line || p.value.Style == 0)
	name := strings.Join(p.keys, "\x00")
	switch rapid.SampledFrom([]string{"change", "delete", "add", "item", "comment", "behind", "blank", "quote"}).Draw(e.t, "edit") {
	case "change":
		if !simple || slices.Contains(p.keys, "kind") || slices.Contains(p.keys, "metadata") || slices.Contains(p.keys, "apiVersion") || p.keys == nil && rapid.Bool().Draw(e.t, "skip") {
			return
		}
		from := p.value.Column - 1
		if p.value.Value == "" && p.value.Style == 0 || e.lines[p.value.Line-1][from:] == "" {
			return
		}
		e.lines[line] = e.lines[line][:from] + token + "\n"
		e.tokens = append(e.tokens, token)
		if p.keys != nil {
			e.set[name] = token
		}
	case "delete":
		if p.key == nil || onDash || p.siblings == 0 || len(p.keys) < 3 || p.keys[1] == "metadata" {
			return
		}
		last := line + 1
		for last < p.last && (indentation(e.lines[last]) > col || strings.HasPrefix(e.lines[last][min(col, len(e.lines[last])):], "- ") || blank(e.lines[last])) && !strings.HasPrefix(e.lines[last], "---") {
			last++
		}
		for _, l := range e.lines[line:last] {
			if strings.Contains(l, "edit") { // an earlier edit goes with it
				return
			}
		}
		e.lines = slices.Delete(e.lines, line, last)
		e.gone = append(e.gone, p.keys)
	case "add":
		if p.key == nil || !simple {
			return
		}
		e.lines = slices.Insert(e.lines, line+1, indent+token+": \"1\"\n")
		e.tokens = append(e.tokens, token)
	case "item":
		if p.key != nil || !simple || !onDash {
			return
		}
		e.lines = slices.Insert(e.lines, line+1, strings.Repeat(" ", strings.LastIndex(e.lines[line][:col], "-"))+"- "+token+"\n")
		e.tokens = append(e.tokens, token)
	case "comment":
		if onDash {
			indent = strings.Repeat(" ", strings.Index(e.lines[line], "-"))
		}
		e.lines = slices.Insert(e.lines, line, indent+"# "+token+"\n")
		e.tokens = append(e.tokens, token)
	case "behind":
		if !simple || strings.Contains(e.lines[line], " #") {
			return
		}
		e.lines[line] = strings.TrimRight(e.lines[line], "\n") + "  # " + token + "\n"
		e.tokens = append(e.tokens, token)
	case "blank":
		if !onDash {
			e.lines = slices.Insert(e.lines, line, "\n")
		}
	case "quote":
		if text, ok := manifest.Scalar(p.value).(string); ok && simple && p.value.Style == 0 && !strings.ContainsAny(text, "'\\\"") {
			from := p.value.Column - 1
			rest := strings.TrimPrefix(e.lines[line][from:], text)
			e.lines[line] = e.lines[line][:from] + "'" + text + "'" + rest
		}
	}
}

// TestEditsSurvive makes random edits in real files while the profile, the version, the platform or
// the CNI changes. Whatever happens: with your side taken in conflicts each edit is there, the
// result can be read and has no key twice, no marker is in it, and the next run changes nothing.
func TestEditsSurvive(t *testing.T) {
	all := renders(t)
	conflicts, merges := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom(all).Draw(t, "base")
		b := rapid.SampledFrom(all).Draw(t, "new")
		var names, same []string
		for _, name := range slices.Sorted(maps.Keys(a)) {
			switch other, ok := b[name]; {
			case ok && other != a[name]:
				names = append(names, name)
			case ok:
				same = append(same, name)
			}
		}
		if len(names) == 0 {
			names = same
		}
		name := rapid.SampledFrom(names).Draw(t, "file")
		e := &editor{t: t, lines: strings.SplitAfter(strings.TrimSuffix(a[name], "\n"), "\n"), set: map[string]string{}}
		e.lines[len(e.lines)-1] += "\n"
		for i := range rapid.IntRange(1, 6).Draw(t, "edits") {
			e.edit(i)
		}
		yours := strings.Join(e.lines, "")
		f := File{Path: path.Base(name), Base: []byte(a[name]), Yours: []byte(yours), New: []byte(b[name])}
		r, err := Merge(f, Yours)
		if err != nil {
			t.Fatal(err)
		}
		merges++
		fail := func(format string, args ...any) {
			t.Fatalf("%s: %s\n== base\n%s\n== yours\n%s\n== new\n%s\n== result\n%s", name, fmt.Sprintf(format, args...), f.Base, f.Yours, f.New, r.Data)
		}
		if len(r.Conflicts) > 0 {
			conflicts++
			if r.Conflicts[0].Field == "the file" {
				fail("the spans were not put together again")
			}
		}
		docs, err := manifest.Decode(r.Data)
		if err != nil {
			fail("cannot be read: %v", err)
		}
		if strings.Contains(string(r.Data), "<<<<<<<") {
			fail("a marker")
		}
		for _, token := range e.tokens {
			want := strings.Count(yours, token)
			if n := strings.Count(string(r.Data), token); n != want {
				fail("%s is there %d times, want %d", token, n, want)
			}
		}
		values := map[string]any{}
		for _, d := range docs {
			value, err := manifest.Value(d.Node)
			if err != nil {
				fail("%v", err)
			}
			values[identity(value)] = value
		}
		for _, keys := range e.gone {
			if value, ok := lookup(values, keys); ok {
				fail("%v was deleted, and is %v", keys, value)
			}
		}
		for name, token := range e.set {
			if value, _ := lookup(values, strings.Split(name, "\x00")); value != token && strings.Contains(yours, token) {
				fail("%q is %v, want %s", name, value, token)
			}
		}
		again, err := Merge(File{Path: f.Path, Base: f.New, Yours: r.Data, New: f.New}, Refuse)
		if err != nil || len(again.Conflicts) > 0 || string(again.Data) != string(r.Data) {
			fail("the next run changes it: %v", err)
		}
		other, err := Merge(f, New)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := manifest.Decode(other.Data); err != nil {
			r = other
			fail("with the new side it cannot be read: %v", err)
		}
	})
	t.Logf("%d merges, %d of them with conflicts", merges, conflicts)
}

func lookup(values map[string]any, keys []string) (any, bool) {
	var value any = values
	for _, key := range keys {
		m, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = m[key]; !ok {
			return nil, false
		}
	}
	return value, true
}

// TestUntouched holds that a merge without edits is the new render, and one without a new render
// yours, for every pair of golden files.
func TestUntouched(t *testing.T) {
	all := renders(t)
	for i := range all {
		a, b := all[i], all[(i+7)%len(all)]
		for name, text := range a {
			other, ok := b[name]
			if !ok || other == text {
				continue
			}
			// A comment at the end is an edit, so that the merge really runs.
			f := File{Path: name, Base: []byte(text), Yours: []byte(text + "# mine\n"), New: []byte(other)}
			r, err := Merge(f, Refuse)
			if err != nil || len(r.Conflicts) > 0 {
				t.Fatalf("%s: %v %v", name, err, r)
			}
			if strings.Replace(string(r.Data), "# mine\n", "", 1) != other {
				t.Fatalf("%s: the merge is not the new render\n== base\n%s\n== new\n%s\n== result\n%s", name, text, other, r.Data)
			}
		}
	}
}
