package schema

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/k8ssec/k8ssec/internal/manifest"
)

func decode(t testing.TB, text string) []manifest.Document {
	t.Helper()
	docs, err := manifest.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func text(problems []Problem) string {
	var lines []string
	for _, p := range problems {
		kind := ""
		if p.Warning {
			kind = "warning: "
		}
		lines = append(lines, fmt.Sprintf("%d:%d: %s%s: %s", p.Line, p.Column, kind, p.Path, p.Message))
	}
	return strings.Join(lines, "\n")
}

func TestGood(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := decode(t, string(good))
	if len(docs) < 36 {
		t.Fatalf("only %d documents", len(docs))
	}
	for _, minor := range minors {
		for _, d := range docs {
			if problems := Validate(minor, d.Node); len(problems) > 0 {
				t.Errorf("1.%d: %s %s:\n%s", minor, d.APIVersion, d.Kind, text(problems))
			}
			if problems := ValidatePatch(minor, d.Node); len(problems) > 0 {
				t.Errorf("1.%d: as a patch: %s %s:\n%s", minor, d.APIVersion, d.Kind, text(problems))
			}
		}
	}
}

const (
	pod     = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n"
	policy  = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec:\n"
	cilium  = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a}\nspec:\n"
	flux    = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a}\nspec:\n"
	kubeadm = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
	kubelet = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	quota   = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: a}\nspec:\n"
)

