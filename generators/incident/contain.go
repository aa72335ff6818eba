package incident

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Names of the containment objects. The scripts and runbooks use them.
const (
	quarantineName = "k8ssec-quarantine"
	guardName      = "k8ssec-incident-quarantine-guard"
	freezeName     = "k8ssec-incident-rbac-freeze"
	imageDenyName  = "k8ssec-incident-image-deny"
	// deniedImages is the ConfigMap that names the images that imageDeny refuses.
	deniedImages          = "k8ssec-denied-images"
	deniedImagesNamespace = "kube-system"
)

// notApplied begins each file of incident/.
const notApplied = "NOT applied by GitOps, and it must not be: no Kustomization or Application reads this folder.\n"

// file is one containment file.
func file(name, comment string, objects ...generators.Object) generators.Artifact {
	return generators.Artifact{
		Path: "incident/" + name, Kind: generators.Procedure, Comment: notApplied + comment, Objects: objects,
	}
}

// meta is like generators.Meta, with a label by which the scripts find what is applied.
func meta(name string) metav1.ObjectMeta {
	m := generators.Meta(domain, "", name)
	m.Labels["k8ssec.dev/containment"] = "true"
	return m
}

// quarantine is the policy that isolates the pods with the label.
func quarantine(p *posture.Posture) generators.Artifact {
	const path = "quarantine.yaml"
	claim := generators.Claims("spec", "incident-3")
	if p.Cluster.CNI == "cilium" {
		return file(path, "Read by Cilium. Applied by contain.sh, once for the cluster; docs/incident-response.md says when.", generators.Object{
			Value: map[string]any{
				"apiVersion": "cilium.io/v2",
				"kind":       "CiliumClusterwideNetworkPolicy",
				"metadata": map[string]any{"name": quarantineName, "labels": map[string]any{
					generators.LabelManagedBy: "k8ssec", generators.LabelDomain: domain, "k8ssec.dev/containment": "true",
				}},
				"spec": map[string]any{
					"endpointSelector": map[string]any{"matchExpressions": []any{map[string]any{
						"key": "k8s:" + generators.LabelQuarantine, "operator": "Exists",
					}}},
					"ingressDeny": []any{
						map[string]any{"fromEntities": entities(ciliumOutside)},
						map[string]any{"fromEndpoints": []any{anyPod()}},
					},
					"egressDeny": []any{
						map[string]any{"toEntities": entities(append([]string{"host"}, ciliumOutside...))},
						map[string]any{"toEndpoints": []any{anyPod()}},
					},
				},
			},
			Why: "Isolates each pod with the label " + generators.LabelQuarantine + ", whatever other policies open: denies stand above allows. " +
				"Cilium judges each packet, so connections that are open already end too.\n" +
				"The pod's own node still gets in, because a pod whose probes fail is restarted, and what was in its memory is lost. " +
				"Pods on the host's network have no policy; contain their node.",
			Claims: claim,
		})
	}
	np := &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: meta(quarantineName),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: generators.LabelQuarantine, Operator: metav1.LabelSelectorOpExists,
			}}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
	return file(path, "Read by "+reader(p)+". It names no namespace: contain.sh applies it to that of the pod (kubectl apply -n NAMESPACE -f).", generators.Object{
		Value: np,
		Why: "Selects each pod with the label " + generators.LabelQuarantine + " and opens nothing. Policies add up, so this one takes nothing away: " +
			"the pod is isolated because the emitted policies leave pods with the label out of all that they open. " +
			"A policy that somebody else wrote can still open something to it; contain.sh names such a policy, and it must go.\n" +
			"Connections that are open already may go on, because the CNI lets established ones pass: end them on the pod's node with contain-node.sh.",
		Claims: claim,
	})
}

// ciliumOutside is everything but pods and the pod's own node.
var ciliumOutside = []string{"world", "remote-node", "kube-apiserver", "ingress", "health", "unmanaged", "init"}

func entities(names []string) []any {
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	return list
}

// anyPod selects the pods of each namespace: an empty selector would take in the node as well.
func anyPod() map[string]any {
	return map[string]any{"matchExpressions": []any{map[string]any{"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"}}}
}

func reader(p *posture.Posture) string {
	if p.Cluster.CNI == "calico" {
		return "Calico"
	}
	return "the cluster's CNI plug-in"
}

