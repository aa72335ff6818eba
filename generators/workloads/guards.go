package workloads

import (
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// aggregationController fills in the rules of aggregated ClusterRoles, "admin" with its
// impersonate verb among them.
const aggregationController = "system:serviceaccount:kube-system:clusterrole-aggregation-controller"

// emergency is the CEL expression for requests by whoever handles an emergency: break-glass and the
// two kubeadm credentials.
func emergency(p *posture.Posture) string {
	return inGroups(generators.EmergencyGroups(p)...)
}

func inGroups(groups ...string) string {
	return "request.userInfo.?groups.orValue([]).exists(g, g in " + list(groups) + ")"
}

// emergencyOrGit adds who applies the reviewed repository, who restores what it applied, and
// Calico's operator, which makes the network plug-in's namespace and roles.
func emergencyOrGit(p *posture.Posture, more ...string) string {
	accounts := append(generators.GitOpsAccounts(p), more...)
	if p.Cluster.CNI == "calico" {
		accounts = append(accounts, "system:serviceaccount:tigera-operator:tigera-operator")
	}
	expression := emergency(p) + " ||\nrequest.userInfo.?username.orValue('') in " + list(accounts)
	if p.Backup.Install != posture.InstallOff {
		expression += " ||\n" + inGroups("system:serviceaccounts:velero")
	}
	return expression
}

// guardPolicies are about objects other than pods, and about who may touch what.
func guardPolicies() []policy {
	return []policy{
		{
			name: "no-default-namespace", control: "wl-5",
			refuses: "workloads, services and volume claims in `default`, `kube-public` and `kube-node-lease`",
			write:   "`metadata.namespace` of the team's own namespace",
			rules:   always(noDefaultNamespace()),
		},
		{
			name: "namespace-labels", control: "wl-6",
			refuses: "changes to the `pod-security.kubernetes.io/*` and `k8ssec.dev/*` labels of namespaces by anyone but Git and break-glass",
			write:   "the change in `cluster.cue`, under `namespaces`",
			rules:   func(p *posture.Posture) []rule { return []rule{namespaceLabels(p)} },
		},
		{
			name: "rbac-guard", control: "wl-7",
			refuses: "roles and bindings outside Git that hand over the cluster: cluster-admin, wildcards, escalate, bind, impersonate, nodes/proxy and the like",
			write:   "a role that names groups, resources and verbs; what needs more goes through Git",
			rules: func(p *posture.Posture) []rule {
				return []rule{guardRoles(p), guardBindings(p)}
			},
		},
		{
			name: "exec-guard", control: "wl-8",
			refuses: "exec, attach, port-forward and debug containers in system and add-on namespaces by anyone but break-glass",
			write:   "nothing: use logs and metrics, or the break-glass procedure",
			rules:   func(p *posture.Posture) []rule { return []rule{execGuard(p)} },
		},
		{
			name: "service-external-ips", control: "wl-9",
			refuses: "services that claim external IP addresses (CVE-2020-8554)",
			write:   "no `spec.externalIPs`",
			rules: always(rule{
				why: "A service with externalIPs takes over traffic to any address, inside the cluster and on the " +
					"way out (CVE-2020-8554). Addresses may still be removed.",
				where: everywhere,
				match: []admissionv1.NamedRuleWithOperations{on("", write, "services")},
				variables: []admissionv1.Variable{
					{Name: "before", Expression: "request.operation == 'UPDATE' ? oldObject.spec.?externalIPs.orValue([]) : []"},
					{Name: "claimed", Expression: "object.spec.?externalIPs.orValue([]).filter(ip, !(ip in variables.before))"},
				},
				validations: []validation{{
					expression: "size(variables.claimed) == 0",
					message:    "spec.externalIPs is not allowed: use a Service of type LoadBalancer or an Ingress.",
					detail:     "'spec.externalIPs ' + variables.claimed.join(', ') + ' is not allowed: use a Service of type LoadBalancer or an Ingress'",
					controls:   []string{"cis-1.2.3"},
				}},
			}),
		},
		{
			name: "service-types", control: "wl-10",
			refuses: "services of type LoadBalancer and NodePort in namespaces whose quota has none",
			write:   "a Service of type ClusterIP behind an Ingress or Gateway, or a quota of `services.loadbalancers` (`services.nodeports`) in `cluster.cue`",
			rules: func(p *posture.Posture) []rule {
				return []rule{
					serviceType(p, "load-balancer", "LoadBalancer", "services.loadbalancers"),
					serviceType(p, "node-port", "NodePort", "services.nodeports"),
				}
			},
		},
		{
			name: "service-account-token-secrets", control: "wl-11",
			refuses: "secrets that hold a service account token for ever",
			write:   "a projected `serviceAccountToken` volume, or the TokenRequest API, with an expiry",
			rules: always(rule{
				why: "A token in such a secret never expires, is in every backup, and works from anywhere: it is how a " +
					"service account becomes a person's password.",
				where:     everywhere,
				match:     []admissionv1.NamedRuleWithOperations{on("", create, "secrets")},
				variables: nil,
				validations: []validation{{
					expression: "object.?type.orValue('') != 'kubernetes.io/service-account-token'",
					message: "secrets of type kubernetes.io/service-account-token never expire: use a projected serviceAccountToken volume, " +
						"or a token of the TokenRequest API.",
					controls: []string{"cis-3.1.2"},
				}},
			}),
		},
		{
			name: "csr-guard", control: "wl-15",
			refuses: "client certificates for the API server, requested or approved by anyone but break-glass",
			write:   "nothing: people sign in through the identity provider, programs use service accounts",
			rules:   func(p *posture.Posture) []rule { return []rule{csrGuard(p)} },
		},
		{
			name: "human-tokens", control: "wl-18",
			refuses: "service account tokens made by people",
			write:   "nothing: act with your own identity, or let the workload ask for its token",
			needs:   "`access: humansCreateTokens: false`",
			rules: func(p *posture.Posture) []rule {
				if p.Access.HumansCreateTokens {
					return nil
				}
				return []rule{humanTokens(p)}
			},
		},
		{
			name: "disruption-budget", control: "wl-19",
			refuses: "PodDisruptionBudgets that let no pod go; warns about replicated workloads that name no budget",
			write:   "`maxUnavailable: 1`, and the budget's name in the annotation `k8ssec.dev/disruption-budget` of the workload",
			needs:   "`resources: requireDisruptionBudget: true`",
			rules: func(p *posture.Posture) []rule {
				if !p.Resources.RequireDisruptionBudget {
					return nil
				}
				return []rule{drainable(), namesBudget()}
			},
		},
	}
}

func noDefaultNamespace() rule {
	return rule{
		why: "These namespaces have no owner, no quota and no flows of their own. What runs in default was put " +
			"there by mistake.",
		where: unused,
		match: []admissionv1.NamedRuleWithOperations{
			on("", create, "persistentvolumeclaims", "pods", "replicationcontrollers", "services"),
			on("apps", create, "daemonsets", "deployments", "replicasets", "statefulsets"),
			on("batch", create, "cronjobs", "jobs"),
		},
		// The API server makes its own service, once.
		conditions: []admissionv1.MatchCondition{{
			Name:       "not-the-api-servers-own-service",
			Expression: "!(object.kind == 'Service' && object.metadata.?name.orValue('') == 'kubernetes')",
		}},
		validations: []validation{{
			expression: "false",
			message:    "nothing may run in this namespace: set metadata.namespace to the team's own.",
			detail:     "'nothing may run in namespace ' + request.?namespace.orValue('') + ': set metadata.namespace to the team\\'s own'",
			controls:   []string{"cis-5.6.4"},
		}},
	}
}

// namespaceLabels protects what Pod Security, these policies and the reports go by. Creating a
// namespace stays open, as long as its labels make nothing weaker than no labels at all.
func namespaceLabels(p *posture.Posture) rule {
	levels := []string{"restricted"}
	switch p.APIServer.PodSecurityDefaults.Enforce {
	case posture.Restricted:
	case posture.Baseline:
		levels = []string{"baseline", "restricted"}
	default:
		levels = []string{"baseline", "privileged", "restricted"}
	}
	const protected = "k.startsWith('pod-security.kubernetes.io/') || k.startsWith('k8ssec.dev/')"
	return rule{
		why: "The labels of a namespace decide which Pod Security level and which of these policies hold in it. " +
			"Whoever could change them would need no waiver. status and finalize are matched because an update " +
			"through them can carry labels too.",
		where:  clusterWide,
		match:  []admissionv1.NamedRuleWithOperations{on("", write, "namespaces", "namespaces/finalize", "namespaces/status")},
		exempt: emergencyOrGit(p),
		variables: []admissionv1.Variable{
			{Name: "labels", Expression: "object.metadata.?labels.orValue({})"},
			{Name: "before", Expression: "request.operation == 'UPDATE' ? oldObject.metadata.?labels.orValue({}) : {}"},
			{Name: "changed", Expression: `request.operation == 'UPDATE'
? variables.labels.map(k, k).filter(k, (` + protected + `) &&
    (!(k in variables.before) || variables.before[k] != variables.labels[k])) +
  variables.before.map(k, k).filter(k, (` + protected + `) && !(k in variables.labels))
: []`},
			{Name: "kind", Expression: "variables.labels[?'" + generators.LabelKind + "'].orValue('tenant')"},
			{Name: "level", Expression: "variables.labels[?'pod-security.kubernetes.io/enforce'].orValue('restricted')"},
			{Name: "version", Expression: "variables.labels[?'pod-security.kubernetes.io/enforce-version'].orValue('latest')"},
		},
		validations: []validation{
			{
				name:       "keepsLabels",
				expression: "size(variables.changed) == 0",
				message:    "protected labels of a namespace are changed in Git: edit the namespace in cluster.cue.",
				detail: "'label ' + variables.changed.join(', ') + ' of namespace ' + object.metadata.name + " +
					quote(" is protected: change the namespace in cluster.cue, and Git applies it"),
				reason:   metav1.StatusReasonForbidden,
				controls: []string{"cis-5.2.1"},
			},
			{
				name:       "isTenant",
				expression: "request.operation != 'CREATE' || variables.kind == 'tenant'",
				message:    "only Git may create a namespace of kind system or addon: leave k8ssec.dev/kind out.",
				reason:     metav1.StatusReasonForbidden,
				controls:   []string{"cis-5.2.1"},
			},
			{
				name: "isSecure",
				expression: "request.operation != 'CREATE' ||\n(variables.level in " + list(levels) +
					" && variables.version in " + list([]string{"latest", "v" + p.Cluster.Kubernetes}) + ")",
				message: "only Git may create a namespace with a weaker Pod Security level than the cluster's default: " +
					"leave the pod-security.kubernetes.io labels out, or ask for restricted.",
				reason:   metav1.StatusReasonForbidden,
				controls: []string{"cis-5.2.1"},
			},
		},
	}
}

// power is a permission that hands over more than it says.
type power struct {
	variable  string
	name      string
	group     string
	resources []string
	verbs     []string // none means any
	instead   string
	controls  []string
}

var writeVerbs = []string{"create", "delete", "deletecollection", "patch", "update"}

// powers are the permissions that no role outside Git may hold, besides wildcards and the three
// verbs that RBAC itself treats as special.
var powers = []power{
	{"noNodesProxy", "nodes/proxy", "", []string{"nodes/proxy"}, nil, "use nodes/metrics, nodes/stats, nodes/pods, nodes/healthz or nodes/configz", []string{"cis-5.1.10"}},
	{"noTokens", "creating service account tokens", "", []string{"serviceaccounts/token"}, []string{"create"}, "let the kubelet make the token of the pod", []string{"cis-5.1.13"}},
	{"noApproval", "approving or signing certificates", "certificates.k8s.io", []string{"certificatesigningrequests/approval", "certificatesigningrequests/status", "signers"}, []string{"approve", "patch", "sign", "update"}, "leave it to the cluster's controllers", []string{"cis-5.1.11"}},
	{"noAdmission", "changing admission", "admissionregistration.k8s.io", []string{"mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations"}, writeVerbs, "change policies in Git", []string{"cis-5.1.12"}},
	{"noVolumes", "creating persistent volumes", "", []string{"persistentvolumes"}, []string{"create", "patch", "update"}, "use a StorageClass, which makes them", []string{"cis-5.1.9"}},
}

func (w power) validation() validation {
	holds := "(" + quote(w.group) + " in r.?apiGroups.orValue([])) &&\n  r.?resources.orValue([]).exists(x, x in " + list(w.resources) + ")"
	if len(w.verbs) > 0 {
		holds += " &&\n  r.verbs.exists(v, v in " + list(w.verbs) + ")"
	}
	return validation{
		name:       w.variable,
		expression: "!variables.rules.exists(r,\n  " + holds + ")",
		message:    "a role outside Git may not allow " + w.name + ": " + w.instead + ".",
		reason:     metav1.StatusReasonForbidden,
		controls:   w.controls,
	}
}

func guardRoles(p *posture.Posture) rule {
	r := rule{
		suffix: "roles",
		why: "RBAC refuses to grant what one has not got, but not what one has: an administrator's mistake, or a " +
			"program with too many rights, can still open the cluster for others. Roles that need such power, " +
			"those of add-ons among them, come through Git, where somebody reviews them.",
		where:  everywhere,
		match:  []admissionv1.NamedRuleWithOperations{on("rbac.authorization.k8s.io", write, "clusterroles", "roles")},
		exempt: emergencyOrGit(p, aggregationController),
		conditions: []admissionv1.MatchCondition{{
			Name:       "rules-are-new",
			Expression: "request.operation != 'UPDATE' || object.?rules.orValue([]) != oldObject.?rules.orValue([])",
		}},
		// An aggregated ClusterRole has the field, with null in it, until its controller fills it.
		variables: []admissionv1.Variable{{Name: "rules", Expression: "has(object.rules) && dyn(object.rules) != null ? object.rules : []"}},
		validations: []validation{
			{
				name: "noWildcards",
				expression: `!variables.rules.exists(r,
  r.verbs.exists(v, v.contains('*')) ||
  r.?apiGroups.orValue([]).exists(g, g.contains('*')) ||
  r.?resources.orValue([]).exists(x, x.contains('*')) ||
  r.?nonResourceURLs.orValue([]).exists(u, u in ['*', '/*']))`,
				message:  "a role outside Git may not hold wildcards: name the API groups, resources and verbs.",
				reason:   metav1.StatusReasonForbidden,
				controls: []string{"cis-5.1.3"},
			},
			{
				name: "noEscalation",
				expression: `!variables.rules.exists(r,
  r.verbs.exists(v, v in ['bind', 'escalate'] || v.startsWith('impersonate')))`,
				message:  "a role outside Git may not hold the verbs bind, escalate or impersonate.",
				reason:   metav1.StatusReasonForbidden,
				controls: []string{"cis-5.1.8"},
			},
		},
	}
	for _, w := range powers {
		r.validations = append(r.validations, w.validation())
	}
	return r
}

func guardBindings(p *posture.Posture) rule {
	return rule{
		suffix: "bindings",
		why: "A binding to cluster-admin outlives the reason for it. Emergencies have the break-glass procedure, " +
			"which ends by itself.",
		where:  everywhere,
		match:  []admissionv1.NamedRuleWithOperations{on("rbac.authorization.k8s.io", write, "clusterrolebindings", "rolebindings")},
		exempt: emergencyOrGit(p),
		conditions: []admissionv1.MatchCondition{{
			Name: "grants-something-new",
			Expression: `request.operation != 'UPDATE' || object.roleRef != oldObject.roleRef ||
object.?subjects.orValue([]) != oldObject.?subjects.orValue([])`,
		}},
		variables: []admissionv1.Variable{{Name: "subjects", Expression: "object.?subjects.orValue([])"}},
		validations: []validation{
			{
				name:       "notClusterAdmin",
				expression: "!(object.roleRef.kind == 'ClusterRole' && object.roleRef.name == 'cluster-admin')",
				message:    "cluster-admin is bound by the break-glass procedure only: bind a role that holds what is needed.",
				reason:     metav1.StatusReasonForbidden,
				controls:   []string{"cis-5.1.1"},
			},
			{
				name: "notEverybody",
				expression: `!variables.subjects.exists(s,
  s.name in ['system:anonymous', 'system:authenticated', 'system:unauthenticated'])`,
				message: "a binding outside Git may not reach everybody: name a group of people or a service account.",
				reason:  metav1.StatusReasonForbidden,
			},
			{
				name:       "notDefaultAccount",
				expression: "!variables.subjects.exists(s, s.kind == 'ServiceAccount' && s.name == 'default')",
				message:    "the default service account gets no rights: give the workload an account of its own and bind that.",
				reason:     metav1.StatusReasonForbidden,
				controls:   []string{"cis-5.1.5"},
			},
		},
	}
}

// execGuard keeps people out of the containers that run the cluster. Add-ons' web pages are reached
// by port-forward, so platform admins may do that; forwarding to a pod of the system would reach the
// node's own loopback, where etcd and the kubelet listen.
func execGuard(p *posture.Posture) rule {
	system := append(p.NamespacesOf("system"), systemNames(p)...)
	slices.Sort(system)
	admins := make([]string, len(p.Access.PlatformAdmins))
	for i, g := range p.Access.PlatformAdmins {
		admins[i] = p.Identity.GroupsPrefix + g
	}
	const kind = "namespaceObject.metadata.?labels[?'" + generators.LabelKind + "'].orValue('')"
	return rule{
		why: "A shell in a pod of the control plane, the network plug-in or an add-on is a shell with its rights, " +
			"which are most of the cluster's. Break-glass passes, and the audit log names it.",
		where: everywhere,
		match: []admissionv1.NamedRuleWithOperations{
			on("", connect, "pods/attach", "pods/exec", "pods/portforward"),
			on("", update, "pods/ephemeralcontainers"),
		},
		exempt: emergency(p),
		variables: []admissionv1.Variable{
			{Name: "system", Expression: kind + " == 'system' || request.?namespace.orValue('') in " + list(slices.Compact(system))},
			{Name: "addon", Expression: kind + " == 'addon' || request.?namespace.orValue('') in " + list(p.NamespacesOf("addon"))},
			{Name: "forwarded", Expression: "request.?subResource.orValue('') == 'portforward' &&\n" + inGroups(admins...)},
		},
		validations: []validation{{
			name:       "outside",
			expression: "!variables.system && (!variables.addon || variables.forwarded)",
			message:    "containers of the system and of add-ons are entered by break-glass only: use logs and metrics, or the break-glass procedure.",
			detail: "'pods/' + request.?subResource.orValue('') + ' in namespace ' + request.?namespace.orValue('') + " +
				quote(" is for break-glass only: use logs and metrics, or the break-glass procedure"),
			reason: metav1.StatusReasonForbidden,
		}},
	}
}

// serviceType lets a type of service pass where the namespace's quota allows at least one.
func serviceType(p *posture.Posture, suffix, kind, resource string) rule {
	var allowed []string
	for _, name := range slices.Sorted(maps.Keys(p.Namespaces)) {
		ns := p.Namespaces[name]
		if quantity, ok := ns.Quota[resource]; ns.Kind == "tenant" && ok && strings.Trim(quantity, "0.") != "" {
			allowed = append(allowed, name)
		}
	}
	return rule{
		suffix: suffix,
		why: "A " + kind + " service opens the namespace to the network outside, past the ingress and its TLS. The quota " +
			"of the namespace says whether it may; this policy says so in words, and holds where no quota is.",
		where:   tenants,
		allowed: allowed,
		match:   []admissionv1.NamedRuleWithOperations{on("", write, "services")},
		conditions: []admissionv1.MatchCondition{{
			Name:       "type-is-new",
			Expression: "request.operation != 'UPDATE' || object.spec.?type.orValue('') != oldObject.spec.?type.orValue('')",
		}},
		validations: []validation{{
			expression: "object.spec.?type.orValue('ClusterIP') != '" + kind + "'",
			message: "services of type " + kind + " are not allowed here: use ClusterIP behind an Ingress or Gateway, or ask for a quota of " +
				resource + ".",
		}},
	}
}

func csrGuard(p *posture.Posture) rule {
	return rule{
		why: "A client certificate cannot be revoked: whoever holds one keeps the access until it expires. " +
			"Kubelets use another signer and are not affected. A request may always be denied.",
		where: clusterWide,
		match: []admissionv1.NamedRuleWithOperations{
			on("certificates.k8s.io", create, "certificatesigningrequests"),
			on("certificates.k8s.io", update, "certificatesigningrequests/approval"),
		},
		exempt: emergency(p),
		variables: []admissionv1.Variable{
			{Name: "forClients", Expression: "object.spec.signerName == 'kubernetes.io/kube-apiserver-client'"},
			{Name: "granting", Expression: `request.operation == 'CREATE' ||
object.?status.?conditions.orValue([]).exists(c, c.type == 'Approved')`},
		},
		validations: []validation{{
			name:       "notGranted",
			expression: "!(variables.forClients && variables.granting)",
			message: "client certificates for the API server are issued by break-glass only: people sign in through the identity provider, " +
				"programs use service accounts.",
			reason:   metav1.StatusReasonForbidden,
			controls: []string{"cis-3.1.1"},
		}},
	}
}

func humanTokens(p *posture.Posture) rule {
	return rule{
		why: "A token that a person makes for a service account acts in its name, from anywhere, and the audit log " +
			"no longer shows the person.",
		where:     everywhere,
		match:     []admissionv1.NamedRuleWithOperations{on("", create, "serviceaccounts/token")},
		exempt:    emergency(p),
		variables: nil,
		validations: []validation{{
			name:       "notHuman",
			expression: "!request.userInfo.?username.orValue('').startsWith(" + quote(p.Identity.UsernamePrefix) + ")",
			message:    "people do not make tokens of service accounts: act with your own identity, or let the workload ask for its token.",
			reason:     metav1.StatusReasonForbidden,
			controls:   []string{"cis-3.1.2", "cis-5.1.13"},
		}},
	}
}

// drainable refuses budgets that allow no eviction: a node with such a pod can never be drained, so
// it is never patched.
func drainable() rule {
	return rule{
		suffix: "drainable",
		why: "A budget that lets no pod go blocks the drain of its node for ever, and with it every kernel and " +
			"Kubernetes update.",
		where: tenants,
		match: []admissionv1.NamedRuleWithOperations{on("policy", write, "poddisruptionbudgets")},
		conditions: []admissionv1.MatchCondition{{
			Name:       "spec-is-new",
			Expression: "request.operation != 'UPDATE' || object.spec != oldObject.spec",
		}},
		validations: []validation{{
			expression: `!(string(object.spec.?maxUnavailable.orValue(1)) in ['0', '0%']) &&
string(object.spec.?minAvailable.orValue(0)) != '100%'`,
			message: "a budget that lets no pod go blocks every node drain: set maxUnavailable: 1, or run more replicas than minAvailable.",
		}},
	}
}

// namesBudget only ever warns: CEL sees one object and cannot look for a budget whose selector
// matches. The annotation says which one it is, for the reader and for the probe that does look.
func namesBudget() rule {
	return rule{
		why: "Replicas without a budget can all be evicted at once when nodes are drained. This is a warning at " +
			"most, because a policy cannot look for the budget; the annotation names it.",
		where: tenants,
		most:  posture.Warn,
		match: []admissionv1.NamedRuleWithOperations{on("apps", write, "deployments", "statefulsets")},
		validations: []validation{{
			expression: `object.spec.?replicas.orValue(1) < 2 ||
object.metadata.?annotations[?'k8ssec.dev/disruption-budget'].orValue('') != ''`,
			message: "replicas without a PodDisruptionBudget can all be evicted at once: add one with maxUnavailable: 1 and name it in the " +
				"annotation k8ssec.dev/disruption-budget.",
			detail: "string(object.spec.replicas) + ' replicas of ' + object.metadata.?name.orValue('') + " +
				quote(" can all be evicted at once: add a PodDisruptionBudget with maxUnavailable: 1 and name it in the annotation k8ssec.dev/disruption-budget"),
		}},
	}
}
