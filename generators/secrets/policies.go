package secrets

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// admissionPolicy is a ValidatingAdmissionPolicy and where it holds.
type admissionPolicy struct {
	name, why   string
	rules       []admissionv1.NamedRuleWithOperations
	conditions  []admissionv1.MatchCondition
	variables   []admissionv1.Variable
	validations []admissionv1.Validation
	namespaces  *metav1.LabelSelector
	control     string
}

func (a *admissionPolicy) objects(p *posture.Posture) []generators.Object {
	fail, equivalent := admissionv1.Fail, admissionv1.Equivalent
	policy := &admissionv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: generators.Meta(domain, "", a.name),
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy:    &fail,
			MatchConstraints: &admissionv1.MatchResources{MatchPolicy: &equivalent, ResourceRules: a.rules},
			MatchConditions:  a.conditions,
			Variables:        a.variables,
			Validations:      a.validations,
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: generators.Meta(domain, "", a.name),
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: a.name, ValidationActions: actions(p.Workloads.Enforcement)},
	}
	if a.namespaces != nil {
		binding.Spec.MatchResources = &admissionv1.MatchResources{MatchPolicy: &equivalent, NamespaceSelector: a.namespaces}
	}
	objects := []generators.Object{
		{Value: policy, Why: a.why},
		{Value: binding, Why: "Where it holds, and what happens to a request that breaks it."},
	}
	if p.Workloads.Enforcement == posture.Enforce {
		objects[0].Claims = generators.Claims("spec.validations", a.control)
		objects[1].Claims = generators.Claims("spec.validationActions", a.control)
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

func on(group string, versions string, operations []admissionv1.OperationType, resources ...string) admissionv1.NamedRuleWithOperations {
	return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: operations,
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{versions}, Resources: resources},
	}}
}

// quote is a CEL string, and list a CEL list of strings.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func list(values ...string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func validation(expression, message string) admissionv1.Validation {
	reason := metav1.StatusReasonForbidden
	return admissionv1.Validation{Expression: expression, Message: message, Reason: &reason}
}

var (
	create = admissionv1.Create
	write  = []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
)

// storeAudiences are those of the tokens that External Secrets makes for the store.
func storeAudiences(p *posture.Posture) []string {
	if p.Secrets.Provider == "aws" {
		return []string{"sts.amazonaws.com"}
	}
	audiences := []string{p.Secrets.Vault.Audience}
	if clientReviews(p) {
		audiences = append(audiences, apiAudience(p))
	}
	return audiences
}

