package network

import (
	"fmt"
	"maps"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// flows returns the policies of one namespace's declared flows in one direction, by name.
func (c *cluster) flows(namespace string, flows map[string]posture.Flow, egress bool) ([]generators.Object, error) {
	var objects []generators.Object
	for _, name := range slices.Sorted(maps.Keys(flows)) {
		flow := flows[name]
		o, err := c.flow(namespace, name, &flow, egress)
		if err != nil {
			return nil, fmt.Errorf("namespaces.%s.%s.%s: %w", namespace, choose(egress, "egress", "ingress"), name, err)
		}
		objects = append(objects, o...)
	}
	return objects, nil
}

// flow returns the plain policy of a flow, and a Cilium policy for those of its peers that a plain
// one cannot name. A policy without peers would open the flow to everybody, so none is emitted then.
func (c *cluster) flow(namespace, name string, flow *posture.Flow, egress bool) ([]generators.Object, error) {
	ports := npPorts(flow.Ports)
	for _, p := range flow.Ports {
		if p.End != 0 && p.End < p.Port {
			return nil, fmt.Errorf("port range %d to %d ends before it begins", p.Port, p.End)
		}
	}
	var peers []networkingv1.NetworkPolicyPeer
	var extra []networkingv1.NetworkPolicyEgressRule
	var entities []string
	var fqdns []any
	anyone, apiServer := false, false
	for i := range flow.Peers {
		peer := &flow.Peers[i]
		switch {
		case peer.Namespace != "":
			peers = append(peers, namespacePeer(peer.Namespace, peer.Pods))
		case peer.CIDR != "":
			block, err := c.cidrPeer(peer, egress)
			if err != nil {
				return nil, err
			}
			peers = append(peers, block)
		case peer.FQDN != "":
			if !c.cilium || !egress {
				return nil, fmt.Errorf("fqdn %s: a DNS name is a peer of an egress flow with cni \"cilium\" only; write a cidr instead", peer.FQDN)
			}
			fqdns = append(fqdns, fqdnSelector(peer.FQDN))
		case peer.Entity == "cluster":
			peers = append(peers, everyPod(peer.Pods))
		case peer.Entity == "world" && egress:
			peers = append(peers, c.world...)
		case peer.Entity == "world":
			// Traffic from outside may carry the address of the node that forwarded it (NodePort and
			// load balancer services with externalTrafficPolicy Cluster), in an overlay even one of
			// the pod range. So everybody is let in, and the others' own default deny does the rest.
			if c.cilium {
				entities = append(entities, "world", "host", "remote-node")
			} else {
				anyone = true
			}
		case peer.Entity == "nodes" && c.cilium:
			entities = append(entities, "host", "remote-node")
		case peer.Entity == "nodes" && egress:
			peers = append(peers, c.toNodes...)
		case peer.Entity == "apiserver" && c.cilium && egress:
			apiServer = true
		case peer.Entity == "apiserver" && c.cilium:
			entities = append(entities, apiServerSources...)
		case peer.Entity == "apiserver" && egress:
			for _, rule := range c.apiServer {
				if len(ports) > 0 {
					rule.Ports = ports
				}
				extra = append(extra, rule)
			}
		case peer.Entity == "nodes" || peer.Entity == "apiserver":
			if len(c.fromNodes) == 0 {
				anyone = true
			}
			peers = append(peers, c.fromNodes...)
		default:
			return nil, fmt.Errorf("peer %d names nobody: write namespace, cidr, fqdn or entity", i)
		}
	}
	if anyone {
		peers = ipBlocks(c.any, nil)
	}

	why := flow.Why
	if why == "" {
		why = "Declared flow " + name + "."
	}
	objectName := choose(egress, "egress-", "ingress-") + name
	var objects []generators.Object
	if len(peers) > 0 || len(extra) > 0 {
		np := c.newPolicy(namespace, objectName, flow.Pods)
		if egress {
			if len(peers) > 0 {
				np.Spec.Egress = append(np.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: peers, Ports: ports})
			}
			np.Spec.Egress = append(np.Spec.Egress, extra...)
			np.Spec.PolicyTypes = egressOnly
		} else {
			np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: peers, Ports: ports}}
			np.Spec.PolicyTypes = ingressOnly
		}
		objects = append(objects, generators.Object{Value: np, Why: why, Claims: c.exceptClaims(np)})
	}

	if o, ok := c.authenticated(namespace, name, flow, egress); ok {
		objects = append(objects, o)
	}

	var rules []any
	if len(entities) > 0 {
		slices.Sort(entities)
		entities = slices.Compact(entities)
		rules = append(rules, entityRule(choose(egress, "toEntities", "fromEntities"), entities, flow.Ports))
	}
	if apiServer {
		open := flow.Ports
		if len(open) == 0 {
			open = c.apiPorts // the API server's host has other ports too
		}
		rules = append(rules, entityRule("toEntities", []string{"kube-apiserver"}, open))
	}
	if len(rules) > 0 {
		cnp := c.newCiliumPolicy(namespace, objectName, flow.Pods)
		spec(cnp)[choose(egress, "egress", "ingress")] = rules
		objects = append(objects, generators.Object{Value: cnp, Why: why})
	}
	if len(fqdns) > 0 {
		// Cilium learns the addresses of a name from the answers that pass through its DNS proxy, so
		// the name opens nothing without the lookup rule beside it. Without the proxy Cilium refuses
		// the whole policy, so nothing else may be in it.
		cnp := c.newCiliumPolicy(namespace, "names-"+name, flow.Pods)
		spec(cnp)["egress"] = []any{c.lookupRule(), withPorts(map[string]any{"toFQDNs": fqdns}, flow.Ports)}
		objects = append(objects, generators.Object{
			Value: cnp,
			Why:   why + "\nThe addresses of the names are learnt from the pods' own lookups, through Cilium's DNS proxy (l7Proxy, on by default). With l7Proxy: false Cilium refuses this policy and the names stay closed; nothing else changes.",
		})
	}
	return objects, nil
}

