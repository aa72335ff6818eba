package manifest

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
)

// maxDepth bounds the nesting of a value. Real objects stay below 30 (the deepest are the schemas
// of CustomResourceDefinitions); a value that holds itself must not end in a stack overflow.
const maxDepth = 200

// maxSimpleKey is the length up to which a key can stand before its colon: YAML says 1024 characters
// with quotes and escapes. A longer one needs the "? " form.
const maxSimpleKey = 1000

// writer appends YAML in block style: two spaces for a map in a map, list items at the column of
// their key, as kubectl prints them.
type writer struct {
	buf   []byte
	depth int
}

// placeKind says what stands before a value on its line.
type placeKind int

const (
	atRoot placeKind = iota
	afterKey
	afterDash
)

// place is where a value is written: after the key of a map whose keys are at column indent, or
// after a dash whose content begins at column indent.
type place struct {
	kind   placeKind
	indent int
}

// block is the column of the keys of a map at this place.
func (p place) block() int {
	if p.kind == afterKey {
		return p.indent + 2
	}
	return p.indent
}

// encoder appends the value of one type.
type encoder func(w *writer, v reflect.Value, at place) error

// encoders holds the encoder of each type: reflect.Type to encoder.
var encoders sync.Map

func encoderOf(t reflect.Type) encoder {
	if e, ok := encoders.Load(t); ok {
		return e.(encoder)
	}
	e, _ := encoders.LoadOrStore(t, newEncoder(t))
	return e.(encoder)
}

var (
	marshalerType     = reflect.TypeFor[json.Marshaler]()
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
	rawExtensionType  = reflect.TypeFor[runtime.RawExtension]()
	numberType        = reflect.TypeFor[json.Number]()
	stringMapType     = reflect.TypeFor[map[string]string]()
	zeroerType        = reflect.TypeFor[interface{ IsZero() bool }]()
)

func newEncoder(t reflect.Type) encoder {
	switch {
	case t == rawExtensionType:
		return encodeRawExtension
	case t == numberType:
		return encodeNumber
	case t.Kind() != reflect.Pointer && t.Implements(marshalerType):
		return encodeMarshaler
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(marshalerType):
		return addressed(encodeMarshaler, newPlainEncoder(t))
	case t.Kind() != reflect.Pointer && t.Implements(textMarshalerType):
		return encodeTextMarshaler
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(textMarshalerType):
		return addressed(encodeTextMarshaler, newPlainEncoder(t))
	}
	return newPlainEncoder(t)
}

