package impact

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// levels of Pod Security, the weakest first.
var levels = []string{"privileged", "baseline", "restricted"}

// podSecurity compares the levels of namespaces: which pods are newly refused or let in.
func (c *comparison) podSecurity() {
	for _, p := range c.changed {
		if p.any().kind != "Namespace" {
			continue
		}
		switch {
		case p.old == nil:
			c.about(p.next, Neutral, 30, fmt.Sprintf("namespace %s is new; Pod Security enforces %s", p.next.name, level(p.next, "enforce")))
			continue
		case p.next == nil:
			c.about(p.old, Neutral, 35, fmt.Sprintf("namespace %s is no longer here; its policies and rights go with it", p.old.name))
			continue
		}
		for _, mode := range []string{"enforce", "warn", "audit"} {
			a, b := level(p.old, mode), level(p.next, mode)
			risk := 78
			if mode != "enforce" {
				risk = 35
			}
			effect := map[string]string{"enforce": "refused", "warn": "warned of", "audit": "recorded"}[mode]
			switch i, k := slices.Index(levels, a), slices.Index(levels, b); {
			case k < i:
				if k < 1 && mode == "enforce" {
					risk = 92
				}
				c.about(p.next, Weaker, risk, fmt.Sprintf("pods of %s that are %s but not %s are no longer %s (Pod Security %s: %s → %s)", p.next.name, b, a, effect, mode, a, b))
			case k > i:
				c.about(p.next, Tighter, risk, fmt.Sprintf("pods of %s that are not %s are newly %s (Pod Security %s: %s → %s)", p.next.name, b, effect, mode, a, b))
			}
			label := "pod-security.kubernetes.io/" + mode + "-version"
			if x, y := fmt.Sprint(p.old.labels()[label]), fmt.Sprint(p.next.labels()[label]); x != y && mode == "enforce" {
				c.about(p.next, Neutral, 25, fmt.Sprintf("pods of %s are held against Pod Security of %s instead of %s", p.next.name, y, x))
			}
		}
		for _, label := range []string{"k8ssec.dev/kind"} {
			if x, y := p.old.labels()[label], p.next.labels()[label]; x != y {
				c.about(p.next, Weaker, 77, fmt.Sprintf("policies that select by %s treat %s as %v instead of %v", label, p.next.name, y, x))
			}
		}
	}
}

func level(o *object, mode string) string {
	text, _ := o.labels()["pod-security.kubernetes.io/"+mode].(string)
	if !slices.Contains(levels, text) {
		return "privileged" // Pod Security's own reading of a missing label
	}
	return text
}

// policyKinds are admission policies whose spec has the shape of ValidatingAdmissionPolicy.
var policyKinds = []string{"ValidatingAdmissionPolicy", "ValidatingPolicy", "ImageValidatingPolicy", "ClusterPolicy"}

// admission compares admission policies and their bindings.
func (c *comparison) admission() {
	after := bindings(c.next)
	for _, p := range c.changed {
		o := p.any()
		switch {
		case slices.Contains(policyKinds, o.kind):
			c.policy(p, after)
		case o.kind == "ValidatingAdmissionPolicyBinding":
			c.binding(p, after)
		case o.kind == "ValidatingWebhookConfiguration" || o.kind == "MutatingWebhookConfiguration":
			c.webhooks(p)
		}
	}
}

// bindings are the names of the policies that some binding makes deny.
func bindings(s *set) map[string]bool {
	denies := map[string]bool{}
	for _, o := range s.all("manifests/", "bootstrap/") {
		if o.kind == "ValidatingAdmissionPolicyBinding" && slices.Contains(texts(o.get("spec", "validationActions")), "Deny") {
			name, _ := o.get("spec", "policyName").(string)
			denies[name] = true
		}
	}
	return denies
}

// refuses says what a policy refuses, by the messages of its validations.
func refuses(o *object) string {
	var list []string
	for _, v := range objectsIn(o.get("spec", "validations")) {
		message := str(v, "message")
		if message == "" {
			message = "what does not hold: " + str(v, "expression")
		}
		list = append(list, short(message))
	}
	if len(list) == 0 {
		return "what it is made for"
	}
	if len(list) > 2 {
		list = append(list[:2:2], fmt.Sprintf("and %d more", len(list)-2))
	}
	return strings.Join(list, " / ")
}

