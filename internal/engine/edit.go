package engine

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// WaiverStatus is a waiver of a cluster file, valid or not, and how it stands on one day.
type WaiverStatus struct {
	Name   string
	Waiver posture.Waiver
	// Expired waivers lift nothing any more; Ending ones end within two weeks.
	Expired, Ending bool
	// Days are left, the last one counted; negative once it has expired.
	Days int
	// Line and Column are where it stands.
	File         string
	Line, Column int
	// Found is what is wrong with it.
	Found diag.List
}

// Waivers reads the waivers of a cluster file, also where the posture as a whole does not hold: an
// expired waiver is often why.
func Waivers(ctx context.Context, o Options) ([]WaiverStatus, error) {
	l := newLoader(o.Dir)
	cluster, err := l.clusterLayer(o.Name, o.Source)
	if err != nil {
		return nil, err
	}
	l.cluster = cluster
	names, err := profileNames(cluster)
	if err != nil {
		return nil, err
	}
	profiles, err := l.profiles(names, o.Dir)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	forceControls(profiles)
	var found diag.List
	if w := cluster.root.child("waivers"); w != nil {
		shape(w, reflect.TypeFor[map[string]posture.Waiver](), []string{"waivers"}, &found)
	}
	if len(found) > 0 {
		return nil, found.Sort()
	}
	base, err := l.defaults()
	if err != nil {
		return nil, err
	}
	t := base.merge(profiles, cluster, l)
	all := t.root.child("waivers")
	if !all.isObject() {
		return nil, nil
	}
	var list []WaiverStatus
	for _, name := range all.keys() {
		n := all.object[name]
		one := &tree{root: t.root.with(&node{object: map[string]*node{name: n}}, "waivers")}
		judged := judge(one, profiles, o.Now)
		s := WaiverStatus{Name: name, File: n.pos.file, Line: n.pos.line, Column: n.pos.column, Found: judged.found, Expired: len(judged.expired) > 0}
		decode(n, reflect.ValueOf(&s.Waiver).Elem())
		s.Waiver.Active = len(judged.active) > 0
		if day, err := time.Parse(time.DateOnly, s.Waiver.Expires); err == nil {
			end := day.AddDate(0, 0, 1)
			s.Days = int(end.Sub(o.Now.UTC().Truncate(24*time.Hour)).Hours() / 24)
			s.Ending = s.Waiver.Active && end.Sub(o.Now) <= soon
			if s.Expired {
				s.Days--
			}
		}
		list = append(list, s)
	}
	return list, nil
}

// Checked reports whether the posture can break the control, so that an evaluation says whether a
// waiver of it is needed.
func (c *Control) Checked() bool { return c.cluster.Exists() || c.namespace.Exists() }

// SetScalar returns a cluster file in which the value at a path is another text: replaced where it
// stands as a literal, else appended as a line of its own.
func SetScalar(o Options, path []string, value string) ([]byte, error) {
	l := newLoader(o.Dir)
	cluster, err := l.clusterLayer(o.Name, o.Source)
	if err != nil {
		return nil, err
	}
	n := cluster.root.at(path...)
	if n == nil {
		return Append(o.Source, line(path, value)), nil
	}
	lines := bytes.SplitAfter(o.Source, []byte("\n"))
	old := quote(n.str())
	if n.pos.file == o.Name && n.pos.line > 0 && n.pos.line <= len(lines) {
		text := lines[n.pos.line-1]
		if at := n.pos.column - 1; at >= 0 && at <= len(text) && bytes.HasPrefix(text[at:], []byte(old)) {
			lines[n.pos.line-1] = slices.Concat(text[:at], []byte(quote(value)), text[at+len(old):])
			return bytes.Join(lines, nil), nil
		}
	}
	return nil, diag.List{{
		Severity: diag.Error, File: n.pos.file, Line: n.pos.line, Column: n.pos.column, Field: pathText(path), Value: n.text(),
		Message: fmt.Sprintf("%s is computed, so it cannot be changed for you", pathText(path)),
		Fix:     "write it by hand: " + strings.TrimSpace(line(path, value)),
	}}
}

// line is a line of CUE that sets a path.
func line(path []string, value string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = p
		if !isIdentifier(p) {
			parts[i] = quote(p)
		}
	}
	return strings.Join(parts, ": ") + ": " + quote(value) + "\n"
}

func isIdentifier(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// Append returns a cluster file with more text at its end, which may repeat fields of it: CUE unites
// them.
func Append(source []byte, text string) []byte {
	out := bytes.TrimRight(source, "\n")
	return slices.Concat(out, []byte("\n\n"), []byte(text))
}
