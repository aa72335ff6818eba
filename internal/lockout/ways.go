package lockout

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// way is a connection that must be open, and what to say where it is not.
type way struct {
	from, to *endpoint
	port     ports
	// leaving and arriving are the names of the policies that open the two ends, as emitted.
	leaving, arriving string
	why, fix          string
	// rule is ruleOpen where it is empty.
	rule     string
	severity diag.Severity
}

const regenerate = "Restore what was emitted: git checkout the file, or delete it and run k8ssec generate."

var lookupPorts = []ports{port("UDP", 53), port("TCP", 53)}

// network checks every way that a cluster needs.
func (w *world) network() {
	dns := w.dnsServers()
	caller, target := w.nodeCaller("the API server", true), w.apiServers()
	w.dnsServing(dns)
	w.gitOps(target)
	w.kubeSystem(caller)
	for _, name := range w.p.NamespaceNames() {
		ns := w.p.Namespaces[name]
		pods := w.kindsOfPods(name)
		for i := range pods {
			if w.p.Network.DefaultDeny {
				w.isolated(&pods[i])
			}
			w.probes(&pods[i])
			for _, p := range lookupPorts {
				w.must(way{
					from: &pods[i], to: dns, port: p, leaving: "dns", arriving: "dns-serve",
					why: "A pod that cannot resolve names reaches nothing else by name either: its callers see time-outs everywhere.",
					fix: regenerate,
				})
			}
		}
		if ns.APIAccess {
			for _, t := range target {
				w.mustOne(pods, func(pod *endpoint) way {
					return way{
						from: pod, to: &t.endpoint, port: t.port, leaving: "api-server",
						why: "Controllers and operators of the namespace stop working without it.", fix: regenerate,
					}
				})
			}
		}
		for _, number := range ns.Webhooks {
			w.mustOne(pods, func(pod *endpoint) way {
				return way{
					from: caller, to: pod, port: port("TCP", number), arriving: "webhooks",
					why: "A webhook that the API server cannot call makes it refuse, or wave through unchecked, all that the webhook guards.", fix: regenerate,
				}
			})
		}
		if monitoring := w.p.Network.MonitoringNamespace; monitoring != "" {
			for _, number := range ns.Metrics {
				w.mustOne(pods, func(pod *endpoint) way {
					return way{
						from: w.podsOf(monitoring, nil), to: pod, port: port("TCP", number), leaving: "scrape", arriving: "metrics",
						why: "Alerts on what nobody measures stay silent.", fix: regenerate,
					}
				})
			}
		}
		if ns.SameNamespace {
			for i := range pods {
				w.must(way{
					from: &pods[i], to: &pods[0], port: anyPort, leaving: "same-namespace", arriving: "same-namespace",
					rule: ruleDeclared, why: "sameNamespace is true: the workloads of the namespace rely on it.", fix: regenerate,
				})
			}
		}
		w.declared(name, &ns)
		if ns.Kind == "tenant" && w.p.Network.DefaultDeny {
			w.strangers(name, &ns, pods)
		}
	}
}

// must reports a way that is not open at both of its ends.
func (w *world) must(y way) {
	for _, f := range w.closed(y) {
		w.collect(f)
	}
}

// mustOne reports a way that is open for none of the pods.
func (w *world) mustOne(pods []endpoint, of func(*endpoint) way) {
	var first []Finding
	for i := range pods {
		findings := w.closed(of(&pods[i]))
		if len(findings) == 0 {
			return
		}
		if first == nil {
			first = findings
		}
	}
	for _, f := range first {
		w.collect(f)
	}
}

// closed returns a finding for each end of the way that is not certainly open.
func (w *world) closed(y way) []Finding {
	var findings []Finding
	if y.from.isPod() {
		if v := w.sure(egress, y.from, y.to, y.port); !v.open {
			findings = append(findings, w.explain(y, v, y.from.namespace, y.leaving))
		}
	}
	if y.to.isPod() {
		if v := w.sure(ingress, y.to, y.from, y.port); !v.open {
			findings = append(findings, w.explain(y, v, y.to.namespace, y.arriving))
		}
	}
	return findings
}

