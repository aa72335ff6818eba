package access

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// The roles that are bound to people and service accounts.
const (
	PlatformAdmin   = "platform-admin"
	PlatformViewer  = "platform-viewer"
	PlatformAuditor = "platform-auditor"
	TenantOwner     = "tenant-owner"
	TenantDeveloper = "tenant-developer"
	TenantViewer    = "tenant-viewer"
	TenantDeployer  = "tenant-deployer"
)

// RoleName is the name of the ClusterRole of a role or part.
func RoleName(role string) string { return "k8ssec:" + role }

// Label selects the parts that make up a role. A ClusterRole of an add-on that carries it with the
// value "true" extends the role.
func Label(role string) string { return "k8ssec.dev/aggregate-to-" + role }

// role is one aggregated ClusterRole.
type role struct {
	name string
	why  string
}

var roles = []role{
	{PlatformAdmin, "Runs the cluster: sees everything but secrets, drains and removes nodes, restarts and scales what is stuck. " +
		"It cannot read a secret, start or change a pod, or write RBAC, admission rules and namespaces, because each of those leads to every secret; such changes go through Git."},
	{PlatformViewer, "Sees workloads, nodes and configuration in all namespaces. No secrets, no RBAC, nothing to write."},
	{PlatformAuditor, "Sees what decides about security: RBAC, admission rules, policies, quotas, events and what runs. No secrets, no ConfigMaps, no logs."},
	{TenantOwner, "Answers for one namespace: deploys and operates in it, manages its service accounts, sees who has access. " +
		"It cannot change quotas, network policies, RBAC or Pod Security labels; those are the platform's promise to the neighbours."},
	{TenantDeveloper, "Deploys and operates in one namespace, without its service accounts and without its RBAC."},
	{TenantViewer, "Sees one namespace, without its secrets."},
	{TenantDeployer, "Deploys into one namespace: for CI and for the GitOps controller, never for people. No secrets, no exec, no RBAC."},
}

// part is one ClusterRole with rules, and the roles that it goes to.
type part struct {
	name  string
	why   string
	to    []string
	rules []rbacv1.PolicyRule
	// when says whether the posture has this part; nil means always.
	when func(*posture.Posture) bool
	// breaks are the controls that no part can serve any more once this one exists.
	breaks []string
}

var (
	read     = []string{"get", "list", "watch"}
	write    = []string{"create", "update", "patch", "delete"}
	everyone = []string{PlatformAdmin, PlatformViewer, PlatformAuditor, TenantOwner, TenantDeveloper, TenantViewer, TenantDeployer}
)