// newPlainEncoder is for types without a say of their own.
func newPlainEncoder(t reflect.Type) encoder {
	switch t.Kind() {
	case reflect.Bool:
		return func(w *writer, v reflect.Value, at place) error {
			w.lead(at)
			w.buf = append(strconv.AppendBool(w.buf, v.Bool()), '\n')
			return nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(w *writer, v reflect.Value, at place) error {
			w.lead(at)
			w.buf = append(strconv.AppendInt(w.buf, v.Int(), 10), '\n')
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(w *writer, v reflect.Value, at place) error {
			w.lead(at)
			w.buf = append(strconv.AppendUint(w.buf, v.Uint(), 10), '\n')
			return nil
		}
	case reflect.Float32, reflect.Float64:
		return encodeFloat
	case reflect.String:
		return func(w *writer, v reflect.Value, at place) error {
			w.str(v.String(), at)
			return nil
		}
	case reflect.Interface, reflect.Pointer:
		return func(w *writer, v reflect.Value, at place) error {
			if v.IsNil() {
				w.scalar("null", at)
				return nil
			}
			return w.value(v.Elem(), at)
		}
	case reflect.Map:
		return newMapEncoder(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && !implementsMarshaler(t.Elem()) {
			return encodeBytes
		}
		return func(w *writer, v reflect.Value, at place) error {
			if v.IsNil() {
				w.scalar("null", at)
				return nil
			}
			return w.list(v, at)
		}
	case reflect.Array:
		return func(w *writer, v reflect.Value, at place) error { return w.list(v, at) }
	case reflect.Struct:
		return newStructEncoder(t)
	}
	return func(*writer, reflect.Value, place) error { return fmt.Errorf("%s has no YAML form", t) }
}

func implementsMarshaler(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(marshalerType) || p.Implements(textMarshalerType)
}

// addressed uses the pointer's method where the value has an address, as encoding/json does.
func addressed(withAddress, without encoder) encoder {
	return func(w *writer, v reflect.Value, at place) error {
		if v.CanAddr() {
			return withAddress(w, v.Addr(), at)
		}
		return without(w, v, at)
	}
}

// value appends any value.
func (w *writer) value(v reflect.Value, at place) error {
	if !v.IsValid() {
		w.scalar("null", at)
		return nil
	}
	w.depth++
	defer func() { w.depth-- }()
	if w.depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	return encoderOf(v.Type())(w, v, at)
}

// lead appends what separates a scalar from what stands before it.
func (w *writer) lead(at place) {
	if at.kind == afterKey {
		w.buf = append(w.buf, ' ')
	}
}

func (w *writer) scalar(s string, at place) {
	w.lead(at)
	w.buf = append(append(w.buf, s...), '\n')
}

func (w *writer) spaces(n int) {
	const blank = "                                                                "
	for n > len(blank) {
		w.buf = append(w.buf, blank...)
		n -= len(blank)
	}
	w.buf = append(w.buf, blank[:n]...)
}

func (w *writer) list(v reflect.Value, at place) error {
	if v.Len() == 0 {
		w.scalar("[]", at)
		return nil
	}
	if at.kind == afterKey {
		w.buf = append(w.buf, '\n')
	}
	item := place{kind: afterDash, indent: at.indent + 2}
	for i := range v.Len() {
		if i > 0 || at.kind != afterDash {
			w.spaces(at.indent)
		}
		w.buf = append(w.buf, '-', ' ')
		if err := w.value(v.Index(i), item); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

// mapping appends the entries of one map, one by one.
type mapping struct {
	w      *writer
	at     place
	indent int
	start  int // where the map begins in the buffer
	first  int // where its first key begins
}

func (w *writer) open(at place) mapping {
	m := mapping{w: w, at: at, indent: at.block(), start: len(w.buf)}
	if at.kind == afterKey {
		w.buf = append(w.buf, '\n')
	}
	m.first = len(w.buf)
	return m
}

// key begins an entry and returns where its value goes.
func (m *mapping) key(name string) place {
	w := m.w
	if len(w.buf) > m.first || m.at.kind != afterDash {
		w.spaces(m.indent)
	}
	start := len(w.buf)
	w.buf = appendKey(w.buf, name)
	if len(w.buf)-start > maxSimpleKey {
		w.buf = slices.Insert(w.buf, start, '?', ' ')
		w.buf = append(w.buf, '\n')
		w.spaces(m.indent)
	}
	w.buf = append(w.buf, ':')
	return place{kind: afterKey, indent: m.indent}
}

// close ends the map. One without entries is written as {}.
func (m *mapping) close() {
	if len(m.w.buf) == m.first {
		m.w.buf = m.w.buf[:m.start]
		m.w.scalar("{}", m.at)
	}
}

// newMapEncoder sorts the keys. In an object, apiVersion, kind and metadata come first.
func newMapEncoder(t reflect.Type) encoder {
	if t == stringMapType {
		return encodeStringMap
	}
	return func(w *writer, v reflect.Value, at place) error {
		if v.IsNil() {
			w.scalar("null", at)
			return nil
		}
		type entry struct {
			name  string
			rank  int
			value reflect.Value
		}
		entries := make([]entry, 0, v.Len())
		known := 0
		for it := v.MapRange(); it.Next(); {
			name, err := keyName(it.Key())
			if err != nil {
				return err
			}
			if name == "apiVersion" || name == "kind" {
				known++
			}
			entries = append(entries, entry{name: name, value: it.Value()})
		}
		object := known == 2
		if object {
			for i := range entries {
				entries[i].rank = keyRank(entries[i].name)
			}
		}
		slices.SortFunc(entries, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.name, b.name))
		})
		m := w.open(at)
		for _, e := range entries {
			if e.name == "status" && object && at.kind == atRoot && isEmpty(e.value) {
				continue
			}
			if err := w.value(e.value, m.key(e.name)); err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
		}
		m.close()
		return nil
	}
}

// keyRank puts the three keys first that say what an object is.
func keyRank(name string) int {
	switch name {
	case "apiVersion":
		return -3
	case "kind":
		return -2
	case "metadata":
		return -1
	}
	return 0
}

// isEmpty reports whether v holds nothing: null or an empty map.
func isEmpty(v reflect.Value) bool {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return !v.IsValid() || v.Kind() == reflect.Map && v.Len() == 0
}

func encodeStringMap(w *writer, v reflect.Value, at place) error {
	if v.IsNil() {
		w.scalar("null", at)
		return nil
	}
	values := v.Interface().(map[string]string)
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	m := w.open(at)
	for _, name := range names {
		w.str(values[name], m.key(name))
	}
	m.close()
	return nil
}

// keyName is the text of a map key, by the rules of encoding/json.
func keyName(k reflect.Value) (string, error) {
	if k.Kind() == reflect.String {
		return k.String(), nil
	}
	if m, ok := k.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		return string(text), err
	}
	switch k.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(k.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.FormatUint(k.Uint(), 10), nil
	}
	return "", fmt.Errorf("a map key of type %s has no YAML form", k.Type())
}

func encodeBytes(w *writer, v reflect.Value, at place) error {
	if v.IsNil() {
		w.scalar("null", at)
		return nil
	}
	w.str(base64.StdEncoding.EncodeToString(v.Bytes()), at)
	return nil
}

func encodeFloat(w *writer, v reflect.Value, at place) error {
	f := v.Float()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("%v has no JSON form", f)
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return err
	}
	w.number(string(text), at)
	return nil
}