func (c *comparison) policy(p pair, after map[string]bool) {
	switch {
	case p.next == nil:
		c.about(p.old, Weaker, 82, "what it refused is let in: "+refuses(p.old))
		return
	case p.old == nil:
		if p.next.kind == "ValidatingAdmissionPolicy" && !after[p.next.name] {
			c.about(p.next, Neutral, 20, "a new policy that refuses nothing yet: "+refuses(p.next))
			return
		}
		c.about(p.next, Tighter, 60, "newly refused: "+refuses(p.next))
		return
	}
	if x, y := str(spec(p.old), "failurePolicy"), str(spec(p.next), "failurePolicy"); x != y {
		if y == "Ignore" {
			c.about(p.next, Weaker, 79, "where the policy cannot be evaluated, requests are let in (failurePolicy Ignore)")
		} else if x == "Ignore" {
			c.about(p.next, Tighter, 40, "where the policy cannot be evaluated, requests are refused")
		}
	}
	key := func(v map[string]any) string { return canonical(v["expression"], true) }
	c.items(p, "validations", key, func(v map[string]any) string { return short(str(v, "message") + " " + str(v, "expression")) },
		Weaker, "no longer refused: ", Tighter, "newly refused: ")
	c.items(p, "matchConditions", key, func(v map[string]any) string { return short(str(v, "name") + ": " + str(v, "expression")) },
		Tighter, "an exception goes away: ", Weaker, "requests for which this does not hold are no longer looked at: ")
	// An exception is made of rules and selectors too.
	x, y := p.old.get("spec", "matchConstraints"), p.next.get("spec", "matchConstraints")
	if canonical(x, false) != canonical(y, false) {
		c.scope(p, x, y)
	}
	c.actions(p, "validationActions")
}

func spec(o *object) map[string]any {
	m, _ := o.get("spec").(map[string]any)
	return m
}

// items compares a list of a policy by key: what is gone and what is new.
func (c *comparison) items(p pair, field string, key, words func(map[string]any) string, gone Direction, goneWords string, added Direction, addedWords string) {
	list := func(o *object) map[string]map[string]any {
		out := map[string]map[string]any{}
		for _, v := range objectsIn(spec(o)[field]) {
			out[key(v)] = v
		}
		return out
	}
	a, b := list(p.old), list(p.next)
	if field == "validations" {
		c.exempted(p, a, b)
	}
	lost, won := map[string]map[string]any{}, map[string]map[string]any{}
	for k, v := range a {
		if _, ok := b[k]; !ok {
			lost[k] = v
		}
	}
	for k, v := range b {
		if _, ok := a[k]; !ok {
			won[k] = v
		}
	}
	if len(lost) == len(won) && len(lost) > 0 {
		// One expression for another: nobody but a reader can say which is stricter.
		for _, k := range sortedKeys(won) {
			c.about(p.next, Neutral, 45, field+" are written differently; read them: "+words(won[k]))
		}
		return
	}
	for _, k := range sortedKeys(lost) {
		c.about(p.next, gone, 78, goneWords+words(lost[k]))
	}
	for _, k := range sortedKeys(won) {
		c.about(p.next, added, 78, addedWords+words(won[k]))
	}
}

var exemption = regexp.MustCompile(`(?s)^request\.\?namespace\.orValue\(''\) in \[(.*?)\] \|\|\s*\((.*)\)$`)

// exempted finds validations that differ in the namespaces that they leave out alone, says so, and
// takes them off both lists.
func (c *comparison) exempted(p pair, a, b map[string]map[string]any) {
	split := func(v map[string]any) (namespaces []string, expression string) {
		expression = strings.TrimSpace(str(v, "expression"))
		if m := exemption.FindStringSubmatch(expression); m != nil {
			return strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune("', ", r) }), strings.TrimSpace(m[2])
		}
		return nil, expression
	}
	for _, k := range sortedKeys(b) {
		next, expression := split(b[k])
		for _, o := range sortedKeys(a) {
			before, same := split(a[o])
			if same != expression || o == k {
				continue
			}
			words := short(str(b[k], "message"))
			if gone := subtract(next, before); len(gone) > 0 {
				c.about(p.next, Weaker, 78, "no longer refused in "+strings.Join(gone, ", ")+": "+words)
			}
			if back := subtract(before, next); len(back) > 0 {
				c.about(p.next, Tighter, 60, "newly refused in "+strings.Join(back, ", ")+": "+words)
			}
			delete(a, o)
			delete(b, k)
			break
		}
	}
}