// explain says which object closes a way. An allow that is missing or changed is named before the deny
// that takes effect without it.
func (w *world) explain(y way, v verdict, namespace, expected string) Finding {
	f := Finding{
		Severity: y.severity, Rule: y.rule, From: y.from.words, To: y.to.words, Port: portWords(y.port),
		Object: v.by.ref(), File: v.by.file, Why: y.why, Fix: y.fix,
	}
	f.Severity, f.Rule = cmp.Or(f.Severity, diag.Error), cmp.Or(f.Rule, ruleOpen)
	reason := v.by.ref() + " denies it"
	if !v.denied {
		reason = v.by.ref() + " denies all that no other policy opens"
		if expected != "" {
			if found := w.named(namespace, expected); found != nil {
				f.Object, f.File = found.ref(), found.file
				reason = found.ref() + " does not open it"
			} else {
				f.Object = "NetworkPolicy " + namespace + "/" + expected
				if w.cilium && slices.Contains([]string{"api-server", "webhooks", "dns-serve", "metrics-server", "metrics-server-kubelets"}, expected) {
					f.Object = "CiliumNetworkPolicy " + namespace + "/" + expected
				}
				reason = f.Object + " is missing, and " + reason
			}
		}
	}
	f.Message = fmt.Sprintf(" cannot reach %s on %s: %s", f.To, f.Port, reason)
	return f
}

// named finds a policy of a namespace by its name.
func (w *world) named(namespace, name string) *policy {
	for _, p := range w.policies[namespace] {
		if p.name == name {
			return p
		}
	}
	return nil
}

func portWords(p ports) string {
	switch {
	case p == anyPort:
		return "any port"
	case p.name != "":
		return p.protocol + " port " + p.name
	case p.low != p.high:
		return fmt.Sprintf("%s ports %d to %d", p.protocol, p.low, p.high)
	}
	return fmt.Sprintf("%s port %d", p.protocol, p.low)
}

// podsOf are the pods of a namespace with these labels and no others.
func (w *world) podsOf(namespace string, labels map[string]string) *endpoint {
	return &endpoint{
		words: podWords(namespace, labels), namespace: namespace, labels: labels, complete: true,
		addrs: addresses{in: w.pods},
	}
}

func podWords(namespace string, labels map[string]string) string {
	if len(labels) == 0 {
		return "a pod of " + namespace
	}
	words := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, k+"="+labels[k])
	}
	return "a pod of " + namespace + " with " + strings.Join(words, ",")
}

// kindsOfPods are a pod without labels and one for each selector of the namespace's policies.
func (w *world) kindsOfPods(namespace string) []endpoint {
	pods := []endpoint{*w.podsOf(namespace, nil)}
	for _, pol := range w.policies[namespace] {
		if pol.pods.empty() {
			continue
		}
		labels := pol.pods.labels()
		if !slices.ContainsFunc(pods, func(e endpoint) bool { return maps.Equal(e.labels, labels) }) {
			pods = append(pods, *w.podsOf(namespace, labels))
		}
	}
	return pods
}

// anyPod is a pod of a namespace that nobody knows, with whatever labels.
func (w *world) anyPod(words string) *endpoint {
	return &endpoint{words: words, namespace: "\x00", addrs: addresses{in: w.pods}}
}

// dnsServers are the pods of cluster DNS.
func (w *world) dnsServers() *endpoint {
	e := w.podsOf(w.p.Network.DNSNamespace, w.p.Network.DNSPods)
	e.words = "cluster DNS"
	return e
}

// first is the part of the prefixes that belongs to the first address family of the cluster.
func (w *world) first(prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		if p.Addr().Is4() == w.primary.Addr().Is4() {
			out = append(out, p)
		}
	}
	return out
}

