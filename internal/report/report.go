// Package report says how each control of each catalogue stands on one cluster, for people, scripts,
// code scanning and auditors.
//
// Nothing is judged here a second time: the controls' answers come from the render, what an edit broke
// comes from verify, and an attack stands as the weakest control that has to hold against it.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/catalogue"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/render"
)

// Report is the whole of it. Its JSON is described by docs/schemas/report.json.
type Report struct {
	Cluster   Cluster    `json:"cluster"`
	Controls  []Control  `json:"controls"`
	Waivers   []Waiver   `json:"waivers"`
	Undecided []Decision `json:"undecided"`
	Summary   Summary    `json:"summary"`

	titles  map[string]string
	posture *posture.Posture
	now     time.Time
}

// Cluster says of which cluster the report speaks.
type Cluster struct {
	Name       string   `json:"name"`
	Platform   string   `json:"platform"`
	Kubernetes string   `json:"kubernetes"`
	CNI        string   `json:"cni"`
	Profiles   []string `json:"profiles"`
}

// Control is one control, or one attack of a catalogue.
type Control struct {
	Catalogue string `json:"catalogue"`
	// ID is the number in the catalogue: "1.2.27".
	ID string `json:"id"`
	// Control is what explain and waivers call it: "cis-1.2.27". Attacks have none.
	Control string `json:"control,omitempty"`
	Title   string `json:"title"`
	// Domain is the area that serves a control; Tactic is the purpose of an attack.
	Domain string `json:"domain,omitempty"`
	Tactic string `json:"tactic,omitempty"`
	// Also are the ids of the same attack elsewhere.
	Also  []string     `json:"also,omitempty"`
	Level int          `json:"level,omitempty"`
	State render.State `json:"state"`
	// Artifacts are the emitted places that serve it, Probes what shows it on a live cluster.
	Artifacts []string `json:"artifacts"`
	Probes    []string `json:"probes"`
	// Controls are the controls that an attack meets.
	Controls []string `json:"controls,omitempty"`
	Answer   string   `json:"answer"`
	// Finding is what an edit broke, where the state is failing for that.
	Finding *diag.Diagnostic `json:"finding,omitempty"`
}

// Waiver is one waiver of the cluster file.
type Waiver struct {
	Name     string   `json:"name"`
	Controls []string `json:"controls"`
	// Scope is a namespace, or empty for the whole cluster.
	Scope    string `json:"scope,omitempty"`
	Reason   string `json:"reason"`
	Owner    string `json:"owner"`
	Ticket   string `json:"ticket,omitempty"`
	Expires  string `json:"expires"`
	Active   bool   `json:"active"`
	DaysLeft int    `json:"daysLeft"`
}

// Decision is a value that only the user has.
type Decision struct {
	Line     string   `json:"line"`
	Enables  string   `json:"enables"`
	Controls []string `json:"controls"`
}

// Summary counts the controls.
type Summary struct {
	Catalogues []Count `json:"catalogues"`
	// Areas count the controls of the profiles by domain; attacks have no domain.
	Areas []Count `json:"areas"`
	// Unanswered is the number of controls that end in no state that a person can act on.
	Unanswered int `json:"unanswered"`
}

// Count is how many controls of a catalogue or area end in each state.
type Count struct {
	Name   string               `json:"name"`
	Title  string               `json:"title"`
	Total  int                  `json:"total"`
	States map[render.State]int `json:"states"`
	// Score is the share of controls that hold, in percent, rounded down: enforced, kept by a
	// procedure, or the provider's duty. What is waived or undecided does not hold.
	Score int `json:"score"`
}

func (c *Count) add(s render.State) {
	if c.States == nil {
		c.States = map[render.State]int{}
	}
	c.Total++
	c.States[s]++
	c.Score = 100 * (c.States[render.Enforced] + c.States[render.ByProcedure] + c.States[render.Provider]) / c.Total
}

// Input is what a report is made of.
type Input struct {
	Result *engine.Result
	Tree   *render.Tree
	// Broken are the controls that the files as they stand no longer keep, by id.
	Broken map[string]diag.Diagnostic
	// Probes are the ids of the probes that show a control, by the control's id.
	Probes     map[string][]string
	Catalogues []catalogue.Catalogue
	Now        time.Time
}

