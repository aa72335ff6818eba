package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/k8ssec/k8ssec/generators"
)

// header is the first line of every emitted file of objects.
const header = "Emitted by k8ssec. Edit freely: the next run keeps your changes, and `k8ssec verify` checks them."

// commentWidth is the column at which comments are wrapped.
const commentWidth = 100

// Encode returns the bytes of one emitted file: a text as it is, with exactly one final newline, or
// the objects as YAML documents with the reason for each above it.
//
// The first object follows the header without a "---" line: kubeadm refuses a file whose first
// document holds comments only.
func Encode(a *generators.Artifact) ([]byte, error) {
	switch {
	case a.Text != "" && len(a.Objects) > 0:
		return nil, fmt.Errorf("%s: an artifact is a text or objects, not both", a.Path)
	case a.Text != "":
		return append([]byte(strings.TrimRight(a.Text, "\n")), '\n'), nil
	case len(a.Objects) == 0:
		return nil, fmt.Errorf("%s: the artifact is empty", a.Path)
	}
	w, _ := buffers.Get().(*writer)
	if w == nil {
		w = &writer{buf: make([]byte, 0, 16<<10)}
	}
	defer buffers.Put(w)
	w.buf, w.depth = w.buf[:0], 0
	w.comment(header)
	w.comment(a.Comment)
	for i, o := range a.Objects {
		if i == 0 {
			w.buf = append(w.buf, '\n')
		} else {
			w.buf = append(w.buf, "---\n"...)
		}
		w.comment(o.Why)
		if err := w.object(o.Value); err != nil {
			return nil, fmt.Errorf("%s: object %d: %w", a.Path, i, err)
		}
	}
	// Thousands of files are held at once, so each has its own size and no more.
	return bytes.Clone(w.buf), nil
}

// buffers keeps the writers of files that are done.
var buffers sync.Pool

// EncodeObject returns one object as a YAML document, without comments.
func EncodeObject(value any) ([]byte, error) {
	w := &writer{buf: make([]byte, 0, 2048)}
	if err := w.object(value); err != nil {
		return nil, err
	}
	return w.buf, nil
}

// object appends one document.
func (w *writer) object(value any) error {
	v := reflect.ValueOf(value)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return errors.New("nil object")
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct && v.Kind() != reflect.Map {
		return fmt.Errorf("%T is not an object", value)
	}
	return w.value(v, place{kind: atRoot})
}

// comment appends text as comment lines, wrapped, with its own line breaks kept.
func (w *writer) comment(text string) {
	text = strings.Trim(text, "\n")
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		column := 1
		w.buf = append(w.buf, '#')
		for word := range strings.FieldsSeq(line) {
			if word = printable(word); word == "" {
				continue
			}
			if column > 1 && column+1+len(word) > commentWidth {
				w.buf = append(w.buf, "\n#"...)
				column = 1
			}
			w.buf = append(w.buf, ' ')
			w.buf = append(w.buf, word...)
			column += 1 + len(word)
		}
		w.buf = append(w.buf, '\n')
	}
}
