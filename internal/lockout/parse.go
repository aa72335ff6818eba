package lockout

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ParseNetworkPolicy reads a NetworkPolicy from what internal/manifest.Value gives for its YAML. A
// field of the spec that NetworkPolicy does not have is an error: the API server would drop it, and the
// policy would mean something else than it says.
func ParseNetworkPolicy(object map[string]any) (*networkingv1.NetworkPolicy, error) {
	d := &decoder{}
	np := &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: d.text(object, "apiVersion"), Kind: d.text(object, "kind")},
	}
	meta := d.object(object, "metadata")
	np.Name, np.Namespace = d.text(meta, "name"), d.text(meta, "namespace")
	np.Labels = d.labels(meta, "labels")
	spec := d.object(object, "spec")
	d.only("spec", spec, "podSelector", "policyTypes", "ingress", "egress")
	if s := d.selector(spec, "podSelector"); s != nil {
		np.Spec.PodSelector = *s
	}
	for _, t := range d.texts(spec, "policyTypes") {
		np.Spec.PolicyTypes = append(np.Spec.PolicyTypes, networkingv1.PolicyType(t))
	}
	for _, r := range d.objects(spec, "ingress") {
		d.only("spec.ingress", r, "from", "ports")
		np.Spec.Ingress = append(np.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: d.peers(r, "from"), Ports: d.npPorts(r)})
	}
	for _, r := range d.objects(spec, "egress") {
		d.only("spec.egress", r, "to", "ports")
		np.Spec.Egress = append(np.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: d.peers(r, "to"), Ports: d.npPorts(r)})
	}
	if d.err != nil {
		return nil, d.err
	}
	return np, nil
}

// networkPolicy turns a NetworkPolicy into the model. An error is what the API server would refuse.
func networkPolicy(np *networkingv1.NetworkPolicy, file string) (*policy, error) {
	pol := &policy{kind: "NetworkPolicy", name: np.Name, namespace: np.Namespace, file: file, pods: selector{LabelSelector: &np.Spec.PodSelector}}
	if pol.namespace == "" {
		pol.namespace = metav1.NamespaceDefault
	}
	// Without policyTypes a policy is about ingress, and about egress too if it has egress rules.
	pol.isolates[ingress] = len(np.Spec.PolicyTypes) == 0
	pol.isolates[egress] = len(np.Spec.PolicyTypes) == 0 && len(np.Spec.Egress) > 0
	for _, t := range np.Spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			pol.isolates[ingress] = true
		case networkingv1.PolicyTypeEgress:
			pol.isolates[egress] = true
		default:
			return nil, fmt.Errorf("policyTypes has %q, which is neither Ingress nor Egress", t)
		}
	}
	add := func(d direction, from []networkingv1.NetworkPolicyPeer, to []networkingv1.NetworkPolicyPort) error {
		if !pol.isolates[d] {
			return nil // rules of a direction that policyTypes leaves out have no effect
		}
		r := rule{}
		for i := range from {
			p, err := networkPeer(pol.namespace, &from[i])
			if err != nil {
				return err
			}
			r.peers = append(r.peers, p)
		}
		for i := range to {
			p, err := networkPort(&to[i])
			if err != nil {
				return err
			}
			r.ports = append(r.ports, p)
		}
		pol.allow[d] = append(pol.allow[d], r)
		return nil
	}
	for i := range np.Spec.Ingress {
		if err := add(ingress, np.Spec.Ingress[i].From, np.Spec.Ingress[i].Ports); err != nil {
			return nil, fmt.Errorf("ingress rule %d: %w", i+1, err)
		}
	}
	for i := range np.Spec.Egress {
		if err := add(egress, np.Spec.Egress[i].To, np.Spec.Egress[i].Ports); err != nil {
			return nil, fmt.Errorf("egress rule %d: %w", i+1, err)
		}
	}
	return pol, nil
}

func networkPeer(namespace string, p *networkingv1.NetworkPolicyPeer) (peer, error) {
	if p.IPBlock != nil {
		if p.PodSelector != nil || p.NamespaceSelector != nil {
			return peer{}, fmt.Errorf("a peer has an ipBlock and a selector; each needs a peer of its own")
		}
		block, err := addressBlock(p.IPBlock.CIDR, p.IPBlock.Except)
		return peer{block: block}, err
	}
	if p.PodSelector == nil && p.NamespaceSelector == nil {
		return peer{}, fmt.Errorf("a peer names nobody")
	}
	pods := &podPeer{pods: selector{LabelSelector: p.PodSelector}}
	if p.NamespaceSelector == nil {
		pods.namespace = namespace
	} else {
		pods.namespaces = &selector{LabelSelector: p.NamespaceSelector}
	}
	return peer{pods: pods}, nil
}

