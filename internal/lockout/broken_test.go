package lockout

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// tree is the objects of a repository, on which a test breaks something.
type tree struct {
	t       *testing.T
	p       *posture.Posture
	objects []Object
}

func newTree(t *testing.T, p *posture.Posture) *tree {
	tr := &tree{t: t, p: p}
	for _, a := range render(t, p) {
		if a.Kind == generators.Procedure {
			continue
		}
		for _, o := range a.Objects {
			tr.objects = append(tr.objects, Object{File: a.Path, Value: o.Value})
		}
	}
	return tr
}

// names gives kind, namespace and name of an object.
func names(value any) (kind, namespace, name string) {
	switch v := value.(type) {
	case map[string]any:
		kind, _ = v["kind"].(string)
		m, _ := v["metadata"].(map[string]any)
		namespace, _ = m["namespace"].(string)
		name, _ = m["name"].(string)
	case typedObject:
		return v.GetObjectKind().GroupVersionKind().Kind, v.GetNamespace(), v.GetName()
	}
	return kind, namespace, name
}

// find returns the index of the network policy of that name, plain or Cilium's.
func (tr *tree) find(namespace, name string) int {
	tr.t.Helper()
	for i := range tr.objects {
		if kind, ns, n := names(tr.objects[i].Value); strings.HasSuffix(kind, "NetworkPolicy") && ns == namespace && n == name {
			return i
		}
	}
	tr.t.Fatalf("there is no policy %s/%s", namespace, name)
	return 0
}

func (tr *tree) remove(namespace, name string) {
	tr.t.Helper()
	i := tr.find(namespace, name)
	tr.objects = slices.Delete(tr.objects, i, i+1)
}

// plain returns a copy of a NetworkPolicy that stands in for the original; what the generator shares
// stays as it is.
func (tr *tree) plain(namespace, name string) *networkingv1.NetworkPolicy {
	tr.t.Helper()
	i := tr.find(namespace, name)
	np, ok := tr.objects[i].Value.(*networkingv1.NetworkPolicy)
	if !ok {
		tr.t.Fatalf("%s/%s is not a NetworkPolicy", namespace, name)
	}
	np = np.DeepCopy()
	tr.objects[i].Value = np
	return np
}

// cilium returns the spec of a Cilium policy, as a copy.
func (tr *tree) cilium(namespace, name string) map[string]any {
	tr.t.Helper()
	i := tr.find(namespace, name)
	m, ok := tr.objects[i].Value.(map[string]any)
	if !ok {
		tr.t.Fatalf("%s/%s is not a Cilium policy", namespace, name)
	}
	m = untyped(m).(map[string]any)
	tr.objects[i].Value = m
	return m["spec"].(map[string]any)
}

func rule0(spec map[string]any, direction string) map[string]any {
	return spec[direction].([]any)[0].(map[string]any)
}

func (tr *tree) add(file string, value any) {
	tr.objects = append(tr.objects, Object{File: file, Value: value})
}

// addYAML adds an object from its JSON.
func (tr *tree) addJSON(file, text string) {
	tr.t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		tr.t.Fatal(err)
	}
	tr.add(file, m)
}

func (tr *tree) namespace(name string) *corev1.Namespace {
	tr.t.Helper()
	for i := range tr.objects {
		if ns, ok := tr.objects[i].Value.(*corev1.Namespace); ok && ns.Name == name {
			ns = ns.DeepCopy()
			tr.objects[i].Value = ns
			return ns
		}
	}
	tr.t.Fatalf("there is no Namespace %s", name)
	return nil
}

// kustomization returns the spec of a Flux Kustomization, as a copy.
func (tr *tree) kustomization(name string) map[string]any {
	tr.t.Helper()
	for i := range tr.objects {
		if kind, _, n := names(tr.objects[i].Value); kind == "Kustomization" && n == name {
			m := untyped(tr.objects[i].Value).(map[string]any)
			tr.objects[i].Value = m
			return m["spec"].(map[string]any)
		}
	}
	tr.t.Fatalf("there is no Kustomization %s", name)
	return nil
}

const full = example + `
gitops: url: "ssh://git@git.internal:2222/prod.git"
namespaces: "team-c": egress: partner: {
	peers: [{fqdn: "api.partner.org"}]
	ports: [{port: 443, protocol: "TCP"}]
}
`

