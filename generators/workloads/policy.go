package workloads

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// policy is one entry of workloads.policies in the posture. Its name is part of the project's API.
type policy struct {
	name string
	// control is the project's own control, which a waiver of the whole policy names.
	control string
	// refuses completes "Refuses ..." and write says what to put into a manifest instead.
	refuses, write string
	// needs says what else in the posture switches the policy on, for the documentation.
	needs string
	// rules are the ValidatingAdmissionPolicies that make up the policy. None means that the posture
	// does not ask for it.
	rules func(p *posture.Posture) []rule
}

// rule is one ValidatingAdmissionPolicy and where it holds.
type rule struct {
	// suffix tells the rules of one policy apart.
	suffix string
	// why is the comment above the policy.
	why   string
	match []admissionv1.NamedRuleWithOperations
	// templates are matched as well, with their own binding where defaulted is set.
	templates []admissionv1.NamedRuleWithOperations
	// defaulted marks a rule about what admission fills in: templates do not show it yet, so that
	// they only earn a warning.
	defaulted bool
	// most is the strongest enforcement that makes sense; empty means enforce.
	most        posture.Enforcement
	conditions  []admissionv1.MatchCondition
	variables   []admissionv1.Variable
	validations []validation
	// exempt is a CEL expression for the requests that pass whatever they hold. They are recorded in
	// the audit log when they hold something the rule refuses.
	exempt string
	where  scope
	// allowed are namespaces that the posture itself lets do what the rule refuses.
	allowed []string
}

// validation is one expression with its message.
type validation struct {
	// name is the variable that holds the expression in a rule that exempts somebody.
	name       string
	expression string
	// message is for the case that messageExpression fails or grows over the limit of 5 KiB.
	message string
	// detail is the message as a CEL expression, which can name the container and the value.
	detail string
	reason metav1.StatusReason
	// controls are served by the expression.
	controls []string
}

// broad are controls that several policies serve, each a part. A waiver of one of them says nothing
// about which part is meant, so it lifts none: the waiver has to name the narrower control.
var broad = []string{"cis-5.2.1", "cis-5.5.1", "cis-5.6.3", "nsa-P5", "nsa-P6", "nsa-P8", "nsa-S1"}

// liftedBy are the controls whose waiver lifts the validation.
func (v validation) liftedBy() []string {
	return slices.DeleteFunc(slices.Clone(v.controls), func(c string) bool { return slices.Contains(broad, c) })
}

// enforceControl asks that policies refuse what breaks them.
const enforceControl = "wl-31"

// scope says in which namespaces a rule holds.
type scope int

const (
	// tenants are all namespaces that are not known to be the system's or an add-on's.
	tenants scope = iota
	// everywhere is every namespace.
	everywhere
	// unused are the namespaces that Kubernetes makes and in which nothing may run.
	unused
	// clusterWide is for objects without a namespace.
	clusterWide
)

// The namespaces that Kubernetes makes itself, besides kube-system.
var unusedNamespaces = []string{"default", "kube-node-lease", "kube-public"}

// labelName is set by the API server on each namespace and cannot be changed.
const labelName = "kubernetes.io/metadata.name"

// objectName is the name of the rule's ValidatingAdmissionPolicy.
func objectName(policyName, suffix string) string {
	if suffix == "" {
		return "k8ssec-" + policyName
	}
	return "k8ssec-" + policyName + "-" + suffix
}

// enforcement is what the posture asks of the policy.
func enforcement(p *posture.Posture, name string) posture.Enforcement {
	if e := p.Workloads.Policies[name].Enforcement; e != "" {
		return e
	}
	return p.Workloads.Enforcement
}

// atMost returns the weaker of the two.
func atMost(e, limit posture.Enforcement) posture.Enforcement {
	order := []posture.Enforcement{posture.Audit, posture.Warn, posture.Enforce}
	if limit == "" || slices.Index(order, e) <= slices.Index(order, limit) {
		return e
	}
	return limit
}

// actions are the validationActions of a binding. Deny and Warn cannot be combined, and Audit keeps
// a record of every violation whatever else happens to it.
func actions(e posture.Enforcement) []admissionv1.ValidationAction {
	switch e {
	case posture.Enforce:
		return []admissionv1.ValidationAction{admissionv1.Deny, admissionv1.Audit}
	case posture.Warn:
		return []admissionv1.ValidationAction{admissionv1.Warn, admissionv1.Audit}
	default:
		return []admissionv1.ValidationAction{admissionv1.Audit}
	}
}

// waived returns the namespaces in which one of the controls is waived.
func waived(p *posture.Posture, controls ...string) (namespaces []string, all bool) {
	for _, c := range controls {
		in, everywhere := p.WaivedIn(c)
		namespaces = append(namespaces, in...)
		all = all || everywhere
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces), all
}