func encodeNumber(w *writer, v reflect.Value, at place) error {
	s := v.String()
	if s == "" {
		s = "0" // as encoding/json does
	}
	if !json.Valid([]byte(s)) || strings.Trim(s, "+-.0123456789eE") != "" {
		return fmt.Errorf("%q is not a number", s)
	}
	w.number(s, at)
	return nil
}

// number appends a JSON number. YAML 1.1 takes 1e21 for a string: a float with an exponent needs a
// point and a sign.
func (w *writer) number(s string, at place) {
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent := s[:i], s[i+1:]
		if !strings.Contains(mantissa, ".") {
			mantissa += ".0"
		}
		if exponent[0] != '+' && exponent[0] != '-' {
			exponent = "+" + exponent
		}
		s = mantissa + "e" + exponent
	}
	w.scalar(s, at)
}

// encodeMarshaler is for types that write their own JSON: quantities, times, int-or-string.
func encodeMarshaler(w *writer, v reflect.Value, at place) error {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		w.scalar("null", at)
		return nil
	}
	text, err := v.Interface().(json.Marshaler).MarshalJSON()
	if err != nil {
		return err
	}
	return w.json(text, at)
}

func encodeTextMarshaler(w *writer, v reflect.Value, at place) error {
	text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return err
	}
	w.str(string(text), at)
	return nil
}

// encodeRawExtension writes a typed object inside by its own type, so that it reads like the object
// around it.
func encodeRawExtension(w *writer, v reflect.Value, at place) error {
	raw := v.Interface().(runtime.RawExtension)
	if raw.Raw == nil && raw.Object != nil {
		return w.value(reflect.ValueOf(raw.Object), at)
	}
	text, err := raw.MarshalJSON()
	if err != nil {
		return err
	}
	return w.json(text, at)
}

// json appends a JSON text as YAML.
func (w *writer) json(text []byte, at place) error {
	// The common case, without a decoder: a short string with nothing escaped in it.
	if n := len(text); n >= 2 && text[0] == '"' && !bytes.ContainsAny(text[1:n-1], "\"\\\n") {
		w.str(string(text[1:n-1]), at)
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return err
	}
	return w.value(reflect.ValueOf(value), at)
}
