package lockout

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// Flow is a connection that one tree opens and another does not.
type Flow struct {
	// Namespace is that of the pods whose policies changed, From and To the two sides for people.
	Namespace string
	From, To  string
	// Port is "TCP 443", or "every port".
	Port string
	// World marks a connection with addresses outside of the cluster, Metadata one with the cloud's
	// metadata service, Foreign one with pods of another namespace.
	World, Metadata, Foreign bool
	// Policy opens it, or opened it; empty where no policy isolates the pods at all.
	Policy, File string
	// Fresh marks a namespace that only one of the trees has.
	Fresh bool
}

// Compare computes which connections the policies of two trees open and close: for each namespace
// whose policies differ, for each set of its pods that a policy selects, with each peer that a rule
// in either tree names, on each port that one names. A connection between pods counts as open where
// both ends let it through.
func Compare(p *posture.Posture, before, after []Object) (opened, closed []Flow) {
	old, next := worldOf(p, before), worldOf(p, after)
	for _, namespace := range differing(old, next, before, after) {
		c := &comparison{old: old, next: next, namespace: namespace}
		_, inOld := old.namespaceFiles[namespace]
		_, inNext := next.namespaceFiles[namespace]
		if inOld != inNext && (len(old.policies[namespace]) == 0 || len(next.policies[namespace]) == 0) {
			// There are no pods on one side, so nothing is open there.
			c.fresh, c.absent = true, old
			if inOld {
				c.absent = next
			}
		}
		c.run()
		opened = append(opened, c.opened...)
		closed = append(closed, c.closed...)
	}
	return opened, closed
}

func worldOf(p *posture.Posture, objects []Object) *world {
	w := newWorld(p)
	for i := range objects {
		w.add(&objects[i])
	}
	return w
}

// differing are the namespaces whose pods may be treated differently.
func differing(old, next *world, before, after []Object) []string {
	texts := func(objects []Object) (map[string]string, string) {
		own, clusterwide := map[string]string{}, ""
		for _, o := range objects {
			m, ok := o.Value.(map[string]any)
			if !ok {
				continue
			}
			kind, _ := m["kind"].(string)
			meta, _ := m["metadata"].(map[string]any)
			switch kind {
			case "NetworkPolicy", "CiliumNetworkPolicy":
				namespace, _ := meta["namespace"].(string)
				own[namespace] += fmt.Sprintf("%v\n", m)
			case "CiliumClusterwideNetworkPolicy":
				clusterwide += fmt.Sprintf("%v\n", m)
			}
		}
		return own, clusterwide
	}
	a, wideA := texts(before)
	b, wideB := texts(after)
	names := map[string]bool{}
	add := func(all map[string]string, different func(string) bool) {
		for name := range all {
			if different(name) {
				names[name] = true
			}
		}
	}
	relabelled := !maps.EqualFunc(old.namespaceLabels, next.namespaceLabels, maps.Equal)
	different := func(name string) bool { return wideA != wideB || relabelled || a[name] != b[name] }
	add(a, different)
	add(b, different)
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}

// comparison is about the pods of one namespace.
type comparison struct {
	old, next      *world
	namespace      string
	fresh          bool
	absent         *world // the tree that does not have the namespace, if one does not
	opened, closed []Flow
}

// otherPort stands for every port that no rule names.
var otherPort = ports{protocol: "TCP", low: 61999, high: 61999}

func (c *comparison) run() {
	for _, d := range []direction{ingress, egress} {
		peers, list := c.peers(d)
		seen := map[string]bool{}
		for _, pod := range c.pods() {
			for i := range peers {
				c.pair(d, &pod, &peers[i], list, seen)
			}
		}
	}
}

// pair compares one pair of ends on all ports.
func (c *comparison) pair(d direction, pod, peer *endpoint, list []ports, seen map[string]bool) {
	for _, p := range append([]ports{otherPort}, list...) {
		before, _ := c.open(c.old, d, pod, peer, p)
		after, by := c.open(c.next, d, pod, peer, p)
		if before == after {
			continue
		}
		if before {
			_, by = c.open(c.old, d, pod, peer, p)
		}
		f := Flow{Namespace: c.namespace, From: pod.words, To: peer.words, Port: flowPort(p), Fresh: c.fresh}
		if d == ingress {
			f.From, f.To = f.To, f.From
		}
		f.Foreign = peer.isPod() && peer.namespace != c.namespace
		if !peer.isPod() && len(peer.identities) == 0 {
			f.World = true
			f.Metadata = slices.ContainsFunc(peer.addrs.in, func(prefix netip.Prefix) bool { return prefix == metadata })
		}
		if by != nil {
			f.Policy, f.File = by.ref(), by.file
		}
		// What holds for all pods, or every port, is not said again for some.
		wide := fmt.Sprint(d, before, peer.words) + flowPort(otherPort)
		all := fmt.Sprint(d, before, peer.words) + f.Port
		if len(pod.labels) > 0 && (seen[wide] || seen[all]) || p != otherPort && seen[wide+pod.words] {
			continue
		}
		// What is open to pods of every namespace is open to those of one.
		every := fmt.Sprint(d, before, everyNamespace)
		if peer.isPod() && peer.namespace != anyNamespace && slices.ContainsFunc([]string{flowPort(otherPort), f.Port}, func(port string) bool {
			return seen[every+port] || seen[every+port+pod.words]
		}) {
			continue
		}
		if len(pod.labels) == 0 {
			seen[all] = true
		}
		seen[all+pod.words] = true
		if before {
			c.closed = append(c.closed, f)
		} else {
			c.opened = append(c.opened, f)
		}
	}
}

