package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/render"
)

// Waiver is one waiver and how it stands.
type Waiver struct {
	Name     string   `json:"name"`
	Controls []string `json:"controls"`
	// Scope is "namespace team-a" or "cluster".
	Scope   string `json:"scope"`
	Reason  string `json:"reason"`
	Owner   string `json:"owner"`
	Ticket  string `json:"ticket,omitempty"`
	Expires string `json:"expires"`
	// Days are left; negative once it has expired.
	Days int `json:"days"`
	// State is active, ending, expired, invalid or stale.
	State string `json:"state"`
	// Notes say what to do about it.
	Notes []string `json:"notes"`
	File  string   `json:"file"`
	Line  int      `json:"line"`
}

// Waived are the waivers of a repository.
type Waived struct {
	Waivers []Waiver `json:"waivers"`
}

// Err is ErrFindings where somebody has to decide.
func (w *Waived) Err() error {
	if slices.ContainsFunc(w.Waivers, func(w Waiver) bool { return w.State == "expired" || w.State == "invalid" || w.State == "stale" }) {
		return ErrFindings
	}
	return nil
}

// Waivers says of each waiver whether it holds, ends soon, has expired, is no longer needed or is
// broader than what needs it. Need is found by evaluating the posture without it.
func (a *App) Waivers(ctx context.Context, dir string) (*Waived, error) {
	o, err := a.clusterOptions(dir)
	if err != nil {
		return nil, err
	}
	list, err := engine.Waivers(ctx, o)
	if err != nil {
		return nil, err
	}
	out := &Waived{Waivers: []Waiver{}}
	whole, wholeErr := engine.Evaluate(ctx, o)
	for _, s := range list {
		w := Waiver{
			Name: s.Name, Controls: append([]string{s.Waiver.Control}, s.Waiver.Also...), Scope: "cluster", Reason: s.Waiver.Reason, Owner: s.Waiver.Owner,
			Ticket: s.Waiver.Ticket, Expires: s.Waiver.Expires, Days: s.Days, State: "active", Notes: []string{}, File: s.File, Line: s.Line,
		}
		if s.Waiver.Scope.Namespace != "" {
			w.Scope = "namespace " + s.Waiver.Scope.Namespace
		}
		switch {
		case s.Found.HasErrors():
			w.State = "invalid"
			for _, f := range s.Found {
				w.Notes = append(w.Notes, f.Message)
				if strings.Contains(f.Message, "which this cluster does not have") || strings.Contains(f.Message, "which no profile of this cluster has") {
					w.State = "stale"
				}
			}
		case s.Expired:
			w.State = "expired"
			w.Notes = append(w.Notes, "its controls are enforced again: remove it, or decide again with a new date")
		case s.Ending:
			w.State = "ending"
			w.Notes = append(w.Notes, fmt.Sprintf("%s decides before %s, or mends what it covers", w.Owner, w.Expires))
		}
		if s.Waiver.Active && wholeErr == nil {
			if err := a.need(ctx, o, whole, s, &w); err != nil {
				return nil, err
			}
		}
		out.Waivers = append(out.Waivers, w)
	}
	return out, nil
}

var namespaceField = regexp.MustCompile(`^namespaces\.(?:"([^"]+)"|([^.]+))`)

// need evaluates the posture without a waiver.
func (a *App) need(ctx context.Context, o engine.Options, whole *engine.Result, s engine.WaiverStatus, w *Waiver) error {
	o.Lift = s.Name
	lifted, err := engine.Evaluate(ctx, o)
	var found diag.List
	if err != nil && !errors.As(err, &found) {
		return err
	}
	if err == nil {
		same, err := a.sameOutput(ctx, whole, lifted)
		if err != nil {
			return err
		}
		if same {
			w.State = "stale"
			w.Notes = append(w.Notes, "the posture holds its controls without it: remove it")
		} else {
			w.Notes = append(w.Notes, "no value in cluster.cue needs it; all that it does is to let pods past the admission policies")
		}
		return nil
	}
	needed, namespaces, outside := map[string]bool{}, map[string]bool{}, false
	for _, f := range found {
		if f.Severity != diag.Error {
			continue
		}
		for _, id := range append([]string{f.Control}, f.Controls...) {
			needed[id] = true
		}
		if m := namespaceField.FindStringSubmatch(f.Field); m != nil {
			namespaces[m[1]+m[2]] = true
		} else {
			outside = true
		}
	}
	checked := map[string]bool{}
	for _, c := range whole.Controls {
		checked[c.ID] = c.Checked()
	}
	var idle []string
	for _, id := range w.Controls {
		if !needed[id] && checked[id] {
			idle = append(idle, id)
		}
	}
	if len(idle) > 0 {
		w.Notes = append(w.Notes, "broader than needed: the posture holds "+strings.Join(idle, ", ")+" without it")
	}
	if s.Waiver.Scope.Cluster && !outside && len(namespaces) > 0 && len(namespaces) < len(whole.Posture.Namespaces) {
		var names []string
		for name := range namespaces {
			names = append(names, name)
		}
		slices.Sort(names)
		if len(names) > 5 {
			names = append(names[:5:5], fmt.Sprintf("%d more", len(names)-5))
		}
		w.Notes = append(w.Notes, "broader than needed: only "+strings.Join(names, ", ")+" would break without it; give it the scope of a namespace")
	}
	return nil
}

