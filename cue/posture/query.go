package posture

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Minor is the minor version as a number: 37 for "1.37".
func (c Cluster) Minor() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(c.Kubernetes, "1."))
	return n
}

// NamespaceNames returns the names of all namespaces, sorted.
func (p *Posture) NamespaceNames() []string {
	return slices.Sorted(maps.Keys(p.Namespaces))
}

// NamespacesOf returns the names of the namespaces of one kind, sorted.
func (p *Posture) NamespacesOf(kind string) []string {
	var names []string
	for _, name := range p.NamespaceNames() {
		if p.Namespaces[name].Kind == kind {
			names = append(names, name)
		}
	}
	return names
}

// WaivedIn returns the names of the namespaces in which an active waiver lifts the control,
// sorted. The second result is true where a waiver lifts it for the whole cluster.
func (p *Posture) WaivedIn(control string) (namespaces []string, everywhere bool) {
	for _, w := range p.Waivers {
		if !w.Active || (w.Control != control && !slices.Contains(w.Also, control)) {
			continue
		}
		if w.Scope.Cluster {
			everywhere = true
		} else {
			namespaces = append(namespaces, w.Scope.Namespace)
		}
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces), everywhere
}
