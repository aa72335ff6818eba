package workloads

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/generatortest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, New()) }

// TestFixtures shows that each policy has resources that pass and resources that fail. The e2e tests
// ask a real API server about them.
func TestFixtures(t *testing.T) {
	known := map[string]bool{}
	for _, pol := range policies() {
		known[pol.name] = true
		for _, want := range []string{"pass", "fail"} {
			files, err := filepath.Glob(filepath.Join("testdata", pol.name, want+"-*.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if len(files) == 0 {
				t.Errorf("%s has no fixture %s-*.yaml", pol.name, want)
			}
		}
	}
	dirs, err := filepath.Glob("testdata/*/")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !known[filepath.Base(dir)] {
			t.Errorf("%s belongs to no policy", dir)
		}
	}
}

// TestNames shows that the defaults know exactly the policies that there are, each with a control of
// its own.
func TestNames(t *testing.T) {
	p := generatortest.Posture(t, `profiles: ["baseline"]`)
	var names, controls []string
	for _, pol := range policies() {
		names = append(names, pol.name)
		controls = append(controls, pol.control)
	}
	if got := slices.Sorted(maps.Keys(p.Workloads.Policies)); !slices.Equal(got, slices.Sorted(slices.Values(names))) {
		t.Errorf("cue/posture/defaults.cue has %v, want %v", got, names)
	}
	if n := len(unique(controls)); n != len(controls) {
		t.Errorf("%d policies have %d controls", len(controls), n)
	}
}

// emitted are the typed objects of the generator, by name of policy and binding.
type emitted struct {
	policies map[string]*admissionv1.ValidatingAdmissionPolicy
	bindings map[string]*admissionv1.ValidatingAdmissionPolicyBinding
	claims   map[string][]generators.Claim
	out      *generators.Output
}

func emit(t *testing.T, clusterFile string) emitted {
	t.Helper()
	out, err := New().Generate(generatortest.Posture(t, clusterFile))
	if err != nil {
		t.Fatal(err)
	}
	e := emitted{
		policies: map[string]*admissionv1.ValidatingAdmissionPolicy{},
		bindings: map[string]*admissionv1.ValidatingAdmissionPolicyBinding{},
		claims:   map[string][]generators.Claim{},
		out:      out,
	}
	for _, a := range out.Artifacts {
		for _, o := range a.Objects {
			switch v := o.Value.(type) {
			case *admissionv1.ValidatingAdmissionPolicy:
				e.policies[v.Name] = v
				e.claims[v.Name] = append(e.claims[v.Name], o.Claims...)
			case *admissionv1.ValidatingAdmissionPolicyBinding:
				e.bindings[v.Name] = v
				e.claims[v.Name] = append(e.claims[v.Name], o.Claims...)
			default:
				t.Errorf("%s: %T", a.Path, v)
			}
		}
	}
	return e
}

// selects says whether the binding holds in a namespace with these labels.
func (e emitted) selects(t *testing.T, binding, namespace string, set map[string]string) bool {
	t.Helper()
	b := e.bindings[binding]
	if b == nil {
		t.Fatalf("no binding %s", binding)
	}
	if b.Spec.MatchResources == nil || b.Spec.MatchResources.NamespaceSelector == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(b.Spec.MatchResources.NamespaceSelector)
	if err != nil {
		t.Fatal(err)
	}
	all := labels.Set{labelName: namespace}
	maps.Copy(all, set)
	return s.Matches(all)
}

var (
	system = map[string]string{generators.LabelKind: "system"}
	addon  = map[string]string{generators.LabelKind: "addon"}
	tenant = map[string]string{generators.LabelKind: "tenant"}
)

// everything decides what policies wait for.
const everything = `
profiles: ["restricted"]
images: {registries: ["registry.internal"], requireDigest: true}
secrets: forbidEnv: true
namespaces: "team-a": owner: "team-a"
`

