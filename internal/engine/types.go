package engine

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// field is one field of a posture type.
type field struct {
	index int
	// required fields have no omitempty: the schema has them with an exclamation mark.
	required bool
}

// fieldsOf returns a struct's fields by their JSON name.
var fieldsOf = sync.OnceValue(func() map[reflect.Type]map[string]field {
	types := map[reflect.Type]map[string]field{}
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(t.Elem())
		case reflect.Struct:
			if types[t] != nil {
				return
			}
			fields := map[string]field{}
			types[t] = fields
			for i := range t.NumField() {
				name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
				if name != "-" {
					fields[name] = field{index: i, required: options != "omitempty"}
					visit(t.Field(i).Type)
				}
			}
		}
	}
	visit(reflect.TypeFor[posture.Posture]())
	return types
})

// shape holds a tree against the Go types: unknown fields and values of the wrong kind. Only what
// the user wrote is reported; shipped layers are held by tests.
func shape(n *node, t reflect.Type, path []string, found *diag.List) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	want := ""
	switch t.Kind() {
	case reflect.Struct:
		if !n.isObject() {
			want = "an object: { ... }"
			break
		}
		fields := fieldsOf()[t]
		for _, key := range n.keys() {
			value := n.object[key]
			f, ok := fields[key]
			if !ok {
				*found = append(*found, unknownField(value, key, fields, path))
				continue
			}
			shape(value, t.Field(f.index).Type, append(path, key), found)
		}
		return
	case reflect.Map:
		if !n.isObject() {
			want = "an object: { ... }"
			break
		}
		for _, key := range n.keys() {
			shape(n.object[key], t.Elem(), append(path, key), found)
		}
		return
	case reflect.Slice:
		if !n.isList {
			want = "a list: [ ... ]"
			break
		}
		for i, item := range n.list {
			shape(item, t.Elem(), append(path, itoa(i)), found)
		}
		return
	case reflect.String:
		if _, ok := n.scalar.(string); !ok || n.isList || n.object != nil {
			want = `a text in quotes: "..."`
		}
	case reflect.Bool:
		if _, ok := n.scalar.(bool); !ok {
			want = "true or false, without quotes"
		}
	case reflect.Int:
		if _, err := n.integer(); err != nil {
			want = "a whole number, without quotes"
		}
	}
	if want != "" {
		*found = append(*found, diag.Diagnostic{
			Severity: diag.Error, File: n.pos.file, Line: n.pos.line, Column: n.pos.column,
			Field: pathText(path), Value: n.text(),
			Message: strings.TrimSuffix(pathText(path)+" is "+n.text()+", which is "+n.kindName(), ", which is null"),
			Rule:    "it must be " + want,
			Fix:     exampleOfKind(t, n, path),
		})
	}
}

// missing finds the required fields that are not there. The evaluator would find them too, but a
// constraint that mentions such a field counts as one for it.
func missing(n *node, t reflect.Type, path []string, found *[][]string) {
	switch t.Kind() {
	case reflect.Pointer:
		missing(n, t.Elem(), path, found)
	case reflect.Struct:
		fields := fieldsOf()[t]
		for name, f := range fields {
			value := n.object[name]
			if value == nil {
				if f.required {
					*found = append(*found, append(slices.Clone(path), name))
				}
				continue
			}
			missing(value, t.Field(f.index).Type, append(path, name), found)
		}
	case reflect.Map:
		for key, value := range n.object {
			missing(value, t.Elem(), append(path, key), found)
		}
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Struct {
			return
		}
		for i, value := range n.list {
			missing(value, t.Elem(), append(path, itoa(i)), found)
		}
	}
}

func exampleOfKind(t reflect.Type, n *node, path []string) string {
	last := path[len(path)-1]
	switch t.Kind() {
	case reflect.String:
		if number, ok := n.scalar.(json.Number); ok {
			return last + `: "` + string(number) + `"`
		}
		return last + `: "..."`
	case reflect.Bool:
		switch strings.ToLower(n.str()) {
		case "yes", "on", "true", "y", "enabled":
			return last + ": true"
		}
		return last + ": false"
	case reflect.Int:
		if digits := strings.Trim(n.str(), " "); digits != "" && strings.Trim(digits, "0123456789") == "" {
			return last + ": " + digits
		}
		if number, ok := n.scalar.(json.Number); ok {
			whole, _, _ := strings.Cut(string(number), ".")
			return last + ": " + whole
		}
		return last + ": 1"
	case reflect.Slice:
		if n.isObject() || n.isList {
			return last + ": [ ... ]"
		}
		return last + ": [" + n.text() + "]"
	default:
		return last + ": { ... }"
	}
}

func unknownField(value *node, key string, fields map[string]field, path []string) diag.Diagnostic {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	where := "the cluster file"
	if len(path) > 0 {
		where = pathText(path)
	}
	d := diag.Diagnostic{
		Severity: diag.Error, File: value.pos.file, Line: value.pos.line, Column: value.pos.column,
		Field: pathText(append(path, key)), Value: value.text(),
		Message: where + " has no field " + quote(key),
		Rule:    "known here: " + strings.Join(names, ", "),
	}
	if near := nearest(key, names); near != "" {
		d.Fix = near + ": " + value.text()
		if value.isObject() {
			d.Fix = near + ": { ... }"
		}
		d.Message += "; did you mean " + quote(near) + "?"
	} else {
		d.Fix = "remove " + key + ", or use one of the fields above"
	}
	return d
}

// decode fills a Go value from a tree whose shape has been checked.
func decode(n *node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		decode(n, v.Elem())
	case reflect.Struct:
		fields := fieldsOf()[v.Type()]
		for key, value := range n.object {
			decode(value, v.Field(fields[key].index))
		}
	case reflect.Map:
		v.Set(reflect.MakeMapWithSize(v.Type(), len(n.object)))
		for key, value := range n.object {
			item := reflect.New(v.Type().Elem()).Elem()
			decode(value, item)
			v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), item)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), len(n.list), len(n.list)))
		for i, item := range n.list {
			decode(item, v.Index(i))
		}
	case reflect.String:
		v.SetString(n.str())
	case reflect.Bool:
		b, _ := n.scalar.(bool)
		v.SetBool(b)
	case reflect.Int:
		i, _ := n.integer()
		v.SetInt(int64(i))
	}
}
