package runtime

import (
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// confinement are the policies that keep tenants' containers from the node's kernel.
func confinement(p *posture.Posture) []generators.Object {
	var objects []generators.Object
	if s := p.Runtime.Sandbox; s != nil {
		objects = append(objects, generators.Object{
			Value: &nodev1.RuntimeClass{
				TypeMeta:   metav1.TypeMeta{APIVersion: nodev1.SchemeGroupVersion.String(), Kind: "RuntimeClass"},
				ObjectMeta: generators.Meta(domain, "", generators.SandboxClass),
				Handler:    s.Handler,
			},
			Why:    "The sandbox: the handler " + s.Handler + ", which the container runtime of each node must have. A pod on a node without it does not start.",
			Claims: generators.Claims("handler", sandboxControls...),
		})
		objects = append(objects, policy(p, "k8ssec-sandbox", "nsa-P9",
			"Pods of these namespaces run in the sandbox. Without it they share the kernel of the node with everybody else's.",
			&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: nameLabel, Operator: metav1.LabelSelectorOpIn, Values: slices.Sorted(slices.Values(s.Namespaces)),
			}}},
			"object.spec.?runtimeClassName.orValue('') == '"+generators.SandboxClass+"'",
			"pods of this namespace run in a sandbox: set spec.runtimeClassName: "+generators.SandboxClass+".")...)
	}
	if p.Runtime.UserNamespaces {
		in, everywhere := p.WaivedIn("rt-3")
		if !everywhere {
			without := slices.Concat(in, []string{"kube-system", p.GitOps.Namespace})
			slices.Sort(without)
			objects = append(objects, policy(p, "k8ssec-user-namespaces", "rt-3",
				"Root in such a pod is nobody on the node: what escapes has no rights there. It needs Linux 6.3 and a container runtime that maps user ids (containerd 2.0, CRI-O 1.25).",
				&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: generators.LabelKind, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"addon", "system"}},
					{Key: nameLabel, Operator: metav1.LabelSelectorOpNotIn, Values: slices.Compact(without)},
				}},
				"object.spec.?hostUsers.orValue(true) == false",
				"pods of tenants have a user namespace of their own: set spec.hostUsers: false.")...)
		}
	}
	return objects
}

// nameLabel is on every namespace, set by the API server to the namespace's own name.
const nameLabel = "kubernetes.io/metadata.name"

// policy refuses pods for which the expression is false.
func policy(p *posture.Posture, name, control, why string, namespaces *metav1.LabelSelector, expression, message string) []generators.Object {
	fail, equivalent := admissionv1.Fail, admissionv1.Equivalent
	invalid := metav1.StatusReasonInvalid
	objects := []generators.Object{
		{
			Value: &admissionv1.ValidatingAdmissionPolicy{
				TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicy"},
				ObjectMeta: generators.Meta(domain, "", name),
				Spec: admissionv1.ValidatingAdmissionPolicySpec{
					FailurePolicy: &fail,
					MatchConstraints: &admissionv1.MatchResources{
						MatchPolicy: &equivalent,
						ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
							// Both fields are fixed once the pod is made.
							Operations: []admissionv1.OperationType{admissionv1.Create},
							Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
						}}},
					},
					Validations: []admissionv1.Validation{{Expression: expression, Message: message, Reason: &invalid}},
				},
			},
			Why: why,
		},
		{
			Value: &admissionv1.ValidatingAdmissionPolicyBinding{
				TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicyBinding"},
				ObjectMeta: generators.Meta(domain, "", name),
				Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
					PolicyName: name, ValidationActions: actions(p.Workloads.Enforcement),
					MatchResources: &admissionv1.MatchResources{MatchPolicy: &equivalent, NamespaceSelector: namespaces},
				},
			},
			Why: "Where it holds, and what happens to a pod that breaks it.",
		},
	}
	if p.Workloads.Enforcement == posture.Enforce {
		objects[0].Claims = generators.Claims("spec.validations", control)
		objects[1].Claims = generators.Claims("spec.validationActions", control)
	}
	return objects
}

// actions are the validationActions for a step of enforcement; each keeps a record in the audit log.
func actions(e posture.Enforcement) []admissionv1.ValidationAction {
	switch e {
	case posture.Enforce:
		return []admissionv1.ValidationAction{admissionv1.Deny, admissionv1.Audit}
	case posture.Warn:
		return []admissionv1.ValidationAction{admissionv1.Warn, admissionv1.Audit}
	}
	return []admissionv1.ValidationAction{admissionv1.Audit}
}
