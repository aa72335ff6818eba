package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, New()) }

func generate(t testing.TB, p *posture.Posture) *generators.Output {
	t.Helper()
	out, err := New().Generate(p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// everything uses each kind of peer that all CNIs have, in both directions.
const everything = `
profiles: ["baseline"]
cluster: {
	podCIDRs: ["10.244.0.0/16", "fd00:10:244::/56"]
	serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"]
}
alerts: install: "install"
network: monitoringNamespace: "monitoring"
namespaces: "team-a": {
	owner: "team-a"
	apiAccess: true
	webhooks: [9443]
	metrics: [8080]
	ingress: all: {
		peers: [{namespace: "team-b"}, {cidr: "10.0.0.0/8"}, {entity: "nodes"}, {entity: "cluster"}, {entity: "world"}]
		ports: [{port: 1, end: 1024, protocol: "SCTP"}]
	}
	egress: all: {
		peers: [{namespace: "team-b"}, {cidr: "0.0.0.0/1"}, {cidr: "fd00::/8"}, {entity: "apiserver"}, {entity: "nodes"}, {entity: "cluster"}, {entity: "world"}]
		ports: [{port: 1, end: 1024, protocol: "SCTP"}]
	}
}
namespaces: "team-b": owner: "team-b"
`

const allAddresses = `
cluster: nodeCIDRs: ["192.168.10.0/24", "fd00:192:168::/64"]
cluster: apiEndpoints: [{address: "192.168.10.2", port: 6443}]
network: firewall: {enabled: true, apiFrom: ["192.168.0.0/16"]}
`

// postures are everything under each CNI, with and without the addresses.
func postures(t *testing.T) map[string]*posture.Posture {
	all := map[string]*posture.Posture{}
	for name, source := range map[string]string{"undecided": everything, "decided": everything + allAddresses} {
		for _, cni := range []string{"cilium", "calico", "other"} {
			p := *generatortest.Posture(t, source)
			p.Cluster.CNI = cni
			all[cni+" "+name] = &p
		}
	}
	return all
}

// TestNoPolicyOpensMoreThanItSays holds the plain policies against what the API server refuses and
// against the mistakes that open everything: an empty list of peers, and a direction without rules.
func TestNoPolicyOpensMoreThanItSays(t *testing.T) {
	// These accept any source while the nodes' addresses are undecided, and any resolver.
	anybody := []string{"webhooks", "metrics-server", "dns-serve", "dns-upstream"}
	for name, p := range postures(t) {
		decided := len(p.Cluster.NodeCIDRs) > 0
		for _, a := range generate(t, p).Artifacts {
			for _, o := range a.Objects {
				np, ok := o.Value.(*networkingv1.NetworkPolicy)
				if !ok {
					continue
				}
				open := slices.Contains(anybody, np.Name) && (!decided || np.Name == "dns-upstream")
				var peers []networkingv1.NetworkPolicyPeer
				for _, r := range np.Spec.Ingress {
					peers = append(peers, r.From...)
					if len(r.From) == 0 && !open {
						t.Errorf("%s: %s %s lets everybody in", name, a.Path, np.Name)
					}
				}
				for _, r := range np.Spec.Egress {
					peers = append(peers, r.To...)
					if len(r.To) == 0 && !open {
						t.Errorf("%s: %s %s lets its pods out to everybody", name, a.Path, np.Name)
					}
				}
				for _, d := range []struct {
					direction networkingv1.PolicyType
					rules     int
				}{{networkingv1.PolicyTypeIngress, len(np.Spec.Ingress)}, {networkingv1.PolicyTypeEgress, len(np.Spec.Egress)}} {
					if has := slices.Contains(np.Spec.PolicyTypes, d.direction); has != (d.rules > 0) && np.Name != "default-deny" {
						t.Errorf("%s: %s %s has %d rules for %s and policyTypes %v", name, a.Path, np.Name, d.rules, d.direction, np.Spec.PolicyTypes)
					}
				}
				for _, peer := range peers {
					if peer.IPBlock == nil {
						continue
					}
					block := netip.MustParsePrefix(peer.IPBlock.CIDR)
					for _, s := range peer.IPBlock.Except {
						if e := netip.MustParsePrefix(s); e == block || !contains(block, e) {
							t.Errorf("%s: %s %s: except %s is not inside %s", name, a.Path, np.Name, e, block)
						}
					}
				}
			}
		}
	}
}

// TestClaimsExist looks each claim up in the emitted file.
func TestClaimsExist(t *testing.T) {
	for name, p := range postures(t) {
		out := generate(t, p)
		served := map[string]bool{}
		for i := range out.Artifacts {
			a := &out.Artifacts[i]
			data, err := manifest.Encode(a)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range a.Claims {
				served[c.Control] = true
				if !strings.Contains(string(data), c.Field) {
					t.Errorf("%s: %s claims %s by %q, which is not in it", name, a.Path, c.Control, c.Field)
				}
			}
			if len(a.Objects) == 0 {
				continue
			}
			docs, err := manifest.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			for j, o := range a.Objects {
				for _, c := range o.Claims {
					served[c.Control] = true
					if _, ok := manifest.Lookup(docs[j].Node, c.Field); !ok {
						t.Errorf("%s: %s object %d claims %s by %s, which is not in it", name, a.Path, j, c.Control, c.Field)
					}
				}
			}
		}
		want := []string{"net-1", "net-2", "cis-5.3.1", "cis-5.3.2", "nsa-N5", "nsa-N6", "nsa-N9"}
		if len(p.Cluster.NodeCIDRs) > 0 {
			want = append(want, "nsa-N1", "nsa-N2")
		}
		for _, id := range want {
			if !served[id] {
				t.Errorf("%s: nothing serves %s", name, id)
			}
		}
	}
}

func TestUndecided(t *testing.T) {
	for _, c := range []struct {
		name, source string
		want         []string
	}{
		{"nothing", "", []string{"network: firewall: {enabled: true", "namespaces: monitoring: owner: \"platform\", network: monitoringNamespace:"}},
		{"calico", `cluster: cni: "calico"`, []string{"cluster: apiEndpoints:", "cluster: nodeCIDRs:", "network: firewall: {enabled: true", "namespaces: monitoring: owner: \"platform\", network: monitoringNamespace:"}},
		{"firewall", `network: firewall: enabled: true`, []string{"cluster: nodeCIDRs:", "namespaces: monitoring: owner: \"platform\", network: monitoringNamespace:"}},
		{"all", "cluster: cni: \"other\"\nalerts: install: \"install\"\nnetwork: monitoringNamespace: \"monitoring\"\n" + allAddresses, nil},
	} {
		p := generatortest.Posture(t, "profiles: [\"baseline\"]\n"+c.source)
		got := generate(t, p).Undecided
		if len(got) != len(c.want) {
			t.Errorf("%s: %d decisions, want %d: %v", c.name, len(got), len(c.want), got)
			continue
		}
		for i, d := range got {
			if !strings.Contains(d.Line, c.want[i]) {
				t.Errorf("%s: decision %d is %q, want %q", c.name, i, d.Line, c.want[i])
			}
			// The line is one that the cluster file accepts as it stands.
			generatortest.Posture(t, "profiles: [\"baseline\"]\n"+c.source+"\n"+d.Line)
		}
	}
}

func TestRefusals(t *testing.T) {
	p := generatortest.Posture(t, "profiles: [\"baseline\"]\nnamespaces: \"team-a\": owner: \"team-a\"")
	for _, c := range []struct {
		name    string
		cni     string
		ingress bool
		flow    posture.Flow
		want    string
	}{
		{"metadata", "calico", false, posture.Flow{Peers: []posture.Peer{{CIDR: "169.254.169.254/32"}}}, "lies in the cloud metadata addresses"},
		{"metadata", "cilium", false, posture.Flow{Peers: []posture.Peer{{CIDR: "169.254.169.254/32"}}}, "lies in the cloud metadata addresses"},
		{"except outside", "calico", false, posture.Flow{Peers: []posture.Peer{{CIDR: "10.0.0.0/8", Except: []string{"fd00::/8"}}}}, "is not a part of cidr"},
		{"except all", "calico", true, posture.Flow{Peers: []posture.Peer{{CIDR: "10.0.0.0/8", Except: []string{"10.0.0.0/8"}}}}, "is not a part of cidr"},
		{"name without Cilium", "calico", false, posture.Flow{Peers: []posture.Peer{{FQDN: "a.b"}}}, `with cni "cilium" only`},
		{"name coming in", "cilium", true, posture.Flow{Peers: []posture.Peer{{FQDN: "a.b"}}}, "egress flow"},
		{"nobody", "cilium", true, posture.Flow{Peers: []posture.Peer{{}}}, "names nobody"},
		{"ports", "cilium", true, posture.Flow{Peers: []posture.Peer{{Entity: "world"}}, Ports: []posture.Port{{Port: 10, End: 9, Protocol: "TCP"}}}, "ends before it begins"},
	} {
		q := *p
		q.Cluster.CNI = c.cni
		ns := p.Namespaces["team-a"]
		flows := map[string]posture.Flow{"x": c.flow}
		if c.ingress {
			ns.Ingress = flows
		} else {
			ns.Egress = flows
		}
		q.Namespaces = map[string]posture.Namespace{"team-a": ns}
		_, err := New().Generate(&q)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "namespaces.team-a.") {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// TestWithoutDefaultDeny checks that no allow policy is left: the first one would deny all else.
func TestWithoutDefaultDeny(t *testing.T) {
	for name, p := range postures(t) {
		q := *p
		q.Network.DefaultDeny = false
		for _, a := range generate(t, &q).Artifacts {
			for _, o := range a.Objects {
				if np, ok := o.Value.(*networkingv1.NetworkPolicy); ok && np.Name != "block-metadata" {
					t.Errorf("%s: %s has %s", name, a.Path, np.Name)
				}
			}
		}
	}
}

// TestManyPorts checks that a list of ports is cut where Cilium's limit is.
func TestManyPorts(t *testing.T) {
	var ports []posture.Port
	for i := range 95 {
		ports = append(ports, tcp(1000+i))
	}
	list := withPorts(map[string]any{}, ports)["toPorts"].([]any)
	total := 0
	for _, l := range list {
		n := len(l.(map[string]any)["ports"].([]any))
		if n > maxCiliumPorts {
			t.Errorf("a list has %d ports", n)
		}
		total += n
	}
	if total != len(ports) {
		t.Errorf("%d ports are left of %d", total, len(ports))
	}
}

func BenchmarkGenerate(b *testing.B) {
	base := generatortest.Posture(b, everything+allAddresses)
	for _, cni := range []string{"cilium", "calico"} {
		for _, n := range []int{100, 1000, 10000} {
			p := *base
			p.Cluster.CNI = cni
			p.Namespaces = make(map[string]posture.Namespace, n)
			for i := range n {
				p.Namespaces[fmt.Sprintf("team-%d", i)] = base.Namespaces["team-a"]
			}
			b.Run(fmt.Sprintf("%s/%d", cni, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					generate(b, &p)
				}
			})
		}
	}
}

// TestQuarantine holds that a pod in quarantine is selected by the default deny and by nothing that
// opens something, whatever other labels it has: plain policies only add up.
func TestQuarantine(t *testing.T) {
	for _, cni := range []string{"calico", "other"} {
		p := generatortest.Posture(t, strings.ReplaceAll(quarantined, "CNI", cni))
		out, err := New().Generate(p)
		if err != nil {
			t.Fatal(err)
		}
		denied, opening := map[string]bool{}, 0
		for _, a := range out.Artifacts {
			for _, o := range a.Objects {
				np, ok := o.Value.(*networkingv1.NetworkPolicy)
				if !ok {
					continue
				}
				pod := labels.Set{generators.LabelQuarantine: "inc-123"}
				maps.Copy(pod, np.Spec.PodSelector.MatchLabels)
				selector, err := metav1.LabelSelectorAsSelector(&np.Spec.PodSelector)
				if err != nil {
					t.Fatal(err)
				}
				opens := len(np.Spec.Ingress)+len(np.Spec.Egress) > 0
				switch selected := selector.Matches(pod); {
				case opens && selected:
					t.Errorf("%s: %s/%s opens something to a pod in quarantine", cni, np.Namespace, np.Name)
				case opens:
					opening++
					delete(pod, generators.LabelQuarantine)
					if !selector.Matches(pod) {
						t.Errorf("%s: %s/%s opens nothing to any pod", cni, np.Namespace, np.Name)
					}
				case selected:
					denied[np.Namespace] = true
				}
			}
		}
		if opening < 15 {
			t.Errorf("%s: only %d policies open something", cni, opening)
		}
		for _, name := range p.NamespaceNames() {
			if !denied[name] {
				t.Errorf("%s: nothing denies a pod in quarantine in %s", cni, name)
			}
		}
	}
}

const quarantined = `
profiles: ["baseline"]
cluster: {cni: "CNI", nodeCIDRs: ["10.0.0.0/24"]}
network: monitoringNamespace: "monitoring"
alerts: install: "install"
namespaces: "team-a": {
	owner: "team-a"
	apiAccess: true
	webhooks: [9443]
	metrics: [8080]
	ingress: web: {pods: app: "web", peers: [{entity: "world"}], ports: [{port: 8443}]}
	egress: out: {pods: app: "web", peers: [{cidr: "10.9.0.0/24"}], ports: [{port: 5432}]}
}
`
