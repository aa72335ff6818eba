package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/manifest"
	"github.com/k8ssec/k8ssec/internal/render"
)

// ExplainOptions name a repository and what to explain: a control's id, the path of an emitted
// file, or an object as "Kind namespace/name", "namespace/name" or "name". An empty subject lists
// the controls.
type ExplainOptions struct {
	Dir     string
	Subject string
}

// Explanation is what is known about one control, file or object.
type Explanation struct {
	// Controls explains each control: the one that was asked for, or those of the file or object.
	Controls []ControlExplanation `json:"controls"`
	// Files are the matching files or objects, where the subject was one.
	Files []Place `json:"files,omitempty"`
}

// ControlExplanation is one control on one cluster.
type ControlExplanation struct {
	ID        string  `json:"id"`
	Catalogue string  `json:"catalogue"`
	Title     string  `json:"title"`
	Why       string  `json:"why"`
	Level     int     `json:"level"`
	Domain    string  `json:"domain"`
	Profile   string  `json:"profile"`
	State     string  `json:"state"`
	Answer    string  `json:"answer,omitempty"`
	Fix       string  `json:"fix,omitempty"`
	Waivers   []Waive `json:"waivers,omitempty"`
	Served    []Place `json:"served"`
	// Probes are the ids of the probes that show on a live cluster whether it holds.
	Probes []string `json:"probes"`
}

// Waive is one active waiver of a control.
type Waive struct {
	Name    string `json:"name"`
	Scope   string `json:"scope"`
	Owner   string `json:"owner"`
	Expires string `json:"expires"`
	Reason  string `json:"reason"`
}

// Place is one part of one file.
type Place struct {
	File   string `json:"file"`
	Object string `json:"object,omitempty"`
	Field  string `json:"field,omitempty"`
	Note   string `json:"note,omitempty"`
	Why    string `json:"why,omitempty"`
}

// Explain says which artifacts serve a control and why, or which controls a file or object serves.
func (a *App) Explain(ctx context.Context, o ExplainOptions) (*Explanation, error) {
	result, t, err := a.tree(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	probes, err := t.Probes(result.Posture, a.Generators)
	if err != nil {
		return nil, err
	}
	explainControl := func(answer *render.Answer, t *render.Tree) ControlExplanation {
		return explainControl(result, answer, t, probes)
	}
	e := &Explanation{}
	if o.Subject == "" {
		for i := range t.Controls {
			e.Controls = append(e.Controls, explainControl(&t.Controls[i], nil))
		}
		return e, nil
	}
	if i := slices.IndexFunc(t.Controls, func(x render.Answer) bool { return strings.EqualFold(x.Control.ID, o.Subject) }); i >= 0 {
		e.Controls = append(e.Controls, explainControl(&t.Controls[i], t))
		return e, nil
	}
	var ids []string
	for i := range t.Files {
		f := &t.Files[i]
		if f.Artifact == nil {
			continue
		}
		for _, p := range matching(o, f) {
			e.Files = append(e.Files, p.Place)
			for _, c := range p.claims {
				ids = appendOnce(ids, c.Control)
			}
		}
	}
	if len(e.Files) == 0 {
		return nil, unknownSubject(o, t)
	}
	for i := range t.Controls {
		if slices.Contains(ids, t.Controls[i].Control.ID) {
			e.Controls = append(e.Controls, explainControl(&t.Controls[i], nil))
		}
	}
	return e, nil
}

func explainControl(result *engine.Result, answer *render.Answer, t *render.Tree, probes []generators.Probe) ControlExplanation {
	c := answer.Control
	x := ControlExplanation{
		ID: c.ID, Catalogue: c.Catalogue, Title: c.Title, Why: c.Why, Level: c.Level, Domain: c.Domain,
		Profile: c.Profile, State: string(answer.State), Answer: answer.Text, Fix: c.Fix, Served: []Place{}, Probes: []string{},
	}
	for _, p := range probes {
		if slices.Contains(p.Controls, c.ID) {
			x.Probes = append(x.Probes, p.ID)
		}
	}
	for _, name := range c.Waivers {
		w := result.Posture.Waivers[name]
		scope := "the whole cluster"
		if w.Scope.Namespace != "" {
			scope = "namespace " + w.Scope.Namespace
		}
		x.Waivers = append(x.Waivers, Waive{Name: name, Scope: scope, Owner: w.Owner, Expires: w.Expires, Reason: w.Reason})
	}
	if t == nil {
		return x
	}
	for i := range t.Files {
		f := &t.Files[i]
		if f.Artifact == nil || f.Artifact.Kind == generators.Doc {
			continue
		}
		for _, claim := range f.Artifact.Claims {
			if claim.Control == c.ID {
				x.Served = append(x.Served, Place{File: f.Path, Field: claim.Field, Note: claim.Note})
			}
		}
		for k, object := range f.Artifact.Objects {
			for _, claim := range object.Claims {
				if claim.Control == c.ID {
					x.Served = append(x.Served, Place{File: f.Path, Object: nameOf(f, k), Field: claim.Field, Note: claim.Note, Why: object.Why})
				}
			}
		}
	}
	return x
}

// nameOf is the name of the k-th object of a file, read from the encoded file.
func nameOf(f *render.File, k int) string {
	docs, err := manifest.Decode(f.Data)
	if err != nil || k >= len(docs) {
		return ""
	}
	return objectName(docs[k])
}

type placeWithClaims struct {
	Place
	claims []generators.Claim
}

func matching(o ExplainOptions, f *render.File) []placeWithClaims {
	subject := filepath.ToSlash(o.Subject)
	if rel, err := filepath.Rel(o.Dir, o.Subject); err == nil && filepath.IsLocal(rel) {
		subject = filepath.ToSlash(rel)
	}
	if f.Path == subject || f.Path == filepath.ToSlash(o.Subject) {
		out := []placeWithClaims{{Place{File: f.Path, Note: f.Artifact.Comment}, f.Artifact.Claims}}
		for k, object := range f.Artifact.Objects {
			out = append(out, placeWithClaims{Place{File: f.Path, Object: nameOf(f, k), Why: object.Why}, object.Claims})
		}
		return out
	}
	if len(f.Artifact.Objects) == 0 {
		return nil
	}
	docs, err := manifest.Decode(f.Data)
	if err != nil {
		return nil
	}
	var out []placeWithClaims
	for k, d := range docs {
		if k >= len(f.Artifact.Objects) {
			break
		}
		full := objectName(d)
		_, short, _ := strings.Cut(full, " ")
		asked := strings.ReplaceAll(o.Subject, "/", " ")
		if full == o.Subject || short == o.Subject || d.Name == o.Subject || strings.EqualFold(strings.ReplaceAll(full, "/", " "), asked) {
			object := f.Artifact.Objects[k]
			out = append(out, placeWithClaims{Place{File: f.Path, Object: full, Why: object.Why}, object.Claims})
		}
	}
	return out
}

func unknownSubject(o ExplainOptions, t *render.Tree) error {
	var ids []string
	for _, a := range t.Controls {
		ids = append(ids, a.Control.ID)
	}
	d := diag.Diagnostic{
		Severity: diag.Error, Value: o.Subject,
		Message: fmt.Sprintf("%q is neither a control, nor an emitted file, nor an object of this repository", o.Subject),
		Rule:    "explain takes a control (cis-5.2.2), a file (manifests/network/team-a.yaml) or an object (NetworkPolicy team-a/default-deny)",
		Fix:     "k8ssec explain " + o.Dir + " lists the controls",
	}
	if near := engine.Nearest(o.Subject, ids); near != "" {
		d.Message += fmt.Sprintf("; did you mean %q?", near)
		d.Fix = "k8ssec explain " + o.Dir + " " + near
	}
	return diag.List{d}
}

// WriteJSON writes the explanation for scripts.
func (e *Explanation) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(e)
}