// TestEveryPolicyIsBound shows that no policy is inert: each has a binding that refuses, or warns
// where a refusal would be wrong, and each binding has its policy.
func TestEveryPolicyIsBound(t *testing.T) {
	e := emit(t, everything)
	if len(e.policies) < len(policies()) {
		t.Errorf("%d policies are emitted, want at least %d", len(e.policies), len(policies()))
	}
	for name, p := range e.policies {
		b := e.bindings[name]
		if b == nil {
			t.Errorf("%s has no binding", name)
			continue
		}
		want := admissionv1.Deny
		if name == "k8ssec-disruption-budget" {
			want = admissionv1.Warn
		}
		if !slices.Equal(b.Spec.ValidationActions, []admissionv1.ValidationAction{want, admissionv1.Audit}) {
			t.Errorf("%s: actions %v", name, b.Spec.ValidationActions)
		}
		if len(e.claims[name]) == 0 {
			t.Errorf("%s serves no control", name)
		}
		if *p.Spec.FailurePolicy != admissionv1.Fail {
			t.Errorf("%s: failurePolicy %s", name, *p.Spec.FailurePolicy)
		}
		for i, v := range p.Spec.Validations {
			if v.Message == "" || strings.ContainsAny(v.Message, "\n\r") || v.Reason == nil {
				t.Errorf("%s: validation %d has message %q and reason %v", name, i, v.Message, v.Reason)
			}
		}
	}
	for name, b := range e.bindings {
		if e.policies[b.Spec.PolicyName] == nil {
			t.Errorf("%s binds %s, which does not exist", name, b.Spec.PolicyName)
		}
	}
}

// TestNoLockOut shows that no rule about pods holds where the control plane, the network plug-in and
// add-ons run, whether or not their labels are there yet, and that each holds everywhere else.
func TestNoLockOut(t *testing.T) {
	for _, platform := range []string{"kubeadm", "kind"} {
		e := emit(t, everything+`cluster: {platform: "`+platform+`", cni: "calico"}
`)
		for name, p := range e.policies {
			onPods := slices.ContainsFunc(p.Spec.MatchConstraints.ResourceRules, func(r admissionv1.NamedRuleWithOperations) bool {
				return slices.Contains(r.Resources, "pods")
			})
			if !onPods || name == "k8ssec-no-default-namespace" {
				continue
			}
			static := strings.HasSuffix(name, staticSuffix)
			for _, c := range []struct {
				namespace string
				labels    map[string]string
				want      bool
			}{
				{"kube-system", system, false},
				{"kube-system", nil, false},
				{"flux-system", addon, false},
				{"flux-system", nil, !static},
				{"calico-system", nil, false},
				{"local-path-storage", nil, platform != "kind"},
				{"team-a", tenant, true},
				{"team-a", nil, true},
				{"new", map[string]string{generators.LabelKind: "other"}, true},
			} {
				if got := e.selects(t, name, c.namespace, c.labels); got != c.want {
					t.Errorf("%s, %s: holds in %s with labels %v: %t", platform, name, c.namespace, c.labels, got)
				}
			}
		}
	}
}

// TestExempt shows that whoever repairs the cluster is exempt from every rule about who may do what,
// and that only who applies reviewed changes is exempt besides.
func TestExempt(t *testing.T) {
	for engine, account := range map[string]string{
		"flux":   "system:serviceaccount:flux-system:kustomize-controller",
		"argocd": "system:serviceaccount:argocd:argocd-application-controller",
	} {
		file := everything + "gitops: engine: \"" + engine + "\"\n"
		if engine == "argocd" {
			file += "gitops: namespace: \"argocd\"\n"
		}
		e := emit(t, file)
		found := 0
		for name, p := range e.policies {
			for _, v := range p.Spec.Variables {
				if v.Name != "exempt" {
					continue
				}
				found++
				for _, who := range []string{"'system:masters'", "'kubeadm:cluster-admins'", "'oidc:break-glass'"} {
					if !strings.Contains(v.Expression, who) {
						t.Errorf("%s: %s is locked out", name, who)
					}
				}
				applied := strings.HasPrefix(name, "k8ssec-rbac-guard") || strings.HasPrefix(name, "k8ssec-namespace-labels") || strings.HasPrefix(name, "k8ssec-self-protection")
				if strings.Contains(v.Expression, account) != applied {
					t.Errorf("%s, %s: the GitOps controller is exempt: %t", engine, name, !applied)
				}
			}
		}
		if found < 7 {
			t.Errorf("only %d policies exempt anybody", found)
		}
	}
}

