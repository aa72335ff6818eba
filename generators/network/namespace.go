package network

import (
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// The controls that the objects serve.
var (
	denyControls     = []string{"net-1", "cis-5.3.2", "nsa-N5", "nsa-N6"}
	metadataControls = []string{"net-2", "nsa-N9"}
	flowControls     = []string{"net-3", "net-4"}
	firewallControls = []string{"nsa-N1"}
)

var (
	anyPodHere = []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	hereRules  = networkingv1.NetworkPolicySpec{
		PolicyTypes: bothWays,
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: anyPodHere}},
		Egress:      []networkingv1.NetworkPolicyEgressRule{{To: anyPodHere}},
	}
)

// namespace returns the objects of one namespace.
func (c *cluster) namespace(name string, ns *posture.Namespace) ([]generators.Object, error) {
	if !c.p.Network.DefaultDeny {
		return c.openNamespace(name), nil
	}
	objects := make([]generators.Object, 0, 6+len(ns.Ingress)+len(ns.Egress))

	deny := c.newPolicy(name, "default-deny", nil)
	deny.Spec = networkingv1.NetworkPolicySpec{PolicyTypes: bothWays}
	objects = append(objects, generators.Object{
		Value:  deny,
		Why:    "Selects each pod and opens nothing, so that every connection needs a policy below. Without it pods that no other policy selects talk to everybody.",
		Claims: c.denyClaims,
	})

	dns := c.newPolicy(name, "dns", nil)
	dns.Spec.PolicyTypes, dns.Spec.Egress = egressOnly, c.dns
	objects = append(objects, generators.Object{
		Value: dns,
		Why:   "Every pod may resolve names, at the cluster's own DNS alone. Without it almost everything in the namespace fails, slowly.",
	})

	if ns.SameNamespace {
		same := c.newPolicy(name, "same-namespace", nil)
		same.Spec.PolicyTypes, same.Spec.Ingress, same.Spec.Egress = hereRules.PolicyTypes, hereRules.Ingress, hereRules.Egress
		objects = append(objects, generators.Object{Value: same, Why: "Pods of the namespace may talk to each other (sameNamespace: true)."})
	}
	if ns.APIAccess {
		objects = append(objects, c.apiAccess(name))
	}
	if len(ns.Webhooks) > 0 {
		objects = append(objects, c.fromAPIServer(name, "webhooks", nil, ns.Webhooks,
			"The API server calls admission webhooks or aggregated APIs here. Without it requests wait for the webhook's timeout and then fail or pass unchecked."))
	}
	if monitoring := c.p.Network.MonitoringNamespace; monitoring != "" {
		if len(ns.Metrics) > 0 && !(name == monitoring && ns.SameNamespace) {
			objects = append(objects, c.metrics(name, "metrics", nil, ns.Metrics))
		}
		if name == monitoring {
			scrape := c.newPolicy(name, "scrape", nil)
			scrape.Spec.PolicyTypes = egressOnly
			scrape.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{everyPod(nil)}, Ports: npPorts(c.scrape)}}
			objects = append(objects, generators.Object{
				Value: scrape,
				Why:   "The monitoring namespace may reach the metrics ports that any namespace declares. Each namespace decides for itself which of its ports it opens.",
			})
		}
	}
	if name == c.p.Network.DNSNamespace {
		objects = append(objects, c.dnsServers(name)...)
	}
	if name == "kube-system" {
		objects = append(objects, c.kubeSystem()...)
	}
	if name == c.p.GitOps.Namespace {
		objects = append(objects, c.gitSources(name)...)
	}
	if owner, _, _ := strings.Cut(c.p.Secrets.Account, "/"); name == owner && c.p.Secrets.Install != posture.InstallOff {
		objects = append(objects, c.secretStore(name)...)
	}
	if name == "velero" {
		objects = append(objects, c.backupEndpoint(name)...)
	}
	objects = append(objects, c.imageSources(name)...)

	addonIngress, addonEgress := c.p.AddonFlows(name)
	for _, direction := range []struct {
		flows  map[string]posture.Flow
		egress bool
	}{{addonIngress, false}, {addonEgress, true}, {ns.Ingress, false}, {ns.Egress, true}} {
		flows, err := c.flows(name, direction.flows, direction.egress)
		if err != nil {
			return nil, err
		}
		objects = append(objects, flows...)
	}
	return objects, nil
}

