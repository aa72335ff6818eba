package lockout

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// opening is what a posture opens between a tenant and others: ports by the other namespace, with the
// empty name for everybody.
type opening map[string][]ports

func (o opening) add(namespace string, list []ports) { o[namespace] = append(o[namespace], list...) }

// allows reports whether all of the ports are open to the namespace.
func (o opening) allows(namespace string, p ports) bool {
	return slices.ContainsFunc(o[namespace], p.within) || slices.ContainsFunc(o[""], p.within)
}

// strangers checks that no tenant reaches this one, or is reached by it, unless a flow says so. Both
// ends are judged on their own: each must be closed even if the other were open.
func (w *world) strangers(name string, ns *posture.Namespace, pods []endpoint) {
	for _, d := range []direction{ingress, egress} {
		declared := w.openings(ns, d)
		for i := range pods {
			w.stranger(&pods[i], declared, d)
			w.namedTenants(name, &pods[i], declared, d)
		}
	}
}

// openings is what the posture opens for a tenant in one direction.
func (w *world) openings(ns *posture.Namespace, d direction) opening {
	o := opening{}
	flows := ns.Egress
	if d == ingress {
		flows = ns.Ingress
		if monitoring := w.p.Network.MonitoringNamespace; monitoring != "" {
			o.add(monitoring, tcpPorts(ns.Metrics))
		}
		if !w.cilium {
			// Calls of the API server may carry an address of the pod range.
			o.add("", tcpPorts(ns.Webhooks))
		}
	}
	for _, flow := range flows {
		for i := range flow.Peers {
			peer := &flow.Peers[i]
			switch {
			case peer.Namespace != "":
				o.add(peer.Namespace, flowPorts(&flow))
			case peer.Entity == "cluster":
				o.add("", flowPorts(&flow))
			case !w.cilium && d == ingress && peer.Entity != "":
				o.add("", flowPorts(&flow)) // the same as for webhooks
			case !w.cilium && peer.CIDR != "":
				// A range inside the pods' own is meant for pods.
				if prefix, err := netip.ParsePrefix(peer.CIDR); err == nil && covered(prefix.Masked(), w.pods) {
					o.add("", flowPorts(&flow))
				}
			}
		}
	}
	return o
}

func tcpPorts(numbers []int) []ports {
	list := make([]ports, len(numbers))
	for i, n := range numbers {
		list[i] = port("TCP", n)
	}
	return list
}

// stranger looks for a rule that lets in, or out to, a tenant that no rule names.
func (w *world) stranger(pod *endpoint, declared opening, d direction) {
	other := w.anyPod("pods of any tenant")
	for _, pol := range w.about(pod) {
		if w.selects(pol, pod) == no {
			continue
		}
		for i := range pol.allow[d] {
			r := &pol.allow[d][i]
			if w.peerTruth(r, other) == no {
				continue
			}
			w.undeclared(pod, pol, r, "", "pods of any tenant", declared, d)
		}
	}
}

// namedTenants looks at each tenant that a rule names by its name or by another label of its namespace.
func (w *world) namedTenants(name string, pod *endpoint, declared opening, d direction) {
	for _, pol := range w.about(pod) {
		if w.selects(pol, pod) == no {
			continue
		}
		for i := range pol.allow[d] {
			r := &pol.allow[d][i]
			for j := range r.peers {
				for _, tenant := range w.tenantsNamed(&r.peers[j]) {
					if tenant != name {
						w.undeclared(pod, pol, r, tenant, "pods of "+tenant, declared, d)
					}
				}
			}
		}
	}
}

// tenantsNamed are the tenants that a peer selects and a stranger could not be.
func (w *world) tenantsNamed(p *peer) []string {
	if p.pods == nil || p.pods.namespace != "" {
		return nil
	}
	s := p.pods.namespaces
	if s == nil {
		s = &p.pods.pods
	}
	if s.empty() {
		return nil
	}
	var tenants []string
	if names, ok := s.names(); ok {
		for _, n := range names {
			if w.p.Namespaces[n].Kind == "tenant" {
				tenants = append(tenants, n)
			}
		}
		return tenants
	}
	key := fmt.Sprint(s.cilium, s.LabelSelector)
	if known, ok := w.selected[key]; ok {
		return known
	}
	for _, n := range w.p.NamespacesOf("tenant") {
		one := &endpoint{namespace: n, addrs: addresses{in: w.pods}}
		if w.matches(&peer{pods: &podPeer{namespaces: p.pods.namespaces, pods: p.pods.pods}}, one) != no {
			tenants = append(tenants, n)
		}
	}
	w.selected[key] = tenants
	return tenants
}

