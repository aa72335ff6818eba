package engine

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// TestDrift holds the CUE schema and the Go types together: the same fields, the same kinds, and
// required in one exactly where the other has no omitempty.
func TestDrift(t *testing.T) {
	l := newLoader("")
	schema, err := l.shipped("cue/posture")
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	drift(t, schema.LookupPath(cue.ParsePath("#Posture")), reflect.TypeFor[posture.Posture](), nil, &fields)
	if fields < 200 {
		t.Errorf("only %d fields were compared", fields)
	}
}

func drift(t *testing.T, v cue.Value, goType reflect.Type, path []string, count *int) {
	t.Helper()
	if goType.Kind() == reflect.Pointer {
		goType = goType.Elem()
	}
	at := strings.Join(path, ".")
	kind := v.IncompleteKind()
	switch goType.Kind() {
	case reflect.Struct:
		if kind != cue.StructKind {
			t.Errorf("%s is an object in Go and %v in CUE", at, kind)
			return
		}
		var inGo, inCUE []string
		for name := range fieldsOf()[goType] {
			inGo = append(inGo, name)
		}
		iter, err := v.Fields(cue.Optional(true))
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		for iter.Next() {
			name := iter.Selector().Unquoted()
			inCUE = append(inCUE, name)
			f, ok := fieldsOf()[goType][name]
			if !ok {
				continue
			}
			*count++
			if required := iter.FieldType()&cue.RequiredConstraint != 0; required != f.required {
				t.Errorf("%s.%s: required is %v in CUE and %v in Go (no omitempty)", at, name, required, f.required)
			}
			drift(t, iter.Value(), goType.Field(f.index).Type, append(slices.Clone(path), name), count)
		}
		slices.Sort(inGo)
		slices.Sort(inCUE)
		if !slices.Equal(inGo, inCUE) {
			t.Errorf("%s has the fields %v in Go and %v in CUE", at, inGo, inCUE)
		}
	case reflect.Map:
		if kind != cue.StructKind {
			t.Errorf("%s is a map in Go and %v in CUE", at, kind)
			return
		}
		// A key that every pattern of the schema accepts.
		key := cue.MakePath(cue.Str("critical"))
		element := v.FillPath(key, cuecontext.New().CompileString("_")).LookupPath(key)
		if !element.Exists() {
			t.Errorf("%s is a map in Go and has no pattern in CUE", at)
			return
		}
		drift(t, element, goType.Elem(), append(slices.Clone(path), "*"), count)
	case reflect.Slice:
		if kind != cue.ListKind {
			t.Errorf("%s is a list in Go and %v in CUE", at, kind)
			return
		}
		if goType.Elem().Kind() == reflect.Struct {
			element := v.LookupPath(cue.MakePath(cue.AnyIndex))
			if !element.Exists() {
				element = v.LookupPath(cue.MakePath(cue.Index(0)))
			}
			if !element.Exists() {
				t.Errorf("%s: no element in CUE", at)
				return
			}
			drift(t, element, goType.Elem(), append(slices.Clone(path), "*"), count)
		}
	default:
		want := map[reflect.Kind]cue.Kind{reflect.String: cue.StringKind, reflect.Bool: cue.BoolKind, reflect.Int: cue.IntKind}[goType.Kind()]
		if kind != want {
			t.Errorf("%s is %v in Go and %v in CUE", at, goType, kind)
		}
	}
}

// TestRules holds that each constraint that can refuse a value says in words what must hold.
func TestRules(t *testing.T) {
	var visit func(goType reflect.Type, path []string)
	checked := 0
	visit = func(goType reflect.Type, path []string) {
		switch goType.Kind() {
		case reflect.Pointer:
			visit(goType.Elem(), path)
		case reflect.Struct:
			for name, f := range fieldsOf()[goType] {
				visit(goType.Field(f.index).Type, append(slices.Clone(path), name))
			}
		case reflect.Map:
			if r := ruleFor(append(slices.Clone(path), "x"), true); r.must == "" {
				t.Errorf("the keys of %v have no rule", path)
			}
			visit(goType.Elem(), append(slices.Clone(path), "x"))
		case reflect.Slice:
			visit(goType.Elem(), append(slices.Clone(path), "0"))
		case reflect.String, reflect.Int:
			checked++
			if r := ruleFor(path, false); r.must == "" {
				t.Errorf("%v has no rule", path)
			}
		}
	}
	visit(reflect.TypeFor[posture.Posture](), nil)
	if checked < 120 {
		t.Errorf("only %d rules were checked", checked)
	}
}
