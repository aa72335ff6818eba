package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/lockout"
	"github.com/k8ssec/k8ssec/internal/manifest"
	"github.com/k8ssec/k8ssec/internal/merge"
	"github.com/k8ssec/k8ssec/internal/render"
	"github.com/k8ssec/k8ssec/internal/repo"
)

// OnConflict says what becomes of a field that both the user and the new render changed.
type OnConflict string

// What can become of a conflict. Empty refuses.
const (
	// Ours keeps what stands in the repository.
	Ours OnConflict = "ours"
	// Theirs takes the new render.
	Theirs OnConflict = "theirs"
	// InEditor asks: each file with a conflict is opened in an editor.
	InEditor OnConflict = "edit"
)

// Conflict is a field that the user and the new render changed to different values. A value that is
// not there is null.
type Conflict struct {
	File   string  `json:"file"`
	Line   int     `json:"line,omitempty"`
	Column int     `json:"column,omitempty"`
	Field  string  `json:"field"`
	Base   *string `json:"base"`
	Yours  *string `json:"yours"`
	New    *string `json:"new"`
}

// merging merges the edits of one run.
type merging struct {
	app   *App
	ctx   context.Context //nolint:containedctx // of the run that this value lives for
	dir   string
	tree  *render.Tree
	on    OnConflict
	files map[string]render.File

	// merged is what each file with edits will hold.
	merged    map[string][]byte
	conflicts []Conflict
	// broken are files that cannot be read.
	broken diag.List
}

func (a *App) merging(ctx context.Context, dir string, t *render.Tree, on OnConflict) *merging {
	return &merging{app: a, ctx: ctx, dir: dir, tree: t, on: on, merged: map[string][]byte{}}
}

func (m *merging) show(name string) string { return filepath.Join(m.dir, filepath.FromSlash(name)) }

// resolve is the repo.Resolver of the run.
func (m *merging) resolve(edits []repo.Edit, read func(string) (base, tree []byte, err error)) (map[string]repo.Resolution, error) {
	m.files = make(map[string]render.File, len(m.tree.Files))
	for _, f := range m.tree.Files {
		m.files[f.Path] = f
	}
	files := map[string]*merge.File{}
	for _, e := range edits {
		files[e.Path] = &merge.File{Path: e.Path, Base: e.Base, Yours: e.Tree, New: e.Render}
	}
	for _, e := range edits {
		if err := m.follow(files, e.Path, read); err != nil {
			return nil, err
		}
	}
	out := map[string]repo.Resolution{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		if f.New == nil {
			if f.Yours == nil || bytes.Equal(f.Base, f.Yours) {
				out[name] = repo.Resolution{Delete: true}
			}
			continue
		}
		data, ok, err := m.one(*f)
		if err != nil {
			return nil, err
		}
		if ok {
			out[name] = repo.Resolution{Data: data}
			if !bytes.Equal(data, f.New) {
				m.merged[name] = data
			}
		}
	}
	return out, nil
}

