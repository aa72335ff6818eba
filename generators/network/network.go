package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const domain = "network"

// New returns the generator of the network domain.
func New() generators.Generator { return generator{} }

type generator struct{}

func (generator) Domain() string { return domain }

// Generate emits one file a namespace, the cluster-wide block of the metadata addresses (Cilium),
// the node firewall and the page about all of it.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	c, err := newCluster(p)
	if err != nil {
		return nil, err
	}
	out := &generators.Output{Undecided: c.undecided()}
	names := p.NamespaceNames()
	out.Artifacts = make([]generators.Artifact, 0, len(names)+4)
	for _, name := range names {
		ns := p.Namespaces[name]
		objects, err := c.namespace(name, &ns)
		if err != nil {
			return nil, err
		}
		if len(objects) == 0 {
			continue
		}
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/network/" + name + ".yaml",
			Comment: "Who may talk to the pods of " + name + " and to whom they may talk. All else is denied, both ways.\nRead by " + c.reader() + ". The flows come from namespaces." + name + " in cluster.cue.",
			Objects: objects,
		})
	}
	if c.cilium && p.Network.BlockMetadata && len(c.metadata) > 0 {
		out.Artifacts = append(out.Artifacts, c.metadataBlock())
	}
	firewall, err := c.firewall()
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, firewall...)
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, page)
	return out, nil
}

// cluster is what all namespaces share: the addresses of the posture, parsed, and the peers and
// rules made of them. Objects share these slices; nothing changes them.
type cluster struct {
	p      *posture.Posture
	cilium bool
	// any is the whole address space in the families that the cluster has.
	any                             []netip.Prefix
	pods, services, nodes, metadata []netip.Prefix
	// apiPorts are the ports on which the API servers listen.
	apiPorts []posture.Port
	// apiServer are the plain rules that open the way to the API server; unused with Cilium.
	apiServer []networkingv1.NetworkPolicyEgressRule
	// fromNodes are the peers for traffic that comes from a node's own processes, and so from the
	// API server; empty means any. Unused with Cilium.
	fromNodes []networkingv1.NetworkPolicyPeer
	// toNodes and world are the peers for traffic to the nodes and to the outside.
	toNodes, world []networkingv1.NetworkPolicyPeer
	dns            []networkingv1.NetworkPolicyEgressRule
	// labels are on every object, in both forms; ciliumAll selects every pod and ciliumAPI is the rule
	// to the API server.
	labels                  map[string]string
	ciliumLabels, ciliumAll map[string]any
	ciliumAPI               []any
	// denyClaims and apiClaims are those of each default deny and each way to the API server.
	denyClaims, apiClaims []generators.Claim
	// scrape are all ports that the monitoring namespace may reach.
	scrape []posture.Port
}