// clusterWide is what holds for all namespaces.
func clusterWide(p *posture.Posture) generators.Artifact {
	controller := "system:serviceaccount:" + strings.Replace(p.Secrets.Account, "/", ":", 1)
	group := "external-secrets.io"
	writers := append(generators.GitOpsAccounts(p), controller)
	groups := generators.EmergencyGroups(p)
	if p.Backup.Install != posture.InstallOff {
		groups = append(groups, "system:serviceaccounts:velero") // brings back what Git applied
	}
	// An update that leaves the spec alone, a finalizer or a status for instance, changes nothing that is read.
	exempt := "request.userInfo.?groups.orValue([]).exists(g, g in " + list(groups...) + ") ||\n" +
		"request.operation == 'UPDATE' && object.spec == oldObject.spec"

	kinds := &admissionPolicy{
		name: "k8ssec-secret-store-writers", control: "sec-2",
		why: "Who may write a SecretStore or an ExternalSecret decides what is read of the store, and as whom. Only Git does: the chart of External Secrets " +
			"gives that right to every namespace admin. Stores for the whole cluster, and copies out of it (PushSecret), are refused to everybody.",
		rules: []admissionv1.NamedRuleWithOperations{on(group, "*", write,
			"clusterexternalsecrets", "clusterpushsecrets", "clustersecretstores", "externalsecrets", "pushsecrets", "secretstores")},
		validations: []admissionv1.Validation{
			validation("request.userInfo.?username.orValue('') in "+list(writers...)+" ||\n"+exempt,
				"only Git may write this: declare the entry in cluster.cue, under namespaces.<name>.secrets."),
		},
	}
	beyond := []string{"clusterexternalsecrets", "clusterpushsecrets", "clustersecretstores", "pushsecrets"}
	if p.Secrets.ClusterStores {
		beyond = slices.DeleteFunc(beyond, func(kind string) bool { return kind == "clustersecretstores" })
	}
	kinds.validations = append(kinds.validations, validation(
		"!(request.resource.resource in "+list(beyond...)+")",
		"no store for the whole cluster and no copies out of it: use a SecretStore in the namespace that reads."))

	where := "object.spec.?provider.?vault.?server.orValue('') == "
	message := "the store of this cluster is "
	if p.Secrets.Provider == "vault" {
		where += quote(p.Secrets.Vault.Address)
		message += p.Secrets.Vault.Address + ", and no other."
	} else {
		where = "object.spec.?provider.?aws.?service.orValue('') == 'SecretsManager' &&\nobject.spec.?provider.?aws.?region.orValue('') == " + quote(p.Secrets.AWS.Region)
		message += "AWS Secrets Manager in " + p.Secrets.AWS.Region + ", and no other."
	}
	provider := &admissionPolicy{
		name: "k8ssec-secret-store-provider", control: "sec-2",
		why: "External Secrets speaks to dozens of services, among them any web server and the API server itself: a store of such a kind reads, or sends, " +
			"with the rights and from the network of External Secrets.",
		rules:       []admissionv1.NamedRuleWithOperations{on(group, "*", write, "clustersecretstores", "secretstores")},
		validations: []admissionv1.Validation{validation(where, message)},
	}

	isController := []admissionv1.MatchCondition{{
		Name: "external-secrets", Expression: "request.userInfo.?username.orValue('') == " + quote(controller),
	}}
	audiences := storeAudiences(p)
	tokens := &admissionPolicy{
		name: "k8ssec-secret-reader-tokens", control: "sec-3",
		why: "The chart of External Secrets lets it create a token of every service account of the cluster, so whoever takes it over is whoever they like. " +
			"It needs those of the readers alone, for the store.",
		rules:      []admissionv1.NamedRuleWithOperations{on("", "v1", []admissionv1.OperationType{create}, "serviceaccounts/token")},
		conditions: isController,
		validations: []admissionv1.Validation{
			validation("request.?name.orValue('').startsWith("+quote(accountPrefix)+") && namespaceObject.metadata.?labels["+quote(generators.LabelSecrets)+"].orValue('') == 'read'",
				"External Secrets may create tokens of the service accounts "+accountPrefix+"* only, in namespaces that declare secrets."),
			validation("size(object.spec.?audiences.orValue([])) > 0 &&\nobject.spec.?audiences.orValue([]).all(a, a in "+list(audiences...)+")",
				"External Secrets may create tokens for the secret store only."),
		},
	}
	writes := &admissionPolicy{
		name: "k8ssec-secret-reader-writes", control: "sec-3",
		why: "External Secrets may write every secret of the cluster. It has no business in namespaces that declare none: there it could plant a token or a certificate.",
		rules: []admissionv1.NamedRuleWithOperations{on("", "v1",
			[]admissionv1.OperationType{admissionv1.Create, admissionv1.Delete, admissionv1.Update}, "secrets")},
		conditions: isController,
		validations: []admissionv1.Validation{
			validation("namespaceObject.metadata.?labels["+quote(generators.LabelSecrets)+"].orValue('') == 'read'",
				"External Secrets writes secrets only in namespaces that declare some in cluster.cue."),
		},
	}

	var objects []generators.Object
	for _, a := range []*admissionPolicy{kinds, provider, tokens, writes} {
		objects = append(objects, a.objects(p)...)
	}
	if clientReviews(p) {
		objects = append(objects, generators.Object{
			Value: &rbacv1.ClusterRole{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
				ObjectMeta: generators.Meta(domain, "", reviewRole),
				Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}}},
			},
			Why: "For the readers of Vault: asking whether a token is good, and nothing else. Kubernetes' own system:auth-delegator would also let them ask what anybody may do.",
		})
	}
	return generators.Artifact{
		Path:    "manifests/secrets/cluster.policies.yaml",
		Comment: "What may be read of the store, and how far External Secrets reaches. Read by the API server.",
		Objects: objects,
	}
}
