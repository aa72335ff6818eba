package network

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Cilium's policies are maps: the module with their Go types brings the whole agent with it. A test
// checks every emitted form against the CRDs of that module.

// apiServerSources are the identities that a call from an API server can have. Across nodes it
// comes from the node's Cilium address, which is remote-node and not kube-apiserver: Cilium puts
// that label on the addresses of the kubernetes service only (pkg/ipcache/cell/apiserver_watcher.go).
var apiServerSources = []string{"host", "kube-apiserver", "remote-node"}

// maxCiliumPorts is the longest list of ports that Cilium accepts (maxPorts in
// pkg/policy/api/rule_validation.go).
const maxCiliumPorts = 40

// newCiliumPolicy is a CiliumNetworkPolicy for the pods with the labels, or all of the namespace.
func (c *cluster) newCiliumPolicy(namespace, name string, pods map[string]string) map[string]any {
	selector := c.ciliumAll
	if len(pods) > 0 {
		selector = map[string]any{"matchLabels": anyMap(pods)}
	}
	return map[string]any{
		"apiVersion": "cilium.io/v2",
		"kind":       "CiliumNetworkPolicy",
		"metadata":   map[string]any{"namespace": namespace, "name": name, "labels": c.ciliumLabels},
		"spec":       map[string]any{"endpointSelector": selector},
	}
}

// spec returns the spec of a policy made by newCiliumPolicy.
func spec(policy map[string]any) map[string]any {
	s, _ := policy["spec"].(map[string]any)
	return s
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func anyList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// entityRule opens ports to or from entities; field is toEntities or fromEntities.
func entityRule(field string, entities []string, ports []posture.Port) map[string]any {
	return withPorts(map[string]any{field: anyList(entities)}, ports)
}

// withPorts adds the ports to a rule; none means every port.
func withPorts(rule map[string]any, ports []posture.Port) map[string]any {
	if len(ports) == 0 {
		return rule
	}
	var toPorts []any
	for chunk := range slices.Chunk(ports, maxCiliumPorts) {
		list := make([]any, len(chunk))
		for i, p := range chunk {
			entry := map[string]any{"port": strconv.Itoa(p.Port), "protocol": p.Protocol}
			if p.End > p.Port {
				entry["endPort"] = int64(p.End)
			}
			list[i] = entry
		}
		toPorts = append(toPorts, map[string]any{"ports": list})
	}
	rule["toPorts"] = toPorts
	return rule
}

// fqdnSelector matches one name; with "*." it matches the names one label below, as in a certificate.
func fqdnSelector(name string) map[string]any {
	if strings.HasPrefix(name, "*.") {
		return map[string]any{"matchPattern": name}
	}
	return map[string]any{"matchName": name}
}

// lookupRule sends the lookups of the pods through Cilium's DNS proxy, whatever the name. It only
// watches: the plain dns policy opens the same way, and Cilium gives the redirect precedence.
func (c *cluster) lookupRule() map[string]any {
	selector := map[string]any{"k8s:io.kubernetes.pod.namespace": c.p.Network.DNSNamespace}
	for _, k := range slices.Sorted(maps.Keys(c.p.Network.DNSPods)) {
		selector["k8s:"+k] = c.p.Network.DNSPods[k]
	}
	rule := withPorts(map[string]any{
		"toEndpoints": []any{map[string]any{"matchLabels": selector}},
	}, dnsPorts)
	for _, p := range rule["toPorts"].([]any) {
		p.(map[string]any)["rules"] = map[string]any{"dns": []any{map[string]any{"matchPattern": "*"}}}
	}
	return rule
}

// metadataBlock denies the cloud metadata addresses to every pod outside the namespaces of the
// system and of cluster DNS, which asks a resolver at such an address on Google's and Azure's clouds.
//
// Deny rules beat every allow rule. enableDefaultDeny keeps this policy from being more than that:
// without it, any policy with an egress part turns default deny on for each pod it selects, and DNS
// and GitOps die everywhere at once.
func (c *cluster) metadataBlock() generators.Artifact {
	free := []string{c.p.Network.DNSNamespace, "kube-system"}
	slices.Sort(free)
	return generators.Artifact{
		Path:    file("metadata"),
		Comment: "The block of the cloud metadata addresses for all pods of the cluster. Read by Cilium.",
		Objects: []generators.Object{{
			Value: map[string]any{
				"apiVersion": "cilium.io/v2",
				"kind":       "CiliumClusterwideNetworkPolicy",
				"metadata":   map[string]any{"name": "block-metadata", "labels": c.ciliumLabels},
				"spec": map[string]any{
					"endpointSelector": map[string]any{"matchExpressions": []any{map[string]any{
						"key":      "k8s:io.kubernetes.pod.namespace",
						"operator": "NotIn",
						"values":   anyList(slices.Compact(free)),
					}}},
					"enableDefaultDeny": map[string]any{"ingress": false, "egress": false},
					"egressDeny":        []any{map[string]any{"toCIDR": anyList(texts(c.metadata))}},
				},
			},
			Why: "A pod that reaches these addresses can take over the cloud identity of its node. This deny stands above every allow, also above a policy that a tenant writes.\n" +
				"enableDefaultDeny: false is vital: without it this policy would deny all other egress of every pod as well. It needs Cilium 1.16 or newer with enable-non-default-deny-policies at its default, true.",
			Claims: slices.Concat(
				generators.Claims("spec.egressDeny", metadataControls...),
				generators.Claims("spec.endpointSelector", metadataControls...),
			),
		}},
	}
}

func texts(prefixes []netip.Prefix) []string {
	out := make([]string, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.String()
	}
	return out
}