func newCluster(p *posture.Posture) (*cluster, error) {
	c := &cluster{p: p, cilium: p.Cluster.CNI == "cilium"}
	for _, list := range []struct {
		field string
		from  []string
		to    *[]netip.Prefix
	}{
		{"cluster.podCIDRs", p.Cluster.PodCIDRs, &c.pods},
		{"cluster.serviceCIDRs", p.Cluster.ServiceCIDRs, &c.services},
		{"cluster.nodeCIDRs", p.Cluster.NodeCIDRs, &c.nodes},
		{"network.metadataCIDRs", p.Network.MetadataCIDRs, &c.metadata},
	} {
		for _, s := range list.from {
			prefix, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list.field, err)
			}
			*list.to = append(*list.to, prefix.Masked())
		}
	}
	for _, family := range []netip.Prefix{anyIPv4, anyIPv6} {
		if slices.ContainsFunc(c.pods, func(pod netip.Prefix) bool { return sameFamily(pod, family) }) {
			c.any = append(c.any, family)
		}
	}
	// An address of a family that no pod has can be neither reached nor excepted.
	c.metadata = slices.DeleteFunc(c.metadata, func(m netip.Prefix) bool {
		return !slices.ContainsFunc(c.any, func(f netip.Prefix) bool { return sameFamily(m, f) })
	})
	if !p.Network.BlockMetadata {
		c.metadata = nil
	}
	if err := c.nodePeers(); err != nil {
		return nil, err
	}
	c.dns = []networkingv1.NetworkPolicyEgressRule{{
		To:    []networkingv1.NetworkPolicyPeer{namespacePeer(p.Network.DNSNamespace, p.Network.DNSPods)},
		Ports: npPorts(dnsPorts),
	}}
	c.scrape = c.scrapePorts()

	c.labels = generators.Meta(domain, "", "").Labels
	c.ciliumLabels, c.ciliumAll = anyMap(c.labels), map[string]any{}
	c.ciliumAPI = []any{entityRule("toEntities", []string{"kube-apiserver"}, c.apiPorts)}
	c.denyClaims = generators.Claims("spec", denyControls...)
	for _, id := range flowControls {
		c.denyClaims = append(c.denyClaims, generators.Claim{
			Control: id, Field: "spec.policyTypes", Note: "What no flow declares stays closed, and a flow that asks for more is refused before it is rendered.",
		})
	}
	if len(c.metadata) > 0 {
		for _, id := range metadataControls {
			c.denyClaims = append(c.denyClaims, generators.Claim{
				Control: id, Field: "spec.policyTypes[Egress]", Note: "No policy of this namespace opens the metadata addresses.",
			})
		}
	}
	c.apiClaims = c.exceptClaims(&networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: c.apiServer}})
	return c, nil
}

// nodePeers makes the peers that stand for nodes, the API server and the outside world.
func (c *cluster) nodePeers() error {
	p := c.p
	world := concat(c.pods, c.services, c.metadata)
	if !c.cilium {
		// Cilium tells a node from its neighbours by identity. For the others the node networks
		// are inside the cluster as a whole.
		world = append(world, c.nodes...)
	}
	c.world = ipBlocks(c.any, world)

	c.apiPorts = []posture.Port{tcp(p.Cluster.APIPort)}
	for _, e := range p.Cluster.APIEndpoints {
		if !slices.Contains(c.apiPorts, tcp(e.Port)) {
			c.apiPorts = append(c.apiPorts, tcp(e.Port))
		}
	}
	if c.cilium {
		return nil
	}

	if len(c.nodes) > 0 {
		c.toNodes = ipBlocks(c.nodes, c.metadata)
		// A node in an overlay calls pods of other nodes from its tunnel address (vxlan.calico,
		// tunl0, flannel.1), and some plug-ins call local pods from the gateway of the node's pod
		// range: both lie in the pod ranges.
		c.fromNodes = ipBlocks(concat(c.nodes, c.pods), nil)
	} else {
		c.toNodes = ipBlocks(c.any, concat(c.pods, c.metadata))
	}

	for _, e := range p.Cluster.APIEndpoints {
		addr, err := netip.ParseAddr(e.Address)
		if err != nil {
			return fmt.Errorf("cluster.apiEndpoints: %w", err)
		}
		c.apiServer = append(c.apiServer, networkingv1.NetworkPolicyEgressRule{
			To:    ipBlocks([]netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, nil),
			Ports: npPorts([]posture.Port{tcp(e.Port)}),
		})
	}
	if len(c.apiServer) == 0 {
		// The API servers run on nodes, so the node networks bound them too.
		c.apiServer = []networkingv1.NetworkPolicyEgressRule{{To: c.toNodes, Ports: npPorts(c.apiPorts)}}
	}
	if p.Cluster.CNI == "other" && len(c.services) > 0 {
		// Most plug-ins see the API server's own address, after the service was resolved. Some
		// (Amazon's VPC CNI) judge before that: they see the first address of the service range.
		first := c.services[0].Addr().Next()
		c.apiServer = append(c.apiServer, networkingv1.NetworkPolicyEgressRule{
			To:    ipBlocks([]netip.Prefix{netip.PrefixFrom(first, first.BitLen())}, nil),
			Ports: npPorts([]posture.Port{tcp(443)}),
		})
	}
	return nil
}

