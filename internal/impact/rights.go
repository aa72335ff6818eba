package impact

import (
	"fmt"
	"slices"
	"strings"
)

// grant is one verb on one resource for one subject.
type grant struct{ subject, scope, verb, resource string }

// holder says which objects make a grant.
type holder struct{ binding, role *object }

const wholeCluster = "the whole cluster"

// grants computes the effective rights of a tree: through aggregation and bindings.
func grants(s *set) map[grant]holder {
	clusterRoles, roles := map[string]*object{}, map[string]*object{}
	var bindings []*object
	for _, o := range s.all("manifests/") {
		switch o.kind {
		case "ClusterRole":
			clusterRoles[o.name] = o
		case "Role":
			roles[o.namespace+"/"+o.name] = o
		case "RoleBinding", "ClusterRoleBinding":
			bindings = append(bindings, o)
		}
	}
	all := map[grant]holder{}
	give := func(subject, scope string, binding, role *object, rules []map[string]any) {
		for _, r := range rules {
			for _, resource := range resourcesOf(r) {
				for _, verb := range texts(r["verbs"]) {
					g := grant{subject, scope, verb, resource}
					if _, ok := all[g]; !ok {
						all[g] = holder{binding, role}
					}
				}
			}
		}
	}
	aggregated := func(role *object) []*object { return parts(role, clusterRoles) }
	for _, b := range bindings {
		scope := wholeCluster
		if b.kind == "RoleBinding" {
			scope = "namespace " + b.namespace
		}
		ref, _ := b.get("roleRef").(map[string]any)
		name := str(ref, "name")
		role := clusterRoles[name]
		if str(ref, "kind") == "Role" {
			role = roles[b.namespace+"/"+name]
		}
		for _, subject := range objectsIn(b.get("subjects")) {
			who := subjectWords(subject, b.namespace)
			switch {
			case role != nil:
				for _, part := range aggregated(role) {
					give(who, scope, b, part, objectsIn(part.get("rules")))
				}
			case name == "cluster-admin":
				give(who, scope, b, b, []map[string]any{{"apiGroups": []any{"*"}, "resources": []any{"*"}, "verbs": []any{"*"}}})
			default:
				all[grant{who, scope, "all rights of", str(ref, "kind") + " " + name}] = holder{b, b}
			}
		}
	}
	// Roles that Kubernetes itself has take in what carries their label.
	for _, name := range sortedKeys(clusterRoles) {
		role := clusterRoles[name]
		for label, value := range role.labels() {
			target, ok := strings.CutPrefix(label, "rbac.authorization.k8s.io/aggregate-to-")
			if ok && value == "true" && clusterRoles[target] == nil {
				give("whoever holds ClusterRole "+target, "where it is bound", role, role, objectsIn(role.get("rules")))
			}
		}
	}
	return all
}

// parts are the roles that a role consists of: itself, or those that it aggregates.
func parts(role *object, clusterRoles map[string]*object) []*object {
	selectors := objectsIn(role.get("aggregationRule", "clusterRoleSelectors"))
	if len(selectors) == 0 {
		return []*object{role}
	}
	var list []*object
	for _, name := range sortedKeys(clusterRoles) {
		candidate := clusterRoles[name]
		if candidate != role && slices.ContainsFunc(selectors, func(s map[string]any) bool { return selectsLabels(s, candidate.labels()) }) {
			list = append(list, candidate)
		}
	}
	return list
}

