package lockout

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// webhook is one webhook of a validating or mutating configuration.
type webhook struct {
	config, name      string
	service           *admissionv1.ServiceReference
	failurePolicy     *admissionv1.FailurePolicyType
	namespaceSelector *metav1.LabelSelector
	objectSelector    *metav1.LabelSelector
	rules             []admissionv1.RuleWithOperations
	conditional       bool
}

// admission checks that admission lets the system's own pods in.
func (w *world) admission() {
	w.podSecurity()
	w.admissionPolicies()
	w.webhookConfigurations()
	w.bounds()
}

var levels = []posture.PodSecurityLevel{posture.Privileged, posture.Baseline, posture.Restricted}

// enforceLabel is read by the PodSecurity admission plug-in.
const enforceLabel = "pod-security.kubernetes.io/enforce"

// podSecurity checks that each namespace of the system and of an add-on has the level that its pods
// need. A namespace without the label has the level of the API server's defaults.
func (w *world) podSecurity() {
	a := &w.p.APIServer
	for _, name := range w.p.NamespaceNames() {
		ns := w.p.Namespaces[name]
		if ns.Kind == "tenant" || slices.Contains(a.ExemptNamespaces, name) {
			continue
		}
		need := ns.PodSecurity.Enforce
		if name == metav1.NamespaceSystem {
			need = posture.Privileged
		}
		have, source := a.PodSecurityDefaults.Enforce, "it has no label "+enforceLabel+", and the API server's default is "
		if label := w.namespaceLabels[name][enforceLabel]; label != "" {
			have, source = posture.PodSecurityLevel(label), "its label "+enforceLabel+" is "
		}
		if slices.Index(levels, have) <= slices.Index(levels, need) {
			continue
		}
		file := w.namespaceFiles[name]
		if file == "" {
			file = "manifests/namespaces/" + name + ".yaml"
		}
		w.report(Finding{
			Severity: diag.Error, Rule: ruleAdmitted, To: "namespace " + name, Object: "Namespace " + name, File: file,
			Message: fmt.Sprintf("namespace %s refuses its own pods: %s%s, and they need %s", name, source, have, need),
			Why:     choose(name == metav1.NamespaceSystem, "kube-proxy and the CNI's agents are not admitted again after their next restart: nodes lose the network one by one.", "Pods that run stay; the next restart or update ends them."),
			Fix:     fmt.Sprintf("Label it %s: %s", enforceLabel, need),
		})
	}
}

