package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// probePort is where pods of probes listen where no flow says otherwise.
const probePort = 8080

// The ports of a control plane node that no pod has a reason to reach.
const (
	kubeletPort = 10250
	etcdPort    = 2379
)

// Probes open connections from and to pods that are made in the namespaces for a moment: what no flow
// declares must fail, what the posture opens must work.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	if !p.Network.DefaultDeny {
		return nil
	}
	var probes []generators.Probe
	for _, name := range p.NamespaceNames() {
		ns := p.Namespaces[name]
		if !runsPods(p, name, ns) {
			continue
		}
		probes = append(probes, namespaceProbes(p, name, ns)...)
		probes = append(probes, flowProbes(p, name, ns)...)
		if name == "kube-system" && p.Network.DNSNamespace == "kube-system" {
			probes = append(probes, systemProbes(p)...)
		}
	}
	return probes
}

// runsPods says whether a pod can be made in the namespace: those that Kubernetes makes for itself
// have a quota of none, and the policies there are looked at as objects.
func runsPods(p *posture.Posture, name string, ns posture.Namespace) bool {
	return ns.Quota["pods"] != "0" && (ns.Kind != "system" || name == p.Network.DNSNamespace)
}

// prober makes the probes of one namespace.
type prober struct {
	name, file string
	probes     []generators.Probe
}

func (b *prober) add(kind generators.ProbeKind, slug, title, why, object string, controls []string, c generators.Traffic) {
	b.probes = append(b.probes, generators.Probe{
		ID: "network-" + slug + "-" + b.name + "-" + string(kind), Domain: domain, Kind: kind, Title: title, Why: why,
		Controls: controls, Artifacts: []string{b.file + ": " + object}, Check: c,
	})
	if kind == generators.Allow {
		b.probes[len(b.probes)-1].Plain = "Without policies everything is open."
	}
}

// pair joins an allowance with the first denial that has none yet.
func (b *prober) pair(allow int) {
	for i := range b.probes {
		if p := &b.probes[i]; p.Kind == generators.Deny && p.Pair == "" {
			p.Pair, b.probes[allow].Pair = b.probes[allow].ID, p.ID
			return
		}
	}
}