// lift applies the waivers to the rule: it drops the validations that are waived for the whole
// cluster, opens the others for the namespaces that have a waiver, and returns the namespaces in
// which the whole rule is waived; all says that it is everywhere. A rule without validations has
// nothing left to check.
func (r rule) lift(p *posture.Posture, control string) (lifted rule, namespaces []string, all bool) {
	if len(r.validations) == 1 {
		namespaces, all = waived(p, append([]string{control}, r.validations[0].liftedBy()...)...)
		return r, namespaces, all
	}
	namespaces, all = waived(p, control)
	var kept []validation
	for _, v := range r.validations {
		in, all := waived(p, v.liftedBy()...)
		if all {
			continue
		}
		if len(in) > 0 && r.where != clusterWide {
			v.expression = fmt.Sprintf("request.?namespace.orValue('') in %s ||\n(%s)", list(in), v.expression)
		}
		kept = append(kept, v)
	}
	r.validations = kept
	return r, namespaces, all
}

// systemNames are namespaces that are left out by name. kube-system is: whoever removes its label
// must not stop the control plane. So are those that no file of the repository labels: Calico's,
// without which there is no network for GitOps to work over, and where kind provisions volumes, by
// pods that mount the node's disk.
func systemNames(p *posture.Posture) []string {
	names := []string{metav1.NamespaceSystem}
	if p.Cluster.CNI == "calico" {
		names = append(names, "calico-apiserver", "calico-system", "tigera-operator")
	}
	if p.Cluster.Platform == "kind" {
		names = append(names, "local-path-storage")
	}
	return names
}

// selector selects the namespaces of the scope, without those given.
func (s scope) selector(p *posture.Posture, without []string) *metav1.LabelSelector {
	var terms []metav1.LabelSelectorRequirement
	notIn := slices.Clone(without)
	switch s {
	case clusterWide:
		return nil
	case unused:
		terms = append(terms, metav1.LabelSelectorRequirement{
			Key: labelName, Operator: metav1.LabelSelectorOpIn, Values: unusedNamespaces,
		})
	case tenants:
		terms = append(terms, metav1.LabelSelectorRequirement{
			Key: generators.LabelKind, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"addon", "system"},
		})
		notIn = append(notIn, systemNames(p)...)
	case everywhere:
	}
	if len(notIn) > 0 {
		slices.Sort(notIn)
		terms = append(terms, metav1.LabelSelectorRequirement{
			Key: labelName, Operator: metav1.LabelSelectorOpNotIn, Values: slices.Compact(notIn),
		})
	}
	if len(terms) == 0 {
		return nil
	}
	return &metav1.LabelSelector{MatchExpressions: terms}
}

// object returns the rule's ValidatingAdmissionPolicy.
func (r rule) object(name string) *admissionv1.ValidatingAdmissionPolicy {
	fail, equivalent := admissionv1.Fail, admissionv1.Equivalent
	variables := slices.Clone(r.variables)
	var annotations []admissionv1.AuditAnnotation
	var validations []admissionv1.Validation
	var names []string
	for _, v := range r.validations {
		reason := v.reason
		if reason == "" {
			reason = metav1.StatusReasonInvalid
		}
		expression := v.expression
		if r.exempt != "" {
			variables = append(variables, admissionv1.Variable{Name: v.name, Expression: expression})
			names = append(names, "variables."+v.name)
			expression = "variables.exempt || variables." + v.name
		}
		validations = append(validations, admissionv1.Validation{
			Expression:        expression,
			Message:           v.message,
			MessageExpression: v.detail,
			Reason:            &reason,
		})
	}
	if r.exempt != "" {
		variables = append([]admissionv1.Variable{{Name: "exempt", Expression: r.exempt}}, variables...)
		annotations = []admissionv1.AuditAnnotation{{
			Key: "exempted",
			ValueExpression: "variables.exempt && !(" + strings.Join(names, " && ") + ")\n" +
				"? request.userInfo.username + ' is exempt' : ''",
		}}
	}
	return &admissionv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: generators.Meta(domain, "", name),
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionv1.MatchResources{
				MatchPolicy:   &equivalent,
				ResourceRules: append(slices.Clone(r.match), r.templates...),
			},
			MatchConditions:  r.conditions,
			Variables:        variables,
			Validations:      validations,
			AuditAnnotations: annotations,
		},
	}
}

