package lockout

import (
	"slices"
	"strings"
)

// endpoint is one side of a connection.
type endpoint struct {
	// words name it for people.
	words string
	// A pod has a namespace. Its labels are complete, or others may come on top.
	namespace string
	labels    map[string]string
	complete  bool
	// addrs are the addresses it can have. A pod's are those of the pod network.
	addrs addresses
	// identities are what Cilium may know an endpoint as that is not a pod: "host" and "kube-apiserver",
	// for instance. Each entry is one case that can occur.
	identities [][]string
	// name is the DNS name by which it is known, for Cilium's toFQDNs.
	name string
}

func (e *endpoint) isPod() bool { return e.namespace != "" }

// label looks up a label of a pod, or under Cilium's keys one of its namespace.
func (w *world) label(e *endpoint, cilium bool) func(string) (string, bool) {
	return func(key string) (string, bool) {
		if cilium {
			if key == ciliumNamespace {
				return e.namespace, true
			}
			if rest, ok := strings.CutPrefix(key, ciliumNamespaceLabels); ok {
				return w.namespaceLabel(e.namespace)(rest)
			}
		}
		value, ok := e.labels[key]
		return value, ok
	}
}

// namespaceLabel looks up a label of a namespace. The API server sets the one with the name itself.
func (w *world) namespaceLabel(namespace string) func(string) (string, bool) {
	labels := w.namespaceLabels[namespace]
	return func(key string) (string, bool) {
		if key == nameLabel {
			return namespace, true
		}
		value, ok := labels[key]
		return value, ok
	}
}

// selects reports whether a policy is about the pod.
func (w *world) selects(p *policy, pod *endpoint) truth {
	if p.namespace != "" && p.namespace != pod.namespace {
		return no
	}
	return p.pods.match(w.label(pod, p.pods.cilium), pod.complete)
}

// matches reports whether a peer of a rule is the endpoint.
func (w *world) matches(p *peer, e *endpoint) truth {
	switch {
	case p.pods != nil:
		if !e.isPod() {
			return no
		}
		if p.pods.namespace != "" && p.pods.namespace != e.namespace {
			return no
		}
		result := yes
		if p.pods.namespaces != nil {
			// A namespace's labels are known, but for a stranger's.
			_, known := w.namespaceLabels[e.namespace]
			result = p.pods.namespaces.match(w.namespaceLabel(e.namespace), known || e.complete)
		}
		return result.and(p.pods.pods.match(w.label(e, p.pods.pods.cilium), e.complete))
	case p.block != nil:
		if w.cilium && (e.isPod() || len(e.identities) > 0) {
			return no // Cilium knows what is in the cluster by identity, never by address
		}
		switch {
		case e.addrs.all(p.block.prefix, p.block.except):
			return yes
		case e.addrs.some(p.block.prefix, p.block.except):
			return maybe
		}
		return no
	case p.entity != "":
		return w.hasIdentity(p.entity, e)
	case p.name != "":
		switch {
		case e.isPod() || len(e.identities) > 0:
			return no
		case e.name == "":
			return maybe // some address outside, and names resolve to any
		case fqdnMatches(p.name, e.name):
			return yes
		}
	}
	return no
}

// hasIdentity reports whether Cilium counts the endpoint to an entity.
func (w *world) hasIdentity(entity string, e *endpoint) truth {
	if entity == "all" {
		return yes
	}
	switch {
	case e.isPod():
		if entity == "cluster" || entity == "cluster-mesh" {
			return yes
		}
		return no
	case len(e.identities) == 0:
		if entity == "world" {
			return yes
		}
		return no
	case entity == "cluster" || entity == "cluster-mesh":
		return yes
	}
	found := 0
	for _, identity := range e.identities {
		if slices.Contains(identity, entity) {
			found++
		}
	}
	switch found {
	case 0:
		return no
	case len(e.identities):
		return yes
	}
	return maybe
}