// target is where an API server listens.
type target struct {
	endpoint endpoint
	port     ports
}

// apiServers are the API servers as targets.
func (w *world) apiServers() []target {
	e := endpoint{words: "the API server", identities: [][]string{{"host", "kube-apiserver"}, {"remote-node", "kube-apiserver"}}}
	c := &w.p.Cluster
	if w.cilium || len(c.APIEndpoints) == 0 {
		if !w.cilium {
			e.identities, e.addrs = nil, w.nodeAddresses()
		}
		return []target{{e, port("TCP", c.APIPort)}}
	}
	var targets []target
	for _, a := range c.APIEndpoints {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			e := endpoint{words: "the API server at " + a.Address}
			e.addrs.in = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}
			targets = append(targets, target{e, port("TCP", a.Port)})
		}
	}
	return targets
}

// nodeAddresses are the addresses that a node can have.
func (w *world) nodeAddresses() addresses {
	if len(w.nodes) > 0 {
		return addresses{in: w.first(w.nodes)}
	}
	return addresses{in: []netip.Prefix{w.primary}, not: slices.Concat(w.pods, w.services, w.metadataCIDRs)}
}

// node is any node as a target.
func (w *world) node() *endpoint {
	if w.cilium {
		return &endpoint{words: "a node", identities: [][]string{{"host"}, {"remote-node"}}}
	}
	return &endpoint{words: "a node", addrs: w.nodeAddresses()}
}

// nodeCaller is a process of another node as a source. Its calls carry the node's own address or, in
// an overlay, an address of the pod range; Cilium sees remote-node even where it is the API server's.
func (w *world) nodeCaller(words string, apiServer bool) *endpoint {
	e := &endpoint{words: words}
	switch {
	case w.cilium && apiServer:
		e.identities = [][]string{{"remote-node"}, {"remote-node", "kube-apiserver"}}
	case w.cilium:
		e.identities = [][]string{{"remote-node"}}
	case len(w.nodes) > 0:
		e.addrs.in = slices.Concat(w.first(w.nodes), w.first(w.pods))
	default:
		e.addrs = addresses{in: []netip.Prefix{w.primary}, not: slices.Concat(w.services, w.metadataCIDRs)}
	}
	return e
}

// outside is somebody outside the cluster, by DNS name where it is known.
func (w *world) outside(words, name string) *endpoint {
	not := slices.Concat(w.pods, w.services, w.metadataCIDRs)
	if !w.cilium {
		not = append(not, w.nodes...)
	}
	return &endpoint{words: words, name: name, addrs: addresses{in: []netip.Prefix{w.primary}, not: not}}
}

// isolated checks that a pod starts with nothing.
func (w *world) isolated(pod *endpoint) {
	var has [2]bool
	for _, pol := range w.about(pod) {
		if w.selects(pol, pod) == yes {
			has[ingress] = has[ingress] || pol.isolates[ingress]
			has[egress] = has[egress] || pol.isolates[egress]
		}
	}
	for _, d := range []direction{ingress, egress} {
		if !has[d] {
			w.collect(Finding{
				Severity: diag.Error, Rule: ruleApart, From: pod.words, Object: "NetworkPolicy " + pod.namespace + "/default-deny", File: policyFile(pod.namespace),
				Message: " has every connection open (" + d.String() + "): no policy selects it, and network.defaultDeny is true",
				Why:     "A pod that no policy selects talks to everybody.", Fix: regenerate,
			})
		}
	}
}

func policyFile(namespace string) string { return "manifests/network/" + namespace + ".yaml" }

// probes checks that the kubelet reaches the pods of its node. Every CNI allows that by itself; only a
// deny can take it away.
func (w *world) probes(pod *endpoint) {
	if !w.cilium {
		return
	}
	kubelet := &endpoint{words: "the kubelet", identities: [][]string{{"host"}}}
	if v := w.sure(ingress, pod, kubelet, anyPort); v.denied {
		y := way{from: kubelet, to: pod, port: anyPort, why: "Probes fail, and the kubelet restarts the pods for ever.", fix: "Take the entity host out of the deny."}
		w.collect(w.explain(y, v, pod.namespace, ""))
	}
}