// quarantineGuard keeps a pod in quarantine.
func quarantineGuard(p *posture.Posture) generators.Artifact {
	label := quote(generators.LabelQuarantine)
	marked := func(object string) string {
		return fmt.Sprintf("%s.metadata.?labels[?%s].orValue('')", object, label)
	}
	spec := admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: match(rule("", []admissionv1.OperationType{admissionv1.Update, admissionv1.Delete}, "pods")),
		MatchConditions: []admissionv1.MatchCondition{
			{Name: "in-quarantine", Expression: marked("oldObject") + " != ''"},
			{Name: "not-in-an-emergency", Expression: "!(" + emergency(p) + ")"},
			// The kubelet ends a pod that somebody was allowed to delete.
			{Name: "not-the-end-of-a-deletion", Expression: "!(request.operation == 'DELETE' && has(oldObject.metadata.deletionTimestamp))"},
		},
		Validations: []admissionv1.Validation{{
			Expression: "request.operation == 'UPDATE' && " + marked("object") + " == " + marked("oldObject"),
			Message:    "this pod is in quarantine: only break-glass releases or deletes it.",
			Reason:     reason(metav1.StatusReasonForbidden),
		}},
	}
	return file("quarantine-guard.yaml", "Read by the API server. Applied with the first quarantine, deleted after the last.",
		policyObjects(guardName, spec, nil,
			"Nobody but break-glass takes the quarantine off a pod, or deletes the pod: its memory and its file system are the evidence. "+
				"Owners, preemption and taints are refused too, which is meant. An eviction passes (kubectl drain makes one): it deletes without asking admission, so do not drain the node.")...)
}

// rbacFreeze refuses each change of rights.
func rbacFreeze(p *posture.Posture) generators.Artifact {
	write := []admissionv1.OperationType{admissionv1.Create, admissionv1.Update, admissionv1.Delete}
	spec := admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: match(
			rule("rbac.authorization.k8s.io", write, "clusterrolebindings", "clusterroles", "rolebindings", "roles"),
			rule("", []admissionv1.OperationType{admissionv1.Create}, "serviceaccounts/token"),
		),
		MatchConditions: []admissionv1.MatchCondition{
			{Name: "not-in-an-emergency", Expression: "!(" + emergency(p) + ")"},
			// What the control plane itself does: the rules of aggregated roles, and namespaces that end.
			{Name: "not-the-control-plane", Expression: "!(request.userInfo.?username.orValue('') in " + list([]string{
				"system:serviceaccount:kube-system:clusterrole-aggregation-controller",
				"system:serviceaccount:kube-system:generic-garbage-collector",
				"system:serviceaccount:kube-system:namespace-controller",
			}) + ")"},
			// Pods need tokens: kubelets ask for them, and so do the controllers of the platform.
			{Name: "not-a-token-for-a-pod", Expression: "!(request.?subResource.orValue('') == 'token' && request.userInfo.?groups.orValue([]).exists(g, g in " + list(tokenGroups(p)) + "))"},
		},
		Validations: []admissionv1.Validation{{
			// A GitOps engine applies again and again what is there already.
			Expression: "request.operation == 'UPDATE' && request.?subResource.orValue('') == '' &&\n" +
				"(has(object.rules) ? object.rules : []) == (has(oldObject.rules) ? oldObject.rules : []) &&\n" +
				"(has(object.subjects) ? object.subjects : []) == (has(oldObject.subjects) ? oldObject.subjects : []) &&\n" +
				"(has(object.aggregationRule) ? [object.aggregationRule] : []) == (has(oldObject.aggregationRule) ? [oldObject.aggregationRule] : [])" +
				" &&\nobject.metadata.?labels.orValue({}) == oldObject.metadata.?labels.orValue({})",
			Message: "rights are frozen because of an incident: only break-glass changes roles, bindings and tokens.",
			Reason:  reason(metav1.StatusReasonForbidden),
		}},
	}
	return file("rbac-freeze.yaml", "Read by the API server. Applied when somebody may be giving themselves rights; deleted when it is over.",
		policyObjects(freezeName, spec, nil,
			"No role, binding or token is made, changed or deleted, not by people, not by tenants, and not through Git, because Git may be where the intruder is. "+
				"What does not change anything passes, so that GitOps keeps running. Labels count as a change: an aggregated role takes in what has the right ones.\n"+
				"It stops writes. Rights that somebody has already are taken away by deleting the binding, as break-glass.")...)
}