func choose(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

// systemNamespaces are those whose pods everything else depends on.
func (w *world) systemNamespaces() []string {
	names := []string{metav1.NamespaceSystem}
	if w.p.GitOps.Namespace != metav1.NamespaceSystem {
		names = append(names, w.p.GitOps.Namespace)
	}
	return names
}

// selectsNamespace holds a selector against a namespace's labels; nil selects every namespace.
func (w *world) selectsNamespace(s *metav1.LabelSelector, name string) bool {
	return selector{LabelSelector: s}.match(w.namespaceLabel(name), true) == yes
}

// admissionPolicies looks for a policy that can refuse pods, or what makes pods, in a system namespace.
// An expression is not evaluated: a rule about pods is written for tenants, and belongs to the namespaces
// that are not the system's. One that has conditions of its own on who asks or where is left to its author.
func (w *world) admissionPolicies() {
	for _, b := range w.bindings {
		if !slices.Contains(b.value.Spec.ValidationActions, admissionv1.Deny) {
			continue
		}
		pol, ok := w.admissionPolicy[b.value.Spec.PolicyName]
		if !ok {
			w.report(Finding{
				Severity: diag.Error, Rule: ruleAdmitted, Object: "ValidatingAdmissionPolicyBinding " + b.value.Name, File: b.file,
				Message: fmt.Sprintf("ValidatingAdmissionPolicyBinding %s has no effect: there is no ValidatingAdmissionPolicy %s", b.value.Name, b.value.Spec.PolicyName),
				Why:     "A binding without its policy refuses nothing.", Fix: regenerate,
			})
			continue
		}
		spec := &pol.value.Spec
		if spec.MatchConstraints == nil || conditional(spec) {
			continue
		}
		bound := b.value.Spec.MatchResources
		if !matchesPods(spec.MatchConstraints.ResourceRules) || bound != nil && len(bound.ResourceRules) > 0 && !matchesPods(bound.ResourceRules) {
			continue
		}
		for _, name := range w.systemNamespaces() {
			if !w.selectsNamespace(spec.MatchConstraints.NamespaceSelector, name) ||
				bound != nil && !w.selectsNamespace(bound.NamespaceSelector, name) {
				continue
			}
			w.report(Finding{
				Severity: diag.Error, Rule: ruleAdmitted, To: "namespace " + name, Object: "ValidatingAdmissionPolicyBinding " + b.value.Name, File: b.file,
				Message: fmt.Sprintf("ValidatingAdmissionPolicyBinding %s lets ValidatingAdmissionPolicy %s refuse pods in namespace %s", b.value.Name, pol.value.Name, name),
				Why:     "A pod there that the policy refuses does not come back after its next restart: cluster DNS, the CNI or GitOps itself.",
				Fix:     "Leave the namespace out in matchResources.namespaceSelector: k8ssec.dev/kind NotIn (addon, system), and kubernetes.io/metadata.name NotIn (kube-system).",
			})
		}
	}
}

// conditional reports whether a policy decides by expression whom or where it is about.
func conditional(spec *admissionv1.ValidatingAdmissionPolicySpec) bool {
	return slices.ContainsFunc(spec.MatchConditions, func(c admissionv1.MatchCondition) bool {
		return strings.Contains(c.Expression, "userInfo") || strings.Contains(c.Expression, "amespace")
	})
}

// makers are the resources whose refusal keeps a pod from being made.
var makers = []string{"pods", "replicationcontrollers", "daemonsets", "deployments", "replicasets", "statefulsets", "jobs", "cronjobs"}

func matchesPods(rules []admissionv1.NamedRuleWithOperations) bool {
	return slices.ContainsFunc(rules, func(r admissionv1.NamedRuleWithOperations) bool {
		return len(r.ResourceNames) == 0 && ruleMatchesPods(&r.RuleWithOperations)
	})
}

func ruleMatchesPods(r *admissionv1.RuleWithOperations) bool {
	if r.Scope != nil && *r.Scope == admissionv1.ClusterScope {
		return false
	}
	creates := slices.ContainsFunc(r.Operations, func(o admissionv1.OperationType) bool {
		return o == admissionv1.OperationAll || o == admissionv1.Create
	})
	group := slices.ContainsFunc(r.APIGroups, func(g string) bool {
		return g == "*" || g == corev1.GroupName || g == "apps" || g == "batch"
	})
	return creates && group && slices.ContainsFunc(r.Resources, func(resource string) bool {
		return resource == "*" || resource == "*/*" || slices.Contains(makers, resource)
	})
}

// webhookConfigurations looks for webhooks that the API server cannot call, and for those that close
// the system's namespaces when they do not answer.
func (w *world) webhookConfigurations() {
	for _, h := range w.webhooks {
		v := &h.value
		words := fmt.Sprintf("%s (webhook %s)", v.config, v.name)
		if v.service != nil {
			if ns, ok := w.p.Namespaces[v.service.Namespace]; ok && len(ns.Webhooks) == 0 && w.p.Network.DefaultDeny {
				w.report(Finding{
					Severity: diag.Error, Rule: ruleAdmitted, From: "the API server", To: "namespace " + v.service.Namespace, Object: v.config, File: h.file,
					Message: fmt.Sprintf("%s calls service %s/%s, and namespace %s opens no port to the API server", words, v.service.Namespace, v.service.Name, v.service.Namespace),
					Why:     "Each request that the webhook guards waits for a time-out and is then refused, or let through unchecked.",
					Fix:     fmt.Sprintf("namespaces: %q: webhooks: [9443], with the port on which the webhook's pods listen", v.service.Namespace),
				})
			}
		}
		closed := v.failurePolicy == nil || *v.failurePolicy == admissionv1.Fail
		if !closed || v.conditional || !(selector{LabelSelector: v.objectSelector}).empty() ||
			!slices.ContainsFunc(v.rules, func(r admissionv1.RuleWithOperations) bool { return ruleMatchesPods(&r) }) {
			continue
		}
		names := w.systemNamespaces()
		if v.service != nil && !slices.Contains(names, v.service.Namespace) {
			names = append(names, v.service.Namespace) // its own pods: nobody could start it again
		}
		for _, name := range names {
			if !w.selectsNamespace(v.namespaceSelector, name) {
				continue
			}
			w.report(Finding{
				Severity: diag.Error, Rule: ruleAdmitted, To: "namespace " + name, Object: v.config, File: h.file,
				Message: fmt.Sprintf("%s refuses every pod in namespace %s while it does not answer", words, name),
				Why:     "When its pods are gone, at a power cut for instance, neither the CNI nor the webhook itself can start again: the cluster cannot recover by itself.",
				Fix:     "Leave the namespace out in namespaceSelector, or set failurePolicy: Ignore.",
			})
		}
	}
}

// compute are the resources of a quota that each pod then has to name.
var compute = []corev1.ResourceName{"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "requests.ephemeral-storage", "limits.ephemeral-storage"}

// bounds looks for quotas and limits that keep the system's pods from starting.
func (w *world) bounds() {
	for _, name := range w.systemNamespaces() {
		for _, q := range w.quotas[name] {
			if len(q.value.Spec.Scopes) > 0 || q.value.Spec.ScopeSelector != nil {
				continue
			}
			var hard []string
			for _, r := range slices.Sorted(maps.Keys(q.value.Spec.Hard)) {
				if slices.Contains(compute, r) && (name == metav1.NamespaceSystem || len(w.limits[name]) == 0) || r == corev1.ResourcePods && name == metav1.NamespaceSystem {
					hard = append(hard, string(r))
				}
			}
			if len(hard) == 0 {
				continue
			}
			w.report(Finding{
				Severity: diag.Error, Rule: ruleAdmitted, To: "namespace " + name, Object: "ResourceQuota " + name + "/" + q.value.Name, File: q.file,
				Message: fmt.Sprintf("ResourceQuota %s/%s bounds %s: pods of %s that do not name them are refused", name, q.value.Name, strings.Join(hard, ", "), name),
				Why:     choose(name == metav1.NamespaceSystem, "kube-proxy and most CNI agents set no limits, and each new node adds pods: at the bound, nodes stay without a network.", "The GitOps controllers set no such limits, and without a LimitRange nothing sets them."),
				Fix:     "Remove the quota.",
			})
		}
		if name != metav1.NamespaceSystem {
			continue
		}
		for _, l := range w.limits[name] {
			for _, item := range l.value.Spec.Limits {
				if item.Type != corev1.LimitTypeContainer && item.Type != corev1.LimitTypePod || len(item.Default) == 0 && len(item.Max) == 0 && len(item.MaxLimitRequestRatio) == 0 {
					continue
				}
				w.report(Finding{
					Severity: diag.Error, Rule: ruleAdmitted, To: "namespace " + name, Object: "LimitRange " + name + "/" + l.value.Name, File: l.file,
					Message: fmt.Sprintf("LimitRange %s/%s gives limits to pods of %s that set none", name, l.value.Name, name),
					Why:     "The CNI's agent and kube-proxy run without limits because what they need grows with the cluster; with one they are killed when it grows.",
					Fix:     "Remove the LimitRange.",
				})
				break
			}
		}
	}
}