func TestBad(t *testing.T) {
	tests := []struct {
		name, in string
		minor    int
		want     string
	}{
		{"a list", "- a\n", 37, "1:1: : a list stands where an object must be: a map with apiVersion and kind"},
		{"a word", "hello\n", 37, `1:1: : "hello" stands where an object must be: a map with apiVersion and kind`},
		{"nothing said", "a: 1\n", 37, "1:1: : apiVersion and kind are missing: without them nobody knows what this is"},
		{"no kind", "apiVersion: v1\n", 37, "1:1: : kind is missing: without them nobody knows what this is"},
		{"a number for a kind", "apiVersion: v1\nkind: 7\n", 37, "2:7: kind: 7 is not a name"},

		{"too new", "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\n", 34, "2:7: kind: admissionregistration.k8s.io/v1 MutatingAdmissionPolicy exists from Kubernetes 1.36 on, not in 1.34"},
		{"too old", "apiVersion: storage.k8s.io/v1beta1\nkind: VolumeAttributesClass\n", 37, "2:7: kind: storage.k8s.io/v1beta1 VolumeAttributesClass exists up to Kubernetes 1.36, not in 1.37"},
		{"long gone", "apiVersion: extensions/v1beta1\nkind: Deployment\n", 37, "2:7: kind: extensions/v1beta1 Deployment does not exist in Kubernetes 1.37; Deployment is apps/v1"},
		{"wrong group", "apiVersion: v1\nkind: NetworkPolicy\n", 37, "2:7: kind: v1 NetworkPolicy does not exist in Kubernetes 1.37; NetworkPolicy is networking.k8s.io/v1"},
		{"misspelt kind", "apiVersion: apps/v1\nkind: Deploymnet\n", 37, "2:7: kind: apps/v1 Deploymnet does not exist in Kubernetes 1.37; did you mean Deployment?"},
		{"policies of 1.20", "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\n", 37, "2:7: kind: policy/v1beta1 PodSecurityPolicy does not exist in Kubernetes 1.37"},
		{"somebody's own", "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\n", 37, "2:7: warning: kind: no schema of monitoring.coreos.com/v1 ServiceMonitor is known here: it is not checked"},
		{"a minor too far", "apiVersion: v1\nkind: Pod\n", 38, "2:7: kind: Kubernetes 1.38 is not supported; supported are 1.34 to 1.37"},
		{"off by default", "apiVersion: admissionregistration.k8s.io/v1beta1\nkind: MutatingAdmissionPolicy\nmetadata: {name: a}\n", 35, "1:13: warning: apiVersion: admissionregistration.k8s.io/v1beta1 is off in Kubernetes 1.35 unless the API server gets --runtime-config=admissionregistration.k8s.io/v1beta1=true"},

		{"misspelt field", policy + "  podSelector: {}\n  policyType: [Ingress]\n", 37, `6:3: spec.policyType: unknown field "policyType"; did you mean policyTypes?`},
		{"swapped letters", policy + "  podSelector: {}\n  eggress: []\n", 37, `6:3: spec.eggress: unknown field "eggress"; did you mean egress?`},
		{"few fields", policy + "  podSelector: {}\n  rules: []\n", 37, `6:3: spec.rules: unknown field "rules"; known here: egress, ingress, podSelector, policyTypes`},
		{"nothing to set", "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- {resources: [secrets], providers: [{identity: {key: x}}]}\n", 37, `4:50: resources[0].providers[0].identity.key: unknown field "key"; nothing can be set here`},
		{"a field of another minor", kubelet + "tlsCurvePreferences: [4588]\n", 35, `3:1: tlsCurvePreferences: unknown field "tlsCurvePreferences"`},
		{"required", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template: {}\n", 37, "5:3: spec.selector: selector is required"},
		{"required, null", "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a}\nroleRef:\n", 37, "1:1: roleRef: roleRef is required"},

		{"string for a list", policy + "  podSelector: {}\n  policyTypes: Ingress\n", 37, `6:16: spec.policyTypes: "Ingress" stands where a list must be: write "- Ingress" on a line of its own`},
		{"map for a list", policy + "  podSelector: {}\n  egress: {to: []}\n", 37, "6:11: spec.egress: a map stands where a list must be"},
		{"list for a map", policy + "  podSelector: []\n", 37, "5:16: spec.podSelector: a list stands where a map must be"},
		{"quoted number", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {}, template: {}, replicas: \"2\"}\n", 37, `4:46: spec.replicas: "2" is a string because of its quotes and must be a whole number: write 2`},
		{"number for a string", pod + "  containers: [{name: a, env: [{name: A, value: 8080}]}]\n", 37, `5:49: spec.containers[0].env[0].value: 8080 is a number and must be a string: write "8080" with the quotes`},
		{"yes for a string", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {x/y: yes}}\n", 37, `3:35: metadata.labels[x/y]: yes is a boolean to YAML and must be a string: write "yes" with the quotes`},
		{"true for a string", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: true}\n", 37, `4:11: data.a: true is a boolean and must be a string: write "true" with the quotes`},
		{"quoted boolean", pod + "  containers: []\n  hostNetwork: \"true\"\n", 37, `6:16: spec.hostNetwork: "true" is a string because of its quotes and must be a boolean: write true`},
		{"word for a boolean", pod + "  containers: []\n  hostNetwork: never\n", 37, `6:16: spec.hostNetwork: "never" stands where true or false must be`},
		{"fraction", "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: a}\nvalue: 1.5\n", 37, "4:8: value: 1.5 stands where a whole number must be"},
		{"too large", "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: a}\nvalue: 3000000000\n", 37, "4:8: value: 3000000000 does not fit into 32 bits"},
		{"an empty item", policy + "  podSelector: {}\n  policyTypes:\n  -\n", 37, "7:4: spec.policyTypes[0]: an item of the list is empty"},
		{"enum", pod + "  containers: []\n  restartPolicy: always\n", 37, `6:18: spec.restartPolicy: "always" is not one of Always, Never, OnFailure; did you mean Always?`},
		{"quantity", quota + "  hard: {cpu: 1 core}\n", 37, `5:15: spec.hard.cpu: "1 core" is no quantity: write a number with a unit, as in 500m, 128Mi or 10Gi`},
		{"quantity, list", quota + "  hard: {cpu: []}\n", 37, `5:15: spec.hard.cpu: a list is no quantity: write a number with a unit, as in 500m, 128Mi or 10Gi`},
		{"int or string", policy + "  podSelector: {}\n  egress: [{ports: [{port: true}]}]\n", 37, "6:28: spec.egress[0].ports[0].port: true stands where a whole number or a string must be"},
		{"base64", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: plain text}\n", 37, "4:11: data.a: the value is not base64; plain text goes into stringData"},
		{"time", "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: a}\nspec: {renewTime: now}\n", 37, `4:19: spec.renewTime: "now" is no time: write one as in 2026-01-31T12:00:00Z`},

		{"no name", "apiVersion: v1\nkind: Namespace\nmetadata: {labels: {}}\n", 37, "3:11: metadata.name: name is required"},
		{"no metadata", "apiVersion: v1\nkind: Namespace\n", 37, "1:1: metadata.name: name is required"},
		{"generated name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}\n", 37, "3:26: metadata.generateName: an object that GitOps applies needs a name of its own: write name instead"},
		{"cluster scope", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n", 37, "3:32: metadata.namespace: a Namespace belongs to the whole cluster and has no namespace"},
		{"long label", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {x: " + strings.Repeat("y", 64) + "}}\n", 37, `3:33: metadata.labels.x: "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...": must be no more than 63 bytes`},
		{"name in capitals", "apiVersion: v1\nkind: Namespace\nmetadata: {name: Shop}\n", 37, `metadata.name: "Shop": a lowercase RFC 1123 label must consist of`},
		{"slash in a role's name", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a/b}\n", 37, `metadata.name: "a/b": may not contain '/'`},
		{"service name", "apiVersion: v1\nkind: Service\nmetadata: {name: 1a}\n", 35, `metadata.name: "1a": a DNS-1035 label`},

		{"in a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {nmae: a}\n", 37, `6:14: items[0].metadata.nmae: unknown field "nmae"; did you mean name?` + "\n6:13: items[0].metadata.name: name is required"},
		{"beside the list", "apiVersion: v1\nkind: List\nitem: []\n", 37, `3:1: item: unknown field "item"; did you mean items?`},

		{"cilium, unknown", cilium + "  endpointSelector: {}\n  egres: []\n", 37, `6:3: spec.egres: unknown field "egres"; did you mean egress?` + "\n5:3: spec: it must be at least one of ingress, ingressDeny, egress, egressDeny"},
		{"cilium, enum", cilium + "  endpointSelector: {}\n  egress: [{toEntities: [kube-api]}]\n", 37, `spec.egress[0].toEntities[0]: "kube-api" is not one of all, world,`},
		{"cilium, number for a port", cilium + "  endpointSelector: {}\n  egress: [{toPorts: [{ports: [{port: 443}]}]}]\n", 37, `6:39: spec.egress[0].toPorts[0].ports[0].port: 443 is a number and must be a string: write "443" with the quotes`},
		{"cilium, pattern", cilium + "  endpointSelector: {}\n  egress: [{toPorts: [{ports: [{port: \"-\"}]}]}]\n", 37, `"-" does not have the form ^(6553`},
		{"cilium, oneOf", cilium + "  endpointSelector: {}\n  nodeSelector: {}\n", 37, "5:3: spec: it must be exactly one of endpointSelector, nodeSelector"},
		{"flux, duration", flux + "  {interval: ten minutes, prune: true, sourceRef: {kind: GitRepository, name: a}}\n", 37, `5:14: spec.interval: "ten minutes" does not have the form ^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`},
		{"flux, required", flux + "  {interval: 10m, sourceRef: {kind: GitRepository, name: a}}\n", 37, "5:3: spec.prune: prune is required"},
		{"flux, too short", flux + "  {interval: 10m, prune: true, sourceRef: {kind: GitRepository, name: a}, targetNamespace: \"\"}\n", 37, "5:92: spec.targetNamespace: it must not be empty"},

		{"kubeadm, map of v1beta3", kubeadm + "apiServer:\n  extraArgs: {profiling: \"false\"}\n", 37, "4:14: apiServer.extraArgs: a map stands where a list must be"},
		{"kubeadm, unknown", kubeadm + "apiServer: {timeoutForControlPlane: 4m}\n", 37, `3:13: apiServer.timeoutForControlPlane: unknown field "timeoutForControlPlane"; known here: certSANs, extraArgs, extraEnvs, extraVolumes`},
		{"kubeadm, boolean for a value", kubeadm + "apiServer: {extraArgs: [{name: profiling, value: false}]}\n", 37, `3:50: apiServer.extraArgs[0].value: false is a boolean and must be a string: write "false" with the quotes`},
		{"kubeadm, enum", kubeadm + "encryptionAlgorithm: RSA-1024\n", 37, `3:22: encryptionAlgorithm: "RSA-1024" is not one of ECDSA-P256, ECDSA-P384, RSA-2048, RSA-3072, RSA-4096; did you mean RSA-2048?`},
		{"kubelet, duration", kubelet + "streamingConnectionIdleTimeout: 5 minutes\n", 37, `3:33: streamingConnectionIdleTimeout: "5 minutes" is no duration: write one as in 30s, 5m or 1h30m`},
		{"kubelet, number for a duration", kubelet + "streamingConnectionIdleTimeout: 300\n", 37, `3:33: streamingConnectionIdleTimeout: 300 is a number and must be a string: write "300" with the quotes`},
		{"audit level", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: metadata}]\n", 37, `3:17: rules[0].level: "metadata" is not one of Metadata, None, Request, RequestResponse; did you mean Metadata?`},
		{"embedded", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    kind: PodSecurityConfiguration\n    default: {enforce: baseline}\n", 37, `8:5: plugins[0].configuration.default: unknown field "default"; did you mean defaults?`},
		{"kind, role", "apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\nnodes: [{role: master}]\n", 37, `3:16: nodes[0].role: "master" is not one of control-plane, worker`},
		{"kustomization", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresource: [a.yaml]\n", 37, `3:1: resource: unknown field "resource"; did you mean resources?`},
		{"file of the same name in another group", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfig\n", 37, "2:7: kind: kubelet.config.k8s.io/v1beta1 KubeletConfig does not exist in Kubernetes 1.37"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := text(Validate(test.minor, decode(t, test.in)[0].Node))
			if !strings.HasSuffix(got, test.want) && (!strings.Contains(got, test.want) || strings.Contains(got, "\n")) {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestPerMinor holds fields that came between the supported minors.
func TestPerMinor(t *testing.T) {
	for _, test := range []struct {
		in   string
		from int
	}{
		{"apiVersion: resource.k8s.io/v1\nkind: DeviceTaintRule\nmetadata: {name: a}\nspec: {taint: {key: a, effect: NoExecute}}\n", 37},
		{"apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\nmetadata: {name: a}\n", 36},
		{"apiVersion: certificates.k8s.io/v1\nkind: ClusterTrustBundle\nmetadata: {name: a}\nspec: {trustBundle: x}\n", 37},
		{kubelet + "tlsCurvePreferences: [4588]\n", 36},
		{"apiVersion: storagemigration.k8s.io/v1\nkind: StorageVersionMigration\nmetadata: {name: a}\nspec: {resource: {group: \"\", resource: secrets}}\n", 37},
	} {
		for _, minor := range minors {
			got := text(Validate(minor, decode(t, test.in)[0].Node))
			if ok := minor >= test.from; ok != (got == "") {
				t.Errorf("1.%d:\n%s\n%s", minor, test.in, got)
			}
		}
	}
}

func TestPatches(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"part of an object", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 3}\n", ""},
		{"directives", "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{name: a, $patch: delete}]}}}\n$patch: replace\n", ""},
		{"unknown all the same", "apiVersion: apps/v1\nkind: Deployment\nspec: {replica: 3}\n", `3:8: spec.replica: unknown field "replica"; did you mean replicas?`},
		{"a JSON patch", "- {op: add, path: /spec/x, value: 1}\n- {op: remove, path: /a}\n", ""},
		{"a JSON patch, odd", "- {op: delete, path: /a}\n- {op: add, path: spec}\n- {path: /a}\n", `1:8: [0]: "delete" is no operation of a JSON patch
2:19: [1]: "spec" is no path: write it from the root, as in /spec/replicas
3:3: [2]: an operation of a JSON patch has op and path`},
		{"of kubeadm, for a static pod", "spec: {securityContext: {runAsUser: 1}}\n", ""},
	} {
		if got := text(ValidatePatch(37, decode(t, test.in)[0].Node)); got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

func TestScopeOf(t *testing.T) {
	for _, test := range []struct {
		minor            int
		apiVersion, kind string
		want             Scope
	}{
		{37, "v1", "Namespace", Cluster}, {37, "v1", "Pod", Namespaced}, {34, "rbac.authorization.k8s.io/v1", "ClusterRole", Cluster},
		{36, "cilium.io/v2", "CiliumNetworkPolicy", Namespaced}, {36, "cilium.io/v2", "CiliumClusterwideNetworkPolicy", Cluster},
		{35, "kubelet.config.k8s.io/v1beta1", "KubeletConfiguration", File}, {35, "kustomize.config.k8s.io/v1alpha1", "Component", File},
		{34, "certificates.k8s.io/v1", "ClusterTrustBundle", ""}, {33, "v1", "Pod", ""},
	} {
		if got, ok := ScopeOf(test.minor, test.apiVersion, test.kind); got != test.want || ok != (test.want != "") {
			t.Errorf("%+v: got %q, %t", test, got, ok)
		}
	}
}

// TestConcurrent validates from many goroutines: verify does.
func TestConcurrent(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := decode(t, string(good))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan string)
	for range 8 {
		go func() {
			var all []Problem
			for _, d := range docs {
				all = append(all, Validate(36, d.Node)...)
			}
			select {
			case done <- text(all):
			case <-ctx.Done():
			}
		}()
	}
	for range 8 {
		if got := <-done; got != "" {
			t.Error(got)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		b.Fatal(err)
	}
	docs := decode(b, string(good))
	n := 0
	for b.Loop() {
		// 15,000 objects are what a thousand namespaces have.
		for n = 0; n < 15000; n++ {
			if problems := Validate(37, docs[n%len(docs)].Node); len(problems) > 0 {
				b.Fatal(text(problems))
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "us/object")
}

// FuzzValidate looks for an object that ends in a panic, or in a problem without a place.
func FuzzValidate(f *testing.F) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, part := range strings.Split(string(good), "\n---\n") {
		f.Add([]byte(part))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		docs, err := manifest.Decode(in)
		if err != nil {
			return
		}
		for _, d := range docs {
			for _, p := range append(Validate(newest, d.Node), ValidatePatch(34, d.Node)...) {
				if p.Line == 0 || p.Message == "" || strings.Contains(p.Message, "this k8ssec are broken") {
					t.Errorf("%q: %+v", in, p)
				}
			}
		}
	})
}