// Each case breaks one thing and must see the finding that names it.
func TestBrokenWays(t *testing.T) {
	base := map[string]*posture.Posture{
		"cilium": generatortest.Posture(t, profile("restricted", "cilium")+full),
		"calico": generatortest.Posture(t, profile("restricted", "calico")+example+decided+`gitops: url: "ssh://git@git.internal:2222/prod.git"`),
	}
	any4 := func(except ...string) []networkingv1.NetworkPolicyPeer {
		return []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: except}}}
	}
	everyNamespace := []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}
	np := func(namespace, name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec,
		}
	}
	for _, c := range []struct {
		name string
		cni  string // empty: both
		do   func(*tree)
		// want must be in the message of a finding, object is its object.
		want, object string
		severity     diag.Severity
	}{
		// Cluster DNS.
		{name: "dns deleted", do: func(tr *tree) { tr.remove("team-a", "dns") },
			want: "cannot reach cluster DNS on UDP port 53: NetworkPolicy team-a/dns is missing", object: "NetworkPolicy team-a/dns"},
		{name: "dns port", do: func(tr *tree) {
			p := intstr.FromInt32(5353)
			tr.plain("team-a", "dns").Spec.Egress[0].Ports[0].Port = &p
		}, want: "cannot reach cluster DNS on UDP port 53: NetworkPolicy team-a/dns does not open it", object: "NetworkPolicy team-a/dns"},
		{name: "dns without TCP", do: func(tr *tree) {
			spec := &tr.plain("team-a", "dns").Spec
			spec.Egress[0].Ports = spec.Egress[0].Ports[:1]
		}, want: "cannot reach cluster DNS on TCP port 53", object: "NetworkPolicy team-a/dns"},
		{name: "dns in another namespace", do: func(tr *tree) {
			tr.plain("team-a", "dns").Spec.Egress[0].To[0].NamespaceSelector.MatchLabels = map[string]string{nameLabel: "dns"}
		}, want: "cannot reach cluster DNS", object: "NetworkPolicy team-a/dns"},
		{name: "dns with a label that CoreDNS has not", do: func(tr *tree) {
			tr.plain("team-a", "dns").Spec.Egress[0].To[0].PodSelector.MatchLabels = map[string]string{"k8s-app": "coredns"}
		}, want: "cannot reach cluster DNS", object: "NetworkPolicy team-a/dns"},
		{name: "dns for some pods only", do: func(tr *tree) {
			tr.plain("team-a", "dns").Spec.PodSelector.MatchLabels = map[string]string{"app": "api"}
		}, want: "a pod of team-a cannot reach cluster DNS", object: "NetworkPolicy team-a/dns"},
		{name: "a label of the namespace", do: func(tr *tree) {
			tr.plain("team-a", "dns").Spec.Egress[0].To[0].NamespaceSelector.MatchLabels = map[string]string{"k8ssec.dev/kind": "system"}
			delete(tr.namespace("kube-system").Labels, "k8ssec.dev/kind")
		}, want: "cannot reach cluster DNS", object: "NetworkPolicy team-a/dns"},
		{name: "dns-serve deleted", do: func(tr *tree) { tr.remove("kube-system", "dns-serve") },
			want: "cannot reach cluster DNS on UDP port 53: ", object: "kube-system/dns-serve"},
		{name: "dns-serve closed to tenants", cni: "calico", do: func(tr *tree) {
			tr.plain("kube-system", "dns-serve").Spec.Ingress[0].From = []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "k8ssec.dev/kind", Operator: "NotIn", Values: []string{"tenant"}}},
			}}}
		}, want: "a pod of team-a and", object: "NetworkPolicy kube-system/dns-serve"},
		{name: "dns-serve closed to nodes", cni: "calico", do: func(tr *tree) {
			tr.plain("kube-system", "dns-serve").Spec.Ingress[0].From = everyNamespace
		}, want: "a process of a node cannot reach cluster DNS", object: "kube-system/dns-serve"},
		{name: "dns-serve closed to nodes", cni: "cilium", do: func(tr *tree) {
			r := rule0(tr.cilium("kube-system", "dns-serve"), "ingress")
			delete(r, "fromEntities")
			r["fromEndpoints"] = []any{map[string]any{"matchExpressions": []any{map[string]any{"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"}}}}
		}, want: "a process of a node cannot reach cluster DNS", object: "kube-system/dns-serve"},
		{name: "CoreDNS without API server", do: func(tr *tree) { tr.remove("kube-system", "api-server") },
			want: "cluster DNS and a pod of kube-system cannot reach the API server", object: "kube-system/api-server"},
		{name: "CoreDNS without resolvers", do: func(tr *tree) { tr.remove("kube-system", "dns-upstream") },
			want: "cluster DNS cannot reach", object: "NetworkPolicy kube-system/dns-upstream"},
		{name: "a resolver with another address", cni: "calico", do: func(tr *tree) {
			tr.plain("kube-system", "dns-upstream").Spec.Egress[0].To[1].IPBlock.CIDR = "192.168.1.2/32"
		}, want: "cluster DNS cannot reach resolver 192.168.1.1 on UDP port 53", object: "NetworkPolicy kube-system/dns-upstream"},

		// The API server.
		{name: "api-server deleted", do: func(tr *tree) { tr.remove("team-a", "api-server") },
			want: "a pod of team-a cannot reach the API server", object: "team-a/api-server"},
		{name: "the service's address instead of the endpoints'", cni: "calico", do: func(tr *tree) {
			spec := &tr.plain("team-a", "api-server").Spec
			for i := range spec.Egress {
				spec.Egress[i].To[0].IPBlock.CIDR = "10.96.0.1/32"
			}
		}, want: "cannot reach the API server at 192.168.10.2 on TCP port 6443", object: "NetworkPolicy team-a/api-server"},
		{name: "one endpoint of two", cni: "calico", do: func(tr *tree) {
			spec := &tr.plain("flux-system", "api-server").Spec
			spec.Egress = spec.Egress[:1]
		}, want: "kustomize-controller", object: "NetworkPolicy flux-system/api-server"},
		{name: "ipBlock to the API server under Cilium", cni: "cilium", do: func(tr *tree) {
			tr.remove("flux-system", "api-server")
			tr.add("manifests/network/flux-system.yaml", np("flux-system", "api-server", networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{"Egress"}, Egress: []networkingv1.NetworkPolicyEgressRule{{To: any4()}},
			}))
		}, want: "cannot reach the API server on TCP port 6443: NetworkPolicy flux-system/api-server does not open it", object: "NetworkPolicy flux-system/api-server"},
		{name: "the wrong entity", cni: "cilium", do: func(tr *tree) {
			rule0(tr.cilium("flux-system", "api-server"), "egress")["toEntities"] = []any{"host"}
		}, want: "cannot reach the API server", object: "CiliumNetworkPolicy flux-system/api-server"},

		// Webhooks.
		{name: "webhooks deleted", do: func(tr *tree) { tr.remove("team-a", "webhooks") },
			want: "the API server cannot reach a pod of team-a", object: "team-a/webhooks"},
		{name: "webhooks from kube-apiserver alone", cni: "cilium", do: func(tr *tree) {
			rule0(tr.cilium("team-a", "webhooks"), "ingress")["fromEntities"] = []any{"kube-apiserver"}
		}, want: "the API server cannot reach a pod of team-a", object: "CiliumNetworkPolicy team-a/webhooks"},
		{name: "webhooks from the nodes' own addresses alone", cni: "calico", do: func(tr *tree) {
			spec := &tr.plain("team-a", "webhooks").Spec
			spec.Ingress[0].From = spec.Ingress[0].From[:1]
		}, want: "the API server cannot reach a pod of team-a", object: "NetworkPolicy team-a/webhooks"},
		{name: "another webhook port", cni: "calico", do: func(tr *tree) {
			p := intstr.FromInt32(8443)
			tr.plain("team-a", "webhooks").Spec.Ingress[0].Ports[0].Port = &p
		}, want: "on TCP port 9443", object: "NetworkPolicy team-a/webhooks"},

		// Metrics.
		{name: "metrics deleted", do: func(tr *tree) { tr.remove("team-a", "metrics") },
			want: "a pod of monitoring cannot reach a pod of team-a", object: "NetworkPolicy team-a/metrics"},
		{name: "scrape deleted", do: func(tr *tree) { tr.remove("monitoring", "scrape") },
			want: "a pod of monitoring cannot reach", object: "NetworkPolicy monitoring/scrape"},
		{name: "metrics-server", do: func(tr *tree) { tr.remove("kube-system", "metrics-server") },
			want: "the API server cannot reach metrics-server on TCP port 10250", object: "kube-system/metrics-server", severity: diag.Warning},
		{name: "metrics-server to kubelets", do: func(tr *tree) { tr.remove("kube-system", "metrics-server-kubelets") },
			want: "metrics-server cannot reach a node on TCP port 10250", severity: diag.Warning},

		// GitOps.
		{name: "controllers apart", do: func(tr *tree) { tr.remove("flux-system", "same-namespace") },
			want: "kustomize-controller and helm-controller cannot reach source-controller on TCP port 9090", object: "NetworkPolicy flux-system/same-namespace"},
		{name: "no way to the Git server", do: func(tr *tree) { tr.remove("flux-system", "git-ports") },
			want: "source-controller cannot reach the Git server git.internal on TCP port 2222", object: "NetworkPolicy flux-system/egress-source"},
		{name: "the Git server's port", do: func(tr *tree) {
			p := intstr.FromInt32(8443)
			for _, r := range tr.plain("flux-system", "git-ports").Spec.Egress {
				for i := range r.Ports {
					r.Ports[i].Port = &p
				}
			}
		}, want: "the Git server git.internal on TCP port 7999", object: "NetworkPolicy flux-system/egress-source"},

		// Denies.
		{name: "a clusterwide deny with default deny", cni: "cilium", do: func(tr *tree) {
			delete(tr.cilium("", "block-metadata"), "enableDefaultDeny")
		}, want: "a pod of a namespace that is not in cluster.cue cannot reach cluster DNS", object: "CiliumClusterwideNetworkPolicy block-metadata"},
		{name: "a clusterwide deny for cluster DNS", cni: "cilium", do: func(tr *tree) {
			tr.cilium("", "block-metadata")["endpointSelector"] = map[string]any{}
		}, want: "cluster DNS cannot reach a resolver at 169.254.169.254", object: "CiliumClusterwideNetworkPolicy block-metadata"},
		{name: "a deny of everything", cni: "cilium", do: func(tr *tree) {
			rule0(tr.cilium("", "block-metadata"), "egressDeny")["toCIDR"] = []any{"0.0.0.0/0"}
		}, want: "source-controller cannot reach the Git server", object: "CiliumClusterwideNetworkPolicy block-metadata"},
		{name: "a deny of the kubelet", cni: "cilium", do: func(tr *tree) {
			tr.addJSON("manifests/network/team-a.yaml", `{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "no-host", "namespace": "team-a"},
				"spec": {"endpointSelector": {}, "ingressDeny": [{"fromEntities": ["host"]}]}}`)
		}, want: "the kubelet cannot reach a pod of team-a", object: "CiliumNetworkPolicy team-a/no-host"},

		// Policies that nothing reads.
		{name: "an unknown field", cni: "cilium", do: func(tr *tree) {
			rule0(tr.cilium("team-a", "api-server"), "egress")["toEntites"] = []any{"kube-apiserver"}
		}, want: `CiliumNetworkPolicy team-a/api-server has no effect: a rule has a field "toEntites"`, object: "CiliumNetworkPolicy team-a/api-server"},
		{name: "two kinds of peers", cni: "cilium", do: func(tr *tree) {
			rule0(tr.cilium("team-a", "api-server"), "egress")["toCIDR"] = []any{"10.0.0.0/8"}
		}, want: "more than one kind of peer", object: "CiliumNetworkPolicy team-a/api-server"},
		{name: "no rules", cni: "cilium", do: func(tr *tree) { delete(tr.cilium("team-a", "api-server"), "egress") },
			want: "has no effect: it has no rules", object: "CiliumNetworkPolicy team-a/api-server"},
		{name: "a Cilium policy under Calico", cni: "calico", do: func(tr *tree) {
			tr.addJSON("manifests/network/team-a.yaml", `{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "x", "namespace": "team-a"},
				"spec": {"endpointSelector": {}, "ingress": [{}]}}`)
		}, want: `nothing reads it: cluster.cni is "calico"`, object: "CiliumNetworkPolicy team-a/x"},
		{name: "an exception outside of its range", do: func(tr *tree) {
			tr.add("manifests/network/team-a.yaml", np("team-a", "x", networkingv1.NetworkPolicySpec{
				Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"192.168.0.0/16"}}}}}},
			}))
		}, want: "except has 192.168.0.0/16, which does not lie inside 10.0.0.0/8", object: "NetworkPolicy team-a/x"},

		// Tenants apart.
		{name: "an undeclared tenant", do: func(tr *tree) {
			tr.add("manifests/network/team-a.yaml", np("team-a", "friends", networkingv1.NetworkPolicySpec{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{nameLabel: "team-c"}}}}}},
			}))
		}, want: "NetworkPolicy team-a/friends opens pods of team-c to a pod of team-a on any port", object: "NetworkPolicy team-a/friends"},
		{name: "a tenant by its owner", do: func(tr *tree) {
			tr.add("manifests/network/team-a.yaml", np("team-a", "friends", networkingv1.NetworkPolicySpec{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"k8ssec.dev/owner": "team-c"}}}}}},
			}))
		}, want: "opens pods of team-c to a pod of team-a", object: "NetworkPolicy team-a/friends"},
		{name: "every tenant in", do: func(tr *tree) {
			tr.plain("team-a", "same-namespace").Spec.Ingress[0].From = everyNamespace
		}, want: "opens pods of any tenant to a pod of team-a on any port", object: "NetworkPolicy team-a/same-namespace"},
		{name: "out to every tenant", do: func(tr *tree) {
			tr.plain("team-a", "same-namespace").Spec.Egress[0].To = everyNamespace
		}, want: "opens a pod of team-a to pods of any tenant on any port", object: "NetworkPolicy team-a/same-namespace"},
		{name: "the pods' range", cni: "calico", do: func(tr *tree) {
			tr.add("manifests/network/team-a.yaml", np("team-a", "net", networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{"Egress"},
				Egress:      []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.244.7.0/24"}}}}},
			}))
		}, want: "opens a pod of team-a to pods of any tenant", object: "NetworkPolicy team-a/net"},
		{name: "more ports than declared", do: func(tr *tree) {
			tr.plain("team-a", "ingress-from-team-b").Spec.Ingress[0].Ports = nil
		}, want: "opens pods of team-b to a pod of team-a with app=api on any port", object: "NetworkPolicy team-a/ingress-from-team-b"},
		{name: "Cilium endpoints of another tenant", cni: "cilium", do: func(tr *tree) {
			tr.addJSON("manifests/network/team-a.yaml", `{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "x", "namespace": "team-a"},
				"spec": {"endpointSelector": {}, "ingress": [{"fromEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "team-c"}}]}]}}`)
		}, want: "opens pods of team-c to a pod of team-a", object: "CiliumNetworkPolicy team-a/x"},
		{name: "the entity cluster", cni: "cilium", do: func(tr *tree) {
			tr.addJSON("manifests/network/team-a.yaml", `{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "x", "namespace": "team-a"},
				"spec": {"endpointSelector": {}, "egress": [{"toEntities": ["cluster"]}]}}`)
		}, want: "opens a pod of team-a to pods of any tenant", object: "CiliumNetworkPolicy team-a/x"},
		{name: "no default deny", do: func(tr *tree) { tr.remove("team-b", "default-deny") },
			want: "has every connection open (ingress)", object: "NetworkPolicy team-b/default-deny"},

		// The metadata service.
		{name: "the world without exceptions", cni: "calico", do: func(tr *tree) {
			tr.plain("team-a", "egress-mixed").Spec.Egress[0].To = any4("10.244.0.0/16")
		}, want: "can reach the cloud metadata service at 169.254.169.254: NetworkPolicy team-a/egress-mixed opens it", object: "NetworkPolicy team-a/egress-mixed"},
		{name: "a port to everybody", cni: "calico", do: func(tr *tree) {
			tr.plain("team-a", "egress-mixed").Spec.Egress[0].To = nil
		}, want: "can reach the cloud metadata service", object: "NetworkPolicy team-a/egress-mixed"},
		{name: "neither deny nor exceptions", cni: "cilium", do: func(tr *tree) {
			tr.remove("", "block-metadata")
			tr.plain("team-a", "egress-mixed").Spec.Egress[0].To = any4()
		}, want: "can reach the cloud metadata service", object: "NetworkPolicy team-a/egress-mixed"},
		{name: "a name that resolves to the metadata service", cni: "cilium", do: func(tr *tree) { tr.remove("", "block-metadata") },
			want: "a pod of team-c can reach the cloud metadata service", object: "CiliumNetworkPolicy team-c/names-partner"},
		{name: "metadata from kube-system", cni: "cilium", do: func(tr *tree) {
			tr.plain("kube-system", "dns-upstream").Spec.Egress[0].Ports = nil
		}, want: "a pod of kube-system with k8s-app=kube-dns can reach the cloud metadata service", object: "NetworkPolicy kube-system/dns-upstream"},

		// Declared flows.
		{name: "a flow deleted", do: func(tr *tree) { tr.remove("team-a", "ingress-from-team-b") },
			want: "a pod of team-b with app=web cannot reach a pod of team-a with app=api on TCP port 8080", object: "NetworkPolicy team-a/ingress-from-team-b"},
		{name: "the other end deleted", do: func(tr *tree) { tr.remove("team-b", "egress-to-team-a") },
			want: "namespaces.team-a.ingress.from-team-b has one end only: namespace team-b declares no egress for it", severity: diag.Warning},
		{name: "a name without lookups", cni: "cilium", do: func(tr *tree) {
			spec := tr.cilium("team-c", "names-partner")
			spec["egress"] = spec["egress"].([]any)[1:]
		}, want: "never reaches api.partner.org", object: "CiliumNetworkPolicy team-c/names-partner"},
		{name: "another name", cni: "cilium", do: func(tr *tree) {
			spec := tr.cilium("team-c", "names-partner")
			spec["egress"].([]any)[1].(map[string]any)["toFQDNs"] = []any{map[string]any{"matchName": "api.partner.com"}}
		}, want: "cannot reach api.partner.org on TCP port 443", object: "CiliumNetworkPolicy team-c/names-partner"},
		{name: "a shorter range of ports", do: func(tr *tree) {
			i := tr.find("team-a", "ingress-agents")
			m := untyped(tr.objects[i].Value).(map[string]any)
			data, err := json.Marshal(m)
			if err != nil {
				tr.t.Fatal(err)
			}
			tr.objects = slices.Delete(tr.objects, i, i+1)
			tr.addJSON("manifests/network/team-a.yaml", strings.Replace(string(data), `"endPort":9010`, `"endPort":9009`, 1))
		}, want: "a node cannot reach a pod of team-a on UDP ports 9000 to 9010", object: "team-a/ingress-agents"},
		{name: "pods of the namespace apart", do: func(tr *tree) { tr.remove("team-a", "same-namespace") },
			want: "cannot reach a pod of team-a on any port", object: "NetworkPolicy team-a/same-namespace"},

		// Admission.
		{name: "kube-system restricted", do: func(tr *tree) { tr.namespace("kube-system").Labels[enforceLabel] = "restricted" },
			want: "namespace kube-system refuses its own pods: its label pod-security.kubernetes.io/enforce is restricted, and they need privileged", object: "Namespace kube-system"},
		{name: "kube-system without a level", do: func(tr *tree) { delete(tr.namespace("kube-system").Labels, enforceLabel) },
			want: "it has no label pod-security.kubernetes.io/enforce, and the API server's default is", object: "Namespace kube-system"},
		{name: "a policy without a scope", do: func(tr *tree) {
			for i := range tr.objects {
				if b, ok := tr.objects[i].Value.(*admissionv1.ValidatingAdmissionPolicyBinding); ok && b.Name == "k8ssec-host-path" {
					b = b.DeepCopy()
					b.Spec.MatchResources = nil
					b.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny}
					tr.objects[i].Value = b
				}
				if v, ok := tr.objects[i].Value.(*admissionv1.ValidatingAdmissionPolicy); ok && v.Name == "k8ssec-host-path" {
					v = v.DeepCopy()
					v.Spec.MatchConstraints.NamespaceSelector = nil
					tr.objects[i].Value = v
				}
			}
		}, want: "refuse pods in namespace kube-system", object: "ValidatingAdmissionPolicyBinding k8ssec-host-path"},
		{name: "a system namespace without its kind", do: func(tr *tree) {
			tr.add("manifests/workloads/x.yaml", &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{"CREATE"}, Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}},
				}}}},
			}})
			tr.add("manifests/workloads/x.yaml", &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: "x", ValidationActions: []admissionv1.ValidationAction{"Deny"},
				MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "k8ssec.dev/kind", Operator: "NotIn", Values: []string{"system", "addon"}},
				}}},
			}})
			delete(tr.namespace("kube-system").Labels, "k8ssec.dev/kind")
		}, want: "lets ValidatingAdmissionPolicy x refuse pods in namespace kube-system", object: "ValidatingAdmissionPolicyBinding x"},
		{name: "a binding without its policy", do: func(tr *tree) {
			tr.objects = slices.DeleteFunc(tr.objects, func(o Object) bool {
				v, ok := o.Value.(*admissionv1.ValidatingAdmissionPolicy)
				return ok && v.Name == "k8ssec-host-path"
			})
		}, want: "has no effect: there is no ValidatingAdmissionPolicy k8ssec-host-path", object: "ValidatingAdmissionPolicyBinding k8ssec-host-path"},
		{name: "a webhook that fails closed", do: func(tr *tree) {
			tr.addJSON("manifests/images/x.yaml", `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "x"},
				"webhooks": [{"name": "x.example.org", "clientConfig": {"service": {"namespace": "team-c", "name": "x"}},
				"rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}`)
		}, want: "refuses every pod in namespace kube-system while it does not answer", object: "ValidatingWebhookConfiguration x"},
		{name: "a webhook without a port", do: func(tr *tree) {
			tr.addJSON("manifests/images/x.yaml", `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "x"},
				"webhooks": [{"name": "x.example.org", "failurePolicy": "Ignore", "clientConfig": {"service": {"namespace": "team-c", "name": "x"}}}]}`)
		}, want: "calls service team-c/x, and namespace team-c opens no port to the API server", object: "MutatingWebhookConfiguration x"},
		{name: "a quota in kube-system", do: func(tr *tree) {
			tr.add("manifests/resources/kube-system.yaml", &corev1.ResourceQuota{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"}, ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "q"},
				Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"limits.memory": resource.MustParse("4Gi")}},
			})
		}, want: "ResourceQuota kube-system/q bounds limits.memory", object: "ResourceQuota kube-system/q"},
		{name: "limits in kube-system", do: func(tr *tree) {
			tr.add("manifests/resources/kube-system.yaml", &corev1.LimitRange{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "LimitRange"}, ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "l"},
				Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Default: corev1.ResourceList{"memory": resource.MustParse("64Mi")}}}},
			})
		}, want: "LimitRange kube-system/l gives limits", object: "LimitRange kube-system/l"},

		// The order of things.
		{name: "policies before namespaces", do: func(tr *tree) { delete(tr.kustomization("k8ssec-network"), "dependsOn") },
			want: "(in k8ssec-network) may be applied before Namespace"},
		{name: "a circle", do: func(tr *tree) {
			tr.kustomization("k8ssec-namespaces")["dependsOn"] = []any{map[string]any{"name": "k8ssec-network"}}
		}, want: "wait for each other in a circle"},
		{name: "an unknown name", do: func(tr *tree) {
			tr.kustomization("k8ssec-network")["dependsOn"] = []any{map[string]any{"name": "k8ssec-names"}}
		}, want: "depends on k8ssec-names, which does not exist"},
		{name: "an object before its CRD", do: func(tr *tree) {
			tr.addJSON("manifests/workloads/crd.yaml", `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.acme.org"},
				"spec": {"group": "acme.org", "names": {"kind": "Thing"}}}`)
			tr.addJSON("manifests/namespaces/thing.yaml", `{"apiVersion": "acme.org/v1", "kind": "Thing", "metadata": {"name": "x"}}`)
		}, want: "Thing x (in k8ssec-namespaces) may be applied before CustomResourceDefinition things.acme.org"},
	} {
		for _, cni := range []string{"cilium", "calico"} {
			if c.cni != "" && c.cni != cni {
				continue
			}
			t.Run(cni+"/"+c.name, func(t *testing.T) {
				tr := newTree(t, base[cni])
				c.do(tr)
				severity := c.severity
				if severity == "" {
					severity = diag.Error
				}
				findings := CheckObjects(base[cni], tr.objects)
				for _, f := range findings {
					if strings.Contains(f.Message, c.want) && strings.Contains(f.Object, c.object) && f.Severity == severity {
						if f.File == "" || f.Fix == "" || f.Rule == "" {
							t.Errorf("the finding lacks a file, a rule or a fix: %+v", f)
						}
						return
					}
				}
				t.Errorf("no %s about %q with %q; found:", severity, c.object, c.want)
				for _, f := range findings {
					t.Errorf("  %s %s: %s", f.Severity, f.Object, f.Message)
				}
			})
		}
	}
}

