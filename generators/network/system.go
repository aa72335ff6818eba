package network

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// coreDNSMetrics is the port of CoreDNS's prometheus plug-in in kubeadm's Corefile.
const coreDNSMetrics = 9153

// dnsServers opens what cluster DNS needs besides the way to the API server: everybody may ask it,
// it may ask its resolvers. A kubelet's probes (8080, 8181) need no rule.
func (c *cluster) dnsServers(namespace string) []generators.Object {
	pods := c.p.Network.DNSPods
	const serveWhy = "Every pod of the cluster and every node may ask cluster DNS, pods of namespaces that k8ssec does not know too."
	var serve generators.Object
	if c.cilium {
		cnp := c.newCiliumPolicy(namespace, "dns-serve", pods)
		spec(cnp)["ingress"] = []any{entityRule("fromEntities", []string{"cluster"}, dnsPorts)}
		serve = generators.Object{Value: cnp, Why: serveWhy + " The entity cluster is all of these and nobody else."}
	} else {
		np := c.newPolicy(namespace, "dns-serve", pods)
		np.Spec.PolicyTypes = ingressOnly
		rule := networkingv1.NetworkPolicyIngressRule{Ports: npPorts(dnsPorts)}
		if len(c.fromNodes) > 0 {
			rule.From = append([]networkingv1.NetworkPolicyPeer{everyPod(nil)}, c.fromNodes...)
		}
		np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
		serve = generators.Object{Value: np, Why: serveWhy + choose(len(c.fromNodes) > 0, "", " cluster.nodeCIDRs is undecided, so the nodes can be let in only with everybody else.")}
	}

	// No exception for the metadata addresses: on Google's cloud 169.254.169.254 is the resolver of
	// the nodes, on Azure 168.63.129.16 is. Port 53 gives no credentials away.
	upstream := c.newPolicy(namespace, "dns-upstream", pods)
	upstream.Spec.PolicyTypes = egressOnly
	rule := networkingv1.NetworkPolicyEgressRule{Ports: npPorts(dnsPorts)}
	why := "Cluster DNS asks the resolvers of its node, whichever they are (network.upstreamDNS is empty). Without it no name outside the cluster resolves."
	if len(c.p.Network.UpstreamDNS) > 0 {
		var addresses []netip.Prefix
		for _, s := range c.p.Network.UpstreamDNS {
			if a, err := netip.ParseAddr(s); err == nil {
				addresses = append(addresses, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		rule.To = ipBlocks(addresses, nil)
		why = "Cluster DNS asks these resolvers (network.upstreamDNS) and no others. Without it no name outside the cluster resolves."
	}
	upstream.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{rule}
	objects := []generators.Object{serve, {Value: upstream, Why: why}}
	if c.cilium && onNode(c.nodes, rule.To) {
		cnp := c.newCiliumPolicy(namespace, "dns-upstream-nodes", pods)
		spec(cnp)["egress"] = []any{entityRule("toEntities", []string{"host", "remote-node"}, dnsPorts)}
		objects = append(objects, generators.Object{Value: cnp, Why: "A resolver that runs on a node has no address for Cilium, only the node's identity."})
	}
	if c.p.Network.MonitoringNamespace != "" {
		objects = append(objects, c.metrics(namespace, "dns-metrics", pods, []int{coreDNSMetrics}))
	}
	return objects
}

// onNode reports whether one of the addresses may be a node's: it lies in the node networks, or those
// are unknown.
func onNode(nodes []netip.Prefix, addresses []networkingv1.NetworkPolicyPeer) bool {
	for _, a := range addresses {
		address, err := netip.ParsePrefix(a.IPBlock.CIDR)
		if err == nil && (len(nodes) == 0 || slices.ContainsFunc(nodes, func(n netip.Prefix) bool { return contains(n, address) })) {
			return true
		}
	}
	return false
}

// kubeSystem opens what the pods need that are in kube-system on the pods' network: on a kubeadm
// cluster that is cluster DNS alone (dnsServers). The API server, the other control plane pods,
// kube-proxy and the CNI's agents use the host's network, which no NetworkPolicy selects. Two more
// are so common there that the default deny must not surprise their users: metrics-server, and with
// Cilium its Hubble relay and UI.
func (c *cluster) kubeSystem() []generators.Object {
	metricsServer := map[string]string{"k8s-app": "metrics-server"}
	objects := []generators.Object{
		c.fromAPIServer("kube-system", "metrics-server", metricsServer, []int{10250},
			"The API server forwards metrics.k8s.io to metrics-server, where it is installed. Without it kubectl top and autoscalers stop."),
		c.toNodePort("metrics-server-kubelets", metricsServer, 10250,
			"metrics-server, where it is installed, asks each kubelet."),
	}
	if !c.cilium {
		return objects
	}
	relay, ui := map[string]string{"k8s-app": "hubble-relay"}, map[string]string{"k8s-app": "hubble-ui"}
	serve := c.newPolicy("kube-system", "hubble-relay", relay)
	serve.Spec.PolicyTypes = ingressOnly
	serve.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{
		From:  []networkingv1.NetworkPolicyPeer{namespacePeer("kube-system", ui)},
		Ports: npPorts([]posture.Port{tcp(4245)}),
	}}
	ask := c.newPolicy("kube-system", "hubble-ui", ui)
	ask.Spec.PolicyTypes = egressOnly
	ask.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{
		To:    []networkingv1.NetworkPolicyPeer{namespacePeer("kube-system", relay)},
		Ports: npPorts([]posture.Port{tcp(4245)}),
	}}
	return append(objects,
		c.toNodePort("hubble-relay-agents", relay, 4244,
			"Hubble relay, where it is installed, collects the flows from the agent of each node: that is how people see which policy dropped a connection."),
		generators.Object{Value: serve, Why: "The Hubble UI asks Hubble relay. People reach both by kubectl port-forward, which needs no policy."},
		generators.Object{Value: ask, Why: "The other end of the same connection."},
	)
}

// toNodePort opens one TCP port of every node.
func (c *cluster) toNodePort(name string, pods map[string]string, port int, why string) generators.Object {
	if c.cilium {
		cnp := c.newCiliumPolicy("kube-system", name, pods)
		spec(cnp)["egress"] = []any{entityRule("toEntities", []string{"host", "remote-node"}, []posture.Port{tcp(port)})}
		return generators.Object{Value: cnp, Why: why}
	}
	np := c.newPolicy("kube-system", name, pods)
	np.Spec.PolicyTypes = egressOnly
	np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: c.toNodes, Ports: npPorts([]posture.Port{tcp(port)})}}
	return generators.Object{Value: np, Why: why, Claims: c.exceptClaims(np)}
}