// parts are all permissions that k8ssec ever gives, each written once.
//
// What is missing is the point. Nowhere: wildcards; escalate, bind and impersonate (nor its
// constrained forms impersonate:*); nodes/proxy, whose get is exec on every pod of the node;
// pods/proxy and services/proxy, which walk around network policies; pods create and
// pods/ephemeralcontainers; persistentvolumes create (a hostPath volume that Pod Security does not
// see); certificatesigningrequests/approval; endpoints and endpointslices writes (CVE-2021-25740);
// deletecollection, and delete on secrets, whose answers can hold what was deleted.
var parts = []part{
	{
		name: "read-workloads",
		why:  "What runs in a namespace and what bounds it. No secrets, no ConfigMaps, no logs.",
		to:   everyone,
		rules: []rbacv1.PolicyRule{
			rule("", read, "endpoints", "events", "limitranges", "namespaces", "persistentvolumeclaims", "pods",
				"podtemplates", "replicationcontrollers", "resourcequotas", "serviceaccounts", "services"),
			rule("apps", read, "controllerrevisions", "daemonsets", "deployments", "deployments/scale",
				"replicasets", "replicasets/scale", "statefulsets", "statefulsets/scale"),
			rule("autoscaling", read, "horizontalpodautoscalers"),
			rule("batch", read, "cronjobs", "jobs"),
			rule("coordination.k8s.io", read, "leases"),
			rule("discovery.k8s.io", read, "endpointslices"),
			rule("events.k8s.io", read, "events"),
			rule("metrics.k8s.io", []string{"get", "list"}, "pods"),
			rule("networking.k8s.io", read, "ingresses", "networkpolicies"),
			rule("policy", read, "poddisruptionbudgets"),
			rule("resource.k8s.io", read, "resourceclaims", "resourceclaimtemplates"),
		},
	},
	{
		name: "read-config",
		why:  "ConfigMaps and logs, which tell more than an auditor needs: applications write what they should not into both.",
		to:   without(everyone, PlatformAuditor),
		rules: []rbacv1.PolicyRule{
			rule("", read, "configmaps", "pods/log"),
		},
	},
	{
		name: "read-cilium",
		why:  "Cilium's network policies and endpoints, to see why a connection is refused.",
		to:   everyone,
		when: func(p *posture.Posture) bool { return p.Cluster.CNI == "cilium" },
		rules: []rbacv1.PolicyRule{
			rule("cilium.io", read, "ciliumclusterwidenetworkpolicies", "ciliumendpoints", "ciliumidentities",
				"ciliumnetworkpolicies", "ciliumnodes"),
		},
	},
	{
		name: "read-calico",
		why:  "Calico's network policies, to see why a connection is refused.",
		to:   everyone,
		when: func(p *posture.Posture) bool { return p.Cluster.CNI == "calico" },
		rules: []rbacv1.PolicyRule{
			rule("crd.projectcalico.org", read, "globalnetworkpolicies", "globalnetworksets", "networkpolicies", "networksets", "tiers"),
		},
	},
	{
		name: "read-flux",
		why:  "The state of what Flux applies. Read only: whoever may write a Kustomization of the platform applies anything as the controller.",
		to:   everyone,
		when: func(p *posture.Posture) bool { return p.GitOps.Engine == "flux" },
		rules: []rbacv1.PolicyRule{
			rule("helm.toolkit.fluxcd.io", read, "helmreleases"),
			rule("kustomize.toolkit.fluxcd.io", read, "kustomizations"),
			rule("notification.toolkit.fluxcd.io", read, "alerts"),
			rule("source.toolkit.fluxcd.io", read, "buckets", "gitrepositories", "helmcharts", "helmrepositories", "ocirepositories"),
		},
	},
	{
		name: "read-argocd",
		why:  "The state of what Argo CD applies. Read only: whoever may write an Application of the platform applies anything as the controller.",
		to:   everyone,
		when: func(p *posture.Posture) bool { return p.GitOps.Engine == "argocd" },
		rules: []rbacv1.PolicyRule{
			rule("argoproj.io", read, "applications", "applicationsets", "appprojects"),
		},
	},
	{
		name: "read-cluster",
		why:  "Nodes, volumes and the classes that workloads name.",
		to:   []string{PlatformAdmin, PlatformViewer, PlatformAuditor},
		rules: []rbacv1.PolicyRule{
			rule("", read, "nodes", "persistentvolumes"),
			rule("apiextensions.k8s.io", read, "customresourcedefinitions"),
			rule("apiregistration.k8s.io", read, "apiservices"),
			rule("metrics.k8s.io", []string{"get", "list"}, "nodes"),
			rule("networking.k8s.io", read, "ingressclasses", "ipaddresses", "servicecidrs"),
			rule("node.k8s.io", read, "runtimeclasses"),
			rule("resource.k8s.io", read, "deviceclasses", "resourceslices"),
			rule("scheduling.k8s.io", read, "priorityclasses"),
			rule("storage.k8s.io", read, "csidrivers", "csinodes", "csistoragecapacities", "storageclasses",
				"volumeattachments", "volumeattributesclasses"),
		},
	},
	{
		name: "read-access",
		why:  "Who may do what. For an owner this is one namespace, for auditors and admins the cluster.",
		to:   []string{PlatformAdmin, PlatformAuditor, TenantOwner},
		rules: []rbacv1.PolicyRule{
			rule("rbac.authorization.k8s.io", read, "clusterrolebindings", "clusterroles", "rolebindings", "roles"),
		},
	},
	{
		name: "read-security",
		why:  "What admits, certifies and throttles requests, and the API server's own metrics.",
		to:   []string{PlatformAdmin, PlatformAuditor},
		rules: []rbacv1.PolicyRule{
			rule("admissionregistration.k8s.io", read, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
				"mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
				"validatingwebhookconfigurations"),
			rule("certificates.k8s.io", read, "certificatesigningrequests", "clustertrustbundles"),
			rule("flowcontrol.apiserver.k8s.io", read, "flowschemas", "prioritylevelconfigurations"),
			{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/livez", "/metrics", "/metrics/slis", "/readyz", "/version"}},
		},
	},
	{
		name: "read-flags",
		why:  "The flags with which the API server really runs, without their secret values (Kubernetes 1.36 and newer).",
		to:   []string{PlatformAdmin, PlatformAuditor},
		when: func(p *posture.Posture) bool { return p.Cluster.Minor() >= 36 },
		rules: []rbacv1.PolicyRule{
			{Verbs: []string{"get"}, NonResourceURLs: []string{"/flagz", "/statusz"}},
		},
	},
	{
		name: "operate-cluster",
		why: "Drain, cordon and remove nodes, restart pods, scale a workload that runs wild to zero, keep or free volumes. " +
			"Scaling goes through the scale subresource, because a write on a Deployment could mount any secret of its namespace. " +
			"To stop GitOps in an emergency, scale its controller to zero.",
		to: []string{PlatformAdmin},
		rules: []rbacv1.PolicyRule{
			rule("", []string{"update", "patch", "delete"}, "nodes", "persistentvolumes"),
			rule("", []string{"delete"}, "pods"),
			rule("", []string{"create"}, "pods/eviction"),
			rule("apps", []string{"update", "patch"}, "deployments/scale", "replicasets/scale", "statefulsets/scale"),
			rule("batch", []string{"delete"}, "jobs"),
			rule("storage.k8s.io", []string{"delete"}, "volumeattachments"),
		},
	},
	{
		name: "migrate-storage",
		why:  "Writes stored objects anew after an encryption key was changed, without reading one of them (Kubernetes 1.37 and newer).",
		to:   []string{PlatformAdmin},
		when: func(p *posture.Posture) bool { return p.Cluster.Minor() >= 37 },
		rules: []rbacv1.PolicyRule{
			rule("storagemigration.k8s.io", []string{"get", "list", "watch", "create", "delete"}, "storageversionmigrations"),
		},
	},
	{
		name: "deploy-workloads",
		why: "Applications and what belongs to them. No bare pods, no DaemonSets (they take a part of every node), no network policies, no quotas. " +
			"Whoever starts a workload can mount every secret of the namespace into it: a namespace is the boundary, not this role.",
		to: []string{TenantOwner, TenantDeveloper, TenantDeployer},
		rules: []rbacv1.PolicyRule{
			rule("", write, "configmaps", "persistentvolumeclaims", "services"),
			rule("apps", write, "deployments", "statefulsets"),
			rule("apps", []string{"update", "patch"}, "deployments/scale", "statefulsets/scale"),
			rule("autoscaling", write, "horizontalpodautoscalers"),
			rule("batch", write, "cronjobs", "jobs"),
			rule("networking.k8s.io", write, "ingresses"),
			rule("policy", write, "poddisruptionbudgets"),
		},
	},
	{
		name: "manage-service-accounts",
		why:  "Each workload gets a service account of its own. An account without a binding may do nothing, and bindings are the platform's.",
		to:   []string{TenantOwner, TenantDeployer},
		rules: []rbacv1.PolicyRule{
			rule("", write, "serviceaccounts"),
		},
	},
	{
		name: "restart-pods",
		why:  "Restart a pod by deleting or evicting it.",
		to:   []string{TenantOwner, TenantDeveloper},
		rules: []rbacv1.PolicyRule{
			rule("", []string{"delete"}, "pods"),
			rule("", []string{"create"}, "pods/eviction"),
		},
	},
	{
		name: "create-secrets",
		why: "Put a secret in, never get one out. There is no update, patch or delete: their answers hold the whole secret. " +
			"To rotate, create a secret with a new name and point the workload to it.",
		to: []string{TenantOwner},
		rules: []rbacv1.PolicyRule{
			rule("", []string{"create"}, "secrets"),
		},
	},
	{
		name: "read-secrets",
		why:  "The secrets of one namespace, for its owners and developers, because access.developerSecrets is true.",
		to:   []string{TenantOwner, TenantDeveloper},
		when: func(p *posture.Posture) bool { return p.Access.DeveloperSecrets },
		rules: []rbacv1.PolicyRule{
			rule("", slices.Concat(read, write), "secrets"),
		},
		breaks: []string{"cis-5.1.2", "access-6"},
	},
	{
		name: "debug-pods",
		why: "Exec into pods and forward ports, because access.developerExec is true. Clients that use WebSocket need get, all others create; " +
			"from 1.35 on create is asked for in both cases.",
		to:   []string{TenantOwner, TenantDeveloper},
		when: func(p *posture.Posture) bool { return p.Access.DeveloperExec },
		rules: []rbacv1.PolicyRule{
			rule("", []string{"get", "create"}, "pods/exec", "pods/portforward"),
		},
		breaks: []string{"access-7"},
	},
	{
		name: "create-tokens",
		why:  "Tokens of the namespace's service accounts, for its owners, because access.humansCreateTokens is true.",
		to:   []string{TenantOwner},
		when: func(p *posture.Posture) bool { return p.Access.HumansCreateTokens },
		rules: []rbacv1.PolicyRule{
			rule("", []string{"create"}, "serviceaccounts/token"),
		},
		breaks: []string{"cis-5.1.13", "access-8"},
	},
}

// ruleControls are what every part serves by what its rules leave out.
var ruleControls = []string{
	"cis-5.1.2", "cis-5.1.3", "cis-5.1.4", "cis-5.1.8", "cis-5.1.9", "cis-5.1.10", "cis-5.1.11", "cis-5.1.12", "cis-5.1.13",
	"nsa-A3", "access-6", "access-7", "access-8",
}

func rule(group string, verbs []string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
}

func without(list []string, item string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == item })
}