// dnsServing checks what cluster DNS needs besides the pods of the posture.
func (w *world) dnsServing(dns *endpoint) {
	for _, from := range []*endpoint{w.anyPod("a pod of a namespace that is not in cluster.cue"), w.nodeCaller("a process of a node", false)} {
		for _, p := range lookupPorts {
			w.must(way{
				from: from, to: dns, port: p, arriving: "dns-serve", fix: regenerate,
				why: "Pods on the host's network and namespaces that come later ask the same DNS servers.",
			})
		}
	}
	for _, t := range w.apiServers() {
		w.must(way{
			from: dns, to: &t.endpoint, port: t.port, leaving: "api-server",
			why: "CoreDNS learns services from the API server. After its next restart no name resolves, and then nothing works.",
			fix: fmt.Sprintf("namespaces: %q: apiAccess: true", dns.namespace),
		})
	}
	if monitoring := w.p.Network.MonitoringNamespace; monitoring != "" {
		w.must(way{
			from: w.podsOf(monitoring, nil), to: dns, port: port("TCP", 9153), leaving: "scrape", arriving: "dns-metrics",
			why: "Alerts on cluster DNS stay silent.", fix: regenerate,
		})
	}
	const why = "No name outside the cluster resolves: the Git server's neither, so that GitOps cannot bring the repair."
	for _, p := range lookupPorts {
		if len(w.p.Network.UpstreamDNS) == 0 {
			w.mayLeave(dns, w.outside("a resolver outside the cluster", ""), p, "dns-upstream", why, regenerate)
			for _, m := range w.metadataCIDRs {
				e := &endpoint{words: "a resolver at " + m.Addr().String(), addrs: addresses{in: []netip.Prefix{m}}}
				if v := w.sure(egress, dns, e, p); v.denied {
					y := way{from: dns, to: e, port: p, why: "On some clouds the nodes' resolver has an address of the metadata service. " + why, fix: "Leave namespace " + dns.namespace + " out of the deny."}
					w.collect(w.explain(y, v, dns.namespace, ""))
				}
			}
			continue
		}
		for _, s := range w.p.Network.UpstreamDNS {
			addr, err := netip.ParseAddr(s)
			if err != nil {
				continue
			}
			prefix := netip.PrefixFrom(addr, addr.BitLen())
			e := &endpoint{words: "resolver " + s, addrs: addresses{in: []netip.Prefix{prefix}}}
			w.must(way{from: dns, to: e, port: p, leaving: "dns-upstream", why: why, fix: regenerate})
			if w.cilium && covered(prefix, w.nodes) {
				n := w.node()
				n.words = "resolver " + s + " on a node"
				w.must(way{from: dns, to: n, port: p, leaving: "dns-upstream-nodes", why: why, fix: regenerate})
			}
		}
	}
}

// mayLeave reports a pod that has no way at all to any of the places that the endpoint stands for.
func (w *world) mayLeave(pod, to *endpoint, p ports, expected, why, fix string) {
	if open, _ := w.possible(egress, pod, to, p); open {
		return
	}
	if v := w.sure(egress, pod, to, p); !v.open {
		w.collect(w.explain(way{from: pod, to: to, port: p, why: why, fix: fix}, v, pod.namespace, expected))
	}
}

// controller is one of the GitOps engine's pods.
type controller struct {
	name string
	// api says whether it calls the API server, source whether it fetches from Git.
	api, source bool
	// calls are the others that it calls, by name and port.
	calls map[string]int
}

