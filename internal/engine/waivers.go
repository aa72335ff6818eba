package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// Waivers last a year at most: what holds longer is a decision about the profile.
const maxWaiver = 366 * 24 * time.Hour

// soon is how long before its end a waiver is reported.
const soon = 14 * 24 * time.Hour

// judged is what the waivers of a cluster file amount to on one day.
type judged struct {
	found    diag.List
	active   []active
	expired  []string
	deadline time.Time
}

type active struct {
	name      string
	controls  []string
	namespace string // empty for the whole cluster
}

// judge decides which waivers are active. It reads the raw tree: a waiver must be judged before
// the controls are, and whatever else is wrong with it the schema reports.
func judge(t *tree, profiles []*Profile, now time.Time) *judged {
	j := &judged{}
	waivers := t.root.child("waivers")
	if !waivers.isObject() {
		return j
	}
	var ids []string
	inForce := map[string]bool{}
	for _, p := range profiles {
		for _, c := range p.controls {
			ids = append(ids, c.ID)
			inForce[c.ID] = inForce[c.ID] || c.InForce
		}
	}
	for _, name := range waivers.keys() {
		w := waivers.object[name]
		j.one(name, w, t, ids, inForce, now)
	}
	return j
}

func (j *judged) one(name string, w *node, t *tree, ids []string, inForce map[string]bool, now time.Time) {
	at := func(n *node, path ...string) diag.Diagnostic {
		if n == nil {
			n = w
		}
		return diag.Diagnostic{
			Severity: diag.Error, File: n.pos.file, Line: n.pos.line, Column: n.pos.column,
			Field: pathText(append([]string{"waivers", name}, path...)), Value: n.text(),
		}
	}
	controls := []*node{w.child("control")}
	if also := w.child("also"); also != nil {
		controls = append(controls, also.list...)
	}
	var waived []string
	for _, c := range controls {
		if c.str() == "" {
			return // the schema says so
		}
		waived = append(waived, c.str())
		if !slices.Contains(ids, c.str()) {
			d := at(c, "control")
			d.Message = fmt.Sprintf("waiver %q names control %q, which no profile of this cluster has", name, c.str())
			d.Rule = "a waiver lifts a control of a named profile"
			d.Fix = "k8ssec explain DIR lists the controls; remove the waiver if its control is gone"
			if near := nearest(c.str(), ids); near != "" {
				d.Message += "; did you mean " + quote(near) + "?"
				d.Fix = "control: " + quote(near)
			}
			j.found = append(j.found, d)
		} else if !inForce[c.str()] {
			d := at(c, "control")
			d.Severity = diag.Warning
			d.Message = fmt.Sprintf("waiver %q lifts control %s, which is not in force at this level", name, c.str())
			d.Fix = "remove the waiver, or name the profile that asks for the control"
			j.found = append(j.found, d)
		}
	}
	scope := w.child("scope")
	namespace := scope.child("namespace").str()
	cluster, _ := scopeCluster(scope)
	if scope.isObject() && (namespace == "") == !cluster {
		d := at(scope, "scope")
		d.Message = fmt.Sprintf("waiver %q must have exactly one scope: a namespace, or the whole cluster", name)
		d.Rule = "a waiver has the narrowest scope that serves"
		d.Fix = `scope: namespace: "team-a", or scope: cluster: true`
		j.found = append(j.found, d)
		return
	}
	if namespace != "" && t.root.at("namespaces", namespace) == nil {
		d := at(scope.child("namespace"), "scope", "namespace")
		d.Message = fmt.Sprintf("waiver %q is for namespace %q, which this cluster does not have", name, namespace)
		d.Rule = "a waiver's namespace is one of the posture's"
		d.Fix = "remove the waiver, or correct the name"
		if near := nearest(namespace, t.root.child("namespaces").keys()); near != "" {
			d.Fix = "namespace: " + quote(near)
		}
		j.found = append(j.found, d)
	}
	expires := w.child("expires")
	day, err := time.Parse(time.DateOnly, expires.str())
	if err != nil {
		return // the schema says so
	}
	end := day.AddDate(0, 0, 1)
	switch {
	case !now.Before(end):
		j.expired = append(j.expired, name)
		d := at(expires, "expires")
		d.Severity = diag.Warning
		d.Message = fmt.Sprintf("waiver %q expired on %s; %s is enforced again", name, expires.str(), waived[0])
		d.Rule = "an expired waiver lifts nothing"
		d.Fix = "remove the waiver, or decide again with a new date and a fresh reason"
		j.found = append(j.found, d)
		return
	case end.Sub(now) > maxWaiver:
		d := at(expires, "expires")
		d.Message = fmt.Sprintf("waiver %q would last until %s, longer than a year", name, expires.str())
		d.Rule = "a waiver lasts a year at most"
		d.Why = "what is weaker for longer is not an exception but the posture; a profile of your own says so openly"
		d.Fix = fmt.Sprintf("expires: %q, or earlier", now.UTC().Add(maxWaiver-24*time.Hour).Format(time.DateOnly))
		j.found = append(j.found, d)
		return
	case end.Sub(now) <= soon:
		d := at(expires, "expires")
		d.Severity = diag.Warning
		d.Message = fmt.Sprintf("waiver %q ends on %s", name, expires.str())
		d.Rule = "after that day the control is enforced again"
		d.Fix = "mend what it covers, or have its owner decide again"
		j.found = append(j.found, d)
	}
	if j.deadline.IsZero() || end.Before(j.deadline) {
		j.deadline = end
	}
	// The report that a waiver ends soon is a change as well.
	if warn := end.Add(-soon); now.Before(warn) && warn.Before(j.deadline) {
		j.deadline = warn
	}
	j.active = append(j.active, active{name: name, controls: waived, namespace: namespace})
}

func scopeCluster(scope *node) (value, ok bool) {
	if n := scope.child("cluster"); n != nil {
		value, ok = n.scalar.(bool)
	}
	return value, ok
}

// lifts says whether an active waiver lifts the control in the namespace, or for the cluster where
// namespace is empty. A waiver for the cluster lifts it in every namespace.
func (j *judged) lifts(control, namespace string) bool {
	for _, a := range j.active {
		if (a.namespace == "" || a.namespace == namespace) && slices.Contains(a.controls, control) {
			return true
		}
	}
	return false
}

// mark writes the judgement into the posture and onto the controls.
func (j *judged) mark(p *posture.Posture, profiles []*Profile) {
	for _, a := range j.active {
		w := p.Waivers[a.name]
		w.Active = true
		p.Waivers[a.name] = w
		for _, profile := range profiles {
			for _, c := range profile.controls {
				if slices.Contains(a.controls, c.ID) {
					c.Waivers = append(c.Waivers, a.name)
				}
			}
		}
	}
}
