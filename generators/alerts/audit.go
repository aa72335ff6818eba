package alerts

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
)

// stream selects the audit records; the shipper of the logging domain labels them so.
const stream = `{job="kube-audit"}`

// fields are what the rules read of a record.
const fields = `| json user="user.username", verb="verb", resource="objectRef.resource", sub="objectRef.subresource", namespace="objectRef.namespace", name="objectRef.name", code="responseStatus.code", source="sourceIPs[0]", uri="requestURI", as="impersonatedUser.username", groups="user.groups" | __error__=""`

// done are requests that were let through.
const done = `| code=~"1..|2.."`

// actors are identities that do these things as their work.
type actors []string

// except is a filter that leaves them out.
func (a actors) except() string {
	quoted := make([]string, len(a))
	for i, name := range a {
		quoted[i] = regexp.QuoteMeta(name)
		quoted[i] = strings.ReplaceAll(quoted[i], `\*`, `.*`)
	}
	slices.Sort(quoted)
	return "| user!~`" + strings.Join(slices.Compact(quoted), "|") + "`"
}

func account(namespace, name string) string { return "system:serviceaccount:" + namespace + ":" + name }

// gitops are the accounts that apply this repository.
func gitops(p *posture.Posture) actors {
	if p.GitOps.Engine == "argocd" {
		return actors{account(p.GitOps.Namespace, "argocd-application-controller")}
	}
	return actors{account(p.GitOps.Namespace, "kustomize-controller"), account(p.GitOps.Namespace, "helm-controller")}
}

// controlPlane are the identities of the control plane and of its controllers.
func controlPlane() actors {
	return actors{
		"system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:node:*",
		account("kube-system", "generic-garbage-collector"), account("kube-system", "namespace-controller"), account("kube-system", "resourcequota-controller"),
		account("kube-system", "clusterrole-aggregation-controller"), account("kube-system", "job-controller"), account("kube-system", "cronjob-controller"),
		account("kube-system", "ttl-after-finished-controller"), account("kube-system", "persistent-volume-binder"), account("kube-system", "pv-protection-controller"),
		account("kube-system", "root-ca-cert-publisher"), account("kube-system", "token-cleaner"), account("kube-system", "bootstrap-signer"),
		account("kube-system", "legacy-service-account-token-cleaner"), account("kube-system", "certificate-controller"),
	}
}

// secretReaders are add-ons that list secrets as their work, where the posture has them.
func secretReaders(p *posture.Posture) actors {
	var list actors
	if p.Secrets.Provider != "" && p.Secrets.Install != posture.InstallOff {
		list = append(list, account("external-secrets", "*"))
	}
	if certManager(p) {
		list = append(list, account("cert-manager", "*"))
	}
	if p.Backup.Install != posture.InstallOff {
		list = append(list, account("velero", "*"))
	}
	if p.Alerts.Install == posture.InstallInstall {
		list = append(list, account(p.Monitoring(), "*"))
	}
	if p.Images.Verify == "kyverno" {
		list = append(list, account("kyverno", "*"))
	}
	if p.Images.Scanner != posture.InstallOff {
		list = append(list, account("trivy-system", "*"))
	}
	if p.Cluster.CNI == "cilium" {
		list = append(list, account("kube-system", "cilium-operator"), account("kube-system", "cilium"))
	}
	if p.GitOps.Engine == "flux" {
		list = append(list, account(p.GitOps.Namespace, "source-controller"), account(p.GitOps.Namespace, "notification-controller"))
	} else {
		list = append(list, account(p.GitOps.Namespace, "argocd-*"))
	}
	return list
}