// The controllers of Flux and Argo CD, as their own manifests label them and let them call each other.
var engines = map[string]struct {
	label       string
	controllers []controller
}{
	"flux": {"app", []controller{
		{name: "source-controller", api: true, source: true, calls: map[string]int{"notification-controller": 9090}},
		{name: "kustomize-controller", api: true, calls: map[string]int{"source-controller": 9090, "notification-controller": 9090}},
		{name: "helm-controller", api: true, calls: map[string]int{"source-controller": 9090, "notification-controller": 9090}},
		{name: "notification-controller", api: true},
	}},
	"argocd": {"app.kubernetes.io/name", []controller{
		{name: "argocd-repo-server", source: true, calls: map[string]int{"argocd-redis": 6379}},
		{name: "argocd-application-controller", api: true, calls: map[string]int{"argocd-repo-server": 8081, "argocd-redis": 6379}},
		{name: "argocd-server", api: true, calls: map[string]int{"argocd-repo-server": 8081, "argocd-redis": 6379}},
		{name: "argocd-applicationset-controller", api: true, calls: map[string]int{"argocd-repo-server": 8081}},
	}},
}

// gitOps checks the way on which every repair arrives.
func (w *world) gitOps(apiServers []target) {
	g := &w.p.GitOps
	engine := engines[g.Engine]
	pod := func(name string) *endpoint {
		e := w.podsOf(g.Namespace, map[string]string{engine.label: name})
		e.words = name
		return e
	}
	const why = "GitOps can then apply nothing any more, not even the commit that would repair this."
	for _, c := range engine.controllers {
		from := pod(c.name)
		if c.api {
			for _, t := range apiServers {
				w.must(way{from: from, to: &t.endpoint, port: t.port, leaving: "api-server", why: why, fix: fmt.Sprintf("namespaces: %q: apiAccess: true", g.Namespace)})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(c.calls)) {
			w.must(way{
				from: from, to: pod(name), port: port("TCP", c.calls[name]), leaving: "same-namespace", arriving: "same-namespace",
				why: why, fix: fmt.Sprintf("namespaces: %q: sameNamespace: true", g.Namespace),
			})
		}
		if c.source {
			w.gitSources(from, why)
		}
	}
}

// gitSources checks the way from the fetching controller to each Git server.
func (w *world) gitSources(from *endpoint, why string) {
	type source struct {
		field, host string
		port        int
	}
	var sources []source
	add := func(field, raw string) {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" {
			return
		}
		number := map[string]int{"https": 443, "ssh": 22}[u.Scheme]
		if n, err := strconv.Atoi(u.Port()); err == nil {
			number = n
		}
		for _, s := range sources {
			if s.host == u.Hostname() && s.port == number {
				return
			}
		}
		sources = append(sources, source{field, u.Hostname(), number})
	}
	add("gitops.url", w.p.GitOps.URL)
	for _, name := range w.p.NamespaceNames() {
		if s := w.p.Namespaces[name].GitSource; s != nil {
			add("namespaces."+name+".gitSource.url", s.URL)
		}
	}
	fix := func(peer string, number int) string {
		return fmt.Sprintf("namespaces: %q: egress: git: {peers: [%s], ports: [{port: %d, protocol: \"TCP\"}]}", from.namespace, peer, number)
	}
	if w.p.GitOps.URL == "" {
		// Undecided: one of the two usual ports has to be open.
		to := w.outside("a Git server outside the cluster", "")
		https, _ := w.possible(egress, from, to, port("TCP", 443))
		ssh, _ := w.possible(egress, from, to, port("TCP", 22))
		if !https && !ssh {
			w.mayLeave(from, to, port("TCP", 443), "egress-source", why, fix(`{entity: "world"}`, 443))
		}
	}
	for _, s := range sources {
		number := port("TCP", s.port)
		addr, err := netip.ParseAddr(s.host)
		domain := strings.TrimSuffix(s.host, ".")
		service, inCluster := strings.CutSuffix(domain, ".svc."+w.p.Cluster.DNSDomain)
		if !inCluster {
			service, inCluster = strings.CutSuffix(domain, ".svc")
		}
		switch {
		case err == nil:
			to := &endpoint{words: "the Git server " + s.host, addrs: addresses{in: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}}}
			w.must(way{from: from, to: to, port: number, leaving: "egress-source", why: why, fix: fix(`{cidr: "`+to.addrs.in[0].String()+`"}`, s.port)})
		case inCluster:
			_, namespace, _ := strings.Cut(service, ".")
			// The service's port says nothing about the pods' one, so any port will do.
			to := &endpoint{words: "the Git server " + s.host, namespace: namespace, addrs: addresses{in: w.pods}}
			w.mayLeave(from, to, anyPort, "egress-git", why, fix(`{namespace: "`+namespace+`"}`, s.port)+", with the port of the pods behind the service")
			if _, ok := w.p.Namespaces[namespace]; ok {
				if open, _ := w.possible(ingress, to, from, anyPort); !open {
					v := w.sure(ingress, to, from, anyPort)
					if v.by != nil {
						w.collect(w.explain(way{from: from, to: to, port: anyPort, why: why,
							fix: fmt.Sprintf("namespaces: %q: ingress: git: peers: [{namespace: %q}]", namespace, from.namespace)}, v, namespace, ""))
					}
				}
			}
		default:
			w.mayLeave(from, w.outside("the Git server "+s.host, domain), number, "egress-source", why, fix(`{entity: "world"}`, s.port))
		}
	}
}

