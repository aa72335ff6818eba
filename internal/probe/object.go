package probe

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// object is any API object.
type object map[string]any

// toObject turns a typed object or a map into an object of its own.
func toObject(value any) (object, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var o object
	return o, json.Unmarshal(b, &o)
}

func (o object) text(fields ...string) string {
	s, _ := o.at(fields...).(string)
	return s
}

func (o object) at(fields ...string) any {
	var v any = map[string]any(o)
	for _, f := range fields {
		m, _ := v.(map[string]any)
		v = m[f]
	}
	return v
}

func (o object) apiVersion() string { return o.text("apiVersion") }
func (o object) kind() string       { return o.text("kind") }
func (o object) namespace() string  { return o.text("metadata", "namespace") }
func (o object) name() string       { return o.text("metadata", "name") }

func (o object) metadata() map[string]any {
	m, ok := o["metadata"].(map[string]any)
	if !ok {
		m = map[string]any{}
		o["metadata"] = m
	}
	return m
}

// String names the object for people: "NetworkPolicy team-a/default-deny".
func (o object) String() string {
	name := o.name()
	if ns := o.namespace(); ns != "" {
		name = ns + "/" + name
	}
	return strings.TrimSpace(o.kind() + " " + name)
}

// missing returns the first field of want that is not in got with its value, as "path is X, emitted
// Y". Empty values say nothing.
func missing(want, got any, path string) string {
	switch w := want.(type) {
	case nil:
		return ""
	case map[string]any:
		g, _ := got.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(w)) {
			if d := missing(w[key], g[key], join(path, key)); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if (!ok && len(w) > 0) || len(g) != len(w) {
			return differs(path, want, got)
		}
		for i := range w {
			if d := missing(w[i], g[i], fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
		return ""
	}
	if !reflect.DeepEqual(want, got) {
		return differs(path, want, got)
	}
	return ""
}

func differs(path string, want, got any) string {
	if got == nil {
		return path + " is not set, emitted " + short(want)
	}
	return path + " is " + short(got) + ", emitted " + short(want)
}

func short(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return clip(string(b), 80)
}

// clip bounds a text for people.
func clip(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

func join(path, key string) string {
	switch {
	case strings.ContainsAny(key, "./"):
		return path + "[" + key + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// lookup returns the value at a dotted path; a part "name[3]" or "[key]" looks into a list or takes a
// key that holds dots.
func lookup(v any, path string) any {
	for path != "" {
		if path[0] == '.' {
			path = path[1:]
			continue
		}
		var key string
		if path[0] == '[' {
			key, path, _ = strings.Cut(path[1:], "]")
		} else {
			i := strings.IndexAny(path, ".[")
			if i < 0 {
				i = len(path)
			}
			key, path = path[:i], path[i:]
		}
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			var i int
			if _, err := fmt.Sscanf(key, "%d", &i); err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}
