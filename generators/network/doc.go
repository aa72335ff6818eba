// Package network emits who may talk to whom: the policies of each namespace, the block of the
// cloud metadata addresses, the firewall of the nodes, and the page that explains all of it.
//
// Plain NetworkPolicy (networking.k8s.io/v1) is used wherever it is enough. Cilium gets its own
// form where a plain one would match nothing: Cilium knows nodes and the API server by identity and
// never by address, so an ipBlock does not reach them (policyCIDRMatchMode is empty by default).
//
// What needs no rule: a kubelet probes its own pods from the pod's node, and traffic from there is
// always allowed (NetworkPolicy's documentation; Cilium's allow-localhost, which is "always" in
// Kubernetes; Calico's Felix). Replies need no rule either, every CNI tracks connections.
package network