// kubeSystem checks the ways of what may be installed in kube-system: metrics-server, and Cilium's
// Hubble, by which people see what a policy drops.
func (w *world) kubeSystem(caller *endpoint) {
	if _, ok := w.p.Namespaces["kube-system"]; !ok {
		return
	}
	pod := w.podsOf("kube-system", map[string]string{"k8s-app": "metrics-server"})
	pod.words = "metrics-server"
	const why = "kubectl top and the autoscalers stop, where metrics-server is installed."
	w.must(way{from: caller, to: pod, port: port("TCP", 10250), arriving: "metrics-server", why: why, fix: regenerate, severity: diag.Warning})
	w.must(way{from: pod, to: w.node(), port: port("TCP", 10250), leaving: "metrics-server-kubelets", why: why, fix: regenerate, severity: diag.Warning})
	if !w.cilium {
		return
	}
	relay, ui := w.podsOf("kube-system", map[string]string{"k8s-app": "hubble-relay"}), w.podsOf("kube-system", map[string]string{"k8s-app": "hubble-ui"})
	relay.words, ui.words = "Hubble relay", "the Hubble UI"
	const blind = "Nobody sees any more which policy drops what, where Hubble is installed."
	w.must(way{from: relay, to: w.node(), port: port("TCP", 4244), leaving: "hubble-relay-agents", why: blind, fix: regenerate, severity: diag.Warning})
	w.must(way{from: ui, to: relay, port: port("TCP", 4245), leaving: "hubble-ui", arriving: "hubble-relay", why: blind, fix: regenerate, severity: diag.Warning})
}

// declared checks that each declared flow is open at the end that declares it, and warns where the
// other end does not expect it.
func (w *world) declared(name string, ns *posture.Namespace) {
	for _, direction := range []struct {
		flows map[string]posture.Flow
		d     direction
	}{{ns.Ingress, ingress}, {ns.Egress, egress}} {
		for _, flowName := range slices.Sorted(maps.Keys(direction.flows)) {
			flow := direction.flows[flowName]
			own := w.podsOf(name, flow.Pods)
			w.identityLabels(name, flowName, direction.d, flow.Pods)
			for i := range flow.Peers {
				w.identityLabels(name, flowName, direction.d, flow.Peers[i].Pods)
				w.flowPeer(name, flowName, own, &flow, &flow.Peers[i], direction.d)
			}
		}
	}
}

// notIdentity are the beginnings of the labels that Cilium leaves out of a pod's identity by default
// (defaultLabelPrefixCfg in its pkg/labelsfilter).
var notIdentity = []string{
	"annotation", "apps.kubernetes.io/pod-index", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-completion-index",
	"controller-revision-hash", "controller-uid", "etcd_node", "io.kubernetes", "k8s.io", "kubernetes.io", "pod-template-generation",
	"pod-template-hash", "statefulset.kubernetes.io/pod-name", "topology.kubernetes.io",
}