// imageDeny refuses pods with the images that a ConfigMap names.
func imageDeny() generators.Artifact {
	const containers = "(has(object.spec.initContainers) ? object.spec.initContainers.map(c, c.?image.orValue('')) : []) +\n" +
		"(has(object.spec.ephemeralContainers) ? object.spec.ephemeralContainers.map(c, c.?image.orValue('')) : []) +\n" +
		"object.spec.containers.map(c, c.?image.orValue(''))"
	spec := admissionv1.ValidatingAdmissionPolicySpec{
		ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		MatchConstraints: match(
			rule("", []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}, "pods"),
			rule("", []admissionv1.OperationType{admissionv1.Update}, "pods/ephemeralcontainers"),
		),
		Variables: []admissionv1.Variable{
			{Name: "images", Expression: containers},
			{Name: "before", Expression: "request.operation == 'UPDATE' ? " +
				"oldObject.spec.containers.map(c, c.?image.orValue('')) + (has(oldObject.spec.initContainers) ? oldObject.spec.initContainers.map(c, c.?image.orValue('')) : []) : []"},
			{Name: "denied", Expression: "(has(params.data) && 'images' in params.data ? params.data['images'] : '').split('\\n').map(line, line.trim()).filter(line, line != '')"},
			{Name: "found", Expression: "variables.images.filter(i, !(i in variables.before) && variables.denied.exists(d,\n" +
				"  i == d || i.startsWith(d + ':') || i.startsWith(d + '@') || i.startsWith(d + '/') || i.endsWith('@' + d)))"},
		},
		Validations: []admissionv1.Validation{{
			Expression:        "size(variables.found) == 0",
			Message:           "this image is forbidden because of an incident.",
			MessageExpression: "'image ' + variables.found.join(', ') + ' is forbidden because of an incident'",
			Reason:            reason(metav1.StatusReasonForbidden),
		}},
	}
	allow := admissionv1.AllowAction
	return file("image-deny.yaml", "Read by the API server. The images are in the ConfigMap "+deniedImagesNamespace+"/"+deniedImages+", key images, one a line:\n"+
		"a whole image, an image without tag, a registry or path, or a digest (sha256:...). Without the ConfigMap it refuses nothing.",
		policyObjects(imageDenyName, spec, &admissionv1.ParamRef{
			Name: deniedImages, Namespace: deniedImagesNamespace, ParameterNotFoundAction: &allow,
		},
			"No new pod runs an image of the list, in any namespace. Pods that run already go on until they are deleted: docs/runbooks/malicious-image.md.")...)
}

// policyObjects are a ValidatingAdmissionPolicy and the binding that puts it in force.
func policyObjects(name string, spec admissionv1.ValidatingAdmissionPolicySpec, params *admissionv1.ParamRef, why string) []generators.Object {
	fail := admissionv1.Fail
	spec.FailurePolicy = &fail
	return []generators.Object{
		{
			Value: &admissionv1.ValidatingAdmissionPolicy{
				TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"},
				ObjectMeta: meta(name),
				Spec:       spec,
			},
			Why:    why,
			Claims: generators.Claims("spec", "incident-3"),
		},
		{
			Value: &admissionv1.ValidatingAdmissionPolicyBinding{
				TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicyBinding"},
				ObjectMeta: meta(name),
				Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
					PolicyName:        name,
					ParamRef:          params,
					ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny, admissionv1.Audit},
				},
			},
			Why:    "Puts it in force everywhere.",
			Claims: generators.Claims("spec.validationActions", "incident-3"),
		},
	}
}

func match(rules ...admissionv1.NamedRuleWithOperations) *admissionv1.MatchResources {
	equivalent := admissionv1.Equivalent
	return &admissionv1.MatchResources{MatchPolicy: &equivalent, ResourceRules: rules}
}

func rule(group string, operations []admissionv1.OperationType, resources ...string) admissionv1.NamedRuleWithOperations {
	return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: operations,
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources},
	}}
}

func reason(r metav1.StatusReason) *metav1.StatusReason { return &r }

// emergency is the CEL expression for requests by whoever handles an emergency.
func emergency(p *posture.Posture) string {
	return "request.userInfo.?groups.orValue([]).exists(g, g in " + list(generators.EmergencyGroups(p)) + ")"
}

// tokenGroups may ask for tokens during a freeze: nodes, and the controllers of system and add-on
// namespaces.
func tokenGroups(p *posture.Posture) []string {
	groups := []string{"system:nodes", "system:serviceaccounts:kube-system"}
	for _, name := range p.NamespacesOf("addon") {
		groups = append(groups, "system:serviceaccounts:"+name)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// list is a CEL list of strings.
func list(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote is a CEL string.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
