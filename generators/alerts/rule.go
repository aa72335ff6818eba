package alerts

import (
	"maps"
	"slices"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// Severities; the posture's routes are keyed by them.
const (
	critical = "critical" // somebody is woken
	warning  = "warning"  // somebody looks today
	info     = "info"     // somebody reads it with the next review
)

// rule is one alert.
type rule struct {
	name, expr string
	// wait is how long the expression must hold, as a Prometheus duration; empty means at once.
	wait     string
	severity string
	// runbook is the page of docs/runbooks that says what to do, without .md.
	runbook string
	// summary is one line with the labels of the alert; detail says what it may mean.
	summary, detail string
	// when says whether the source of the rule is there; nil means always.
	when func(*posture.Posture) bool
}

// group is a set of rules with one source.
type group struct {
	name, why string
	controls  []string
	rules     []rule
}

// of leaves out the rules whose source the posture does not have.
func (g group) of(p *posture.Posture) group {
	g.rules = slices.DeleteFunc(slices.Clone(g.rules), func(r rule) bool { return r.when != nil && !r.when(p) })
	return g
}

// spec is a group as Prometheus and Loki write it.
func (g group) spec() map[string]any {
	rules := make([]any, 0, len(g.rules))
	for _, r := range g.rules {
		m := map[string]any{
			"alert":       r.name,
			"expr":        r.expr,
			"labels":      map[string]any{"severity": r.severity, "k8ssec": "true"},
			"annotations": map[string]any{"summary": r.summary, "description": r.detail, "runbook": "docs/runbooks/" + r.runbook + ".md"},
		}
		if r.wait != "" {
			m["for"] = r.wait
		}
		rules = append(rules, m)
	}
	return map[string]any{"name": "k8ssec-" + g.name, "rules": rules}
}

// sortedNames are the names of a map, sorted.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