// identityLabels warns about a flow whose pods Cilium cannot tell apart.
func (w *world) identityLabels(namespace, flowName string, d direction, pods map[string]string) {
	if !w.cilium {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(pods)) {
		if !slices.ContainsFunc(notIdentity, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) && !strings.Contains(key, "beta.kubernetes.io") {
			continue
		}
		field := "namespaces." + namespace + "." + d.String() + "." + flowName
		w.report(Finding{
			Severity: diag.Warning, Rule: ruleReal, From: podWords(namespace, pods), Object: field, File: policyFile(namespace),
			Message: fmt.Sprintf("%s selects pods by the label %s, which Cilium leaves out of a pod's identity by default: it selects none", field, key),
			Why:     "Such labels differ from pod to pod, and each set of labels is an identity that every node has to know.",
			Fix:     "Select by a label that all pods of the application share, for instance app.",
		})
	}
}

func (w *world) flowPeer(namespace, flowName string, own *endpoint, flow *posture.Flow, peer *posture.Peer, d direction) {
	field := "namespaces." + namespace + "." + d.String() + "." + flowName
	expected := d.String() + "-" + flowName
	list := flowPorts(flow)
	var others []*endpoint
	switch {
	case peer.Namespace != "":
		others = []*endpoint{w.podsOf(peer.Namespace, peer.Pods)}
	case peer.CIDR != "":
		e, ok := w.declaredRange(peer, d)
		if !ok {
			return
		}
		if w.cilium && covered(e.addrs.in[0], slices.Concat(w.pods, w.nodes)) {
			w.report(Finding{
				Severity: diag.Warning, Rule: ruleDeclared, From: own.words, To: e.words, Object: field, File: policyFile(namespace),
				Message: fmt.Sprintf("%s opens nothing: %s lies in the pods' or nodes' networks, and Cilium never matches those by address", field, peer.CIDR),
				Fix:     `Name the namespace ({namespace: "..."}), or {entity: "nodes"}.`,
			})
			return
		}
		others = []*endpoint{e}
	case peer.FQDN != "":
		expected = "names-" + flowName
		others = []*endpoint{w.outside(peer.FQDN, strings.ReplaceAll(peer.FQDN, "*", "x"))}
		if !w.looksUp(own) {
			w.collect(Finding{
				Severity: diag.Error, Rule: ruleDeclared, From: own.words, To: peer.FQDN, Object: "CiliumNetworkPolicy " + namespace + "/" + expected, File: policyFile(namespace),
				Message: " never reaches " + peer.FQDN + ": no policy sends its lookups through Cilium's DNS proxy, so Cilium never learns the address",
				Why:     "A rule with toFQDNs opens only addresses that the proxy has seen in an answer.", Fix: regenerate,
			})
		}
	case peer.Entity == "cluster":
		others = []*endpoint{w.anyPod("a pod of another namespace")}
	case peer.Entity == "world" && d == ingress:
		others = []*endpoint{w.outside("somebody outside the cluster", ""), w.nodeCaller("a node that forwards a call from outside", false)}
	case peer.Entity == "world":
		others = []*endpoint{w.outside("the world outside the cluster", "")}
	case peer.Entity == "nodes" && d == ingress:
		others = []*endpoint{w.nodeCaller("a node", false)}
	case peer.Entity == "nodes":
		others = []*endpoint{w.node()}
	case peer.Entity == "apiserver" && d == ingress:
		others = []*endpoint{w.nodeCaller("the API server", true)}
	case peer.Entity == "apiserver":
		for _, t := range w.apiServers() {
			others = append(others, &t.endpoint)
			if len(flow.Ports) == 0 {
				list = []ports{t.port}
			}
		}
	}
	for _, other := range others {
		for _, p := range list {
			y := way{port: p, rule: ruleDeclared, why: "The flow is declared in cluster.cue; the workload relies on it.", fix: regenerate}
			var v verdict
			if d == egress {
				y.from, y.to, y.leaving = own, other, expected
				v = w.sure(egress, own, other, p)
			} else {
				y.from, y.to, y.arriving = other, own, expected
				v = w.sure(ingress, own, other, p)
			}
			if !v.open {
				w.collect(w.explain(y, v, namespace, expected))
			}
			if peer.Namespace != "" {
				w.otherEnd(field, namespace, own, peer, p, d)
			}
		}
	}
}

