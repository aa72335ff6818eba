package network

import (
	"maps"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const proveHeading = "## Prove that the CNI enforces policies"

// pageData fills docs/network.md.
type pageData struct {
	CNI                     string
	Cluster                 string
	Deny, Cilium, Calico    bool
	DNSNamespace            string
	APIAddresses            string
	Monitoring              string
	Metadata                string
	Settings, Flows         string
	Example                 string
	Firewall, FirewallAsked bool
	Encryption              string
	ProveHeading            string
	FQDN                    bool
}

// page explains the flows of each namespace, how to change them, and how to see what they do.
func (c *cluster) page() (generators.Artifact, error) {
	p := c.p
	d := pageData{
		CNI:           c.reader(),
		Cluster:       p.Cluster.Name,
		Deny:          p.Network.DefaultDeny,
		Cilium:        c.cilium,
		Calico:        p.Cluster.CNI == "calico",
		DNSNamespace:  p.Network.DNSNamespace,
		APIAddresses:  c.apiAddresses(),
		Monitoring:    p.Network.MonitoringNamespace,
		Metadata:      quoteList(texts(c.metadata)),
		Settings:      c.settings(),
		Example:       "team-a",
		Firewall:      p.Network.Firewall.Enabled && len(c.nodes) > 0,
		FirewallAsked: p.Network.Firewall.Enabled,
		ProveHeading:  proveHeading,
	}
	if p.Network.Encryption != "off" {
		d.Encryption = p.Network.Encryption
	}
	if tenants := p.NamespacesOf("tenant"); len(tenants) > 0 {
		d.Example = tenants[0]
	}
	d.Flows, d.FQDN = c.declared()
	text, err := generators.Text("network/network.md.tmpl", d)
	if err != nil {
		return generators.Artifact{}, err
	}
	return generators.Artifact{
		Path: "docs/network.md",
		Text: text,
		Kind: generators.Procedure,
		Claims: []generators.Claim{{
			Control: "cis-5.3.1",
			Field:   proveHeading,
			Note:    "The posture says that the CNI is " + p.Cluster.CNI + "; that it enforces policies is shown on the live cluster.",
		}},
	}, nil
}

// apiAddresses says in words what a pod with apiAccess reaches.
func (c *cluster) apiAddresses() string {
	ports := portWords(c.apiPorts)
	switch {
	case c.cilium:
		return "the API servers (Cilium's entity kube-apiserver), port " + ports
	case len(c.p.Cluster.APIEndpoints) > 0:
		var words []string
		for _, e := range c.p.Cluster.APIEndpoints {
			words = append(words, e.Address+" port "+portWords([]posture.Port{tcp(e.Port)}))
		}
		return quoteList(words)
	case len(c.nodes) > 0:
		return "port " + ports + " of every node, while cluster.apiEndpoints is undecided"
	}
	return "port " + ports + " of any address outside the pods, while cluster.apiEndpoints is undecided"
}

// settings is the table of what each namespace has besides its declared flows.
func (c *cluster) settings() string {
	var b strings.Builder
	b.WriteString("| namespace | kind | among its own pods | to the API server | from the API server | metrics |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, name := range c.p.NamespaceNames() {
		ns := c.p.Namespaces[name]
		row(&b, "`"+name+"`", ns.Kind, choose(ns.SameNamespace, "open", "closed"), choose(ns.APIAccess, "open", "closed"),
			portsOrDash(ns.Webhooks), portsOrDash(ns.Metrics))
	}
	return b.String()
}

// row appends one row of a Markdown table.
func row(b *strings.Builder, cells ...string) {
	for _, cell := range cells {
		b.WriteString("| ")
		b.WriteString(cell)
		b.WriteByte(' ')
	}
	b.WriteString("|\n")
}

func portsOrDash(ports []int) string {
	if len(ports) == 0 {
		return "-"
	}
	return portWords(tcpPorts(ports))
}

// declared is the table of all declared flows, and whether one of them names a DNS name.
func (c *cluster) declared() (table string, fqdn bool) {
	var b strings.Builder
	for _, namespace := range c.p.NamespaceNames() {
		ns := c.p.Namespaces[namespace]
		for _, direction := range []struct {
			word  string
			flows map[string]posture.Flow
		}{{"in from", ns.Ingress}, {"out to", ns.Egress}} {
			for _, name := range slices.Sorted(maps.Keys(direction.flows)) {
				flow := direction.flows[name]
				var peers []string
				for i := range flow.Peers {
					peers = append(peers, peerWords(&flow.Peers[i]))
					fqdn = fqdn || flow.Peers[i].FQDN != ""
				}
				row(&b, "`"+namespace+"`", labelWords(flow.Pods, "all"), direction.word+" "+quoteList(peers),
					portWords(flow.Ports), name, cellText(flow.Why))
			}
		}
	}
	if b.Len() == 0 {
		return "", fqdn
	}
	return "| namespace | its pods | direction | ports | flow | why |\n| --- | --- | --- | --- | --- | --- |\n" + b.String(), fqdn
}

// peerWords names a peer for people.
func peerWords(p *posture.Peer) string {
	switch {
	case p.Namespace != "":
		return "namespace `" + p.Namespace + "`" + choose(len(p.Pods) > 0, " pods "+labelWords(p.Pods, ""), "")
	case p.CIDR != "":
		return "`" + p.CIDR + "`" + choose(len(p.Except) > 0, " without "+strings.Join(p.Except, ", "), "")
	case p.FQDN != "":
		return "`" + p.FQDN + "`"
	case p.Entity == "cluster":
		return "every pod of the cluster"
	case p.Entity == "world":
		return "the world outside the cluster"
	case p.Entity == "nodes":
		return "the nodes"
	}
	return "the API server"
}

func labelWords(labels map[string]string, none string) string {
	if len(labels) == 0 {
		return none
	}
	words := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, "`"+k+"="+labels[k]+"`")
	}
	return strings.Join(words, ", ")
}

// cellText makes a text fit into a cell of a table.
func cellText(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "|", "\\|"), "\n", " ")
}