func selectsLabels(selector, labels map[string]any) bool {
	want, _ := selector["matchLabels"].(map[string]any)
	if len(want) == 0 {
		return false
	}
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func subjectWords(s map[string]any, namespace string) string {
	if str(s, "kind") == "ServiceAccount" {
		if ns := str(s, "namespace"); ns != "" {
			namespace = ns
		}
		return "ServiceAccount " + namespace + "/" + str(s, "name")
	}
	return str(s, "kind") + " " + str(s, "name")
}

// resourcesOf are the resources of a rule, as kubectl writes them: "deployments.apps", with the names
// in brackets.
func resourcesOf(rule map[string]any) []string {
	var list []string
	for _, url := range texts(rule["nonResourceURLs"]) {
		list = append(list, "URL "+url)
	}
	groups := texts(rule["apiGroups"])
	for _, resource := range texts(rule["resources"]) {
		for _, group := range groups {
			full := resource
			switch {
			case group == "*" && resource == "*":
				full = "*"
			case group != "":
				base, sub, ok := strings.Cut(resource, "/")
				if full = base + "." + group; ok {
					full += "/" + sub
				}
			}
			names := texts(rule["resourceNames"])
			if len(names) == 0 {
				list = append(list, full)
			}
			for _, name := range names {
				list = append(list, full+" ["+name+"]")
			}
		}
	}
	return list
}

// covered reports whether other rights of the same subject hold a grant already: with a wildcard, on
// all names, or in the whole cluster.
func covered(g grant, in map[grant]holder) bool {
	resources := []string{g.resource, "*"}
	if i := strings.Index(g.resource, " ["); i > 0 {
		resources = append(resources, g.resource[:i])
	}
	if i := strings.Index(g.resource, "."); i > 0 {
		resources = append(resources, "*"+g.resource[i:])
	}
	for _, scope := range []string{g.scope, wholeCluster} {
		for _, verb := range []string{g.verb, "*"} {
			for _, resource := range resources {
				if _, ok := in[grant{g.subject, scope, verb, resource}]; ok {
					return true
				}
			}
		}
	}
	return false
}

// rights compares who may do what.
func (c *comparison) rights() {
	before, after := grants(c.old), grants(c.next)
	changed := map[string]bool{}
	for _, p := range c.changed {
		changed[p.any().id] = true
	}
	compare := func(from, to map[grant]holder, verb string, d Direction) {
		type key struct{ subject, scope string }
		groups := map[key]map[string][]string{} // resource to verbs
		at := map[key]*object{}
		var keys []key
		for g, h := range to {
			if covered(g, from) {
				continue
			}
			k := key{g.subject, g.scope}
			if groups[k] == nil {
				groups[k] = map[string][]string{}
				keys = append(keys, k)
			}
			groups[k][g.resource] = append(groups[k][g.resource], g.verb)
			for _, o := range []*object{h.role, h.binding} {
				c.explained[o.id] = c.explained[o.id] || changed[o.id]
				if at[k] == nil || changed[o.id] && (!changed[at[k].id] || o.id < at[k].id) {
					at[k] = o
				}
			}
		}
		slices.SortFunc(keys, func(a, b key) int { return strings.Compare(a.subject+a.scope, b.subject+b.scope) })
		for _, k := range keys {
			risk := 60
			byVerbs, risks := map[string][]string{}, map[string]int{}
			for _, resource := range sortedKeys(groups[k]) {
				verbs := groups[k][resource]
				slices.Sort(verbs)
				verbs = slices.Compact(verbs)
				words := strings.Join(verbs, ", ")
				byVerbs[words] = append(byVerbs[words], resource)
				risks[words] = max(risks[words], danger(verbs, resource))
				risk = max(risk, risks[words])
			}
			if k.scope == wholeCluster {
				risk += 3
			}
			var list []string
			// The most dangerous first, and not more than a person reads.
			order := sortedKeys(byVerbs)
			slices.SortStableFunc(order, func(a, b string) int { return risks[b] - risks[a] })
			for i, verbs := range order {
				if i == 4 {
					list = append(list, fmt.Sprintf("and %d more", len(order)-i))
					break
				}
				resources := byVerbs[verbs]
				slices.SortStableFunc(resources, func(a, b string) int {
					return danger(strings.Split(verbs, ", "), b) - danger(strings.Split(verbs, ", "), a)
				})
				if n := len(resources); n > 6 {
					resources = append(resources[:6:6], fmt.Sprintf("%d more", n-6))
				}
				on := " on "
				if verbs == "all rights of" {
					on = " "
				}
				list = append(list, verbs+on+strings.Join(resources, ", "))
			}
			c.about(at[k], d, risk, fmt.Sprintf("%s %s in %s: %s", k.subject, verb, k.scope, strings.Join(list, "; ")))
		}
	}
	compare(before, after, "gains", Weaker)
	compare(after, before, "loses", Tighter)
}

// danger is the risk of verbs on a resource.
func danger(verbs []string, resource string) int {
	base := resource
	if i := strings.IndexAny(resource, " "); i > 0 {
		base = resource[:i]
	}
	has := func(list ...string) bool {
		return slices.ContainsFunc(verbs, func(v string) bool { return slices.Contains(list, v) })
	}
	writes := has("*", "create", "update", "patch", "delete", "deletecollection")
	switch {
	case resource == "*" && has("*"):
		return 99
	case has("escalate", "bind", "impersonate", "all rights of"), resource == "*", has("*"):
		return 95
	case slices.Contains([]string{"secrets", "pods/exec", "pods/attach", "nodes/proxy", "serviceaccounts/token", "pods/ephemeralcontainers"}, base):
		return 93
	case writes && (strings.Contains(base, ".rbac.authorization.k8s.io") || strings.Contains(base, ".admissionregistration.k8s.io") ||
		strings.Contains(base, "networkpolic") || base == "nodes" || base == "namespaces" || strings.HasPrefix(base, "certificatesigningrequests")):
		return 90
	case writes:
		return 70
	}
	return 60
}