// TestWarnings checks what is odd about a posture and does not keep anybody out.
func TestWarnings(t *testing.T) {
	for _, c := range []struct{ name, cni, source, want string }{
		{"one end", "calico", `egress: x: {peers: [{namespace: "team-b"}], ports: [{port: 80, protocol: "TCP"}]}`,
			"namespaces.team-a.egress.x has one end only: namespace team-b declares no ingress for it, so no connection is made on TCP port 80"},
		{"pods by range", "cilium", `egress: x: {peers: [{cidr: "10.244.7.0/24"}], ports: [{port: 80, protocol: "TCP"}]}`,
			"namespaces.team-a.egress.x opens nothing: 10.244.7.0/24 lies in the pods' or nodes' networks"},
		{"a label without identity", "cilium", `ingress: x: {pods: "statefulset.kubernetes.io/pod-name": "db-0", peers: [{entity: "world"}], ports: [{port: 80, protocol: "TCP"}]}`,
			"selects pods by the label statefulset.kubernetes.io/pod-name, which Cilium leaves out"},
	} {
		p := generatortest.Posture(t, profile("baseline", c.cni)+`namespaces: "team-a": {owner: "team-a", `+c.source+`}`+"\n"+`namespaces: "team-b": owner: "team-b"`)
		found := Check(p, render(t, p))
		if len(found) != 1 || found[0].Severity != diag.Warning || !strings.Contains(found[0].Message, c.want) {
			t.Errorf("%s: %v, want one warning with %q", c.name, found, c.want)
		}
	}
}

