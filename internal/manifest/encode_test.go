package manifest

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"go.yaml.in/yaml/v3"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/generators"
)

func networkPolicy() *networkingv1.NetworkPolicy {
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	dns, https := intstr.FromInt32(53), intstr.FromString("https")
	meta := generators.Meta("network", "shop", "allow-dns")
	meta.Annotations = map[string]string{"k8ssec.dev/why": "yes"}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: meta,
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress},
			Egress: []networkingv1.NetworkPolicyEgressRule{{
				To: []networkingv1.NetworkPolicyPeer{{
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "kube-system"}},
					PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
				}},
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &dns}, {Protocol: &tcp, Port: &dns}},
			}, {
				To: []networkingv1.NetworkPolicyPeer{{
					IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"169.254.169.254/32"}},
				}},
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &https}},
			}},
		},
	}
}

func deployment() *appsv1.Deployment {
	replicas, no, user := int32(2), false, int64(65532)
	surge := intstr.FromString("25%")
	return &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop",
			CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec: corev1.PodSpec{
					AutomountServiceAccountToken: &no,
					Containers: []corev1.Container{{
						Name: "web", Image: "registry.k8s.io/pause:3.10",
						Command: []string{"sh", "-c", "set -e\n\techo hi\nsleep 1d\n"},
						Args:    []string{"--flag=true", "-v", "443", "", "null", "a: b", "# no", "- x", "1e3"},
						Env:     []corev1.EnvVar{{Name: "ON", Value: "on"}},
						Resources: corev1.ResourceRequirements{
							Limits:   corev1.ResourceList{"memory": resource.MustParse("64Mi"), "cpu": resource.MustParse("1")},
							Requests: corev1.ResourceList{"cpu": resource.MustParse("100m")},
						},
						SecurityContext: &corev1.SecurityContext{
							RunAsUser: &user, AllowPrivilegeEscalation: &no,
							Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
						LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
							HTTPGet: &corev1.HTTPGetAction{Path: "/livez", Port: intstr.FromInt32(8080)},
						}},
					}},
				},
			},
		},
	}
}

