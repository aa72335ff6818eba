package manifest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// field is one field of a struct as YAML knows it.
type field struct {
	name      string
	index     []int
	tagged    bool
	omitEmpty bool
	omitZero  bool
	isZero    func(reflect.Value) bool
	quoted    bool // the "string" option
	nullable  bool // its type can be written as null
}

// newStructEncoder writes the fields in the order of their declaration, but apiVersion, kind and
// metadata first. A field that would be null is left out: the API reads both the same, and null is
// not in its schema. The status of an object belongs to the cluster and is left out while empty.
func newStructEncoder(t reflect.Type) encoder {
	fields := structFields(t)
	names := map[string]bool{}
	for _, f := range fields {
		names[f.name] = true
	}
	object := names["apiVersion"] && names["kind"]
	if object {
		slices.SortStableFunc(fields, func(a, b field) int {
			return cmp.Compare(keyRank(a.name), keyRank(b.name))
		})
	}
	return func(w *writer, v reflect.Value, at place) error {
		m := w.open(at)
		for i := range fields {
			f := &fields[i]
			fv, ok := fieldByIndex(v, f.index)
			if !ok || f.omitEmpty && isEmptyValue(fv) || f.omitZero && f.isZero(fv) || f.nullable && isNil(fv) {
				continue
			}
			if object && f.name == "status" && at.kind == atRoot && fv.IsZero() {
				continue
			}
			before := len(w.buf)
			place := m.key(f.name)
			start := len(w.buf)
			if err := f.encode(w, fv, place); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			if string(w.buf[start:]) == " null\n" && fv.IsZero() {
				w.buf = w.buf[:before] // a zero time
			}
		}
		m.close()
		return nil
	}
}

// encode appends the value of the field, as a string where its tag says so.
func (f *field) encode(w *writer, v reflect.Value, at place) error {
	if !f.quoted {
		return w.value(v, at)
	}
	inner := &writer{}
	if err := inner.value(v, place{kind: atRoot}); err != nil {
		return err
	}
	w.str(strings.TrimSuffix(string(inner.buf), "\n"), at)
	return nil
}

// fieldByIndex is reflect's, but a nil embedded pointer means that there is no field.
func fieldByIndex(v reflect.Value, index []int) (reflect.Value, bool) {
	for i, n := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}, false
			}
			v = v.Elem()
		}
		v = v.Field(n)
	}
	return v, true
}

func isNil(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		return v.IsNil()
	}
	return false
}

// isEmptyValue is what omitempty means to encoding/json.
func isEmptyValue(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Bool, reflect.Interface, reflect.Pointer,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64:
		return v.IsZero()
	}
	return false
}

// zeroFunc is what omitzero means to encoding/json: the type's own IsZero, else the zero value.
func zeroFunc(t reflect.Type) func(reflect.Value) bool {
	switch {
	case t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer:
		return func(v reflect.Value) bool { return v.IsZero() }
	case t.Implements(zeroerType):
		return func(v reflect.Value) bool { return v.Interface().(interface{ IsZero() bool }).IsZero() }
	case reflect.PointerTo(t).Implements(zeroerType):
		return func(v reflect.Value) bool {
			if !v.CanAddr() {
				return v.IsZero()
			}
			return v.Addr().Interface().(interface{ IsZero() bool }).IsZero()
		}
	}
	return func(v reflect.Value) bool { return v.IsZero() }
}

// structFields lists the fields by the rules of encoding/json: embedded structs are flattened, the
// field of least depth wins a name, a tagged one before an untagged one.
func structFields(t reflect.Type) []field {
	var all []field
	collectFields(t, nil, map[reflect.Type]bool{}, &all)
	byName := map[string][]field{}
	for _, f := range all {
		byName[f.name] = append(byName[f.name], f)
	}
	var fields []field
	for _, f := range all {
		if winner, ok := dominant(byName[f.name]); ok && slices.Equal(winner.index, f.index) {
			fields = append(fields, f)
		}
	}
	return fields
}

// dominant picks the field that holds a name, if one does.
func dominant(candidates []field) (field, bool) {
	best := slices.MinFunc(candidates, func(a, b field) int {
		if c := cmp.Compare(len(a.index), len(b.index)); c != 0 || a.tagged == b.tagged {
			return c
		}
		if a.tagged {
			return -1
		}
		return 1
	})
	same := 0
	for _, c := range candidates {
		if len(c.index) == len(best.index) && c.tagged == best.tagged {
			same++
		}
	}
	return best, same == 1
}

func collectFields(t reflect.Type, prefix []int, within map[reflect.Type]bool, all *[]field) {
	if within[t] {
		return
	}
	within[t] = true
	defer delete(within, t)
	for i := range t.NumField() {
		sf := t.Field(i)
		tag := sf.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		inner := sf.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		index := append(slices.Clone(prefix), i)
		if sf.Anonymous && inner.Kind() == reflect.Struct && name == "" {
			collectFields(inner, index, within, all)
			continue
		}
		if !sf.IsExported() {
			continue
		}
		f := field{name: name, index: index, tagged: name != ""}
		if name == "" {
			f.name = sf.Name
		}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "omitempty":
				f.omitEmpty = true
			case "omitzero":
				f.omitZero = true
				f.isZero = zeroFunc(sf.Type)
			case "string":
				switch inner.Kind() {
				case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
					reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
					reflect.Float32, reflect.Float64:
					f.quoted = true
				}
			}
		}
		switch sf.Type.Kind() {
		case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
			f.nullable = true
		}
		*all = append(*all, f)
	}
}