// binding returns a ValidatingAdmissionPolicyBinding. Without rules it takes those of the policy.
func binding(name, policyName string, e posture.Enforcement, namespaces *metav1.LabelSelector,
	rules []admissionv1.NamedRuleWithOperations,
) *admissionv1.ValidatingAdmissionPolicyBinding {
	b := &admissionv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: generators.Meta(domain, "", name),
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        policyName,
			ValidationActions: actions(e),
		},
	}
	if namespaces != nil || len(rules) > 0 {
		equivalent := admissionv1.Equivalent
		b.Spec.MatchResources = &admissionv1.MatchResources{
			MatchPolicy: &equivalent, NamespaceSelector: namespaces, ResourceRules: rules,
		}
	}
	return b
}

// controls are those that the rule serves.
func (r rule) controls(control string) []string {
	controls := []string{control}
	for _, v := range r.validations {
		controls = append(controls, v.controls...)
	}
	return unique(controls)
}

// claims are those of the rule's objects: each validation with its controls, and the binding with
// all of them. A rule that does not refuse serves no control yet.
func (r rule) claims(control string, e posture.Enforcement) (onPolicy, onBinding []generators.Claim) {
	want := posture.Enforce
	if r.most != "" {
		want = r.most
	}
	if e != want {
		return nil, nil
	}
	for i, v := range r.validations {
		field := fmt.Sprintf("spec.validations[%d]", i)
		onPolicy = append(onPolicy, generators.Claims(field, append([]string{control}, v.controls...)...)...)
	}
	onBinding = generators.Claims("spec", r.controls(control)...)
	if e == posture.Enforce {
		onBinding = append(onBinding, generators.Claim{Control: enforceControl, Field: "spec.validationActions"})
	}
	return onPolicy, onBinding
}

// applied is a rule as the posture has it: with its waivers, and with what happens to a request that
// breaks it.
type applied struct {
	rule
	enforcement posture.Enforcement
	waived      []string // namespaces
}

// apply returns the rules of the policy that have something to check. Where a waiver lifts one for
// the whole cluster, the posture's own setting for the policy decides, and without one the rule only
// records.
func (pol policy) apply(p *posture.Posture) []applied {
	setting := p.Workloads.Policies[pol.name]
	if !setting.Enabled {
		return nil
	}
	var rules []applied
	for _, r := range pol.rules(p) {
		r, namespaces, all := r.lift(p, pol.control)
		if len(r.validations) == 0 {
			continue
		}
		e := atMost(enforcement(p, pol.name), r.most)
		if all && setting.Enforcement == "" {
			e = posture.Audit
		}
		rules = append(rules, applied{r, e, namespaces})
	}
	return rules
}

// objects returns the objects of a policy in the cluster.
func (pol policy) objects(p *posture.Posture) []generators.Object {
	var objects []generators.Object
	for _, r := range pol.apply(p) {
		name := objectName(pol.name, r.suffix)
		onPolicy, onBinding := r.claims(pol.control, r.enforcement)
		objects = append(objects, generators.Object{Value: r.object(name), Why: r.why, Claims: onPolicy})
		selector := r.where.selector(p, append(slices.Clone(r.allowed), r.waived...))
		bound := generators.Object{
			Value:  binding(name, name, r.enforcement, selector, nil),
			Why:    "Where it holds, and what happens to a request that breaks it.",
			Claims: onBinding,
		}
		if r.defaulted {
			bound.Value = binding(name, name, r.enforcement, selector, r.match)
			bound.Why = "Where it holds for pods, and what happens to one that breaks it."
		}
		objects = append(objects, bound)
		if r.defaulted {
			objects = append(objects, generators.Object{
				Value: binding(name+"-templates", name, atMost(r.enforcement, posture.Warn), selector, r.templates),
				Why: "A template does not show yet what admission fills in for its pods, so it earns a " +
					"warning at most: the pods themselves are what counts.",
			})
		}
		if len(r.waived) > 0 {
			objects = append(objects, generators.Object{
				Value: binding(name+"-waived", name, posture.Audit, only(r.waived), nil),
				Why: "Waived here. What the policy would refuse is still recorded in the audit log, so that a " +
					"waiver nobody needs any more can be seen.",
			})
		}
	}
	return objects
}

// only selects exactly these namespaces.
func only(namespaces []string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: labelName, Operator: metav1.LabelSelectorOpIn, Values: namespaces,
	}}}
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

// on matches operations on resources of one group, in the version v1 that all of them have.
func on(group string, operations []admissionv1.OperationType, resources ...string) admissionv1.NamedRuleWithOperations {
	return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: operations,
		Rule: admissionv1.Rule{
			APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources,
		},
	}}
}

var (
	create  = []admissionv1.OperationType{admissionv1.Create}
	update  = []admissionv1.OperationType{admissionv1.Update}
	write   = []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
	connect = []admissionv1.OperationType{admissionv1.Connect}
)