// follow moves objects that the new render has in another file to that file, in base and tree, so
// that edits in them are merged there.
func (m *merging) follow(files map[string]*merge.File, name string, read func(string) (base, tree []byte, err error)) error {
	from := files[name]
	if !merge.IsYAML(name) || from.Base == nil || bytes.Equal(from.Base, from.New) {
		return nil
	}
	here := merge.Objects(from.New)
	moved := map[string]map[string]bool{}
	for _, id := range merge.Objects(from.Base) {
		if slices.Contains(here, id) {
			continue
		}
		if to := m.home(id, name); to != "" {
			if moved[to] == nil {
				moved[to] = map[string]bool{}
			}
			moved[to][id] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(moved)) {
		to := files[name]
		if to == nil {
			base, tree, err := read(name)
			if err != nil {
				return err
			}
			to = &merge.File{Path: name, Base: base, Yours: tree, New: m.files[name].Data}
			files[name] = to
		}
		from.Base, to.Base = merge.Move(from.Base, to.Base, moved[name])
		from.Yours, to.Yours = merge.Move(from.Yours, to.Yours, moved[name])
	}
	return nil
}

// home is the file of the new render that holds an object, other than the one it was in.
func (m *merging) home(id, not string) string {
	name := id[strings.LastIndexAny(id, " /")+1:]
	for _, f := range m.tree.Files {
		if f.Path != not && !f.Own && merge.IsYAML(f.Path) && bytes.Contains(f.Data, []byte("name: "+name)) &&
			slices.Contains(merge.Objects(f.Data), id) {
			return f.Path
		}
	}
	return ""
}

// one merges one file; false where it is in the way.
func (m *merging) one(f merge.File) (data []byte, ok bool, err error) {
	strategy := map[OnConflict]merge.Strategy{Ours: merge.Yours, Theirs: merge.New, InEditor: merge.Yours}[m.on]
	r, err := merge.Merge(f, strategy)
	if err != nil {
		m.unreadable(f.Path, err)
		return nil, false, nil
	}
	switch {
	case len(r.Conflicts) == 0:
		return r.Data, true, nil
	case m.on == InEditor:
		return m.edit(f, r)
	case strategy != merge.Refuse:
		return r.Data, true, nil
	}
	for _, c := range r.Conflicts {
		m.conflicts = append(m.conflicts, Conflict{m.show(f.Path), c.Line, c.Column, c.Field, c.Base, c.Yours, c.New})
	}
	return nil, false, nil
}

// unreadable reports a file that no merge can begin with.
func (m *merging) unreadable(name string, err error) {
	for _, e := range yamlErrors(err) {
		m.broken = append(m.broken, diag.Diagnostic{
			Severity: diag.Error, File: m.show(name), Line: e.Line, Column: e.Column,
			Message: "the file is not valid YAML: " + e.Message,
			Rule:    "a file that GitOps applies can be read, and merged", Fix: "mend the line, then run again",
		})
	}
}

func yamlErrors(err error) manifest.Errors {
	var all manifest.Errors
	if !errors.As(err, &all) {
		return manifest.Errors{{Message: err.Error()}}
	}
	return all
}

// note begins the lines of an edited file that are for the person only.
const note = "#> "

// edit lets a person decide the conflicts of one file, in a copy outside of the repository.
func (m *merging) edit(f merge.File, r *merge.Result) (data []byte, ok bool, err error) {
	if m.app.Edit == nil {
		return nil, false, errors.New("there is no editor: set EDITOR, or run with --on-conflict=ours or theirs")
	}
	dir, err := os.MkdirTemp("", "k8ssec-")
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s holds your values where both sides changed a field.\n", note, m.show(f.Path))
	fmt.Fprintf(&b, "%sMake of it what it is to be and save. Lines that begin with %q are taken out. An empty file stops.\n", note, strings.TrimSpace(note))
	for _, c := range r.Conflicts {
		fmt.Fprintf(&b, "%s\n%s%s\n", strings.TrimSpace(note), note, c.Field)
		for _, v := range []struct {
			name  string
			value *string
		}{{"base ", c.Base}, {"yours", c.Yours}, {"new  ", c.New}} {
			text := "(nothing)"
			if v.value != nil {
				text = strings.ReplaceAll(*v.value, "\n", "\n"+note+"         ")
			}
			fmt.Fprintf(&b, "%s  %s: %s\n", note, v.name, text)
		}
	}
	b.Write(r.Data)
	name := filepath.Join(dir, filepath.Base(f.Path))
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		return nil, false, err
	}
	if err := m.app.Edit(m.ctx, name); err != nil {
		return nil, false, fmt.Errorf("the editor: %w; nothing was written", err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, false, err
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte(strings.TrimSpace(note))) {
			data = append(data, line...)
		}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, false, errors.New("the edited file is empty; nothing was written")
	}
	if bytes.Contains(data, []byte("<<<<<<<")) || bytes.Contains(data, []byte(">>>>>>>")) {
		return nil, false, fmt.Errorf("the edited %s has conflict markers; nothing was written", f.Path)
	}
	if merge.IsYAML(f.Path) {
		if _, err := manifest.Decode(data); err != nil {
			m.unreadable(f.Path, err)
			return nil, false, nil
		}
	}
	return data, true, nil
}