func TestEnforcement(t *testing.T) {
	const waiver = `
waivers: "on-the-way": {
	control: "wl-31"
	scope: cluster: true
	reason:  "The cluster has workloads; see docs/workloads.md."
	owner:   "platform"
	expires: "2027-01-31"
}
`
	for setting, want := range map[string][]admissionv1.ValidationAction{
		"audit": {admissionv1.Audit},
		"warn":  {admissionv1.Warn, admissionv1.Audit},
	} {
		e := emit(t, everything+waiver+`workloads: enforcement: "`+setting+"\"\n")
		for name, b := range e.bindings {
			if name == "k8ssec-self-protection"+staticSuffix {
				continue
			}
			if !slices.Equal(b.Spec.ValidationActions, want) {
				t.Errorf("%s: %s has actions %v", setting, name, b.Spec.ValidationActions)
			}
			if setting == "audit" && len(e.claims[name]) > 0 {
				t.Errorf("%s only records and claims %v", name, e.claims[name])
			}
		}
		var lines []string
		for _, d := range e.out.Undecided {
			lines = append(lines, d.Line)
		}
		if !slices.Contains(lines, `workloads: enforcement: "enforce"`) {
			t.Errorf("%s: nothing says how to go on: %q", setting, lines)
		}
	}
	// One policy can stay behind.
	e := emit(t, everything+`
workloads: policies: "host-path": enforcement: "warn"
waivers: "host-path-first": {
	control: "wl-1"
	scope: cluster: true
	reason:  "The old collector is replaced next quarter."
	owner:   "platform"
	expires: "2027-01-31"
}
`)
	if got := e.bindings["k8ssec-host-path"].Spec.ValidationActions; !slices.Contains(got, admissionv1.Warn) {
		t.Errorf("the policy's own setting does not hold: %v", got)
	}
	if got := e.bindings["k8ssec-privileged"].Spec.ValidationActions; !slices.Contains(got, admissionv1.Deny) {
		t.Errorf("the setting of one policy changes another: %v", got)
	}
}

func TestWaivers(t *testing.T) {
	waive := func(control, scope string) string {
		return `
namespaces: "team-w": owner: "team-w"
waivers: "w": {
	control: "` + control + `"
	scope: ` + scope + `
	reason:  "A reason that a reviewer can judge."
	owner:   "team-w"
	expires: "2027-01-31"
}
`
	}
	const here = `namespace: "team-w"`
	t.Run("of a policy", func(t *testing.T) {
		e := emit(t, everything+waive("wl-1", here))
		for _, binding := range []string{"k8ssec-host-path", "k8ssec-host-path" + staticSuffix} {
			if e.selects(t, binding, "team-w", tenant) || !e.selects(t, binding, "team-a", tenant) {
				t.Errorf("%s does not hold where it should", binding)
			}
		}
		if !e.selects(t, "k8ssec-privileged", "team-w", tenant) {
			t.Error("another policy is lifted")
		}
		b := e.bindings["k8ssec-host-path-waived"]
		if b == nil || !slices.Equal(b.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Audit}) {
			t.Errorf("what the waiver lets through is not recorded: %+v", b)
		}
		if !e.selects(t, "k8ssec-host-path-waived", "team-w", tenant) || e.selects(t, "k8ssec-host-path-waived", "team-a", tenant) {
			t.Error("the record is not about the waived namespace alone")
		}
	})
	t.Run("of a benchmark's control", func(t *testing.T) {
		e := emit(t, strings.Replace(everything, `["restricted"]`, `["cis"]`, 1)+waive("cis-5.2.11", here))
		if e.selects(t, "k8ssec-host-path", "team-w", tenant) {
			t.Error("the waiver does not reach the policy that checks nothing else")
		}
	})
	t.Run("of a broad control", func(t *testing.T) {
		e := emit(t, strings.Replace(everything, `["restricted"]`, `["cis-l2"]`, 1)+waive("cis-5.6.3", here))
		for _, binding := range []string{"k8ssec-seccomp", "k8ssec-read-only-root", "k8ssec-run-as-non-root", "k8ssec-capabilities"} {
			if !e.selects(t, binding, "team-w", tenant) {
				t.Errorf("the waiver lifts %s, which it does not name", binding)
			}
		}
	})
	t.Run("of one of several controls", func(t *testing.T) {
		e := emit(t, strings.Replace(everything, `["restricted"]`, `["cis"]`, 1)+waive("cis-5.2.5", here))
		if !e.selects(t, "k8ssec-host-namespaces", "team-w", tenant) {
			t.Error("the waiver of hostNetwork lifts the whole policy")
		}
		for i, v := range e.policies["k8ssec-host-namespaces"].Spec.Validations {
			if open := strings.Contains(v.Expression, "'team-w'"); open != (i == 0) {
				t.Errorf("validation %d (%s) is open for the namespace: %t", i, v.Message, open)
			}
		}
	})
	t.Run("for the whole cluster", func(t *testing.T) {
		e := emit(t, everything+waive("wl-1", "cluster: true"))
		if got := e.bindings["k8ssec-host-path"].Spec.ValidationActions; !slices.Equal(got, []admissionv1.ValidationAction{admissionv1.Audit}) {
			t.Errorf("actions %v", got)
		}
		if claims := e.claims["k8ssec-host-path"]; len(claims) > 0 {
			t.Errorf("a waived policy claims %v", claims)
		}
	})
	t.Run("expired", func(t *testing.T) {
		e := emit(t, everything+strings.Replace(waive("wl-1", here), "2027-01-31", "2026-11-01", 1))
		if !e.selects(t, "k8ssec-host-path", "team-w", tenant) || e.bindings["k8ssec-host-path-waived"] != nil {
			t.Error("an expired waiver still holds")
		}
	})
}