// open answers whether both ends let a connection through.
func (c *comparison) open(w *world, d direction, pod, peer *endpoint, p ports) (bool, *policy) {
	if w == c.absent {
		return false, nil
	}
	here, by := w.possible(d, pod, peer, p)
	if !here || !peer.isPod() || peer.namespace == anyNamespace {
		return here, by
	}
	there, _ := w.possible(1-d, peer, pod, p)
	return there, by
}

// pods are the sets of pods of the namespace that some policy selects: all of them first.
func (c *comparison) pods() []endpoint {
	all := endpoint{words: "all pods of " + c.namespace, namespace: c.namespace, complete: true, addrs: addresses{in: c.next.pods}}
	list := []endpoint{all}
	seen := map[string]bool{"": true}
	for _, w := range []*world{c.old, c.next} {
		for _, pol := range w.about(&all) {
			labels := pol.pods.labels()
			for key := range labels {
				if pol.pods.cilium && (key == ciliumNamespace || strings.HasPrefix(key, ciliumNamespaceLabels)) {
					delete(labels, key)
				}
			}
			words := labelWords(labels)
			if seen[words] {
				continue
			}
			seen[words] = true
			pod := all
			pod.labels, pod.words = labels, fmt.Sprintf("pods of %s with %s", c.namespace, words)
			list = append(list, pod)
		}
	}
	return list
}

func labelWords(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, key+"="+labels[key])
	}
	return strings.Join(parts, ",")
}

const everyNamespace = "pods of every namespace"

// anyNamespace is the namespace of a pod of which nothing is known.
const anyNamespace = "\x00"

var (
	metadata = netip.MustParsePrefix("169.254.169.254/32")
	// internet is an address that no cluster has: one of Google's name servers.
	internet = netip.MustParsePrefix("8.8.8.8/32")
)

// peers are the other sides that the rules of both trees name, and those that matter in any case; and
// the ports.
func (c *comparison) peers(d direction) ([]endpoint, []ports) {
	peers := []endpoint{
		{words: "the internet", addrs: addresses{in: []netip.Prefix{internet}}},
		{words: everyNamespace, namespace: anyNamespace, addrs: addresses{in: c.next.pods}},
		{words: "all pods of " + c.namespace, namespace: c.namespace, complete: true, addrs: addresses{in: c.next.pods}},
	}
	if d == egress {
		peers = append(peers, endpoint{words: "the cloud's metadata service", addrs: addresses{in: []netip.Prefix{metadata}}})
	}
	var list []ports
	seen := map[string]bool{"all pods of " + c.namespace: true}
	one := endpoint{namespace: c.namespace}
	for _, w := range []*world{c.old, c.next} {
		for _, pol := range w.about(&one) {
			for _, r := range slices.Concat(pol.allow[d], pol.deny[d]) {
				for _, p := range r.ports {
					if !slices.Contains(list, p) {
						list = append(list, p)
					}
				}
				for i := range r.peers {
					e, ok := c.endpoint(&r.peers[i])
					if ok && !seen[e.words] {
						seen[e.words] = true
						peers = append(peers, e)
					}
				}
			}
		}
	}
	return peers, list
}

// endpoint is one that a peer of a rule stands for.
func (c *comparison) endpoint(p *peer) (endpoint, bool) {
	switch {
	case p.pods != nil:
		labels := p.pods.pods.labels()
		namespace := p.pods.namespace
		if namespace == "" {
			namespace = anyNamespace
			source := p.pods.pods
			if p.pods.namespaces != nil {
				source = *p.pods.namespaces
			}
			if names, ok := source.names(); ok && len(names) > 0 {
				namespace = names[0]
			}
		}
		for key := range labels {
			if key == ciliumNamespace || strings.HasPrefix(key, ciliumNamespaceLabels) {
				delete(labels, key)
			}
		}
		e := endpoint{namespace: namespace, labels: labels, complete: namespace != anyNamespace, addrs: addresses{in: c.next.pods}}
		where := namespace
		if namespace == anyNamespace {
			where = "some other namespaces"
			if p.pods.namespaces != nil && !p.pods.namespaces.empty() {
				where = "namespaces with " + labelWords(p.pods.namespaces.labels())
			}
		}
		if e.words = "all pods of " + where; len(labels) > 0 {
			e.words = "pods of " + where + " with " + labelWords(labels)
		}
		return e, true
	case p.block != nil:
		if p.block.prefix.Bits() == 0 || p.block.prefix == metadata {
			return endpoint{}, false // the internet and the metadata service stand for it
		}
		return endpoint{words: p.block.prefix.String(), addrs: addresses{in: []netip.Prefix{p.block.prefix}}}, true
	case p.entity == "world" || p.entity == "all":
		return endpoint{}, false
	case p.entity != "":
		return endpoint{words: entityWords(p.entity), identities: [][]string{{p.entity}}}, true
	case p.name != "":
		return endpoint{words: p.name, name: p.name}, true
	}
	return endpoint{}, false
}

func entityWords(entity string) string {
	switch entity {
	case "kube-apiserver":
		return "the API server"
	case "host":
		return "the node"
	case "remote-node":
		return "the other nodes"
	case "cluster":
		return "everything in the cluster"
	}
	return "Cilium's " + entity
}

func flowPort(p ports) string {
	protocol := p.protocol
	if protocol == "" {
		protocol = "TCP, UDP and SCTP"
	}
	switch {
	case p == otherPort:
		return "every port"
	case p.name != "":
		return protocol + " " + p.name
	case p.low == p.high:
		return fmt.Sprintf("%s %d", protocol, p.low)
	case p.low <= 1 && p.high == 65535:
		return "every port of " + protocol
	}
	return fmt.Sprintf("%s %d to %d", protocol, p.low, p.high)
}