// undeclared reports those ports of a rule that the posture does not open.
func (w *world) undeclared(pod *endpoint, pol *policy, r *rule, namespace, words string, declared opening, d direction) {
	list := r.ports
	if len(list) == 0 {
		list = []ports{anyPort}
	}
	for _, p := range list {
		if declared.allows(namespace, p) || w.deniedTo(pod, namespace, p, d) {
			continue
		}
		from, to := words, pod.words
		if d == egress {
			from, to = to, from
		}
		fix := "Remove the rule, or declare the flow in cluster.cue."
		if namespace != "" {
			fix = fmt.Sprintf("Remove the rule, or declare it: namespaces: %q: %s: %q: peers: [{namespace: %q}]", pod.namespace, d, "with-"+namespace, namespace)
		}
		w.report(Finding{
			Severity: diag.Error, Rule: ruleApart, From: from, To: to, Port: portWords(p), Object: pol.ref(), File: pol.file,
			Message: fmt.Sprintf("%s opens %s to %s on %s, and no flow in cluster.cue declares it", pol.ref(), from, to, portWords(p)),
			Why:     "Tenants are kept apart unless both say otherwise: one that is taken over must not reach the next.",
			Fix:     fix,
		})
		return
	}
}

// deniedTo reports whether a deny closes the ports again.
func (w *world) deniedTo(pod *endpoint, namespace string, p ports, d direction) bool {
	other := w.anyPod("")
	if namespace != "" {
		other = &endpoint{namespace: namespace, addrs: addresses{in: w.pods}}
	}
	for _, pol := range w.about(pod) {
		for i := range pol.deny[d] {
			if w.selects(pol, pod) == yes && pol.deny[d][i].holds(p) && w.peerTruth(&pol.deny[d][i], other) == yes {
				return true
			}
		}
	}
	return false
}

// metadata checks that no pod can reach the cloud metadata addresses. Cluster DNS may ask them for
// names, and kube-system, which is the platform's own, is judged by the ports of the metadata service.
func (w *world) metadata() {
	if !w.p.Network.BlockMetadata {
		return
	}
	reachable := slices.DeleteFunc(slices.Clone(w.metadataCIDRs), func(m netip.Prefix) bool {
		return !slices.ContainsFunc(w.pods, func(p netip.Prefix) bool { return p.Addr().Is4() == m.Addr().Is4() })
	})
	for _, name := range w.p.NamespaceNames() {
		p := anyPort
		if name == "kube-system" || name == w.p.Network.DNSNamespace {
			if !w.p.Network.DefaultDeny {
				continue // open by the same decision that switched the default deny off
			}
			p = port("TCP", 80)
		}
		pods := w.kindsOfPods(name)
		for i := range pods {
			for _, m := range reachable {
				to := &endpoint{words: "the cloud metadata service at " + m.Addr().String(), addrs: addresses{in: []netip.Prefix{m}}}
				open, by := w.possible(egress, &pods[i], to, p)
				if !open {
					continue
				}
				f := Finding{
					Severity: diag.Error, Rule: ruleMetadata, From: pods[i].words, To: to.words, Port: portWords(p),
					Object: "NetworkPolicy " + name + "/default-deny", File: policyFile(name),
					Why: "Whoever asks there gets the cloud credentials of the node.", Fix: regenerate,
				}
				reason := "no policy denies it"
				if by != nil {
					f.Object, f.File = by.ref(), by.file
					reason = by.ref() + " opens it"
				}
				f.Message = fmt.Sprintf(" can reach %s: %s", to.words, reason)
				w.collect(f)
				break
			}
		}
	}
}