// clusterRoles returns the aggregated roles and their parts.
func clusterRoles(p *posture.Posture) []generators.Object {
	var objects []generators.Object
	for _, r := range roles {
		meta := generators.Meta("access", "", RoleName(r.name))
		objects = append(objects, generators.Object{
			Value: &rbacv1.ClusterRole{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
				ObjectMeta: meta,
				AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
					{MatchLabels: map[string]string{Label(r.name): "true"}},
				}},
			},
			Why:    r.why + " Its rules are filled in by the controller manager, from the parts with the label below.",
			Claims: roleClaims(r.name),
		})
	}
	var present []part
	controls := slices.Clone(ruleControls)
	for _, pt := range parts {
		if pt.when != nil && !pt.when(p) {
			continue
		}
		present = append(present, pt)
		controls = slices.DeleteFunc(controls, func(id string) bool { return slices.Contains(pt.breaks, id) })
	}
	claims := generators.Claims("rules", controls...)
	for _, pt := range present {
		meta := generators.Meta("access", "", RoleName(pt.name))
		for _, to := range pt.to {
			meta.Labels[Label(to)] = "true"
		}
		objects = append(objects, generators.Object{
			Value: &rbacv1.ClusterRole{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
				ObjectMeta: meta,
				Rules:      pt.rules,
			},
			Why:    pt.why + " Part of " + strings.Join(pt.to, ", ") + ".",
			Claims: claims,
		})
	}
	return objects
}

func roleClaims(role string) []generators.Claim {
	claims := generators.Claims("aggregationRule", "cis-5.1.1", "nsa-A3")
	if strings.HasPrefix(role, "tenant-") {
		claims = append(claims, generators.Claim{
			Control: "access-4", Field: "aggregationRule",
			Note: "It is bound by RoleBindings of namespaces that are not the system's, and nowhere else.",
		})
	}
	return claims
}