// auditGroup are the rules on the audit log.
func auditGroup(p *posture.Posture) group {
	protected := slices.Concat(p.NamespacesOf("system"), p.NamespacesOf("addon"))
	slices.Sort(protected)
	for i := range protected {
		protected[i] = regexp.QuoteMeta(protected[i])
	}
	system := "| namespace=~`" + strings.Join(protected, "|") + "`"
	platform := slices.Concat(gitops(p), controlPlane())
	writes := `| verb=~"create|update|patch|delete|deletecollection"`
	count := func(by, contains string, filters ...string) string {
		// The text before the fields are parsed leaves out most records cheaply.
		return fmt.Sprintf("sum by (%s) (count_over_time(%s %s %s %s [5m])) > 0", by, stream, contains, fields, strings.Join(filters, " "))
	}
	breakGlass := p.Identity.GroupsPrefix + p.Access.BreakGlass.Group
	var outside []string
	for _, cidr := range slices.Concat(p.Cluster.PodCIDRs, p.Cluster.NodeCIDRs) {
		outside = append(outside, fmt.Sprintf("| source!=ip(%q)", cidr))
	}
	return group{
		name: "audit", controls: []string{"alerts-1", "nsa-L5"},
		why: "What only the audit log shows. Evaluated by Loki's ruler over the records that the shipper delivers.",
		rules: []rule{
			{
				name: "AuditLogNotShipped", expr: fmt.Sprintf("absent_over_time(%s[15m])", stream), severity: critical, runbook: "control-plane-compromise",
				summary: "no audit record has arrived for 15 minutes", detail: "The shipper, the way to Loki or the audit log itself was stopped. What happens meanwhile is on the control plane nodes only.",
			},
			{
				name: "ExecIntoPlatform", severity: critical, runbook: "compromised-workload",
				expr:    count("user, namespace, name, sub", "|~ `\"subresource\":\"(exec|attach|portforward|ephemeralcontainers)\"`", `| sub=~"exec|attach|portforward|ephemeralcontainers"`, system, done),
				summary: "{{ $labels.user }} used {{ $labels.sub }} on {{ $labels.namespace }}/{{ $labels.name }}", detail: "Containers of the system and of add-ons are entered in an emergency only, by break-glass.",
			},
			{
				name: "ExecIntoTenant", severity: warning, runbook: "compromised-workload",
				expr:    count("user, namespace, name, sub", "|~ `\"subresource\":\"(exec|attach|ephemeralcontainers)\"`", `| sub=~"exec|attach|ephemeralcontainers"`, strings.Replace(system, "=~", "!~", 1), done),
				summary: "{{ $labels.user }} used {{ $labels.sub }} on {{ $labels.namespace }}/{{ $labels.name }}", detail: "Ask the person. What ran inside, the runtime detector has.",
			},
			{
				name: "AnonymousAccess", severity: critical, runbook: "control-plane-compromise",
				expr:    count("uri, source", `|= "system:anonymous"`, `| user="system:anonymous"`, "| uri!~`/(livez|readyz|healthz).*|/api/v1/namespaces/kube-public/configmaps/cluster-info.*`", done),
				summary: "{{ $labels.uri }} answered {{ $labels.source }} without credentials", detail: "Only health checks and, while nodes join, cluster-info may. A binding for system:anonymous or system:unauthenticated was made.",
			},
			{
				name: "RightsGiven", severity: critical, runbook: "rbac-abuse",
				expr:    count("user, verb, resource, namespace, name", `|= "rbac.authorization.k8s.io"`, `| resource=~"clusterroles|clusterrolebindings|roles|rolebindings"`, writes, done, platform.except()),
				summary: "{{ $labels.user }} changed {{ $labels.resource }} {{ $labels.namespace }}/{{ $labels.name }} ({{ $labels.verb }})", detail: "Rights come through this repository. GitOps takes the change back only if the object is its own.",
			},
			{
				name: "AdmissionChanged", severity: critical, runbook: "rbac-abuse",
				expr:    count("user, verb, resource, name", `|= "admissionregistration.k8s.io"`, "| resource=~`(validating|mutating)(admissionpolic|webhookconfiguration).*`", writes, done, slices.Concat(platform, webhookOwners(p)).except()),
				summary: "{{ $labels.user }} changed {{ $labels.resource }} {{ $labels.name }} ({{ $labels.verb }})", detail: "Policies come through this repository. A webhook of an attacker's sees and changes every object, secrets too.",
			},
			{
				name: "SecretsListed", severity: critical, runbook: "leaked-token",
				expr:    count("user, namespace", `|= "secrets"`, `| resource="secrets" | verb=~"list|watch|deletecollection"`, done, slices.Concat(platform, secretReaders(p)).except()),
				summary: "{{ $labels.user }} listed the secrets of {{ $labels.namespace }}", detail: "Listing hands out every secret at once. An empty namespace means all of them.",
			},
			{
				name: "TokenMade", severity: critical, runbook: "leaked-token",
				expr:    count("user, namespace, name", `|= "serviceaccounts"`, `| resource="serviceaccounts" | sub="token" | verb="create"`, done, slices.Concat(controlPlane(), tokenMakers(p)).except()),
				summary: "{{ $labels.user }} made a token of {{ $labels.namespace }}/{{ $labels.name }}", detail: "Kubelets make the tokens of pods; nobody else has to.",
			},
			{
				name: "TokenUsedOutside", severity: critical, runbook: "leaked-token",
				when:    func(p *posture.Posture) bool { return len(p.Cluster.NodeCIDRs) > 0 },
				expr:    count("user, source", `|= "system:serviceaccount:"`, "| user=~`system:serviceaccount:.+` | source!=``", strings.Join(outside, " "), done),
				summary: "the token of {{ $labels.user }} is used from {{ $labels.source }}", detail: "That address is neither a pod's nor a node's (cluster.podCIDRs, cluster.nodeCIDRs): the token left the cluster.",
			},
			{
				name: "BreakGlassUsed", severity: critical, runbook: "rbac-abuse",
				expr:    count("user", fmt.Sprintf("|= `%q`", breakGlass), fmt.Sprintf("| groups=~`.*%s.*`", regexp.QuoteMeta(strconv.Quote(breakGlass))), writes),
				summary: "{{ $labels.user }} works as break-glass", detail: "Emergency access is used. If nobody announced it, treat it as an intrusion; docs/break-glass.md.",
			},
			{
				name: "SystemMasters", severity: critical, runbook: "control-plane-compromise",
				expr:    count("user, source", "|= `\"system:masters\"`", "| groups=~`.*\"system:masters\".*`", `| user!="system:apiserver"`),
				summary: "{{ $labels.user }} at {{ $labels.source }} is in system:masters", detail: "No authorization holds for that group. super-admin.conf or the cluster's CA is in use.",
			},
			{
				name: "Impersonation", severity: warning, runbook: "rbac-abuse",
				expr:    count("user, as", `|= "impersonatedUser"`, "| as!=``", done, gitops(p).except()),
				summary: "{{ $labels.user }} acts as {{ $labels.as }}", detail: "Only the GitOps controller acts as tenants' accounts; k8ssec probe does too, while it runs.",
			},
			{
				name: "NamespaceDeleted", severity: critical, runbook: "ransomware-or-deletion",
				expr:    count("user, resource, name", `|= "delete"`, `| resource=~"namespaces|persistentvolumes|customresourcedefinitions" | verb=~"delete|deletecollection" | sub=""`, done, platform.except()),
				summary: "{{ $labels.user }} deleted {{ $labels.resource }} {{ $labels.name }}", detail: "Everything inside goes with it. Stop the account first, then docs/runbooks.",
			},
			{
				name: "BackupDeleted", severity: critical, runbook: "ransomware-or-deletion",
				when:    backups,
				expr:    count("user, verb, resource, name", `|= "velero.io"`, `| resource=~"backups|schedules|backupstoragelocations|deletebackuprequests" | verb=~"delete|deletecollection|update|patch|create"`, done, slices.Concat(platform, actors{account("velero", "*")}).except()),
				summary: "{{ $labels.user }} changed {{ $labels.resource }} {{ $labels.name }} ({{ $labels.verb }})", detail: "Who encrypts or deletes data takes the backups away first.",
			},
			{
				name: "EventsDeleted", severity: warning, runbook: "compromised-workload",
				expr:    count("user, namespace", `|= "events"`, `| resource="events" | verb=~"delete|deletecollection"`, done, platform.except()),
				summary: "{{ $labels.user }} deleted events in {{ $labels.namespace }}", detail: "Events end by themselves; deleting them hides what happened.",
			},
			{
				name: "CertificateIssued", severity: warning, runbook: "leaked-token",
				expr:    count("user, name", `|= "certificatesigningrequests"`, `| resource="certificatesigningrequests" | sub="approval"`, done, controlPlane().except()),
				summary: "{{ $labels.user }} approved the certificate request {{ $labels.name }}", detail: "A client certificate cannot be revoked. Kubelets' serving certificates are approved as docs/control-plane.md says.",
			},
			{
				name: "RightsAsked", severity: warning, runbook: "rbac-abuse",
				expr:    fmt.Sprintf("sum by (user) (count_over_time(%s |= \"authorization.k8s.io\" %s | resource=~\"selfsubjectaccessreviews|selfsubjectrulesreviews\" %s [15m])) > 50", stream, fields, slices.Concat(controlPlane(), gitops(p)).except()),
				summary: "{{ $labels.user }} asked {{ $value }} times what it may do", detail: "The first step after a token is stolen; kubectl auth can-i --list and dashboards do it too.",
			},
			{
				name: "RefusedOften", severity: warning, runbook: "leaked-token",
				expr:    fmt.Sprintf("sum by (user, source) (count_over_time(%s |~ `\"code\":40[13]` %s | code=~\"401|403\" [15m])) > 100", stream, fields),
				summary: "{{ $labels.user }} at {{ $labels.source }} was refused {{ $value }} times in 15 minutes", detail: "Somebody tries, or a client goes on with a right that it lost.",
			},
		},
	}
}