// TestServiceTypes shows that the quota of a namespace decides.
func TestServiceTypes(t *testing.T) {
	e := emit(t, everything+`
namespaces: "team-lb": {owner: "team-lb", quota: "services.loadbalancers": "2"}
namespaces: "team-any": owner: "team-any"
`)
	for namespace, want := range map[string]bool{"team-lb": false, "team-any": true, "unknown": true} {
		if got := e.selects(t, "k8ssec-service-types-load-balancer", namespace, tenant); got != want {
			t.Errorf("load balancers are refused in %s: %t", namespace, got)
		}
		if !e.selects(t, "k8ssec-service-types-node-port", namespace, tenant) {
			t.Errorf("node ports are allowed in %s", namespace)
		}
	}
}

// TestSwitches shows that policies which wait for a decision are absent without it, and say so.
func TestSwitches(t *testing.T) {
	e := emit(t, `profiles: ["restricted"]`)
	for name, line := range map[string]string{
		"k8ssec-allowed-registries": "images: registries:",
		"k8ssec-digests":            "images: requireDigest:",
		"k8ssec-secrets-as-env":     "secrets: forbidEnv:",
	} {
		if e.policies[name] != nil {
			t.Errorf("%s is emitted undecided", name)
		}
		if !slices.ContainsFunc(e.out.Undecided, func(d generators.Decision) bool { return strings.HasPrefix(d.Line, line) }) {
			t.Errorf("nothing says how to switch %s on", name)
		}
	}
	for minor, want := range map[string]bool{"1.36": false, "1.37": true} {
		e := emit(t, everything+`cluster: kubernetes: "`+minor+"\"\n")
		if got := e.policies["k8ssec-self-protection"+staticSuffix] != nil; got != want {
			t.Errorf("%s: static policies: %t", minor, got)
		}
	}
}

// TestImages shows what a registry's prefix lets pass: nothing that only begins with the same letters.
func TestImages(t *testing.T) {
	e := emit(t, everything)
	for _, v := range e.policies["k8ssec-allowed-registries"].Spec.Variables {
		if v.Name == "refused" && !strings.Contains(v.Expression, "'registry.internal/'") {
			t.Errorf("the prefix is open at its end: %s", v.Expression)
		}
	}
}

func TestAtMost(t *testing.T) {
	for _, c := range []struct{ e, limit, want posture.Enforcement }{
		{posture.Enforce, "", posture.Enforce},
		{posture.Enforce, posture.Warn, posture.Warn},
		{posture.Warn, posture.Warn, posture.Warn},
		{posture.Audit, posture.Warn, posture.Audit},
	} {
		if got := atMost(c.e, c.limit); got != c.want {
			t.Errorf("atMost(%s, %q) = %s, want %s", c.e, c.limit, got, c.want)
		}
	}
}