func subtract(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// scope compares what a policy or binding is about.
func (c *comparison) scope(p pair, before, after any) {
	a, _ := before.(map[string]any)
	b, _ := after.(map[string]any)
	for _, field := range []string{"namespaceSelector", "objectSelector", "excludeResourceRules", "resourceRules", "matchPolicy"} {
		x, y := a[field], b[field]
		if canonical(x, false) == canonical(y, false) {
			continue
		}
		f := &finder{}
		f.walk(field, orNone(x), orNone(y))
		words := short(joined(f.found))
		if field == "namespaceSelector" && c.leftOut(p, x, y) {
			continue
		}
		switch less := without(list(x), list(y), false); {
		case field == "resourceRules" && len(less) == 0:
			c.about(p.next, Tighter, 50, "it looks at more: "+words)
		case field == "excludeResourceRules" && len(without(list(y), list(x), false)) == 0:
			c.about(p.next, Tighter, 50, "it looks at more: "+words)
		case (field == "namespaceSelector" || field == "objectSelector") && empty(y):
			c.about(p.next, Tighter, 50, "it looks at all: "+words)
		default:
			c.about(p.next, Weaker, 76, "it may look at less: "+words)
		}
	}
}

// leftOut compares selectors that differ in the namespaces that they leave out by name alone.
func (c *comparison) leftOut(p pair, before, after any) bool {
	split := func(v any) (names []string, rest string) {
		selector, _ := v.(map[string]any)
		copied := map[string]any{}
		for k, item := range selector {
			copied[k] = item
		}
		var others []any
		for _, e := range objectsIn(selector["matchExpressions"]) {
			if str(e, "operator") == "NotIn" && str(e, "key") == "kubernetes.io/metadata.name" {
				names = append(names, texts(e["values"])...)
				continue
			}
			others = append(others, e)
		}
		copied["matchExpressions"] = others
		return names, canonical(copied, false)
	}
	a, restA := split(before)
	b, restB := split(after)
	if restA != restB {
		return false
	}
	what := ""
	policy, _ := p.next.get("spec", "policyName").(string)
	for _, o := range c.next.file(p.next.file) {
		if slices.Contains(policyKinds, o.kind) && (o.name == policy || o == p.next) {
			what = ": " + refuses(o)
		}
	}
	if gone := subtract(b, a); len(gone) > 0 {
		c.about(p.next, Weaker, 78, "no longer refused in "+strings.Join(gone, ", ")+what)
	}
	if back := subtract(a, b); len(back) > 0 {
		c.about(p.next, Tighter, 60, "newly refused in "+strings.Join(back, ", ")+what)
	}
	return true
}

func orNone(v any) any {
	if v == nil {
		return none{}
	}
	return v
}

func list(v any) []any { l, _ := v.([]any); return l }

func empty(v any) bool {
	m, _ := v.(map[string]any)
	return len(m) == 0
}

func joined(found []Field) string {
	parts := make([]string, len(found))
	for i, f := range found {
		parts[i] = f.words()
	}
	return strings.Join(parts, "; ")
}

// actions compares what is done with what a policy finds.
func (c *comparison) actions(p pair, field string) {
	a, b := texts(spec(p.old)[field]), texts(spec(p.next)[field])
	switch x, y := slices.Contains(a, "Deny"), slices.Contains(b, "Deny"); {
	case x && !y:
		c.about(p.next, Weaker, 82, "what it refused is only reported: "+strings.Join(a, ", ")+" → "+strings.Join(b, ", "))
	case !x && y:
		c.about(p.next, Tighter, 60, "what it reported is refused: "+strings.Join(a, ", ")+" → "+strings.Join(b, ", "))
	}
}

func (c *comparison) binding(p pair, denied map[string]bool) {
	o := p.any()
	policy, _ := o.get("spec", "policyName").(string)
	what := ""
	for _, s := range []*set{c.next, c.old} {
		for _, candidate := range s.file(o.file) {
			if what == "" && candidate.kind == "ValidatingAdmissionPolicy" && candidate.name == policy {
				what = ": " + refuses(candidate)
			}
		}
	}
	// A policy that comes or goes with its binding has said so itself.
	if slices.ContainsFunc(c.changed, func(q pair) bool {
		other := q.any()
		return slices.Contains(policyKinds, other.kind) && other.name == policy && !q.both() && (q.old == nil) == (p.old == nil)
	}) && !p.both() {
		c.explained[o.id] = true
		return
	}
	denies := func(o *object) bool {
		return o != nil && slices.Contains(texts(o.get("spec", "validationActions")), "Deny")
	}
	switch {
	case p.next == nil && denies(p.old):
		c.about(p.old, Weaker, 82, "what "+policy+" refused is let in"+what)
	case p.next == nil && denied[policy]:
		c.about(p.old, Neutral, 20, policy+" is no longer only reported there; another binding of it refuses")
	case p.next == nil:
		c.about(p.old, Weaker, 40, policy+" is no longer in force, which it reported only"+what)
	case p.old == nil && denies(p.next):
		c.about(p.next, Tighter, 60, "newly refused"+what)
	case p.old == nil:
		c.about(p.next, Tighter, 20, "newly reported"+what)
	default:
		c.actions(p, "validationActions")
		x, y := p.old.get("spec", "matchResources"), p.next.get("spec", "matchResources")
		if canonical(x, false) != canonical(y, false) {
			c.scope(p, x, y)
		}
		if canonical(p.old.get("spec", "policyName"), true) != canonical(p.next.get("spec", "policyName"), true) {
			c.about(p.next, Weaker, 76, "it binds another policy")
		}
	}
}

func (c *comparison) webhooks(p pair) {
	switch {
	case p.next == nil:
		c.about(p.old, Weaker, 80, "the webhook is asked no more")
	case p.old == nil:
		c.about(p.next, Tighter, 50, "a webhook is asked before objects are let in")
	default:
		for _, w := range objectsIn(p.next.value["webhooks"]) {
			for _, old := range objectsIn(p.old.value["webhooks"]) {
				if str(w, "name") == str(old, "name") && str(w, "failurePolicy") == "Ignore" && str(old, "failurePolicy") != "Ignore" {
					c.about(p.next, Weaker, 79, str(w, "name")+": where the webhook does not answer, requests are let in")
				}
			}
		}
	}
}