func addressBlock(cidr string, except []string) (*blockPeer, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return nil, fmt.Errorf("%q is not an address range", cidr)
	}
	b := &blockPeer{prefix: prefix.Masked()}
	for _, s := range except {
		e, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("except has %q, which is not an address range", s)
		}
		if e = e.Masked(); e == b.prefix || !contains(b.prefix, e) {
			return nil, fmt.Errorf("except has %s, which does not lie inside %s", e, b.prefix)
		}
		b.except = append(b.except, e)
	}
	return b, nil
}

func networkPort(p *networkingv1.NetworkPolicyPort) (ports, error) {
	protocol := "TCP"
	if p.Protocol != nil {
		protocol = string(*p.Protocol)
	}
	if !slices.Contains([]string{"TCP", "UDP", "SCTP"}, protocol) {
		return ports{}, fmt.Errorf("a port has protocol %q", protocol)
	}
	switch {
	case p.Port == nil:
		return ports{protocol: protocol, low: 0, high: 65535}, nil
	case p.Port.Type == intstr.String:
		return ports{protocol: protocol, name: p.Port.StrVal}, nil
	}
	r := ports{protocol: protocol, low: p.Port.IntValue(), high: p.Port.IntValue()}
	if p.EndPort != nil {
		r.high = int(*p.EndPort)
	}
	if r.low < 1 || r.high > 65535 || r.high < r.low {
		return ports{}, fmt.Errorf("ports %d to %d are no range", r.low, r.high)
	}
	return r, nil
}

// ciliumPolicy turns a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy into the model. An error
// is what Cilium would refuse (pkg/policy/api/rule_validation.go): it then ignores the whole policy.
func ciliumPolicy(object map[string]any, file string) ([]*policy, error) {
	d := &decoder{}
	kind := d.text(object, "kind")
	meta := d.object(object, "metadata")
	base := policy{kind: kind, name: d.text(meta, "name"), file: file}
	if kind == "CiliumNetworkPolicy" {
		if base.namespace = d.text(meta, "namespace"); base.namespace == "" {
			base.namespace = metav1.NamespaceDefault
		}
	}
	var specs []map[string]any
	if s := d.object(object, "spec"); s != nil {
		specs = append(specs, s)
	}
	specs = append(specs, d.objects(object, "specs")...)
	var policies []*policy
	for _, s := range specs {
		pol := base
		d.ciliumRule(s, &pol)
		policies = append(policies, &pol)
	}
	if d.err == nil && len(policies) == 0 {
		d.fail("it has neither spec nor specs")
	}
	if d.err != nil {
		return nil, d.err
	}
	return policies, nil
}

// ciliumRule reads one spec.
func (d *decoder) ciliumRule(spec map[string]any, pol *policy) {
	d.only("spec", spec, "endpointSelector", "nodeSelector", "ingress", "ingressDeny", "egress", "egressDeny",
		"labels", "enableDefaultDeny", "description", "log")
	s := d.selector(spec, "endpointSelector")
	if s == nil {
		if spec["nodeSelector"] == nil {
			d.fail("it has neither endpointSelector nor nodeSelector")
		}
		// A policy of the hosts: it decides about no pod.
		s = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: ciliumNamespace, Operator: metav1.LabelSelectorOpDoesNotExist,
		}}}
	}
	pol.pods = selector{LabelSelector: s, cilium: true}
	rules := false
	for _, part := range []struct {
		field string
		dir   direction
		deny  bool
	}{{"ingress", ingress, false}, {"ingressDeny", ingress, true}, {"egress", egress, false}, {"egressDeny", egress, true}} {
		list := d.objects(spec, part.field)
		if len(list) == 0 {
			continue
		}
		rules = true
		pol.isolates[part.dir] = true
		for _, r := range list {
			read := d.ciliumPeers(r, part.dir, pol.namespace)
			if part.deny {
				pol.deny[part.dir] = append(pol.deny[part.dir], read...)
			} else {
				pol.allow[part.dir] = append(pol.allow[part.dir], read...)
			}
		}
	}
	if !rules {
		d.fail("it has no rules")
	}
	if deny := d.object(spec, "enableDefaultDeny"); deny != nil {
		d.only("spec.enableDefaultDeny", deny, "ingress", "egress")
		for _, dir := range []direction{ingress, egress} {
			if v, ok := deny[dir.String()].(bool); ok {
				pol.isolates[dir] = v
			}
		}
	}
}

