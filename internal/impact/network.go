package impact

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/internal/lockout"
)

// network compares which connections the policies open.
func (c *comparison) network() {
	opened, closed := lockout.Compare(c.after.Posture, policies(c.old), policies(c.next))
	c.flows(opened, "opens", Weaker)
	c.flows(closed, "closes", Tighter)
	for _, p := range c.changed {
		o := p.any()
		if !c.explained[o.id] && strings.HasSuffix(o.kind, "NetworkPolicy") {
			c.about(o, Neutral, 8, "no connection opens or closes")
		}
	}
}

func policies(s *set) []lockout.Object {
	var list []lockout.Object
	for _, o := range s.all("manifests/") {
		if strings.HasSuffix(o.kind, "NetworkPolicy") || o.kind == "Namespace" {
			list = append(list, lockout.Object{File: o.file, Value: o.value})
		}
	}
	return list
}

// flows adds one change for each pair of ends, with its ports.
func (c *comparison) flows(flows []lockout.Flow, verb string, d Direction) {
	type key struct{ from, to, policy string }
	ports := map[key][]string{}
	first := map[key]lockout.Flow{}
	var keys []key
	for _, f := range flows {
		k := key{f.From, f.To, f.Policy}
		if _, ok := first[k]; !ok {
			keys = append(keys, k)
			first[k] = f
		}
		if !slices.Contains(ports[k], f.Port) {
			ports[k] = append(ports[k], f.Port)
		}
	}
	for _, k := range keys {
		f := first[k]
		risk := 50
		switch {
		case f.Metadata:
			risk = 95
		case f.World:
			risk = 97
		case strings.Contains(k.from+k.to, "every namespace"):
			risk = 94
		case f.Foreign:
			risk = 75
		}
		if slices.Contains(ports[k], "every port") {
			risk += 2
		}
		direction := d
		if f.Fresh && !f.World && !f.Metadata {
			direction, risk = Neutral, 30 // pods that were not there before, or are no more
		}
		list := ports[k]
		if slices.Contains(list, "every port") {
			list = []string{"every port"}
		}
		meaning := fmt.Sprintf("%s: from %s to %s on %s", verb, k.from, k.to, strings.Join(list, ", "))
		change := Change{Object: f.Policy, File: f.File, Direction: direction, risk: risk, Meaning: meaning, Domain: "network"}
		if f.Policy == "" {
			change.Meaning += "; no policy isolates those pods"
			c.culprit(&change, f.Namespace)
		}
		c.explained[f.Policy] = true
		change.Controls = c.serves(change.File, change.Object)
		c.add(change)
	}
}

// culprit finds the policy of a namespace that went away, where none is left that decides.
func (c *comparison) culprit(change *Change, namespace string) {
	for _, p := range c.changed {
		o := p.any()
		if strings.HasSuffix(o.kind, "NetworkPolicy") && (o.namespace == namespace || o.namespace == "") {
			change.Object, change.File = o.id, o.file
			c.explained[o.id] = true
			if p.next == nil {
				return
			}
		}
	}
}
