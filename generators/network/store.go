package network

import (
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// podIdentityAgent is where EKS Pod Identity gives out credentials on each node.
const (
	podIdentityAgent     = "169.254.170.23/32"
	podIdentityAgentPort = 80
)

// secretStore opens the way from External Secrets to the secret store, and to nothing else.
func (c *cluster) secretStore(namespace string) []generators.Object {
	s := &c.p.Secrets
	flow := &posture.Flow{Why: "External Secrets asks the secret store. Without it no secret is made or kept up to date."}
	var objects []generators.Object
	switch {
	case s.Provider == "vault" && s.Vault != nil:
		u, err := url.Parse(s.Vault.Address)
		if err != nil || u.Hostname() == "" {
			return nil
		}
		port := 443
		if n, err := strconv.Atoi(u.Port()); err == nil {
			port = n
		}
		flow.Peers, flow.Ports = []posture.Peer{c.host(u.Hostname())}, []posture.Port{tcp(port)}
		if flow.Peers[0].Namespace != "" && u.Port() == "" {
			flow.Ports = nil // the port of a service says nothing about that of its pods
		}
	case s.Provider == "aws" && s.AWS != nil:
		domain := "amazonaws.com"
		if strings.HasPrefix(s.AWS.Region, "cn-") {
			domain += ".cn"
		}
		flow.Ports = []posture.Port{tcp(443)}
		for _, service := range []string{"secretsmanager", "sts"} {
			peer := c.host(service + "." + s.AWS.Region + "." + domain)
			flow.Peers = append(flow.Peers, peer)
			if peer.Entity != "" {
				break // the world is all of them
			}
		}
		if s.AWS.Identity == "pod-identity" {
			objects = append(objects, c.podIdentity(namespace))
		}
	default:
		return nil
	}
	store, err := c.flow(namespace, "secret-store", flow, true)
	if err != nil {
		return objects
	}
	return append(objects, store...)
}

// host is the peer of a host outside of the cluster, or of a service in it.
func (c *cluster) host(name string) posture.Peer {
	name = strings.TrimSuffix(name, ".")
	service, inCluster := strings.CutSuffix(name, ".svc."+c.p.Cluster.DNSDomain)
	if !inCluster {
		service, inCluster = strings.CutSuffix(name, ".svc")
	}
	addr, err := netip.ParseAddr(name)
	switch {
	case inCluster:
		_, namespace, _ := strings.Cut(service, ".")
		return posture.Peer{Namespace: namespace}
	case err == nil:
		return posture.Peer{CIDR: netip.PrefixFrom(addr, addr.BitLen()).String()}
	case c.cilium:
		return posture.Peer{FQDN: name}
	}
	return posture.Peer{Entity: "world"}
}

// podIdentity opens the agent of EKS Pod Identity on the pod's own node.
func (c *cluster) podIdentity(namespace string) generators.Object {
	const why = "The agent of EKS Pod Identity on the node gives External Secrets its AWS credentials."
	ports := []posture.Port{tcp(podIdentityAgentPort)}
	if c.cilium {
		cnp := c.newCiliumPolicy(namespace, "pod-identity", nil)
		spec(cnp)["egress"] = []any{entityRule("toEntities", []string{"host"}, ports)}
		return generators.Object{Value: cnp, Why: why + " Cilium knows that address as the host."}
	}
	np := c.newPolicy(namespace, "pod-identity", nil)
	np.Spec.PolicyTypes = egressOnly
	np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{
		To: ipBlocks([]netip.Prefix{netip.MustParsePrefix(podIdentityAgent)}, nil), Ports: npPorts(ports),
	}}
	return generators.Object{Value: np, Why: why}
}

// imageSources opens the way from what looks at images, the check of signatures and the scanner, to the
// registries. A registry may send a client on to a storage that nobody can name beforehand, so the way is
// open by port.
func (c *cluster) imageSources(namespace string) []generators.Object {
	i := &c.p.Images
	var why string
	switch {
	case namespace == "kyverno" && i.Verify == "kyverno", namespace == "cosign-system" && i.Verify == "policy-controller":
		why = "The check of signatures reads them in the registry, and Sigstore's keys and log. Without it new pods of tenants wait."
	case namespace == "trivy-system" && i.Scanner == posture.InstallInstall:
		why = "The scanner fetches images, and the database of vulnerabilities."
	default:
		return nil
	}
	flow := &posture.Flow{Why: why, Peers: []posture.Peer{{Entity: "world"}}, Ports: []posture.Port{tcp(443)}}
	add := func(name string) {
		host, _, _ := strings.Cut(name, "/")
		host, number, ok := strings.Cut(host, ":")
		port, err := strconv.Atoi(number)
		if !ok || err != nil || strings.Contains(host, "*") {
			port = 443
		}
		if !slices.Contains(flow.Ports, tcp(port)) {
			flow.Ports = append(flow.Ports, tcp(port))
		}
		if peer := c.host(host); peer.Namespace != "" && !slices.ContainsFunc(flow.Peers, func(p posture.Peer) bool { return p.Namespace == peer.Namespace }) {
			flow.Peers = append(flow.Peers, peer)
		}
	}
	for _, r := range i.Registries {
		add(r)
	}
	for _, name := range slices.Sorted(maps.Keys(i.Signers)) {
		for _, glob := range i.Signers[name].Images {
			add(glob)
		}
	}
	objects, err := c.flow(namespace, "registries", flow, true)
	if err != nil {
		return nil
	}
	return objects
}