// sameOutput reports whether two postures render the same but for pages.
func (a *App) sameOutput(ctx context.Context, x, y *engine.Result) (bool, error) {
	texts := make([]map[string]string, 2)
	for i, r := range []*engine.Result{x, y} {
		t, err := render.Render(ctx, r, a.Generators)
		if err != nil {
			return false, err
		}
		texts[i] = map[string]string{}
		for _, f := range t.Files {
			if filepath.Ext(f.Path) != ".md" {
				texts[i][f.Path] = string(f.Data)
			}
		}
	}
	if len(texts[0]) != len(texts[1]) {
		return false, nil
	}
	for name, text := range texts[0] {
		if texts[1][name] != text {
			return false, nil
		}
	}
	return true, nil
}

func (a *App) clusterOptions(dir string) (engine.Options, error) {
	name := filepath.Join(dir, ClusterFile)
	source, err := engine.ReadClusterFile(name)
	return engine.Options{Name: name, Source: source, Dir: dir, Now: a.Now()}, err
}

// NewWaiver is what a new waiver says.
type NewWaiver = posture.Waiver

// AddWaiver appends a waiver to the cluster file, if the posture holds with it.
func (a *App) AddWaiver(ctx context.Context, dir, name string, w NewWaiver) error {
	o, err := a.clusterOptions(dir)
	if err != nil {
		return err
	}
	list, err := engine.Waivers(ctx, o)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Name == name {
			return diag.List{{
				Severity: diag.Error, File: s.File, Line: s.Line, Column: s.Column, Message: fmt.Sprintf("there is a waiver %q already", name),
				Rule: "each waiver has a name of its own", Fix: "choose another name, or change this one by hand",
			}}
		}
	}
	var b strings.Builder
	field := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "\t%s: %q\n", key, value)
		}
	}
	fmt.Fprintf(&b, "waivers: %q: {\n", name)
	field("control", w.Control)
	if len(w.Also) > 0 {
		quoted := make([]string, len(w.Also))
		for i, id := range w.Also {
			quoted[i] = fmt.Sprintf("%q", id)
		}
		fmt.Fprintf(&b, "\talso: [%s]\n", strings.Join(quoted, ", "))
	}
	if w.Scope.Cluster {
		b.WriteString("\tscope: cluster: true\n")
	} else {
		fmt.Fprintf(&b, "\tscope: namespace: %q\n", w.Scope.Namespace)
	}
	field("reason", w.Reason)
	field("owner", w.Owner)
	field("ticket", w.Ticket)
	field("expires", w.Expires)
	b.WriteString("}\n")
	o.Source = engine.Append(o.Source, b.String())
	if _, err := engine.Evaluate(ctx, o); err != nil {
		return err
	}
	if err := writeClusterFile(o); err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "added to %s; see what it opens: k8ssec diff %s\n", o.Name, dir)
	return nil
}

// ExpireWaiver ends a waiver: its last day becomes yesterday.
func (a *App) ExpireWaiver(ctx context.Context, dir, name string) error {
	o, err := a.clusterOptions(dir)
	if err != nil {
		return err
	}
	list, err := engine.Waivers(ctx, o)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(s engine.WaiverStatus) bool { return s.Name == name })
	switch {
	case i < 0:
		return diag.List{{
			Severity: diag.Error, File: o.Name, Message: fmt.Sprintf("there is no waiver %q", name), Fix: "k8ssec waivers " + dir + " lists them",
		}}
	case list[i].Expired:
		fmt.Fprintf(a.Stderr, "%s expired on %s already\n", name, list[i].Waiver.Expires)
		return nil
	}
	yesterday := a.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	if o.Source, err = engine.SetScalar(o, []string{"waivers", name, "expires"}, yesterday); err != nil {
		return err
	}
	if err := writeClusterFile(o); err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "%s ended on %s; what it covered is enforced again: k8ssec diff %s\n", name, yesterday, dir)
	return nil
}

// writeClusterFile replaces the cluster file as a whole, or not at all.
func writeClusterFile(o engine.Options) error {
	info, err := os.Stat(o.Name)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(o.Name), ".cluster-*.cue")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone where the renaming worked
	_, err = temporary.Write(o.Source)
	err = errors.Join(err, temporary.Chmod(info.Mode().Perm()), temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), o.Name)
}

// WriteJSON writes the waivers for scripts.
func (w *Waived) WriteJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(w)
}

// WriteText writes the waivers for people: what needs a decision first.
func (w *Waived) WriteText(out io.Writer, s diag.Style) error {
	var b strings.Builder
	if len(w.Waivers) == 0 {
		b.WriteString("no waivers\n")
	}
	order := []string{"expired", "invalid", "stale", "ending", "active"}
	list := slices.Clone(w.Waivers)
	slices.SortStableFunc(list, func(a, b Waiver) int {
		if n := slices.Index(order, a.State) - slices.Index(order, b.State); n != 0 {
			return n
		}
		return a.Days - b.Days
	})
	for _, v := range list {
		state := v.State
		switch v.State {
		case "active":
			state = s.Good(state)
		case "ending", "stale":
			state = s.Odd(state)
		default:
			state = s.Bad(state)
		}
		left := fmt.Sprintf("%d days left", v.Days)
		if v.Days < 0 {
			left = fmt.Sprintf("%d days over", -v.Days)
		}
		fmt.Fprintf(&b, "%s  %s  %s, until %s (%s)\n", s.Bold(v.Name), state, v.Scope, v.Expires, left)
		fmt.Fprintf(&b, "    %s\n    %s: %s", strings.Join(v.Controls, " "), v.Owner, v.Reason)
		if v.Ticket != "" {
			fmt.Fprintf(&b, " (%s)", v.Ticket)
		}
		b.WriteString("\n")
		for _, n := range v.Notes {
			fmt.Fprintf(&b, "    %s %s\n", s.Odd("→"), n)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}