// check holds what the merge left against the controls that each file serves, and against the ways
// that must stay open. An edit must not weaken a control in silence.
func (m *merging) check(result *engine.Result) diag.List {
	if len(m.merged) == 0 {
		return nil
	}
	titles := map[string]string{}
	for _, c := range result.Controls {
		titles[c.ID] = c.Title
	}
	var found diag.List
	edited := map[string][]manifest.Document{}
	for _, name := range slices.Sorted(maps.Keys(m.merged)) {
		f, data := m.files[name], m.merged[name]
		if merge.IsYAML(name) {
			docs, err := manifest.Decode(data)
			if err != nil {
				m.broken = nil
				m.unreadable(name, err)
				found = append(found, m.broken...)
				continue
			}
			edited[name] = docs
		}
		var d difference
		if f.Artifact == nil {
			d.broken = unlisted(name, f.Data, data, func(name string) []string { return controlsOf(m.files[name]) })
		} else {
			var err error
			if d, err = compare(f.Artifact, f.Data, data); err != nil {
				continue // reported already
			}
		}
		found = append(found, weakened(m.show(name), d, titles, restore(m.show(name), m.dir))...)
	}
	if found.HasErrors() {
		return found.Sort()
	}
	there := func(string) bool { return true }
	return openWays(m.dir, lockout.Check(result.Posture, mergedArtifacts(m.tree, edited, there)))
}

// restore says how to take an edit back.
func restore(name, dir string) string {
	return fmt.Sprintf("restore the file (git checkout -- %s, or delete it and run k8ssec generate %s); "+
		"what is to be weaker needs a waiver in cluster.cue", name, dir)
}

// weakened are the claims that an edited file no longer keeps: one finding for each part that was
// changed, with all the controls that it served.
func weakened(name string, d difference, titles map[string]string, fix string) diag.List {
	var parts []string
	byPart := map[string]*diag.Diagnostic{}
	for _, b := range d.broken {
		part := b.object + "\x00" + b.claim.Field
		if byPart[part] != nil {
			byPart[part].Controls = appendOnce(byPart[part].Controls, b.claim.Control)
			continue
		}
		what := b.object
		if what == "" {
			what = "the file"
		}
		message := what + " was removed"
		switch {
		case b.claim.Field != "":
			message = fmt.Sprintf("%s: %q was changed or removed", what, b.claim.Field)
		case b.line > 0:
			message = what + " was changed"
		}
		parts = append(parts, part)
		byPart[part] = &diag.Diagnostic{
			Severity: diag.Error, File: name, Line: max(b.line, 1), Column: 1, Field: b.claim.Field, Control: b.claim.Control,
			Message: message, Rule: titles[b.claim.Control], Why: "an edit must not weaken a control; only a waiver can", Fix: fix,
		}
	}
	found := make(diag.List, 0, len(parts))
	for _, part := range parts {
		found = append(found, *byPart[part])
	}
	return found
}

// mergedArtifacts are the artifacts as they stand in the tree: where a file was edited, its objects
// are those of the file.
func mergedArtifacts(t *render.Tree, edited map[string][]manifest.Document, there func(name string) bool) []generators.Artifact {
	artifacts := make([]generators.Artifact, 0, len(t.Files))
	for _, f := range t.Files {
		if f.Artifact == nil || !there(f.Path) {
			continue
		}
		a := *f.Artifact
		if docs, ok := edited[f.Path]; ok && len(a.Objects) > 0 {
			a.Objects = nil
			for _, d := range docs {
				value, err := manifest.Value(d.Node)
				if err == nil {
					a.Objects = append(a.Objects, generators.Object{Value: value})
				}
			}
		}
		artifacts = append(artifacts, a)
	}
	return artifacts
}

// refuse prints the conflicts.
func (a *App) refuse(w *Written) error {
	var found diag.List
	for _, c := range w.Conflicts {
		found = append(found, diag.Diagnostic{
			Severity: diag.Error, File: c.File, Line: c.Line, Column: c.Column, Field: c.Field,
			Message: fmt.Sprintf("%s changed on both sides: it was %s, you have %s, k8ssec now writes %s", c.Field, value(c.Base), value(c.Yours), value(c.New)),
			Rule:    "what you edited is never overwritten",
			Fix: fmt.Sprintf("decide, then run k8ssec generate %s again: take the new value over into the file, set yours in cluster.cue or patches/, "+
				"or say --on-conflict=ours, theirs or edit", w.Dir),
		})
	}
	if err := found.Sort().WriteText(a.Stderr, diag.Style{Colour: a.ErrColour}); err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "nothing was written\n")
	return ErrConflict
}

// value is a value in a sentence.
func value(text *string) string {
	if text == nil {
		return "not there"
	}
	short := strings.Join(strings.Fields(*text), " ")
	if runes := []rune(short); len(runes) > 60 {
		short = string(runes[:57]) + "..."
	}
	return fmt.Sprintf("%q", short)
}
