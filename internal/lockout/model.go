package lockout

import (
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// direction of a policy's rules.
type direction int

const (
	ingress direction = iota
	egress
)

func (d direction) String() string { return [...]string{"ingress", "egress"}[d] }

// policy is a NetworkPolicy or a Cilium policy, as far as it decides about connections.
type policy struct {
	kind, name, file string
	// namespace is empty for a clusterwide policy.
	namespace string
	// pods selects the pods that the policy is about.
	pods selector
	// isolates says for each direction whether a selected pod is denied what no rule allows.
	isolates [2]bool
	allow    [2][]rule
	deny     [2][]rule
}

// ref names the policy for people.
func (p *policy) ref() string {
	if p.namespace == "" {
		return p.kind + " " + p.name
	}
	return p.kind + " " + p.namespace + "/" + p.name
}

// rule opens or closes ports to peers.
type rule struct {
	// peers is empty for a rule about everybody.
	peers []peer
	// none marks a rule whose list of peers is there and empty: it is about nobody.
	none bool
	// ports is empty for a rule about every port.
	ports []ports
	// lookups marks a rule that sends DNS lookups through Cilium's proxy.
	lookups bool
}

// ports is a range of ports of one protocol. A zero protocol is every protocol, a named port is kept
// by its name and stands for one unknown number.
type ports struct {
	protocol  string
	low, high int
	name      string
}

func port(protocol string, number int) ports {
	return ports{protocol: protocol, low: number, high: number}
}

// anyPort is every port of every protocol.
var anyPort = ports{low: 0, high: 65535}

// within reports whether all ports of p are ports of q.
func (p ports) within(q ports) bool {
	if q.name != "" || p.name != "" {
		return p.name == q.name && p.protocol == q.protocol
	}
	return (q.protocol == "" || q.protocol == p.protocol) && q.low <= p.low && p.high <= q.high
}

// meets reports whether the two share a port, or may share one.
func (p ports) meets(q ports) bool {
	if p.protocol != "" && q.protocol != "" && p.protocol != q.protocol {
		return false
	}
	return p.name != "" || q.name != "" || (p.low <= q.high && q.low <= p.high)
}

// peer is one kind of other side; exactly one field is set.
type peer struct {
	pods   *podPeer
	block  *blockPeer
	entity string
	name   string // a DNS name, or a pattern with *
}

// podPeer is pods by their labels and their namespace's.
type podPeer struct {
	// namespace is set where the policy's own namespace is meant.
	namespace  string
	namespaces *selector
	pods       selector
}

type blockPeer struct {
	prefix netip.Prefix
	except []netip.Prefix
}

// selector is a label selector. For a Cilium policy its keys are Cilium's: with the source before a
// colon, and with the namespace's name and labels among them.
type selector struct {
	*metav1.LabelSelector
	cilium bool
}

// Cilium's names for the namespace and its labels among a pod's labels (pkg/k8s/apis/cilium.io).
const (
	ciliumNamespace       = "io.kubernetes.pod.namespace"
	ciliumNamespaceLabels = "io.cilium.k8s.namespace.labels."
)

// empty reports whether the selector selects everything.
func (s selector) empty() bool {
	return s.LabelSelector == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}

// key takes the source off a Cilium key.
func (s selector) key(key string) string {
	if !s.cilium {
		return key
	}
	for _, source := range []string{"k8s:", "any:", "k8s."} {
		if rest, ok := strings.CutPrefix(key, source); ok {
			return rest
		}
	}
	return key
}

// truth of a match against a peer of which not everything is known.
type truth int

const (
	no truth = iota
	maybe
	yes
)

// and is the truth of both.
func (t truth) and(other truth) truth { return min(t, other) }

// match holds a selector against labels. Where the labels are not complete, one that is not there may
// be there after all.
func (s selector) match(lookup func(key string) (value string, ok bool), complete bool) truth {
	if s.LabelSelector == nil {
		return yes
	}
	result := yes
	unknown := no
	if !complete {
		unknown = maybe
	}
	for key, want := range s.MatchLabels {
		have, ok := lookup(s.key(key))
		switch {
		case !ok:
			result = result.and(unknown)
		case have != want:
			return no
		}
	}
	for i := range s.MatchExpressions {
		e := &s.MatchExpressions[i]
		have, ok := lookup(s.key(e.Key))
		if !ok && !complete {
			result = result.and(maybe)
			continue
		}
		var holds bool
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			holds = ok && slices.Contains(e.Values, have)
		case metav1.LabelSelectorOpNotIn:
			holds = !ok || !slices.Contains(e.Values, have)
		case metav1.LabelSelectorOpExists:
			holds = ok
		case metav1.LabelSelectorOpDoesNotExist:
			holds = !ok
		}
		if !holds {
			return no
		}
	}
	return result
}

// labels returns labels of a pod that the selector selects, with as few as it takes.
func (s selector) labels() map[string]string {
	labels := map[string]string{}
	if s.LabelSelector == nil {
		return labels
	}
	for k, v := range s.MatchLabels {
		labels[s.key(k)] = v
	}
	for _, e := range s.MatchExpressions {
		switch {
		case e.Operator == metav1.LabelSelectorOpIn && len(e.Values) > 0:
			labels[s.key(e.Key)] = e.Values[0]
		case e.Operator == metav1.LabelSelectorOpExists:
			labels[s.key(e.Key)] = "x"
		}
	}
	return labels
}

// namespaces returns the namespaces that a selector of namespaces (or of Cilium endpoints) names one
// by one; false where it selects them by anything else.
func (s selector) names() ([]string, bool) {
	if s.LabelSelector == nil {
		return nil, false
	}
	isName := func(key string) bool {
		key = s.key(key)
		if s.cilium {
			return key == ciliumNamespace || key == ciliumNamespaceLabels+nameLabel
		}
		return key == nameLabel
	}
	for key, value := range s.MatchLabels {
		if isName(key) {
			return []string{value}, true
		}
	}
	for _, e := range s.MatchExpressions {
		if e.Operator == metav1.LabelSelectorOpIn && isName(e.Key) {
			return e.Values, true
		}
	}
	return nil, false
}

// nameLabel is the label with a namespace's own name, which the API server sets.
const nameLabel = "kubernetes.io/metadata.name"
