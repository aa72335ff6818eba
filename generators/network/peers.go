package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// nameLabel is on every namespace, set by the API server to the namespace's own name, and nobody
// can change it (ValidateNamespace; KEP-2161): the one label of a namespace that can be trusted
// without further policy.
const nameLabel = corev1.LabelMetadataName

var (
	anyIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	anyIPv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

var dnsPorts = []posture.Port{{Port: 53, Protocol: "UDP"}, tcp(53)}

func tcp(port int) posture.Port { return posture.Port{Port: port, Protocol: "TCP"} }

func tcpPorts(ports []int) []posture.Port {
	list := make([]posture.Port, len(ports))
	for i, port := range ports {
		list[i] = tcp(port)
	}
	return list
}

func sameFamily(a, b netip.Prefix) bool { return a.Addr().Is4() == b.Addr().Is4() }

// contains reports whether outer holds all addresses of inner.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// ipBlocks returns one peer for each range, without the addresses of except. The API server refuses
// an exception that does not lie inside its range (ValidateIPBlock), and so one of the other family.
func ipBlocks(ranges, except []netip.Prefix) []networkingv1.NetworkPolicyPeer {
	peers := make([]networkingv1.NetworkPolicyPeer, 0, len(ranges))
	for _, r := range ranges {
		peers = append(peers, networkingv1.NetworkPolicyPeer{
			IPBlock: &networkingv1.IPBlock{CIDR: r.String(), Except: inside(r, except)},
		})
	}
	return peers
}

// inside returns those of the prefixes that lie in r and are smaller than it, each address once.
func inside(r netip.Prefix, prefixes []netip.Prefix) []string {
	var found []netip.Prefix
	for _, p := range prefixes {
		if p != r && contains(r, p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var texts []string
	var last netip.Prefix
	for _, p := range found {
		if last.IsValid() && contains(last, p) {
			continue
		}
		last = p
		texts = append(texts, p.String())
	}
	return texts
}

// npPorts turns ports into their plain form; none means every port.
func npPorts(ports []posture.Port) []networkingv1.NetworkPolicyPort {
	if len(ports) == 0 {
		return nil
	}
	list := make([]networkingv1.NetworkPolicyPort, len(ports))
	protocols, numbers := make([]corev1.Protocol, len(ports)), make([]intstr.IntOrString, len(ports))
	for i, p := range ports {
		protocols[i], numbers[i] = corev1.Protocol(p.Protocol), intstr.FromInt32(int32(p.Port))
		list[i] = networkingv1.NetworkPolicyPort{Protocol: &protocols[i], Port: &numbers[i]}
		if p.End > p.Port {
			end := int32(p.End)
			list[i].EndPort = &end
		}
	}
	return list
}

// namespacePeer is all pods of a namespace, or those with the labels.
func namespacePeer(namespace string, pods map[string]string) networkingv1.NetworkPolicyPeer {
	peer := networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{nameLabel: namespace}},
	}
	if len(pods) > 0 {
		peer.PodSelector = &metav1.LabelSelector{MatchLabels: pods}
	}
	return peer
}

// everyPod is each pod of each namespace.
func everyPod(pods map[string]string) networkingv1.NetworkPolicyPeer {
	peer := networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}}
	if len(pods) > 0 {
		peer.PodSelector = &metav1.LabelSelector{MatchLabels: pods}
	}
	return peer
}

// cidrPeer is a declared address range. The metadata addresses are left out of an egress, and so
// are the pods and services for a CNI that matches them by address: a range is meant for what is
// outside, pods are named by their namespace.
func (c *cluster) cidrPeer(peer *posture.Peer, egress bool) (networkingv1.NetworkPolicyPeer, error) {
	var none networkingv1.NetworkPolicyPeer
	r, err := netip.ParsePrefix(peer.CIDR)
	if err != nil {
		return none, fmt.Errorf("cidr: %w", err)
	}
	var except []netip.Prefix
	for _, s := range peer.Except {
		e, err := netip.ParsePrefix(s)
		if err != nil {
			return none, fmt.Errorf("except: %w", err)
		}
		if e == r || !contains(r, e) {
			return none, fmt.Errorf("except %s is not a part of cidr %s: the API server refuses such a policy", e, r)
		}
		except = append(except, e)
	}
	if !c.cilium {
		except = append(except, c.pods...)
	}
	if egress {
		if !c.cilium {
			except = append(except, c.services...)
		}
		for _, m := range c.metadata {
			if contains(m, r) {
				return none, fmt.Errorf("cidr %s lies in the cloud metadata addresses %s that network.blockMetadata closes: remove the peer", r, m)
			}
		}
		except = append(except, c.metadata...)
	}
	return ipBlocks([]netip.Prefix{r}, except)[0], nil
}