// otherEnd warns about a flow between two namespaces that only one of them declares.
func (w *world) otherEnd(field, namespace string, own *endpoint, peer *posture.Peer, p ports, d direction) {
	if peer.Namespace == namespace {
		return
	}
	here, there := *own, *w.podsOf(peer.Namespace, peer.Pods)
	here.complete, there.complete = false, false
	back := egress
	if d == egress {
		back = ingress
	}
	if open, _ := w.possible(back, &there, &here, p); open {
		return
	}
	var line string
	if p != anyPort {
		line = fmt.Sprintf(", ports: [{port: %d, protocol: %q}]", p.low, p.protocol)
	}
	w.report(Finding{
		Severity: diag.Warning, Rule: ruleDeclared, From: own.words, To: there.words, Port: portWords(p), Object: field, File: policyFile(peer.Namespace),
		Message: fmt.Sprintf("%s has one end only: namespace %s declares no %s for it, so no connection is made on %s", field, peer.Namespace, back, portWords(p)),
		Why:     "A connection between two namespaces must be opened where it starts and where it ends.",
		Fix:     fmt.Sprintf("namespaces: %q: %s: %q: {peers: [{namespace: %q}]%s}", peer.Namespace, back, "with-"+namespace, namespace, line),
	})
}

// looksUp reports whether the pod's lookups pass through Cilium's DNS proxy.
func (w *world) looksUp(pod *endpoint) bool {
	dns := w.dnsServers()
	for _, pol := range w.about(pod) {
		if w.selects(pol, pod) == no {
			continue
		}
		for i := range pol.allow[egress] {
			r := &pol.allow[egress][i]
			if r.lookups && r.holds(lookupPorts[0]) && w.peerTruth(r, dns) == yes {
				return true
			}
		}
	}
	return false
}

// declaredRange is the part of a declared range that a flow is meant to open; false where nothing is
// left of it.
func (w *world) declaredRange(peer *posture.Peer, d direction) (*endpoint, bool) {
	prefix, err := netip.ParsePrefix(peer.CIDR)
	if err != nil {
		return nil, false
	}
	e := &endpoint{words: peer.CIDR, addrs: addresses{in: []netip.Prefix{prefix.Masked()}}}
	for _, s := range peer.Except {
		if x, err := netip.ParsePrefix(s); err == nil {
			e.addrs.not = append(e.addrs.not, x.Masked())
		}
	}
	if d == egress && w.p.Network.BlockMetadata {
		e.addrs.not = append(e.addrs.not, w.metadataCIDRs...)
	}
	if !w.cilium {
		if inPods := covered(e.addrs.in[0], w.pods); !inPods {
			e.addrs.not = append(e.addrs.not, w.pods...)
		}
		if d == egress && !covered(e.addrs.in[0], w.services) {
			e.addrs.not = append(e.addrs.not, w.services...)
		}
	}
	return e, !covered(e.addrs.in[0], e.addrs.not)
}

// flowPorts are a flow's ports; none means every one.
func flowPorts(flow *posture.Flow) []ports {
	if len(flow.Ports) == 0 {
		return []ports{anyPort}
	}
	list := make([]ports, len(flow.Ports))
	for i, p := range flow.Ports {
		list[i] = ports{protocol: p.Protocol, low: p.Port, high: max(p.Port, p.End)}
	}
	return list
}