func namespaceProbes(p *posture.Posture, name string, ns posture.Namespace) []generators.Probe {
	b := &prober{name: name, file: "manifests/network/" + name + ".yaml"}
	cilium := p.Cluster.CNI == "cilium"
	here, outside := generators.Endpoint{Namespace: name}, generators.Endpoint{}
	denied := "NetworkPolicy " + name + "/default-deny"
	deny := func(slug, title, why string, c generators.Traffic, controls ...string) {
		b.add(generators.Deny, slug, title, why, denied, append(controls, denyControls...), c)
	}
	if !opens(ns.Ingress, probePort, fromAnywhere) {
		deny("ingress", "a pod of another namespace connects to a pod of "+name, "Whoever takes one pod reaches all others.",
			generators.Traffic{From: outside, To: here, Port: probePort})
	}
	if !opens(ns.Egress, probePort, toCluster) {
		deny("egress", "a pod of "+name+" connects to a pod of another namespace", "Whoever takes one pod reaches all others.",
			generators.Traffic{From: here, To: outside, Port: probePort})
	}
	if name != p.Network.DNSNamespace && !opens(ns.Egress, kubeletPort, toNodes) && !opens(ns.Egress, etcdPort, toNodes) {
		deny("kubelet", "a pod of "+name+" connects to a kubelet, an address that no flow declares", "The kubelet hands out shells to whoever steals a credential.",
			generators.Traffic{From: here, To: generators.Endpoint{Entity: "node"}, Port: kubeletPort})
		deny("etcd", "a pod of "+name+" connects to etcd on a control plane node", "etcd holds everything, past every rule of the API server.",
			generators.Traffic{From: here, To: generators.Endpoint{Entity: "node"}, Port: etcdPort}, "nsa-N2")
	}
	b.add(generators.Allow, "dns", "a pod of "+name+" resolves a name of the cluster", "Almost everything in the namespace fails, slowly.",
		"NetworkPolicy "+name+"/dns", []string{"net-1"},
		generators.Traffic{From: here, To: generators.Endpoint{Entity: "dns", Address: "kubernetes.default.svc." + p.Cluster.DNSDomain}})
	b.pair(len(b.probes) - 1)
	serves := "NetworkPolicy "
	if cilium {
		serves = "CiliumNetworkPolicy "
	}
	asks := &b.probes[len(b.probes)-1]
	asks.Artifacts = append(asks.Artifacts, "manifests/network/"+p.Network.DNSNamespace+".yaml: "+serves+p.Network.DNSNamespace+"/dns-serve")
	if ns.SameNamespace {
		b.add(generators.Allow, "same-namespace", "pods of "+name+" talk to each other", "The parts of an application do not find each other.",
			"NetworkPolicy "+name+"/same-namespace", []string{"net-3"}, generators.Traffic{From: here, To: here, Port: probePort})
		b.pair(len(b.probes) - 1)
	} else if name != p.Network.DNSNamespace {
		deny("same-namespace", "pods of "+name+" talk to each other", "No flow says that they may.", generators.Traffic{From: here, To: here, Port: probePort})
	}
	api := generators.Traffic{From: here, To: generators.Endpoint{Entity: "apiserver"}, Port: p.Cluster.APIPort}
	switch {
	case ns.APIAccess:
		kind := "NetworkPolicy "
		if cilium {
			kind = "CiliumNetworkPolicy "
		}
		b.add(generators.Allow, "api", "a pod of "+name+" connects to the API server", "Controllers in the namespace stop.",
			kind+name+"/api-server", []string{"net-3"}, api)
	case !opens(ns.Egress, p.Cluster.APIPort, toAPIServer):
		deny("api", "a pod of "+name+" connects to the API server", "Whoever takes a pod can try every credential that it finds.", api)
	}
	if p.Network.BlockMetadata && len(p.Network.MetadataCIDRs) > 0 && name != p.Network.DNSNamespace {
		if prefix, err := netip.ParsePrefix(p.Network.MetadataCIDRs[0]); err == nil {
			deny("metadata", "a pod of "+name+" asks the cloud for the credentials of its node", "The pod takes over the cloud identity of its node.",
				generators.Traffic{From: here, To: generators.Endpoint{Address: prefix.Addr().String()}, Port: 80}, metadataControls...)
			if cilium {
				last := &b.probes[len(b.probes)-1]
				last.Artifacts = append(last.Artifacts, file("metadata")+": CiliumClusterwideNetworkPolicy block-metadata")
			}
		}
	}
	if other := neighbour(p, name); ns.Kind == "tenant" && other != "" && !declared(p, other, name) && !declared(p, name, other) {
		deny("from-"+other, "a pod of "+other+" connects to a pod of "+name, "Tenants reach each other's pods.",
			generators.Traffic{From: generators.Endpoint{Namespace: other}, To: here, Port: probePort}, "net-3")
	}
	return b.probes
}

// systemProbes try what kube-system opens for its own pods, from pods with the labels of those.
func systemProbes(p *posture.Posture) []generators.Probe {
	const name = "kube-system"
	b := &prober{name: name, file: "manifests/network/" + name + ".yaml"}
	pod := func(app string) generators.Endpoint {
		return generators.Endpoint{Namespace: name, Labels: map[string]string{"k8s-app": app}}
	}
	cilium := p.Cluster.CNI == "cilium"
	kind := "NetworkPolicy "
	if cilium {
		kind = "CiliumNetworkPolicy "
	}
	b.add(generators.Allow, "metrics-server", "a pod with the labels of metrics-server connects to a kubelet", "kubectl top and autoscalers stop.",
		kind+name+"/metrics-server-kubelets", []string{"net-3"},
		generators.Traffic{From: pod("metrics-server"), To: generators.Endpoint{Entity: "node"}, Port: kubeletPort})
	if len(p.Network.UpstreamDNS) == 0 {
		b.add(generators.Allow, "dns-upstream", "a pod with the labels of cluster DNS asks a server outside of it", "No name outside the cluster resolves.",
			"NetworkPolicy "+name+"/dns-upstream", []string{"net-3"},
			generators.Traffic{From: generators.Endpoint{Namespace: name, Labels: p.Network.DNSPods}, To: generators.Endpoint{}, Port: 53})
	}
	if cilium {
		b.add(generators.Allow, "hubble", "a pod with the labels of the Hubble UI connects to one with those of Hubble relay",
			"People do not see which policy drops a connection.", "NetworkPolicy "+name+"/hubble-relay", []string{"net-3"},
			generators.Traffic{From: pod("hubble-ui"), To: pod("hubble-relay"), Port: 4245})
		last := &b.probes[len(b.probes)-1]
		last.Artifacts = append(last.Artifacts, b.file+": NetworkPolicy "+name+"/hubble-ui")
	}
	return b.probes
}

