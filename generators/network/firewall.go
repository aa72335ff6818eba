package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// nftSet is a named set of addresses of one family.
type nftSet struct {
	Name, Type string
	Elements   string
}

// firewallData fills the nftables file.
type firewallData struct {
	APIPorts string
	// Sets hold only the families that have addresses: an empty set is a rule that matches nothing.
	Sets []nftSet
	// Nodes, Pods, API, SSH and NodePorts are the match expressions on the source of each group,
	// one a family ("ip saddr @nodes_v4").
	Nodes, Pods, API, SSH, NodePorts []string
	// LimitAPI and LimitSSH say whether those ports are closed to everybody else.
	LimitAPI, LimitSSH bool
	// GuardNodePorts is false where kube-proxy does not serve NodePorts: nftables does not see them.
	GuardNodePorts bool
	// Overlay are the UDP ports on which nodes accept packets between pods as they are, and IPIP the
	// same for Calico's IP-in-IP.
	Overlay string
	IPIP    bool
}

// firewall emits the nftables table of the nodes and its unit. The table guards the ports of
// Kubernetes and leaves all others as they are, so it can lock nobody out of SSH, monitoring agents
// or the CNI. Without the nodes' networks it would cut nodes off from each other, so nothing is
// emitted then and the value is listed as undecided.
func (c *cluster) firewall() ([]generators.Artifact, error) {
	fw := &c.p.Network.Firewall
	if !fw.Enabled || len(c.nodes) == 0 {
		return nil, nil
	}
	d := firewallData{
		APIPorts:       portSet(c.apiPorts),
		LimitAPI:       len(fw.APIFrom) > 0,
		LimitSSH:       len(fw.SSHFrom) > 0,
		GuardNodePorts: c.p.Kubelet.ProxyMode != "none",
	}
	switch c.p.Cluster.CNI {
	case "cilium":
		d.Overlay = "6081, 8472" // Geneve and VXLAN, as Cilium numbers it
	case "calico":
		d.Overlay, d.IPIP = "4789", true
	default:
		d.Overlay = "4789, 6081, 8472"
	}
	d.Nodes = d.group("nodes", c.nodes)
	d.Pods = d.group("pods", c.pods)
	for _, list := range []struct {
		field, name string
		cidrs       []string
		to          *[]string
	}{
		{"network.firewall.apiFrom", "api", fw.APIFrom, &d.API},
		{"network.firewall.sshFrom", "ssh", fw.SSHFrom, &d.SSH},
		{"network.firewall.nodePortsFrom", "nodeports", fw.NodePortsFrom, &d.NodePorts},
	} {
		var prefixes []netip.Prefix
		for _, s := range list.cidrs {
			prefix, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list.field, err)
			}
			prefixes = append(prefixes, prefix.Masked())
		}
		if list.name == "nodeports" && !d.GuardNodePorts {
			continue
		}
		*list.to = d.group(list.name, prefixes)
	}

	table, err := generators.Text("network/k8ssec-firewall.nft.tmpl", d)
	if err != nil {
		return nil, err
	}
	unit, err := generators.Text("network/k8ssec-firewall.service.tmpl", nil)
	if err != nil {
		return nil, err
	}
	return []generators.Artifact{
		{
			Path: "bootstrap/node/k8ssec-firewall.nft",
			Text: table,
			Kind: generators.Node,
			Claims: []generators.Claim{
				{Control: "nsa-N1", Field: "tcp dport { 10250, 10257, 10259 } jump refuse"},
				{Control: "nsa-N1", Field: "tcp dport { 2379, 2380 } jump refuse"},
				{Control: "nsa-N2", Field: "tcp dport { 2379, 2380 } jump refuse"},
			},
		},
		{Path: "bootstrap/node/k8ssec-firewall.service", Text: unit, Kind: generators.Node},
	}, nil
}

// group adds the sets of a group of networks and returns the expressions that match its sources.
func (d *firewallData) group(name string, prefixes []netip.Prefix) []string {
	var match []string
	for _, family := range []struct {
		any              netip.Prefix
		suffix, typ, key string
	}{{anyIPv4, "_v4", "ipv4_addr", "ip"}, {anyIPv6, "_v6", "ipv6_addr", "ip6"}} {
		var elements []string
		for _, p := range prefixes {
			if sameFamily(p, family.any) && !slices.Contains(elements, p.String()) {
				elements = append(elements, p.String())
			}
		}
		if len(elements) == 0 {
			continue
		}
		set := nftSet{Name: name + family.suffix, Type: family.typ, Elements: strings.Join(elements, ", ")}
		d.Sets = append(d.Sets, set)
		match = append(match, family.key+" saddr @"+set.Name)
	}
	return match
}

// portSet is the ports as an nftables set: "{ 443, 6443 }".
func portSet(ports []posture.Port) string {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(p.Port)
	}
	return "{ " + strings.Join(words, ", ") + " }"
}