// TestGitServers checks the way to each kind of Git server.
func TestGitServers(t *testing.T) {
	for _, c := range []struct{ name, cni, source, want string }{
		{"address of the world", "calico", `gitops: url: "https://198.51.100.4/prod.git"`, ""},
		{"address among the nodes", "calico", `gitops: url: "https://192.168.10.77/prod.git"` + "\n" + `cluster: nodeCIDRs: ["192.168.10.0/24"]`,
			"source-controller cannot reach the Git server 192.168.10.77 on TCP port 443"},
		{"inside the cluster", "cilium", `gitops: url: "https://gitea.git.svc.cluster.local/prod.git"` + "\n" + `namespaces: git: owner: "platform"`,
			"source-controller cannot reach the Git server gitea.git.svc.cluster.local on any port"},
		{"inside, declared", "cilium", `gitops: url: "https://gitea.git.svc/prod.git"
namespaces: git: {owner: "platform", ingress: git: {peers: [{namespace: "flux-system"}], ports: [{port: 3000, protocol: "TCP"}]}}
namespaces: "flux-system": egress: git: {peers: [{namespace: "git"}], ports: [{port: 3000, protocol: "TCP"}]}`, ""},
		{"inside, one end", "calico", `gitops: url: "https://gitea.git.svc/prod.git"
namespaces: git: owner: "platform"
namespaces: "flux-system": egress: git: {peers: [{namespace: "git"}], ports: [{port: 3000, protocol: "TCP"}]}`,
			"source-controller cannot reach the Git server gitea.git.svc on any port: NetworkPolicy git/default-deny denies all"},
	} {
		p := generatortest.Posture(t, profile("baseline", c.cni)+c.source)
		found := slices.DeleteFunc(Check(p, render(t, p)), func(f Finding) bool { return f.Severity != diag.Error })
		if c.want == "" && len(found) > 0 {
			t.Errorf("%s: %v", c.name, found)
		}
		if c.want != "" && !slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.Message, c.want) }) {
			t.Errorf("%s: %v, want %q", c.name, found, c.want)
		}
	}
}