// ciliumPeers reads one rule; its lists of ports with different lookups become rules of their own.
func (d *decoder) ciliumPeers(r map[string]any, dir direction, namespace string) []rule {
	prefix := [...]string{"from", "to"}[dir]
	d.only("a rule", r, prefix+"Endpoints", prefix+"Entities", prefix+"CIDR", prefix+"CIDRSet", prefix+"Nodes", prefix+"Groups",
		"toPorts", "icmps", "authentication", "toFQDNs", "toServices")
	var base rule
	kinds := 0
	has := func(field string) bool {
		list, ok := r[field].([]any)
		if !ok {
			return false
		}
		kinds++
		base.none = base.none || len(list) == 0
		return true
	}
	if has(prefix + "Endpoints") {
		for _, item := range d.objects(r, prefix+"Endpoints") {
			s := selector{LabelSelector: d.labelSelector(item), cilium: true}
			p := &podPeer{pods: s}
			if namespace != "" && !s.namesNamespace() {
				p.namespace = namespace
			}
			base.peers = append(base.peers, peer{pods: p})
		}
	}
	if has(prefix + "Entities") {
		for _, e := range d.texts(r, prefix+"Entities") {
			base.peers = append(base.peers, peer{entity: e})
		}
	}
	if has(prefix + "CIDR") {
		for _, s := range d.texts(r, prefix+"CIDR") {
			base.peers = append(base.peers, d.block(s, nil))
		}
	}
	if has(prefix + "CIDRSet") {
		for _, item := range d.objects(r, prefix+"CIDRSet") {
			if cidr := d.text(item, "cidr"); cidr != "" {
				base.peers = append(base.peers, d.block(cidr, d.texts(item, "except")))
			}
		}
	}
	if has("toFQDNs") {
		for _, item := range d.objects(r, "toFQDNs") {
			name := d.text(item, "matchName") + d.text(item, "matchPattern")
			if name == "" {
				d.fail("toFQDNs has an entry without a name")
			}
			base.peers = append(base.peers, peer{name: name})
		}
	}
	for _, other := range []string{prefix + "Nodes", prefix + "Groups", "toServices"} {
		if has(other) {
			base.none = true // peers that only the cluster knows: nothing may be built on them
		}
	}
	if kinds > 1 {
		d.fail("a rule has more than one kind of peer, which Cilium refuses")
	}
	if len(base.peers) > 0 {
		base.none = false
	}
	toPorts := d.objects(r, "toPorts")
	if len(toPorts) == 0 {
		// An empty rule is about nobody (Cilium's own way to write a default deny), and one about ICMP
		// opens no port.
		if _, icmp := r["icmps"]; icmp || kinds == 0 {
			base.none = true
		}
		return []rule{base}
	}
	var rules []rule
	for _, tp := range toPorts {
		one := base
		list := d.objects(tp, "ports")
		if len(list) > maxCiliumPorts {
			d.fail(fmt.Sprintf("a rule has %d ports in one list, and Cilium accepts %d", len(list), maxCiliumPorts))
		}
		for _, p := range list {
			one.ports = append(one.ports, d.ciliumPort(p)...)
		}
		if l7 := d.object(tp, "rules"); l7 != nil {
			if _, dns := l7["dns"]; dns {
				one.lookups = true
			} else {
				one.none = true // rules about requests let only some connections be of use
			}
		}
		rules = append(rules, one)
	}
	return rules
}

// maxCiliumPorts is maxPorts in Cilium's pkg/policy/api/rule_validation.go.
const maxCiliumPorts = 40

// namesNamespace reports whether the selector says itself which namespaces it is about; otherwise a
// namespaced policy means its own.
func (s selector) namesNamespace() bool {
	is := func(key string) bool {
		key = s.key(key)
		return key == ciliumNamespace || len(key) > len(ciliumNamespaceLabels) && key[:len(ciliumNamespaceLabels)] == ciliumNamespaceLabels
	}
	for key := range s.MatchLabels {
		if is(key) {
			return true
		}
	}
	return slices.ContainsFunc(s.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool { return is(e.Key) })
}

func (d *decoder) block(cidr string, except []string) peer {
	b, err := addressBlock(cidr, except)
	if err != nil {
		d.fail(err.Error())
		return peer{block: &blockPeer{}}
	}
	return peer{block: b}
}

func (d *decoder) ciliumPort(p map[string]any) []ports {
	text := d.text(p, "port")
	protocol := d.text(p, "protocol")
	if protocol == "ANY" {
		protocol = ""
	}
	number, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return []ports{{protocol: protocol, name: text}}
	case number == 0:
		return []ports{{protocol: protocol, low: 0, high: 65535}}
	}
	r := ports{protocol: protocol, low: number, high: number}
	if end := d.number(p, "endPort"); end > number {
		r.high = end
	}
	if protocol == "" {
		// One entry for every protocol, so that it holds a port of any of them.
		return []ports{r, {protocol: "TCP", low: r.low, high: r.high}, {protocol: "UDP", low: r.low, high: r.high}, {protocol: "SCTP", low: r.low, high: r.high}}
	}
	return []ports{r}
}

