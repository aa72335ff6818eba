package app

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/internal/catalogue"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/render"
	"github.com/k8ssec/k8ssec/internal/report"
)

// ReportOptions name what to report on.
type ReportOptions struct {
	Dir string
	// Catalogues limits the matrix; empty means all.
	Catalogues []string
	// FailOn are the states in which a control makes the command exit with findings.
	FailOn []string
}

// Reported is a report, and whether it has what the caller asked to fail on.
type Reported struct {
	*report.Report
	Fails bool
}

// Report says how each control of each catalogue stands, by what the posture renders and by the files
// as they are in the repository: an edit that breaks a control makes it fail here too.
func (a *App) Report(ctx context.Context, o ReportOptions) (*Reported, error) {
	failOn, err := states(o.FailOn)
	if err != nil {
		return nil, err
	}
	verified, err := a.Verify(ctx, VerifyOptions{Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	result, t, err := a.tree(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	catalogues, err := catalogue.Load()
	if err != nil {
		return nil, err
	}
	probes, err := t.Probes(result.Posture, a.Generators)
	if err != nil {
		return nil, err
	}
	shown := map[string][]string{}
	for _, p := range probes {
		for _, c := range p.Controls {
			shown[c] = appendOnce(shown[c], p.ID)
		}
	}
	r := report.New(report.Input{
		Result: result, Tree: t, Broken: brokenControls(verified.Findings), Probes: shown, Catalogues: catalogues, Now: a.Now(),
	})
	names := r.Names()
	if unknown := r.Keep(o.Catalogues); unknown != "" {
		d := diag.Diagnostic{
			Severity: diag.Error, Value: unknown, Message: fmt.Sprintf("there is no catalogue %q in this report", unknown),
			Rule: "a catalogue of the cluster's profiles, or a list of attacks: " + strings.Join(names, ", "),
			Fix:  "--catalogue " + names[0],
		}
		if near := engine.Nearest(unknown, names); near != "" {
			d.Message += fmt.Sprintf("; did you mean %q?", near)
			d.Fix = "--catalogue " + near
		}
		return nil, diag.List{d}
	}
	return &Reported{r, r.Any(failOn)}, nil
}

// brokenControls are the controls that the files as they stand no longer keep, each with the first
// finding about it.
func brokenControls(found diag.List) map[string]diag.Diagnostic {
	broken := map[string]diag.Diagnostic{}
	for _, d := range found {
		if d.Severity != diag.Error || d.Control == "" {
			continue
		}
		for _, id := range append([]string{d.Control}, d.Controls...) {
			if _, ok := broken[id]; !ok {
				broken[id] = d
			}
		}
	}
	return broken
}

// states are the named states.
func states(names []string) ([]render.State, error) {
	var known []string
	for _, s := range render.States {
		known = append(known, string(s))
	}
	var list []render.State
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, diag.List{{
				Severity: diag.Error, Value: name, Message: fmt.Sprintf("%q is not a state in which a control can end", name),
				Rule: "one of " + strings.Join(known, ", "), Fix: "--fail-on failing,undecided",
			}}
		}
		list = append(list, render.State(name))
	}
	return list, nil
}

// WriteSARIF writes what falls short, for code scanning.
func (r *Reported) WriteSARIF(a *App, dir string) error {
	return r.Findings(filepath.ToSlash(filepath.Join(dir, ClusterFile))).WriteSARIF(a.Stdout, a.Version)
}