// neighbour is the first other tenant.
func neighbour(p *posture.Posture, name string) string {
	for _, other := range p.NamespacesOf("tenant") {
		if other != name {
			return other
		}
	}
	return ""
}

// declared says whether one namespace names the other in a flow.
func declared(p *posture.Posture, one, other string) bool {
	ns := p.Namespaces[one]
	for _, flows := range []map[string]posture.Flow{ns.Ingress, ns.Egress} {
		for _, flow := range flows {
			if slices.ContainsFunc(flow.Peers, func(peer posture.Peer) bool { return peer.Namespace == other || peer.Entity == "cluster" }) {
				return true
			}
		}
	}
	return false
}

// opens says whether a flow for every pod of the namespace has a peer of that sort.
func opens(flows map[string]posture.Flow, port int, sort func(posture.Peer) bool) bool {
	for _, flow := range flows {
		reaches := len(flow.Ports) == 0 || slices.ContainsFunc(flow.Ports, func(x posture.Port) bool {
			return x.Port == port || x.Port <= port && port <= x.End
		})
		if len(flow.Pods) == 0 && reaches && slices.ContainsFunc(flow.Peers, sort) {
			return true
		}
	}
	return false
}

func toCluster(peer posture.Peer) bool { return peer.Entity == "cluster" }

func fromAnywhere(peer posture.Peer) bool {
	return peer.Entity == "cluster" || peer.Entity == "world" || peer.CIDR != ""
}

func toNodes(peer posture.Peer) bool {
	return peer.CIDR != "" || slices.Contains([]string{"nodes", "world"}, peer.Entity)
}

func toAPIServer(peer posture.Peer) bool { return peer.Entity == "apiserver" || toNodes(peer) }

// flowProbes try each flow between two namespaces that both declare.
func flowProbes(p *posture.Posture, name string, ns posture.Namespace) []generators.Probe {
	b := &prober{name: name, file: "manifests/network/" + name + ".yaml"}
	flows := make([]string, 0, len(ns.Ingress))
	for flow := range ns.Ingress {
		flows = append(flows, flow)
	}
	slices.Sort(flows)
	for _, flowName := range flows {
		flow := ns.Ingress[flowName]
		port := posture.Port{Port: probePort, Protocol: "TCP"}
		if len(flow.Ports) > 0 {
			port = flow.Ports[0]
		}
		if port.Protocol == "SCTP" {
			continue
		}
		for _, peer := range flow.Peers {
			other, ok := p.Namespaces[peer.Namespace]
			if !ok || !runsPods(p, peer.Namespace, other) || peer.Namespace != name && !leaves(other, name, peer.Pods, port) {
				continue
			}
			c := generators.Traffic{
				From: generators.Endpoint{Namespace: peer.Namespace, Labels: peer.Pods},
				To:   generators.Endpoint{Namespace: name, Labels: flow.Pods}, Port: port.Port, Protocol: port.Protocol,
			}
			b.add(generators.Allow, "flow-"+flowName+"-from-"+peer.Namespace, fmt.Sprintf("the flow %s: pods of %s connect to port %d of %s", flowName, peer.Namespace, port.Port, name),
				"What the application needs does not work.", "NetworkPolicy "+name+"/ingress-"+flowName, []string{"net-3"}, c)
			break
		}
	}
	return b.probes
}

// leaves says whether a namespace declares the way out to another, for pods with the labels.
func leaves(ns posture.Namespace, to string, pods map[string]string, port posture.Port) bool {
	for _, flow := range ns.Egress {
		mine := true
		for key, value := range flow.Pods {
			mine = mine && pods[key] == value
		}
		if !mine || !slices.ContainsFunc(flow.Peers, func(peer posture.Peer) bool { return peer.Namespace == to && len(peer.Pods) == 0 }) {
			continue
		}
		if len(flow.Ports) == 0 || slices.ContainsFunc(flow.Ports, func(x posture.Port) bool {
			return strings.EqualFold(x.Protocol, port.Protocol) && (x.Port == port.Port || x.Port <= port.Port && port.Port <= x.End)
		}) {
			return true
		}
	}
	return false
}