// gitSources opens the ports of the Git servers that the declared flow of the GitOps namespace does
// not have: those of gitops.url and of the tenants' own sources, where they are not 443 or 22.
func (c *cluster) gitSources(namespace string) []generators.Object {
	var ports []int
	add := func(raw string) {
		u, err := url.Parse(raw)
		if err != nil || u.Port() == "" {
			return
		}
		if port, err := strconv.Atoi(u.Port()); err == nil && port != 443 && port != 22 && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	add(c.p.GitOps.URL)
	for _, ns := range c.p.Namespaces {
		if ns.GitSource != nil {
			add(ns.GitSource.URL)
		}
	}
	if len(ports) == 0 {
		return nil
	}
	slices.Sort(ports)
	pods := map[string]string{"app": "source-controller"}
	if c.p.GitOps.Engine == "argocd" {
		pods = map[string]string{"app.kubernetes.io/name": "argocd-repo-server"}
	}
	np := c.newPolicy(namespace, "git-ports", pods)
	np.Spec.PolicyTypes = egressOnly
	np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: c.world, Ports: npPorts(tcpPorts(ports))}}
	return []generators.Object{{
		Value:  np,
		Why:    "The Git servers of gitops.url and of the tenants' gitSource listen on these ports. Without it the cluster no longer sees its own repository, not even a fix in it.",
		Claims: c.exceptClaims(np),
	}}
}

// backupEndpoint opens the way to an S3 service of one's own where the declared flow, which is to port
// 443 of the world, does not: another port, or a service of the cluster.
func (c *cluster) backupEndpoint(namespace string) []generators.Object {
	l := c.p.Backup.Location
	if l == nil || l.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(l.Endpoint)
	if err != nil {
		return nil
	}
	port := 443
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return nil
		}
	}
	to, where := c.world, "outside of the cluster"
	if service, in, ok := clusterService(u.Hostname(), c.p.Cluster.DNSDomain); ok {
		if _, known := c.p.Namespaces[in]; !known {
			return nil
		}
		// Policies see the pods behind the service and their ports, which only the service knows.
		np := c.newPolicy(namespace, "backup-endpoint", nil)
		np.Spec.PolicyTypes = egressOnly
		np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{namespacePeer(in, nil)}}}
		return []generators.Object{{Value: np, Why: "Backups go to the service " + service + " of namespace " + in + ", whose own policies decide on which port."}}
	}
	if port == 443 {
		return nil
	}
	np := c.newPolicy(namespace, "backup-endpoint", nil)
	np.Spec.PolicyTypes = egressOnly
	np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: to, Ports: npPorts([]posture.Port{tcp(port)})}}
	return []generators.Object{{
		Value: np, Why: "Backups go to " + u.Host + ", " + where + ". Without it each backup fails.", Claims: c.exceptClaims(np),
	}}
}

// clusterService splits the DNS name of a service of the cluster.
func clusterService(host, domain string) (service, namespace string, ok bool) {
	name, found := strings.CutSuffix(strings.TrimSuffix(host, "."+domain), ".svc")
	if !found {
		return "", "", false
	}
	service, namespace, ok = strings.Cut(name, ".")
	return service, namespace, ok && !strings.Contains(namespace, ".")
}