// New makes the report.
func New(in Input) *Report {
	p := in.Result.Posture
	r := &Report{
		Cluster: Cluster{Name: p.Cluster.Name, Platform: p.Cluster.Platform, Kubernetes: p.Cluster.Kubernetes, CNI: p.Cluster.CNI, Profiles: p.Profiles},
		posture: p, now: in.Now.UTC(), titles: map[string]string{},
	}
	known := map[string]*Control{}
	r.Controls = make([]Control, 0, len(in.Tree.Controls))
	for _, a := range in.Tree.Controls {
		c := Control{
			Catalogue: a.Control.Catalogue, ID: a.Short(), Control: a.Control.ID, Title: a.Control.Title, Domain: a.Control.Domain, Level: a.Control.Level,
			State: a.State, Artifacts: notNil(a.Artifacts), Probes: notNil(in.Probes[a.Control.ID]), Answer: a.Text,
		}
		if d, ok := in.Broken[c.Control]; ok && c.State != render.Waived {
			c.State, c.Finding = render.Failing, &d
			c.Answer = d.Position() + d.Message
		}
		if c.Answer == "" && len(c.Artifacts) > 0 {
			c.Answer = "Served by " + c.Artifacts[0]
			if a.Count > 1 {
				c.Answer += fmt.Sprintf(" and %d more", a.Count-1)
			}
			c.Answer += "."
		}
		r.titles[c.Catalogue] = render.CatalogueTitle(c.Catalogue)
		r.Controls = append(r.Controls, c)
	}
	// The benchmarks that were asked for come before what they build on.
	r.Controls = byCatalogue(r.Controls)
	for i := range r.Controls {
		known[r.Controls[i].Control] = &r.Controls[i]
	}
	profiles := len(r.Controls)
	for _, c := range in.Catalogues {
		r.titles[c.ID] = c.Title
		for _, item := range c.Items {
			r.Controls = append(r.Controls, attack(p, c, item, known))
		}
	}
	r.count(profiles)
	for _, name := range sortedKeys(p.Waivers) {
		r.Waivers = append(r.Waivers, waiver(name, p.Waivers[name], r.now))
	}
	slices.SortStableFunc(r.Waivers, func(a, b Waiver) int { return cmp.Compare(a.DaysLeft, b.DaysLeft) })
	r.Waivers = notNil(r.Waivers)
	r.Undecided = []Decision{}
	for _, d := range in.Tree.Undecided {
		r.Undecided = append(r.Undecided, Decision{Line: d.Line, Enables: d.Enables, Controls: notNil(d.Controls)})
	}
	return r
}

// count fills the summary; the first n controls are those of the profiles.
func (r *Report) count(n int) {
	areas := map[string]*Count{}
	for i, c := range r.Controls {
		k := slices.IndexFunc(r.Summary.Catalogues, func(s Count) bool { return s.Name == c.Catalogue })
		if k < 0 {
			k = len(r.Summary.Catalogues)
			r.Summary.Catalogues = append(r.Summary.Catalogues, Count{Name: c.Catalogue, Title: r.titles[c.Catalogue]})
		}
		r.Summary.Catalogues[k].add(c.State)
		if !Answered(c.State) {
			r.Summary.Unanswered++
		}
		if i < n {
			if areas[c.Domain] == nil {
				areas[c.Domain] = &Count{Name: c.Domain, Title: c.Domain}
			}
			areas[c.Domain].add(c.State)
		}
	}
	for _, name := range sortedKeys(areas) {
		r.Summary.Areas = append(r.Summary.Areas, *areas[name])
	}
}

// Answered says whether a control in that state has an answer: what happens, who does it, who gave it
// up until when, or which line would decide it.
func Answered(s render.State) bool {
	switch s {
	case render.Enforced, render.Waived, render.Provider, render.ByProcedure, render.Undecided:
		return true
	}
	return false
}

// Short says whether a control in that state falls short of what was asked.
func Short(s render.State) bool {
	switch s {
	case render.Enforced, render.Provider, render.ByProcedure:
		return false
	}
	return true
}

// strength orders states from the weakest to the strongest.
func strength(s render.State) int {
	return slices.Index([]render.State{render.Failing, render.Planned, render.Undecided, render.Waived, render.ByProcedure, render.Provider, render.Enforced}, s)
}

// need is one requirement against an attack, as it stands.
type need struct {
	control string
	state   render.State
	answer  string
}

// attack judges one attack: it stands as the weakest of what has to hold against it.
func attack(p *posture.Posture, c catalogue.Catalogue, item catalogue.Item, known map[string]*Control) Control {
	out := Control{
		Catalogue: c.ID, ID: item.ID, Title: item.Title, Tactic: item.Tactic, Also: item.Also,
		State: render.Enforced, Artifacts: []string{}, Probes: []string{},
	}
	var holds, misses, seen, unseen []string
	for _, n := range item.Prevent {
		got := meet(p, n, known)
		out.Controls = append(out.Controls, got.control)
		if strength(got.state) < strength(out.State) {
			out.State = got.state
		}
		if Short(got.state) {
			misses = append(misses, missing(got))
		} else if !slices.Contains(holds, got.control) {
			holds = append(holds, got.control)
		}
		if k := known[got.control]; k != nil {
			for _, place := range k.Artifacts {
				if len(out.Artifacts) < 8 && !slices.Contains(out.Artifacts, place) {
					out.Artifacts = append(out.Artifacts, place)
				}
			}
			for _, probe := range k.Probes {
				if !slices.Contains(out.Probes, probe) {
					out.Probes = append(out.Probes, probe)
				}
			}
		}
	}
	for _, n := range item.Detect {
		got := meet(p, n, known)
		if Short(got.state) {
			unseen = append(unseen, fmt.Sprintf("%s (%s)", got.control, got.state))
		} else {
			seen = append(seen, got.control)
		}
	}
	var parts []string
	if len(holds) > 0 {
		parts = append(parts, "In its way: "+strings.Join(holds, ", ")+".")
	}
	if len(seen) > 0 {
		parts = append(parts, "Seen by: "+strings.Join(seen, ", ")+".")
	}
	if len(unseen) > 0 {
		parts = append(parts, "Would also be seen by: "+strings.Join(unseen, ", ")+".")
	}
	if len(misses) > 0 {
		parts = append(parts, "Missing: "+strings.Join(misses, "; ")+".")
	}
	out.Answer = strings.Join(parts, " ")
	return out
}