// scrapePorts is the union of all ports that some namespace serves metrics on.
func (c *cluster) scrapePorts() []posture.Port {
	if c.p.Network.MonitoringNamespace == "" {
		return nil
	}
	seen := map[int]bool{coreDNSMetrics: true}
	for _, ns := range c.p.Namespaces {
		for _, port := range ns.Metrics {
			seen[port] = true
		}
	}
	ports := make([]posture.Port, 0, len(seen))
	for port := range seen {
		ports = append(ports, tcp(port))
	}
	slices.SortFunc(ports, func(a, b posture.Port) int { return a.Port - b.Port })
	return ports
}

// reader names what reads the policies, for comments.
func (c *cluster) reader() string {
	switch c.p.Cluster.CNI {
	case "cilium":
		return "Cilium"
	case "calico":
		return "Calico"
	}
	return "the cluster's CNI plug-in"
}

// undecided lists the addresses that only the user knows and that make the policies tighter.
func (c *cluster) undecided() []generators.Decision {
	var d []generators.Decision
	cl := &c.p.Cluster
	if !c.cilium && len(cl.APIEndpoints) == 0 {
		d = append(d, generators.Decision{
			Line: fmt.Sprintf("cluster: apiEndpoints: [{address: \"10.0.0.10\", port: %d}]", cl.APIPort),
			Enables: fmt.Sprintf("Pods with apiAccess reach these addresses alone; until then TCP port %d at %s. kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes shows them.",
				cl.APIPort, choose(len(c.nodes) > 0, "every node", "any address outside the pods")),
		})
	}
	if len(cl.NodeCIDRs) == 0 && !c.cilium {
		d = append(d, generators.Decision{
			Line:    `cluster: nodeCIDRs: ["10.0.0.0/24"]`,
			Enables: "Webhooks and flows from nodes accept the nodes' networks alone instead of any source, and flows to the world leave the nodes out.",
		})
	}
	switch fw := &c.p.Network.Firewall; {
	case !fw.Enabled:
		d = append(d, generators.Decision{
			Controls: firewallControls,
			Line:     choose(len(cl.NodeCIDRs) == 0, `cluster: nodeCIDRs: ["10.0.0.0/24"], `, "") + `network: firewall: {enabled: true, apiFrom: ["10.0.0.0/16"]}`,
			Enables:  "The firewall of the nodes: who reaches the API server, kubelets, etcd and NodePorts. Leave it off where a firewall in front of the nodes does the same.",
		})
	case len(cl.NodeCIDRs) == 0:
		d = append(d, generators.Decision{
			Controls: firewallControls,
			Line:     `cluster: nodeCIDRs: ["10.0.0.0/24"]`,
			Enables:  "The firewall of the nodes, which is asked for but must know the nodes' own networks, so that it does not cut them off from each other.",
		})
	case len(fw.APIFrom) == 0:
		d = append(d, generators.Decision{
			Line:    `network: firewall: apiFrom: ["10.0.0.0/16"]`,
			Enables: "The node firewall closes the API server's port to all but these networks; until then everybody may try to log in.",
		})
	}
	if c.p.Network.MonitoringNamespace == "" {
		line := `network: monitoringNamespace: "monitoring"`
		if _, ok := c.p.Namespaces["monitoring"]; !ok {
			line = `namespaces: monitoring: owner: "platform", ` + line
		}
		d = append(d, generators.Decision{
			Line:    line,
			Enables: "Metrics are scraped from that namespace; until then no namespace reaches a metrics port.",
		})
	}
	return d
}

// file returns the path of a cluster-wide object. The dot keeps it apart from every namespace.
func file(concern string) string { return "manifests/network/cluster." + concern + ".yaml" }

func choose(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

func concat[T any](lists ...[]T) []T { return slices.Concat(lists...) }

// quoteList joins words for a comment: "a, b and c".
func quoteList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