// authenticated asks for mutual authentication on what a flow lets in from other namespaces. It allows
// the same peers and ports as the plain policy beside it: where two rules allow the same, Cilium takes
// the one that asks for authentication.
func (c *cluster) authenticated(namespace, name string, flow *posture.Flow, egress bool) (generators.Object, bool) {
	if egress || !c.cilium || c.p.Encryption.MutualTLS != "cilium" {
		return generators.Object{}, false
	}
	var from []any
	for i := range flow.Peers {
		peer := &flow.Peers[i]
		if peer.Namespace == "" {
			continue
		}
		labels := map[string]any{"k8s:io.kubernetes.pod.namespace": peer.Namespace}
		for k, v := range peer.Pods {
			labels["k8s:"+k] = v
		}
		from = append(from, map[string]any{"matchLabels": labels})
	}
	if len(from) == 0 {
		return generators.Object{}, false
	}
	rule := withPorts(map[string]any{"fromEndpoints": from}, flow.Ports)
	rule["authentication"] = map[string]any{"mode": "required"}
	cnp := c.newCiliumPolicy(namespace, "mutual-tls-"+name, flow.Pods)
	spec(cnp)["ingress"] = []any{rule}
	return generators.Object{
		Value:  cnp,
		Why:    "Both ends prove who they are before the first packet (encryption.mutualTLS). It needs Cilium's mutual authentication; docs/encryption.md.",
		Claims: generators.Claims("spec.ingress[0].authentication", "enc-6"),
	}, true
}

// exceptClaims are the claims of a plain policy that leaves the metadata addresses out of a range.
func (c *cluster) exceptClaims(np *networkingv1.NetworkPolicy) []generators.Claim {
	var claims []generators.Claim
	for i, rule := range np.Spec.Egress {
		for j, peer := range rule.To {
			if peer.IPBlock == nil {
				continue
			}
			for _, m := range c.metadata {
				if slices.Contains(peer.IPBlock.Except, m.String()) {
					claims = append(claims, generators.Claims(fmt.Sprintf("spec.egress[%d].to[%d].ipBlock.except", i, j), metadataControls...)...)
					break
				}
			}
		}
	}
	return claims
}

// notInQuarantine is shared by all policies that open something; nothing changes it.
var notInQuarantine = []metav1.LabelSelectorRequirement{{Key: generators.LabelQuarantine, Operator: metav1.LabelSelectorOpDoesNotExist}}

var (
	ingressOnly = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	egressOnly  = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	bothWays    = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
)

// newPolicy is a NetworkPolicy for the pods with the labels, or for all pods of the namespace. Plain
// policies only add up: nothing that is applied later can take back what one of these opens. So they
// leave out the pods in quarantine themselves, and for those the default deny alone is left. Cilium has
// a deny that stands above them (the domain incident).
func (c *cluster) newPolicy(namespace, name string, pods map[string]string) *networkingv1.NetworkPolicy {
	np := &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: c.labels},
	}
	if len(pods) > 0 {
		np.Spec.PodSelector.MatchLabels = pods
	}
	if !c.cilium {
		np.Spec.PodSelector.MatchExpressions = notInQuarantine
	}
	return np
}