// webhookOwners are add-ons that keep the certificate of their own webhook current.
func webhookOwners(p *posture.Posture) actors {
	var list actors
	if certManager(p) {
		list = append(list, account("cert-manager", "*"))
	}
	if p.Secrets.Provider != "" && p.Secrets.Install != posture.InstallOff {
		list = append(list, account("external-secrets", "*"))
	}
	if p.Images.Verify == "kyverno" {
		list = append(list, account("kyverno", "*"))
	}
	if p.Images.Verify == "policy-controller" {
		list = append(list, account("cosign-system", "*"))
	}
	if p.Runtime.SecurityProfiles != posture.InstallOff {
		list = append(list, account("security-profiles-operator", "*"))
	}
	if p.Alerts.Install == posture.InstallInstall {
		list = append(list, account(p.Monitoring(), "*"))
	}
	return list
}

// tokenMakers are add-ons that make tokens of other accounts.
func tokenMakers(p *posture.Posture) actors {
	var list actors
	if p.Secrets.Provider != "" && p.Secrets.Install != posture.InstallOff {
		list = append(list, account("external-secrets", "*"))
	}
	if certManager(p) {
		list = append(list, account("cert-manager", "*"))
	}
	if p.Cluster.CNI == "calico" {
		list = append(list, account("calico-system", "calico-cni-plugin"), account("kube-system", "calico-cni-plugin"), account("kube-system", "calico-node"))
	}
	return list
}