// fqdnMatches holds a DNS name against a name or pattern of Cilium: * is any number of the characters
// of one label.
func fqdnMatches(pattern, name string) bool {
	pattern, name = strings.TrimSuffix(pattern, "."), strings.TrimSuffix(name, ".")
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return strings.EqualFold(pattern, name)
	}
	if len(name) < len(head)+len(tail) || !strings.EqualFold(name[:len(head)], head) {
		return false
	}
	for i := len(head); i <= len(name); i++ {
		if fqdnMatches(tail, name[i:]) {
			return true
		}
		if i < len(name) && name[i] == '.' {
			return false
		}
	}
	return false
}

// peerTruth is whether a rule is about the endpoint. Several peers together can hold all cases of an
// endpoint that none of them holds alone.
func (w *world) peerTruth(r *rule, e *endpoint) truth {
	if r.none {
		return no
	}
	if len(r.peers) == 0 {
		return yes
	}
	best := no
	for i := range r.peers {
		if best = max(best, w.matches(&r.peers[i], e)); best == yes {
			return yes
		}
	}
	if best != maybe {
		return best
	}
	if !e.isPod() && len(e.identities) > 0 && w.cilium {
		for _, identity := range e.identities {
			one := *e
			one.identities = [][]string{identity}
			if !slices.ContainsFunc(r.peers, func(p peer) bool { return w.matches(&p, &one) == yes }) {
				return maybe
			}
		}
		return yes
	}
	for _, prefix := range e.addrs.in {
		one := *e
		one.addrs.in = append(one.addrs.in[:0:0], prefix)
		if !slices.ContainsFunc(r.peers, func(p peer) bool { return w.matches(&p, &one) == yes }) {
			return maybe
		}
	}
	return yes
}

// verdict is the answer for one end of a connection, with the policy that decided.
type verdict struct {
	open bool
	// by is the policy that denies, or that isolates the pod while none allows; nil where the way is
	// open.
	by     *policy
	denied bool
}

// sure answers whether a pod's end of a connection is certainly open, whatever is unknown of the peer.
func (w *world) sure(d direction, pod, peer *endpoint, p ports) verdict {
	var isolating *policy
	allowed := false
	for _, pol := range w.about(pod) {
		if w.selects(pol, pod) == no {
			continue
		}
		for i := range pol.deny[d] {
			r := &pol.deny[d][i]
			if w.peerTruth(r, peer) != no && r.meets(p) {
				return verdict{by: pol, denied: true}
			}
		}
		if pol.isolates[d] && isolating == nil {
			isolating = pol
		}
		for i := range pol.allow[d] {
			r := &pol.allow[d][i]
			if !allowed && r.holds(p) && w.peerTruth(r, peer) == yes {
				allowed = true
			}
		}
	}
	if isolating == nil || allowed {
		return verdict{open: true}
	}
	return verdict{by: isolating}
}

// possible answers whether a pod's end of a connection may be open for some peer that the endpoint
// stands for, on some of the ports. The policy is the one that opens it, nil where none isolates.
func (w *world) possible(d direction, pod, peer *endpoint, p ports) (open bool, by *policy) {
	isolated := false
	var opening *policy
	for _, pol := range w.about(pod) {
		if w.selects(pol, pod) == no {
			continue
		}
		for i := range pol.deny[d] {
			r := &pol.deny[d][i]
			if w.selects(pol, pod) == yes && w.peerTruth(r, peer) == yes && r.holds(p) {
				return false, nil
			}
		}
		isolated = isolated || pol.isolates[d]
		for i := range pol.allow[d] {
			r := &pol.allow[d][i]
			if opening == nil && r.meets(p) && w.peerTruth(r, peer) != no {
				opening = pol
			}
		}
	}
	if !isolated {
		return true, nil
	}
	return opening != nil, opening
}

// holds reports whether the rule is about all of the ports, meets whether about some.
func (r *rule) holds(p ports) bool {
	return len(r.ports) == 0 || slices.ContainsFunc(r.ports, p.within)
}

func (r *rule) meets(p ports) bool {
	return len(r.ports) == 0 || slices.ContainsFunc(r.ports, p.meets)
}

// about returns the policies that can be about the pod.
func (w *world) about(pod *endpoint) []*policy {
	own := w.policies[pod.namespace]
	if len(w.clusterwide) == 0 {
		return own
	}
	return append(own[:len(own):len(own)], w.clusterwide...)
}