// TestEachPolicyMatters deletes each emitted policy once: a policy whose absence nobody notices is
// either not needed or not checked.
func TestEachPolicyMatters(t *testing.T) {
	// A namespace in which another policy selects each pod both ways is denied by that one, and the
	// ranges of plain policies leave the metadata addresses out by themselves.
	// What lets an add-on see the nodes is missed by that add-on: it is blind then, and nobody is locked
	// out.
	redundant := []string{"default-deny", "block-metadata", "egress-addon-nodes"}
	for _, cni := range []string{"cilium", "calico", "other"} {
		p := generatortest.Posture(t, profile("baseline", cni)+example+`gitops: url: "ssh://git@git.internal:2222/prod.git"`)
		tr := newTree(t, p)
		for i, o := range tr.objects {
			kind, namespace, name := names(o.Value)
			if !strings.HasSuffix(kind, "NetworkPolicy") || slices.Contains(redundant, name) {
				continue
			}
			if len(CheckObjects(p, slices.Concat(tr.objects[:i], tr.objects[i+1:]))) == 0 {
				t.Errorf("%s: without %s %s/%s nothing is found", cni, kind, namespace, name)
			}
		}
	}
}

// TestUntyped checks that a tree that was read from YAML is judged as the typed one.
func TestUntyped(t *testing.T) {
	for _, cni := range []string{"cilium", "calico"} {
		p := generatortest.Posture(t, profile("nsa", cni)+example)
		tr := newTree(t, p)
		for i := range tr.objects {
			tr.objects[i].Value = untyped(tr.objects[i].Value)
		}
		for _, f := range CheckObjects(p, tr.objects) {
			t.Errorf("%s: %s", f.File, f.Message)
		}
		i := tr.find("team-a", "dns")
		m := maps.Clone(tr.objects[i].Value.(map[string]any))
		m["spec"] = map[string]any{"podSelecter": map[string]any{}}
		tr.objects[i].Value = m
		found := CheckObjects(p, tr.objects)
		if !slices.ContainsFunc(found, func(f Finding) bool {
			return strings.Contains(f.Message, `NetworkPolicy team-a/dns has no effect: spec has a field "podSelecter", which does not exist`)
		}) {
			t.Errorf("%s: a misspelt field is not found: %v", cni, found)
		}
	}
}

// TestFindingsAreStable checks that findings do not depend on the order of maps.
func TestFindingsAreStable(t *testing.T) {
	p := generatortest.Posture(t, profile("baseline", "calico")+example)
	check := func() []Finding {
		tr := newTree(t, p)
		tr.remove("kube-system", "dns-serve")
		tr.remove("team-a", "dns")
		return CheckObjects(p, tr.objects)
	}
	first := check()
	for range 10 {
		if again := check(); !slices.Equal(first, again) {
			t.Fatalf("findings differ:\n%v\n%v", first, again)
		}
	}
	// All namespaces that cannot reach cluster DNS are one finding for each protocol.
	n := 0
	for _, f := range first {
		if strings.Contains(f.Object, "dns-serve") {
			n++
			if !strings.Contains(f.Message, "more cannot reach cluster DNS") {
				t.Errorf("not collected: %s", f.Message)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d findings about dns-serve, want 2", n)
	}
}
