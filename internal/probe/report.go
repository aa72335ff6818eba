// Package probe runs probes against a live cluster and reports what happened.
package probe

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"

	"github.com/k8ssec/k8ssec/generators"
)

// State is how a probe ended.
type State string

// The states.
const (
	// Passed: what was expected happened.
	Passed State = "passed"
	// Failed: something else happened.
	Failed State = "failed"
	// NotEnforced: the rule is there, and nothing in the cluster acts on it.
	NotEnforced State = "not-enforced"
	// Skipped: it could not be tried; the reason is in Observed.
	Skipped State = "skipped"
)

// Result is one probe and how it ended. Without a State it was only listed.
type Result struct {
	ID     string               `json:"id"`
	Domain string               `json:"domain"`
	Kind   generators.ProbeKind `json:"kind"`
	// Check is the way in which it looks: admission, access, traffic and so on.
	Check string `json:"check"`
	// Active says that it runs with --active only.
	Active    bool     `json:"active"`
	Title     string   `json:"title"`
	Why       string   `json:"why,omitempty"`
	Controls  []string `json:"controls"`
	Artifacts []string `json:"artifacts"`
	Pair      string   `json:"pair,omitempty"`
	// Plain says why it passes on a cluster without the repository too.
	Plain    string `json:"plain,omitempty"`
	Expected string `json:"expected"`
	State    State  `json:"result,omitempty"`
	Observed string `json:"observed,omitempty"`
	// Milliseconds is how long it took.
	Milliseconds int64 `json:"milliseconds,omitempty"`
}

// Report is what one run found.
type Report struct {
	// Cluster is the name in the posture; Context and Server are where the probes went, empty in a
	// list.
	Cluster string   `json:"cluster"`
	Context string   `json:"context,omitempty"`
	Server  string   `json:"server,omitempty"`
	Version string   `json:"version,omitempty"`
	Probes  []Result `json:"probes"`
	Summary Summary  `json:"summary"`
}

// Summary counts the probes.
type Summary struct {
	Total       int `json:"total"`
	Passed      int `json:"passed"`
	Failed      int `json:"failed"`
	NotEnforced int `json:"notEnforced"`
	Skipped     int `json:"skipped"`
}

// List describes probes without running them.
func List(cluster string, probes []generators.Probe) *Report {
	r := &Report{Cluster: cluster, Probes: make([]Result, 0, len(probes))}
	for i := range probes {
		r.Probes = append(r.Probes, describe(&probes[i]))
	}
	r.count()
	return r
}

func describe(p *generators.Probe) Result {
	return Result{
		ID: p.ID, Domain: p.Domain, Kind: p.Kind, Check: checkName(p.Check), Active: p.Check.Active(), Title: p.Title, Why: p.Why,
		Controls: notNil(p.Controls), Artifacts: notNil(p.Artifacts), Pair: p.Pair, Plain: p.Plain, Expected: p.Check.Expected(p.Kind),
	}
}

// checkName is the name of the check's type in the form of the JSON contract: "in-place".
func checkName(c generators.Check) string {
	var b strings.Builder
	for i, r := range reflect.TypeOf(c).Name() {
		if r >= 'A' && r <= 'Z' && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (r *Report) count() {
	r.Summary = Summary{Total: len(r.Probes)}
	for _, p := range r.Probes {
		switch p.State {
		case Passed:
			r.Summary.Passed++
		case Failed:
			r.Summary.Failed++
		case NotEnforced:
			r.Summary.NotEnforced++
		case Skipped:
			r.Summary.Skipped++
		}
	}
}

// HasFindings reports whether a rule does not hold.
func (r *Report) HasFindings() bool { return r.Summary.Failed+r.Summary.NotEnforced > 0 }

// WriteJSON writes the report for scripts.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