// decoder reads untyped objects and keeps the first thing that is wrong.
type decoder struct{ err error }

func (d *decoder) fail(message string) {
	if d.err == nil {
		d.err = errors.New(message)
	}
}

func (d *decoder) only(where string, m map[string]any, keys ...string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(keys, k) {
			d.fail(fmt.Sprintf("%s has a field %q, which does not exist", where, k))
			return
		}
	}
}

func (d *decoder) object(m map[string]any, key string) map[string]any {
	switch v := m[key].(type) {
	case nil:
		return nil
	case map[string]any:
		return v
	}
	d.fail(key + " is not a map")
	return nil
}

func (d *decoder) objects(m map[string]any, key string) []map[string]any {
	if m[key] == nil {
		return nil
	}
	list, ok := m[key].([]any)
	if !ok {
		d.fail(key + " is not a list")
		return nil
	}
	out := make([]map[string]any, 0, len(list))
	for _, item := range list {
		o, ok := item.(map[string]any)
		if !ok && item != nil {
			d.fail(key + " has an entry that is not a map")
		}
		out = append(out, o)
	}
	return out
}

func (d *decoder) text(m map[string]any, key string) string {
	switch v := m[key].(type) {
	case nil:
		return ""
	case string:
		return v
	}
	d.fail(key + " is not a text")
	return ""
}

func (d *decoder) number(m map[string]any, key string) int {
	switch v := m[key].(type) {
	case nil:
		return 0
	case int64:
		return int(v)
	case int:
		return v
	case float64:
		return int(v)
	}
	d.fail(key + " is not a number")
	return 0
}

func (d *decoder) texts(m map[string]any, key string) []string {
	if m[key] == nil {
		return nil
	}
	list, ok := m[key].([]any)
	if !ok {
		d.fail(key + " is not a list")
		return nil
	}
	out := make([]string, len(list))
	for i, item := range list {
		s, ok := item.(string)
		if !ok {
			d.fail(key + " has an entry that is not a text")
		}
		out[i] = s
	}
	return out
}

func (d *decoder) labels(m map[string]any, key string) map[string]string {
	o := d.object(m, key)
	if o == nil {
		return nil
	}
	out := make(map[string]string, len(o))
	for k := range o {
		out[k] = d.text(o, k)
	}
	return out
}

// selector reads a label selector; nil where there is none.
func (d *decoder) selector(m map[string]any, key string) *metav1.LabelSelector {
	o := d.object(m, key)
	if o == nil {
		return nil
	}
	return d.labelSelector(o)
}

func (d *decoder) labelSelector(o map[string]any) *metav1.LabelSelector {
	d.only("a selector", o, "matchLabels", "matchExpressions")
	s := &metav1.LabelSelector{MatchLabels: d.labels(o, "matchLabels")}
	for _, e := range d.objects(o, "matchExpressions") {
		s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: d.text(e, "key"), Operator: metav1.LabelSelectorOperator(d.text(e, "operator")), Values: d.texts(e, "values"),
		})
	}
	return s
}

func (d *decoder) peers(m map[string]any, key string) []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for _, o := range d.objects(m, key) {
		d.only("a peer", o, "podSelector", "namespaceSelector", "ipBlock")
		p := networkingv1.NetworkPolicyPeer{PodSelector: d.selector(o, "podSelector"), NamespaceSelector: d.selector(o, "namespaceSelector")}
		if b := d.object(o, "ipBlock"); b != nil {
			d.only("ipBlock", b, "cidr", "except")
			p.IPBlock = &networkingv1.IPBlock{CIDR: d.text(b, "cidr"), Except: d.texts(b, "except")}
		}
		peers = append(peers, p)
	}
	return peers
}

func (d *decoder) npPorts(m map[string]any) []networkingv1.NetworkPolicyPort {
	var list []networkingv1.NetworkPolicyPort
	for _, o := range d.objects(m, "ports") {
		d.only("a port", o, "protocol", "port", "endPort")
		var p networkingv1.NetworkPolicyPort
		if s := d.text(o, "protocol"); s != "" {
			protocol := corev1.Protocol(s)
			p.Protocol = &protocol
		}
		switch v := o["port"].(type) {
		case nil:
		case string:
			s := intstr.FromString(v)
			p.Port = &s
		default:
			n := intstr.FromInt32(int32(d.number(o, "port")))
			p.Port = &n
		}
		if n := d.number(o, "endPort"); n != 0 {
			end := int32(n)
			p.EndPort = &end
		}
		list = append(list, p)
	}
	return list
}
