package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/engine"
)

// State is how a control is answered.
type State string

// The states in which a control can end.
const (
	// Enforced: an artifact that a component reads serves it.
	Enforced State = "enforced"
	// Waived: an active waiver lifts it for the whole cluster.
	Waived State = "waived"
	// Provider: the platform's provider has the duty.
	Provider State = "provider"
	// ByProcedure: people follow a written procedure.
	ByProcedure State = "procedure"
	// Undecided: one line in cluster.cue would decide it.
	Undecided State = "undecided"
	// Planned: the domain that will serve it is not built yet.
	Planned State = "planned"
	// Failing: no artifact of a domain that is built serves it. A test keeps this from happening.
	Failing State = "failing"
)

// States are all states in the order in which people read them.
var States = []State{Enforced, Waived, Provider, ByProcedure, Undecided, Planned, Failing}

// Answer is how one control ends for one cluster.
type Answer struct {
	Control *engine.Control
	State   State
	// Artifacts are the places that serve it, as "path" or "path: field", sorted; at most
	// maxArtifacts, with Count as the number of all.
	Artifacts []string
	Count     int
	// Text says in one sentence what is true of this cluster.
	Text string
}

// maxArtifacts bounds the places that an answer lists: a cluster with ten thousand namespaces
// serves some controls in each.
const maxArtifacts = 8

// served is where one control is served.
type served struct {
	enforced, procedures []string
	enforcedCount        int
	notes                []string
}

// answers computes the answer of each control from the claims, the decisions and the waivers.
func answers(result *engine.Result, t *Tree, list []generators.Generator) []Answer {
	where := map[string]*served{}
	claim := func(f *File, name string, c generators.Claim) {
		s := where[c.Control]
		if s == nil {
			s = &served{}
			where[c.Control] = s
		}
		switch f.Artifact.Kind {
		case generators.Doc:
			return
		case generators.Procedure:
			s.procedures = appendOnce(s.procedures, f.Path)
		default:
			s.enforcedCount++
			if len(s.enforced) < maxArtifacts {
				place := f.Path
				if name != "" {
					place += ": " + name
				}
				s.enforced = appendOnce(s.enforced, place)
			}
		}
		if c.Note != "" && len(s.notes) < 3 {
			s.notes = appendOnce(s.notes, c.Note)
		}
	}
	for i := range t.Files {
		f := &t.Files[i]
		if f.Artifact == nil {
			continue
		}
		for _, c := range f.Artifact.Claims {
			claim(f, "", c)
		}
		for _, o := range f.Artifact.Objects {
			for _, c := range o.Claims {
				claim(f, "", c)
			}
		}
	}
	decisions := map[string]generators.Decision{}
	for _, d := range t.Undecided {
		for _, id := range d.Controls {
			if _, ok := decisions[id]; !ok {
				decisions[id] = d
			}
		}
	}
	built := map[string]bool{}
	for _, g := range list {
		built[g.Domain()] = true
	}
	out := make([]Answer, 0, len(result.Controls))
	for _, c := range result.Controls {
		out = append(out, answer(c, where[c.ID], decisions, built, result))
	}
	return out
}

func answer(c *engine.Control, s *served, decisions map[string]generators.Decision, built map[string]bool, result *engine.Result) Answer {
	a := Answer{Control: c}
	if s == nil {
		s = &served{}
	}
	namespaces, everywhere := result.Posture.WaivedIn(c.ID)
	decision, undecided := decisions[c.ID]
	switch {
	case everywhere:
		a.State = Waived
		w := result.Posture.Waivers[c.Waivers[0]]
		a.Text = fmt.Sprintf("Waived for the whole cluster until %s by %s: %s", w.Expires, w.Owner, w.Reason)
	case len(s.enforced) > 0:
		a.State, a.Artifacts, a.Count = Enforced, s.enforced, s.enforcedCount
		a.Text = strings.Join(s.notes, " ")
	case len(s.procedures) > 0:
		a.State, a.Artifacts, a.Count = ByProcedure, s.procedures, len(s.procedures)
		a.Text = strings.Join(s.notes, " ")
		if a.Text == "" {
			a.Text = "Follow the steps in " + s.procedures[0] + "."
		}
	case undecided:
		a.State = Undecided
		a.Text = fmt.Sprintf("Write `%s` in cluster.cue: %s", decision.Line, decision.Enables)
	case !built[c.Domain]:
		a.State = Planned
		a.Text = "The domain " + c.Domain + " is not built yet."
	case !c.InForce:
		a.State = Undecided
		a.Text = fmt.Sprintf("Level %d is not asked for. Name the profile of that level in cluster.cue, for instance profiles: [%q].", c.Level, c.Profile+"-l2")
	case len(result.Posture.NamespacesOf("tenant")) == 0:
		a.State = Undecided
		a.Text = "There is no tenant to hold to it. Write `namespaces: \"team-a\": owner: \"team-a\"` in cluster.cue: the first tenant gets it."
	default:
		a.State = Failing
		a.Text = "Nothing serves it."
	}
	if len(namespaces) > 0 && !everywhere {
		a.Text = strings.TrimSpace(a.Text + " Waived in " + strings.Join(namespaces, ", ") + ".")
	}
	return a
}

func appendOnce(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// Summary counts the controls of one catalogue by state.
type Summary struct {
	Catalogue string
	Total     int
	Count     map[State]int
}

// Summaries counts the answers by catalogue: the benchmarks that were asked for before what they
// build on.
func (t *Tree) Summaries() []Summary {
	var out []Summary
	for _, a := range t.Controls {
		i := slices.IndexFunc(out, func(s Summary) bool { return s.Catalogue == a.Control.Catalogue })
		if i < 0 {
			i = len(out)
			out = append(out, Summary{Catalogue: a.Control.Catalogue, Count: map[State]int{}})
		}
		out[i].Total++
		out[i].Count[a.State]++
	}
	slices.Reverse(out)
	return out
}