// typedObjects are real objects of every shape that the generators emit.
func typedObjects() map[string]any {
	fail := admissionv1.Fail
	maxUnavailable := intstr.FromInt32(1)
	return map[string]any{
		"NetworkPolicy": networkPolicy(),
		"Deployment":    deployment(),
		"ValidatingAdmissionPolicy": &admissionv1.ValidatingAdmissionPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"},
			ObjectMeta: generators.Meta("workloads", "", "k8ssec-host-path"),
			Spec: admissionv1.ValidatingAdmissionPolicySpec{
				FailurePolicy: &fail,
				MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
					RuleWithOperations: admissionv1.RuleWithOperations{
						Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
						Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods", "pods/*"}},
					},
				}}},
				Validations: []admissionv1.Validation{{
					Expression: "!has(object.spec.volumes) ||\nobject.spec.volumes.all(v, !has(v.hostPath))",
					Message:    `write "emptyDir" in spec.volumes: hostPath reads the node's own files`,
				}, {
					Expression: `object.metadata.name.matches("^[a-z]+\\.$")`,
				}},
			},
		},
		"ClusterRole": &rbacv1.ClusterRole{
			TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"},
			ObjectMeta: generators.Meta("access", "", "k8ssec:viewer"),
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get"}}},
		},
		"empty Role": &rbacv1.Role{
			TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"},
			ObjectMeta: generators.Meta("access", "shop", "nothing"),
		},
		"RoleBinding": &rbacv1.RoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"},
			ObjectMeta: generators.Meta("access", "shop", "viewer"),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "k8ssec:viewer"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "oidc:viewers"}},
		},
		"ResourceQuota": &corev1.ResourceQuota{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"},
			ObjectMeta: generators.Meta("resources", "shop", "quota"),
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"requests.cpu": resource.MustParse("4"), "limits.memory": resource.MustParse("1.5Gi")}},
		},
		"PodDisruptionBudget": &policyv1.PodDisruptionBudget{
			TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
			ObjectMeta: generators.Meta("resources", "shop", "web"),
			Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &maxUnavailable},
		},
		"Secret": &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			Data:     map[string][]byte{"b": []byte("\x00\x01"), "a": nil},
		},
		"Flux Kustomization": &kustomizev1.Kustomization{
			TypeMeta:   metav1.TypeMeta{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization"},
			ObjectMeta: generators.Meta("gitops", "flux-system", "network"),
			Spec: kustomizev1.KustomizationSpec{
				Interval: metav1.Duration{Duration: 10 * time.Minute}, Prune: true, Path: "./manifests/network",
				SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "flux-system"},
			},
		},
		"Flux GitRepository": &sourcev1.GitRepository{
			TypeMeta: metav1.TypeMeta{APIVersion: "source.toolkit.fluxcd.io/v1", Kind: "GitRepository"},
			Spec:     sourcev1.GitRepositorySpec{URL: "ssh://git@host/repo", Interval: metav1.Duration{Duration: time.Minute}},
		},
		"KubeletConfiguration": &kubeletv1beta1.KubeletConfiguration{
			TypeMeta:                       metav1.TypeMeta{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration"},
			StreamingConnectionIdleTimeout: metav1.Duration{Duration: 5 * time.Minute},
			TLSCipherSuites:                []string{"TLS_AES_128_GCM_SHA256"},
			EvictionHard:                   map[string]string{"nodefs.available": "10%", "memory.available": "100Mi"},
		},
		"audit Policy": &auditv1.Policy{
			TypeMeta: metav1.TypeMeta{APIVersion: "audit.k8s.io/v1", Kind: "Policy"},
			Rules:    []auditv1.PolicyRule{{Level: auditv1.LevelNone, NonResourceURLs: []string{"/healthz*"}}},
		},
		"map": map[string]any{
			"kind": "Thing", "apiVersion": "x/v1", "spec": map[string]any{"b": 1, "a": []any{[]any{1, 2.5}, map[string]any{}, []any{}, nil, true, map[string]any{"k": "v", "l": []string{"x"}}}},
			"metadata": map[string]any{"name": "a"}, "status": map[string]any{},
		},
		"raw": map[string]any{"one": runtime.RawExtension{Raw: []byte(`{"z":1,"a":"yes"}`)}, "two": runtime.RawExtension{Object: networkPolicy()}, "three": runtime.RawExtension{}},
	}
}

// prune removes what the writer leaves out on purpose: nulls and the empty status.
func prune(v any, root bool) any {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if item = prune(item, false); item == nil || root && k == "status" {
				delete(v, k)
				continue
			}
			v[k] = item
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i], false)
		}
	}
	return v
}

func TestTypedObjectsReadBackAsSigsYAML(t *testing.T) {
	for name, object := range typedObjects() {
		t.Run(name, func(t *testing.T) {
			ours, err := EncodeObject(object)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := sigsyaml.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := sigsyaml.UnmarshalStrict(ours, &got); err != nil {
				t.Fatalf("%v\n%s", err, ours)
			}
			if err := sigsyaml.Unmarshal(theirs, &want); err != nil {
				t.Fatal(err)
			}
			if got, want := prune(got, true), prune(want, true); !reflect.DeepEqual(got, want) {
				t.Errorf("ours:\n%s\ntheirs:\n%s", ours, theirs)
			}
			if strings.Contains(string(ours), "creationTimestamp: null") || strings.Contains(string(ours), "status:") {
				t.Errorf("writes what belongs to the cluster:\n%s", ours)
			}
			// A typed object decodes into itself.
			if reflect.TypeOf(object).Kind() == reflect.Pointer {
				fresh := reflect.New(reflect.TypeOf(object).Elem()).Interface()
				if err := sigsyaml.UnmarshalStrict(ours, fresh); err != nil {
					t.Fatal(err)
				}
				again, err := EncodeObject(fresh)
				if err != nil {
					t.Fatal(err)
				}
				if string(again) != string(ours) {
					t.Errorf("first:\n%s\nagain:\n%s", ours, again)
				}
			}
		})
	}
}

func TestEncodeFile(t *testing.T) {
	got, err := Encode(&generators.Artifact{
		Path:    "manifests/network/shop.yaml",
		Comment: "The network of namespace shop.",
		Objects: []generators.Object{
			{Value: networkPolicy(), Why: strings.Repeat("Every pod looks names up. ", 6) + "\n\nWithout it nothing works.\r\u202e"},
			{Value: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x"}, "data": map[string]string{"a": "1"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "# Emitted by k8ssec. Edit freely: the next run keeps your changes, and `k8ssec verify` checks them.\n" + `# The network of namespace shop.

# Every pod looks names up. Every pod looks names up. Every pod looks names up. Every pod looks
# names up. Every pod looks names up. Every pod looks names up.
#
# Without it nothing works.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: allow-dns
  namespace: shop
  labels:
    app.kubernetes.io/managed-by: k8ssec
    k8ssec.dev/domain: network
  annotations:
    k8ssec.dev/why: "yes"
spec:
  podSelector: {}
  egress:
  - ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
    to:
    - podSelector:
        matchLabels:
          k8s-app: kube-dns
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  - ports:
    - protocol: TCP
      port: https
    to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
        - 169.254.169.254/32
  policyTypes:
  - Egress
  - Ingress
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: x
data:
  a: "1"
`
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestEncodeText(t *testing.T) {
	for _, text := range []string{"one", "one\n", "one\n\n\n"} {
		got, err := Encode(&generators.Artifact{Path: "README.md", Text: text})
		if err != nil || string(got) != "one\n" {
			t.Errorf("Encode(%q) = %q, %v", text, got, err)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	type loop struct {
		Next *loop `json:"next"`
	}
	round := &loop{}
	round.Next = round
	var none *networkingv1.NetworkPolicy
	for name, a := range map[string]generators.Artifact{
		"empty":        {},
		"both":         {Text: "x", Objects: []generators.Object{{Value: networkPolicy()}}},
		"nil":          {Objects: []generators.Object{{}}},
		"nil object":   {Objects: []generators.Object{{Value: none}}},
		"a string":     {Objects: []generators.Object{{Value: "x"}}},
		"a channel":    {Objects: []generators.Object{{Value: map[string]any{"c": make(chan int)}}}},
		"not a number": {Objects: []generators.Object{{Value: map[string]any{"c": math.NaN()}}}},
		"bad number":   {Objects: []generators.Object{{Value: map[string]any{"c": json.Number("yes")}}}},
		"a loop":       {Objects: []generators.Object{{Value: round}}},
	} {
		a.Path = "manifests/x.yaml"
		if got, err := Encode(&a); err == nil || !strings.Contains(err.Error(), "manifests/x.yaml") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestStructRules(t *testing.T) {
	type inner struct {
		A string `json:"a,omitempty"`
		B string `json:"b"`
	}
	type Embedded struct {
		C int `json:"c"`
		D int `json:"d"`
	}
	type outer struct {
		Embedded `json:",inline"`
		*inner
		D       string `json:"d"`
		Skipped string `json:"-"`
		Dash    string `json:"-,"` //nolint:staticcheck // the odd name is what is tested
		NoTag   bool
		Text    int64           `json:"text,string"`
		Zero    metav1.Time     `json:"zero"`
		OmitZ   metav1.Time     `json:"omitz,omitzero"`
		When    metav1.Time     `json:"when"`
		Keys    map[int]string  `json:"keys"`
		Array   [2]int          `json:"array"`
		Raw     json.RawMessage `json:"raw"`
		NilMap  map[string]int  `json:"nilMap"`
		NilAny  any             `json:"nilAny"`
		Empty   inner           `json:"empty,omitempty"`
		private int
	}
	value := outer{
		Embedded: Embedded{C: 1, D: 2}, inner: &inner{B: "b"}, D: "d", Dash: "dash", Text: 7,
		When: metav1.NewTime(time.Unix(0, 0)), Keys: map[int]string{10: "ten", 9: "nine"}, Raw: json.RawMessage(`[1, {"a": "é"}]`),
	}
	_ = value.private
	got, err := EncodeObject(&value)
	if err != nil {
		t.Fatal(err)
	}
	want := `c: 1
b: b
d: d
"-": dash
NoTag: false
text: "7"
when: "1970-01-01T00:00:00Z"
keys:
  "10": ten
  "9": nine
array:
- 0
- 0
raw:
- 1
- a: é
empty:
  b: ""
`
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestStrings(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `""`}, {"a", "a"}, {"a b", "a b"}, {"443", `"443"`}, {"0x1F", `"0x1F"`}, {"0o17", `"0o17"`}, {"0777", `"0777"`},
		{"0b11", `"0b11"`}, {"1_000", `"1_000"`}, {"1e3", `"1e3"`}, {"1.37", `"1.37"`}, {"1.37.2", "1.37.2"}, {"v1.37", "v1.37"},
		{"10.0.0.0/8", "10.0.0.0/8"}, {"10.0.0.1", "10.0.0.1"}, {"12:30", `"12:30"`}, {"12:30:45.5", `"12:30:45.5"`},
		{"2026-01-02", `"2026-01-02"`}, {"2026-01-02T03:04:05Z", `"2026-01-02T03:04:05Z"`}, {"100m", "100m"}, {"1Gi", "1Gi"},
		{"+1", `"+1"`}, {"-1", `"-1"`}, {".5", `".5"`}, {".inf", `".inf"`}, {"-.INF", `"-.INF"`}, {".NaN", `".NaN"`}, {".hidden", ".hidden"},
		{"yes", `"yes"`}, {"No", `"No"`}, {"ON", `"ON"`}, {"y", `"y"`}, {"N", `"N"`}, {"null", `"null"`}, {"~", `"~"`}, {"~/x", "~/x"},
		{"true", `"true"`}, {"truely", "truely"}, {"<<", `"<<"`}, {"<none>", "<none>"}, {"=", `"="`}, {"=~", "=~"},
		{"*", `"*"`}, {"*.*", `"*.*"`}, {"&a", `"&a"`}, {"!x", `"!x"`}, {"@x", `"@x"`}, {"`x", "\"`x\""}, {"%x", `"%x"`},
		{"[x]", `"[x]"`}, {"{x}", `"{x}"`}, {"a, b", "a, b"}, {"| x", `"| x"`}, {"> x", `"> x"`}, {"# x", `"# x"`}, {"a #b", `"a #b"`}, {"a#b", "a#b"},
		{"a: b", `"a: b"`}, {"a:b", "a:b"}, {"a:", `"a:"`}, {":a", `":a"`}, {"?", `"?"`}, {"- a", `"- a"`}, {"-a", "-a"}, {"--flag=x", "--flag=x"},
		{"-", `"-"`}, {"--", `"--"`}, {"---", `"---"`}, {"...", `"..."`}, {" a", `" a"`}, {"a ", `"a "`}, {"a\tb", `"a\tb"`}, {"\x00", `"\u0000"`},
		{"'a'", `"'a'"`}, {`"a"`, `'"a"'`}, {`a\b`, `a\b`}, {`has("x") && y == 'z'`, `has("x") && y == 'z'`}, {`!has("x") || y == 'z'`, `'!has("x") || y == ''z'''`},
		{"é", "é"}, {"a\u00a0b", `"a\u00a0b"`}, {"a\u202eb", `"a\u202eb"`}, {"\ufeffa", `"\ufeffa"`}, {"\U0001F600", "\U0001F600"}, {"\U000E0001", `"\U000e0001"`},
		{"\xff", "\ufffd"}, {"\u2028", `"\u2028"`}, {"\u0085", `"\u0085"`},
		{"a\nb", "|-\n  a\n  b"}, {"a\nb\n", "|\n  a\n  b"}, {"a\n\n\tb\n", "|\n  a\n\n  \tb"}, {"a\nb\n\n", `"a\nb\n\n"`}, {"\na", `"\na"`},
		{" a\nb", `" a\nb"`}, {"a \nb", `"a \nb"`}, {"a\r\nb", `"a\r\nb"`}, {"\n", `"\n"`}, {"a\n---\nb", "|-\n  a\n  ---\n  b"},
	}
	for _, test := range tests {
		in := map[string]any{"k": test.in, "l": []any{test.in}}
		got, err := EncodeObject(in)
		if err != nil {
			t.Fatal(err)
		}
		want := "k: " + test.want + "\nl:\n- " + test.want + "\n"
		if string(got) != want {
			t.Errorf("%q:\ngot  %q\nwant %q", test.in, got, want)
		}
		checkReadsBack(t, in)
	}
}

// checkReadsBack writes a value and reads it with three readers: kubectl's, yaml/v3 and our own.
func checkReadsBack(t *testing.T, in map[string]any) {
	t.Helper()
	ours, err := EncodeObject(in)
	if err != nil {
		t.Fatalf("%#v: %v", in, err)
	}
	asJSON, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(asJSON, &want); err != nil {
		t.Fatal(err)
	}
	want = dropStatus(want)

	var got any
	if err := sigsyaml.UnmarshalStrict(ours, &got); err != nil {
		t.Fatalf("sigs.k8s.io/yaml: %v\n%s", err, ours)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("sigs.k8s.io/yaml reads\n%#v\nwant\n%#v\nfrom\n%s", got, want, ours)
	}
	var node any
	if err := yaml.Unmarshal(ours, &node); err != nil {
		t.Fatalf("yaml/v3: %v\n%s", err, ours)
	}
	if got := throughJSON(t, node); !reflect.DeepEqual(got, want) {
		t.Fatalf("yaml/v3 reads\n%#v\nwant\n%#v\nfrom\n%s", got, want, ours)
	}
	docs, err := Decode(ours)
	if err != nil || len(docs) != 1 {
		t.Fatalf("Decode: %d documents, %v\n%s", len(docs), err, ours)
	}
	value, err := Value(docs[0].Node)
	if err != nil {
		t.Fatal(err)
	}
	if got := throughJSON(t, value); !reflect.DeepEqual(got, want) {
		t.Fatalf("Value reads\n%#v\nwant\n%#v\nfrom\n%s", got, want, ours)
	}
	if theirs, err := sigsyaml.Marshal(in); err == nil {
		var back any
		if err := sigsyaml.Unmarshal(theirs, &back); err == nil && !reflect.DeepEqual(dropStatus(back), want) {
			t.Logf("sigs.k8s.io/yaml does not read its own output back: %q", theirs)
		}
	}
}

func throughJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// dropStatus removes an empty status of an object, which the writer leaves out.
func dropStatus(v any) any {
	m, ok := v.(map[string]any)
	if !ok || m["apiVersion"] == nil && m["kind"] == nil {
		return v
	}
	_, isObject := m["apiVersion"]
	_, hasKind := m["kind"]
	if status, ok := m["status"]; ok && isObject && hasKind {
		if s, isMap := status.(map[string]any); status == nil || isMap && len(s) == 0 {
			delete(m, "status")
		}
	}
	return m
}

func FuzzEncode(f *testing.F) {
	for _, seed := range []string{
		`{"a": "yes", "b": ["x\ny", {"c": null}], "d": 1e21, "e": -0.5, "f": [[1], [[]]], "on": {}}`,
		`{"apiVersion": "v1", "kind": "x", "status": {}, "metadata": {"labels": {"a/b": "1.0"}}}`,
		`{"": "", "a b": " ", "long": "\u0000\u2028\ud83d\ude00", "t": "a\n\tb\n", "0b-1": "0b-1", "1": "+.inf", "k": "? x"}`,
		`{"n": 123456789012345678901234567890, "m": 9223372036854775807, "f": 1.0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var in map[string]any
		if err := json.Unmarshal(data, &in); err != nil || in == nil {
			return // not an object, so nothing that Encode is given
		}
		checkReadsBack(t, in)
	})
}

// FuzzString looks for a string that some reader takes for something else.
func FuzzString(f *testing.F) {
	for _, seed := range []string{"0b-1", "1__0", "0o8", "1:2", "-_1", "+.1e5", "08", "1e", "2026-1-1 x", ".e1", "a\n b", "a\n\n", "\t", "a\n#b", "--- a", "- -"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkReadsBack(t, map[string]any{"k": s, s: []any{s, map[string]any{s: s}, []any{s}}})
	})
}

func BenchmarkEncode(b *testing.B) {
	policy := networkPolicy()
	b.Run("k8ssec", func(b *testing.B) {
		for b.Loop() {
			if _, err := EncodeObject(policy); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sigs.k8s.io/yaml", func(b *testing.B) {
		for b.Loop() {
			if _, err := sigsyaml.Marshal(policy); err != nil {
				b.Fatal(err)
			}
		}
	})
}
