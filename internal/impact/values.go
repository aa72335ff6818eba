package impact

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// ordered are kinds in whose lists the order decides.
var ordered = map[string]bool{
	"Policy": true, "EncryptionConfiguration": true, "AuthorizationConfiguration": true, "AuthenticationConfiguration": true,
}

// ordinal are fields whose order decides in any object.
var ordinal = map[string]bool{"command": true, "args": true, "initContainers": true}

// canonical is the same text for values that mean the same.
func canonical(v any, inOrder bool) string {
	switch v := v.(type) {
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, k := range sortedKeys(v) {
			parts = append(parts, fmt.Sprintf("%q:%s", k, canonical(v[k], inOrder || ordinal[k])))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = canonical(item, inOrder)
		}
		if !inOrder {
			slices.Sort(parts)
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// Equal reports whether two values of a field mean the same to what reads an object of the kind: the
// order of lists counts only where it decides.
func Equal(kind, field string, a, b any) bool {
	last := field[strings.LastIndexAny(field, ".]")+1:]
	inOrder := ordered[kind] || ordinal[last]
	return canonical(a, inOrder) == canonical(b, inOrder)
}

func sameValue(a, b map[string]any) bool {
	kind, _ := a["kind"].(string)
	return canonical(a, ordered[kind]) == canonical(b, ordered[kind])
}

// maxFields bounds what is listed of one object.
const maxFields = 40

// fields lists the values that differ, by path. The values of a Secret are not shown.
func fields(before, after map[string]any) []Field {
	kind, _ := after["kind"].(string)
	f := &finder{inOrder: ordered[kind], hidden: kind == "Secret"}
	f.walk("", before, after)
	return f.found
}

type finder struct {
	inOrder, hidden bool
	found           []Field
}

func (f *finder) note(path string, a, b any) {
	if len(f.found) < maxFields {
		f.found = append(f.found, Field{strings.TrimPrefix(path, "."), f.show(a), f.show(b)})
	}
}

// none is a value that is not there.
type none struct{}

func (f *finder) show(v any) string {
	if _, ok := v.(none); ok {
		return ""
	}
	if f.hidden {
		return "(not shown)"
	}
	if text, ok := v.(string); ok {
		return text
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

func (f *finder) walk(path string, a, b any) {
	if canonical(a, f.inOrder) == canonical(b, f.inOrder) {
		return
	}
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			keys := map[string]bool{}
			for k := range x {
				keys[k] = true
			}
			for k := range y {
				keys[k] = true
			}
			for _, k := range sortedKeys(keys) {
				step := "." + k
				if strings.ContainsAny(k, "./") {
					step = "[" + k + "]"
				}
				f.walk(path+step, at(x, k), at(y, k))
			}
			return
		}
	case []any:
		if y, ok := b.([]any); ok {
			f.list(path, x, y)
			return
		}
	}
	f.note(path, a, b)
}

func at(m map[string]any, key string) any {
	if v, ok := m[key]; ok {
		return v
	}
	return none{}
}

// list compares lists: items by name where each has one, else the same place where both have as
// many, else what is in one and not in the other.
func (f *finder) list(path string, a, b []any) {
	if x, y := byName(a), byName(b); x != nil && y != nil {
		names := map[string]bool{}
		for n := range x {
			names[n] = true
		}
		for n := range y {
			names[n] = true
		}
		for _, n := range sortedKeys(names) {
			f.walk(path+"["+n+"]", at(x, n), at(y, n))
		}
		return
	}
	left, right := without(a, b, f.inOrder), without(b, a, f.inOrder)
	if len(left) == len(right) && len(left) == 1 {
		f.walk(fmt.Sprintf("%s[%d]", path, index(a, left[0])), left[0], right[0])
		return
	}
	for _, item := range left {
		f.note(path, item, none{})
	}
	for _, item := range right {
		f.note(path, none{}, item)
	}
	if len(left)+len(right) == 0 {
		f.note(path, a, b) // the order alone
	}
}

func index(list []any, item any) int {
	want := canonical(item, true)
	return slices.IndexFunc(list, func(v any) bool { return canonical(v, true) == want })
}

func without(a, b []any, inOrder bool) []any {
	count := map[string]int{}
	for _, item := range b {
		count[canonical(item, inOrder)]++
	}
	var left []any
	for _, item := range a {
		key := canonical(item, inOrder)
		if count[key] > 0 {
			count[key]--
			continue
		}
		left = append(left, item)
	}
	return left
}

// byName gives the items of a list by their name; nil where not each has one of its own.
func byName(list []any) map[string]any {
	out := make(map[string]any, len(list))
	for _, item := range list {
		m, _ := item.(map[string]any)
		name, ok := m["name"].(string)
		if _, twice := out[name]; !ok || twice {
			return nil
		}
		out[name] = item
	}
	return out
}

// words is the field in a sentence.
func (f Field) words() string {
	switch {
	case f.Old == "":
		return fmt.Sprintf("%s is added: %s", f.Path, short(f.New))
	case f.New == "":
		return fmt.Sprintf("%s is removed: %s", f.Path, short(f.Old))
	}
	return fmt.Sprintf("%s: %s → %s", f.Path, short(f.Old), short(f.New))
}

func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 80 {
		return string(runes[:77]) + "..."
	}
	return text
}

// texts are the strings of a list.
func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, item := range list {
		if text, ok := item.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// objectsIn are the maps of a list.
func objectsIn(v any) []map[string]any {
	list, _ := v.([]any)
	var out []map[string]any
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func str(m map[string]any, key string) string {
	text, _ := m[key].(string)
	return text
}