// WriteText writes the explanation for people. A list of controls is one line each.
func (e *Explanation) WriteText(w io.Writer, s diag.Style) error {
	var b strings.Builder
	for _, p := range e.Files {
		b.WriteString(s.Bold(p.File))
		if p.Object != "" {
			b.WriteString("  " + p.Object)
		}
		b.WriteString("\n")
		for _, text := range []string{p.Note, p.Why} {
			if text != "" {
				b.WriteString(indent(text) + "\n")
			}
		}
	}
	if len(e.Files) > 0 && len(e.Controls) > 0 {
		b.WriteString("\n" + s.Bold("serves") + "\n")
	}
	if len(e.Controls) != 1 || len(e.Files) > 0 {
		for _, c := range e.Controls {
			fmt.Fprintf(&b, "  %-22s %-10s %s\n", c.ID, c.State, c.Title)
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
	c := e.Controls[0]
	fmt.Fprintf(&b, "%s  %s\n", s.Bold(c.ID), c.Title)
	fmt.Fprintf(&b, "  %-8s %s, level %d, asked for by profile %s, served by domain %s\n", "from", c.Catalogue, c.Level, c.Profile, c.Domain)
	fmt.Fprintf(&b, "  %-8s %s\n", "why", c.Why)
	fmt.Fprintf(&b, "  %-8s %s\n", "state", strings.TrimSpace(c.State+". "+c.Answer))
	if c.Fix != "" {
		fmt.Fprintf(&b, "  %-8s %s\n", "write", c.Fix)
	}
	for _, waiver := range c.Waivers {
		fmt.Fprintf(&b, "  %-8s %s: %s, until %s, owner %s: %s\n", "waiver", waiver.Name, waiver.Scope, waiver.Expires, waiver.Owner, waiver.Reason)
	}
	if len(c.Served) > 0 {
		b.WriteString("\n" + s.Bold("served by") + "\n")
	}
	shown := 0
	for _, p := range c.Served {
		if shown == 20 {
			fmt.Fprintf(&b, "  ... and %d more; -o json lists all\n", len(c.Served)-shown)
			break
		}
		shown++
		fmt.Fprintf(&b, "  %s", p.File)
		if p.Object != "" {
			b.WriteString("  " + p.Object)
		}
		if p.Field != "" {
			b.WriteString("  " + p.Field)
		}
		b.WriteString("\n")
		for _, text := range []string{p.Note, p.Why} {
			if text != "" {
				b.WriteString(indent(text) + "\n")
			}
		}
	}
	if len(c.Probes) > 0 {
		b.WriteString("\n" + s.Bold("proven by") + "  k8ssec probe DIR --control " + c.ID + "\n")
		for i, id := range c.Probes {
			if i == 12 {
				fmt.Fprintf(&b, "  ... and %d more; -o json lists all\n", len(c.Probes)-i)
				break
			}
			b.WriteString("  " + id + "\n")
		}
	}
	if len(c.Served) > 0 {
		b.WriteString("\nWithout it: " + c.Why + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func indent(text string) string {
	return "      " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ")
}