// openNamespace is what is left where there is no default deny: any allow policy would deny all
// else, so the only policy is one that opens everything but the metadata addresses. Cilium has its
// own for that.
func (c *cluster) openNamespace(name string) []generators.Object {
	if c.cilium || len(c.metadata) == 0 || name == c.p.Network.DNSNamespace || name == "kube-system" {
		return nil
	}
	np := c.newPolicy(name, "block-metadata", nil)
	np.Spec.PolicyTypes = egressOnly
	np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: append(ipBlocks(c.any, c.metadata), everyPod(nil))}}
	return []generators.Object{{
		Value:  np,
		Why:    "Opens every way out but the cloud metadata addresses, from which a pod could take over its node's cloud identity. The default deny is off, so declared flows have no effect.",
		Claims: c.exceptClaims(np),
	}}
}

// apiAccess opens the way from the pods to the API server.
func (c *cluster) apiAccess(namespace string) generators.Object {
	const name = "api-server"
	if c.cilium {
		cnp := c.newCiliumPolicy(namespace, name, nil)
		spec(cnp)["egress"] = c.ciliumAPI
		return generators.Object{
			Value: cnp,
			Why:   "The pods may call the API server (apiAccess: true). Cilium knows it by identity: an ipBlock of its address matches nothing.",
		}
	}
	np := c.newPolicy(namespace, name, nil)
	np.Spec.PolicyTypes, np.Spec.Egress = egressOnly, c.apiServer
	why := "The pods may call the API server (apiAccess: true), at its own address and port: policies see a connection after the kubernetes service was resolved."
	if len(c.p.Cluster.APIEndpoints) == 0 {
		why += " cluster.apiEndpoints is undecided, so the port is open to " + choose(len(c.nodes) > 0, "all nodes.", "any address that is not a pod's.")
	}
	return generators.Object{Value: np, Why: why, Claims: c.apiClaims}
}

// fromAPIServer opens ports to calls of the API server, from whichever node.
func (c *cluster) fromAPIServer(namespace, name string, pods map[string]string, ports []int, why string) generators.Object {
	if c.cilium {
		cnp := c.newCiliumPolicy(namespace, name, pods)
		spec(cnp)["ingress"] = []any{entityRule("fromEntities", apiServerSources, tcpPorts(ports))}
		return generators.Object{
			Value: cnp,
			Why:   why + "\nAcross nodes its calls arrive as remote-node, so kube-apiserver alone would not be enough.",
		}
	}
	np := c.newPolicy(namespace, name, pods)
	np.Spec.PolicyTypes = ingressOnly
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: c.fromNodes, Ports: npPorts(tcpPorts(ports))}}
	return generators.Object{
		Value: np,
		Why: why + "\n" + choose(len(c.fromNodes) > 0,
			"Its calls come from a node's address, or in an overlay from a node's tunnel address in the pod range.",
			"cluster.nodeCIDRs is undecided, so these ports accept any source; other pods still need a flow of their own to get here."),
	}
}

// metrics opens ports to the monitoring namespace.
func (c *cluster) metrics(namespace, name string, pods map[string]string, ports []int) generators.Object {
	monitoring := c.p.Network.MonitoringNamespace
	np := c.newPolicy(namespace, name, pods)
	np.Spec.PolicyTypes = ingressOnly
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{
		From:  []networkingv1.NetworkPolicyPeer{namespacePeer(monitoring, nil)},
		Ports: npPorts(tcpPorts(ports)),
	}}
	return generators.Object{Value: np, Why: "The pods of namespace " + monitoring + " may scrape metrics."}
}

// portWords names ports for people: "443, 8080-8090/UDP"; TCP goes without saying.
func portWords(ports []posture.Port) string {
	if len(ports) == 0 {
		return "every port"
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(p.Port)
		if p.End > p.Port {
			words[i] += "-" + strconv.Itoa(p.End)
		}
		if p.Protocol != "TCP" {
			words[i] += "/" + p.Protocol
		}
	}
	return quoteList(slices.Compact(words))
}