// missing names a control that does not hold, with the line that would decide it where there is one.
func missing(n need) string {
	text := fmt.Sprintf("%s (%s", n.control, n.state)
	if line, ok := strings.CutPrefix(n.answer, "Write `"); ok {
		if end := strings.Index(line, "` in cluster.cue"); end > 0 {
			text += ", write `" + line[:end] + "`"
		}
	}
	return text + ")"
}

// meet is how a need stands: the strongest of its controls that the cluster's profiles have. Where
// they have none, naming the profile that has one would decide it.
func meet(p *posture.Posture, n catalogue.Need, known map[string]*Control) need {
	best := need{control: n.Controls()[0]}
	for _, id := range n.Controls() {
		if c := known[id]; c != nil && (best.state == "" || strength(c.State) > strength(best.state)) {
			best = need{id, c.State, c.Answer}
		}
	}
	if best.state == "" {
		best.state = render.Undecided
		var names []string
		for _, name := range append(slices.Clone(p.Profiles), ProfileOf(best.control)) {
			names = append(names, fmt.Sprintf("%q", name))
		}
		best.answer = fmt.Sprintf("Write `profiles: [%s]` in cluster.cue: the profile %s asks for it.", strings.Join(names, ", "), ProfileOf(best.control))
	}
	return best
}

// ProfileOf is the shipped profile to name for a control that the cluster's profiles do not have.
func ProfileOf(control string) string {
	switch prefix, _, _ := strings.Cut(control, "-"); prefix {
	case "cis", "nsa":
		return prefix
	}
	return "restricted"
}

func waiver(name string, w posture.Waiver, now time.Time) Waiver {
	out := Waiver{
		Name: name, Controls: append([]string{w.Control}, w.Also...), Scope: w.Scope.Namespace, Reason: w.Reason, Owner: w.Owner,
		Ticket: w.Ticket, Expires: w.Expires, Active: w.Active,
	}
	// The schema has parsed the date; the last day counts.
	if end, err := time.Parse(time.DateOnly, w.Expires); err == nil {
		out.DaysLeft = int(end.Sub(now.Truncate(24*time.Hour)).Hours() / 24)
	}
	return out
}

// byCatalogue groups controls by catalogue, the last of the profiles' first.
func byCatalogue(controls []Control) []Control {
	var order []string
	for _, c := range controls {
		if !slices.Contains(order, c.Catalogue) {
			order = append(order, c.Catalogue)
		}
	}
	out := slices.Clone(controls)
	slices.SortStableFunc(out, func(a, b Control) int {
		return cmp.Compare(slices.Index(order, b.Catalogue), slices.Index(order, a.Catalogue))
	})
	return out
}

// Keep leaves only the named catalogues, in the matrix and in the counts of catalogues. It returns the
// first name that is unknown.
func (r *Report) Keep(names []string) (unknown string) {
	if len(names) == 0 {
		return ""
	}
	for _, name := range names {
		if r.titles[name] == "" {
			return name
		}
	}
	r.Controls = slices.DeleteFunc(r.Controls, func(c Control) bool { return !slices.Contains(names, c.Catalogue) })
	r.Summary.Catalogues = slices.DeleteFunc(r.Summary.Catalogues, func(c Count) bool { return !slices.Contains(names, c.Name) })
	r.Summary.Unanswered = 0
	for _, c := range r.Controls {
		if !Answered(c.State) {
			r.Summary.Unanswered++
		}
	}
	return ""
}

// Names are the names of the catalogues, in order.
func (r *Report) Names() []string {
	var names []string
	for _, c := range r.Summary.Catalogues {
		names = append(names, c.Name)
	}
	return names
}

// Any says whether a control ends in one of the states.
func (r *Report) Any(states []render.State) bool {
	return slices.ContainsFunc(r.Controls, func(c Control) bool { return slices.Contains(states, c.State) })
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
