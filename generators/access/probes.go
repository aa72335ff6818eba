package access

import (
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// plainDenied is why a denial passes without the repository: it shows that no role was widened.
const plainDenied = "RBAC denies what no role grants. The probe turns red when somebody widens a role or a binding."

const (
	rbacGroup      = "rbac.authorization.k8s.io"
	admissionGroup = "admissionregistration.k8s.io"
	rolesFile      = "manifests/access/cluster.roles.yaml"
)

// holder is somebody who holds a role, by a binding.
type holder struct {
	role string
	who  generators.Identity
	// name is for people, slug for the ID: the role, and the namespace where it holds.
	name, slug string
	// namespace is where the role holds; empty means everywhere.
	namespace string
	binding   string
}

// right is one thing to do.
type right struct{ slug, title, verb, group, resource, namespace string }

// holders are those to whom the posture gives a role, one for each binding.
func holders(p *posture.Posture) []holder {
	var list []holder
	for _, b := range []struct {
		role   string
		groups []string
	}{{PlatformAdmin, p.Access.PlatformAdmins}, {PlatformViewer, p.Access.Viewers}, {PlatformAuditor, p.Access.Auditors}} {
		if len(b.groups) > 0 {
			list = append(list, holder{
				role: b.role, who: generators.Person(p, slices.Min(b.groups)), name: b.role, slug: b.role,
				binding: "manifests/access/cluster.bindings.yaml: ClusterRoleBinding " + RoleName(b.role),
			})
		}
	}
	for _, name := range p.NamespaceNames() {
		ns := p.Namespaces[name]
		add := func(role string, who generators.Identity) {
			list = append(list, holder{
				role: role, who: who, name: role + " of " + name, slug: role + "-" + name, namespace: name,
				binding: "manifests/access/" + name + ".yaml: RoleBinding " + name + "/" + RoleName(role),
			})
		}
		for _, b := range []struct {
			role   string
			groups []string
		}{{TenantOwner, ns.Groups.Owners}, {TenantDeveloper, ns.Groups.Developers}, {TenantViewer, ns.Groups.Viewers}} {
			if len(b.groups) > 0 {
				add(b.role, generators.Person(p, slices.Min(b.groups)))
			}
		}
		switch {
		case ns.GitSource != nil:
			add(TenantDeployer, generators.ServiceAccount(name, generators.DeployerAccount))
		case len(ns.CI) > 0:
			namespace, account, _ := strings.Cut(slices.Min(ns.CI), "/")
			add(TenantDeployer, generators.ServiceAccount(namespace, account))
		}
	}
	return list
}

// Probes ask for each role what it is for and what it must not, then for each part whether its rights
// arrive, and for those who hold nothing.
func (generator) Probes(p *posture.Posture) []generators.Probe {
	var probes []generators.Probe
	list := holders(p)
	for _, h := range list {
		probes = append(probes, h.probes(p)...)
	}
	probes = append(probes, partProbes(p, list)...)
	return append(probes, outsiders(p)...)
}

func (h holder) probes(p *posture.Posture) []generators.Probe {
	artifacts := []string{h.binding, rolesFile + ": ClusterRole " + RoleName(h.role)}
	purpose, never := h.rights(p)
	allow := generators.Probe{
		ID: "access-" + h.slug + "-" + purpose.slug + "-allow", Domain: "access", Kind: generators.Allow,
		Title: h.name + ": " + purpose.title, Why: "A role without its rights makes people ask for a larger one.",
		Controls: []string{"cis-5.1.1", "access-1"}, Artifacts: artifacts, Check: h.access(purpose),
	}
	probes := []generators.Probe{allow}
	// Any part of the role could widen it.
	made := slices.Clone(artifacts)
	for _, pt := range parts {
		if (pt.when == nil || pt.when(p)) && slices.Contains(pt.to, h.role) {
			made = append(made, rolesFile+": ClusterRole "+RoleName(pt.name))
		}
	}
	for _, r := range never {
		probes = append(probes, generators.Probe{
			ID: "access-" + h.slug + "-" + r.slug + "-deny", Domain: "access", Kind: generators.Deny,
			Title: h.name + ": " + r.title, Why: "The role, or another one that these people hold, gives more than the posture says.",
			Controls: controlsOf(r), Artifacts: made, Plain: plainDenied, Check: h.access(r),
		})
	}
	if len(probes) > 1 {
		probes[0].Pair, probes[1].Pair = probes[1].ID, probes[0].ID
	}
	return probes
}

func (h holder) access(r right) generators.Access {
	return generators.Access{As: h.who, Verb: r.verb, Group: r.group, Resource: r.resource, Namespace: r.namespace}
}

// controlsOf are the controls that a right would break.
func controlsOf(r right) []string {
	switch r.resource {
	case "secrets":
		return []string{"cis-5.1.2", "access-6"}
	case "pods/exec", "pods/portforward":
		return []string{"access-7"}
	case "serviceaccounts/token":
		return []string{"cis-5.1.13", "access-8"}
	case "nodes/proxy":
		return []string{"cis-5.1.10"}
	case "pods":
		return []string{"cis-5.1.4"}
	case "persistentvolumes":
		return []string{"cis-5.1.9"}
	case "certificatesigningrequests/approval":
		return []string{"cis-5.1.11"}
	case "validatingadmissionpolicies":
		return []string{"cis-5.1.12"}
	case "clusterroles", "users":
		return []string{"cis-5.1.8"}
	}
	return []string{"nsa-A3"}
}

// rights are what the holder is there to do, and what they must never do.
func (h holder) rights(p *posture.Posture) (purpose right, never []right) {
	ns := h.namespace
	if ns == "" {
		ns = "kube-system"
	}
	var (
		secrets   = right{"secrets", "read secrets in " + ns, "get", "", "secrets", ns}
		shell     = right{"exec", "a shell in a container of " + ns, "create", "", "pods/exec", ns}
		forward   = right{"port-forward", "forward a port from a pod of " + ns, "create", "", "pods/portforward", ns}
		token     = right{"token", "make a token of a service account of " + ns, "create", "", "serviceaccounts/token", ns}
		bind      = right{"bindings", "give out roles in " + ns, "create", rbacGroup, "rolebindings", ns}
		policies  = right{"policies", "take away network policies of " + ns, "delete", "networking.k8s.io", "networkpolicies", ns}
		quotas    = right{"quota", "raise the quota of " + ns, "update", "", "resourcequotas", ns}
		deploy    = right{"deploy", "deploy to " + ns, "create", "apps", "deployments", ns}
		look      = right{"look", "see the pods of " + ns, "list", "", "pods", ns}
		run       = right{"pods", "start a pod in " + ns, "create", "", "pods", ns}
		labels    = right{"labels", "change the labels of the namespace " + ns, "patch", "", "namespaces", ns}
		remove    = right{"delete", "delete pods of " + ns, "delete", "", "pods", ns}
		neighbour = right{}
	)
	if other := neighbourOf(p, h.namespace); h.namespace != "" && other != "" && !h.holdsIn(p, other) {
		neighbour = right{"neighbour", "read secrets in " + other, "get", "", "secrets", other}
	}
	switch h.role {
	case PlatformAdmin:
		purpose = right{"drain", "drain a node", "patch", "", "nodes", ""}
		never = []right{
			secrets, run, shell, forward, token,
			{"proxy", "reach the kubelet past the API", "get", "", "nodes/proxy", ""},
			{"volumes", "make a volume on a node's disk", "create", "", "persistentvolumes", ""},
			{"cluster-admin", "bind themselves to cluster-admin", "create", rbacGroup, "clusterrolebindings", ""},
			{"escalate", "write a role with more than they have", "escalate", rbacGroup, "clusterroles", ""},
			{"bind", "bind a role with more than they have", "bind", rbacGroup, "clusterroles", ""},
			{"impersonate", "act as somebody else", "impersonate", "", "users", ""},
			{"admission", "take away an admission policy", "delete", admissionGroup, "validatingadmissionpolicies", ""},
			{"certificates", "approve a client certificate", "update", "certificates.k8s.io", "certificatesigningrequests/approval", ""},
		}
	case PlatformViewer:
		purpose, never = look, []right{secrets, remove, shell, forward}
	case PlatformAuditor:
		purpose = right{"roles", "see who may do what", "list", rbacGroup, "clusterrolebindings", ""}
		never = []right{
			secrets,
			{"config", "read ConfigMaps of " + ns, "get", "", "configmaps", ns},
			{"logs", "read logs of " + ns, "get", "", "pods/log", ns},
		}
	case TenantOwner:
		purpose, never = deploy, []right{run, bind, policies, quotas, labels}
	case TenantDeveloper:
		purpose, never = deploy, []right{
			{"accounts", "make a service account in " + ns, "create", "", "serviceaccounts", ns}, bind, quotas,
		}
	case TenantViewer:
		purpose = look
		deploy.title = "deploy to " + ns
		never = []right{deploy, secrets, shell, forward}
	case TenantDeployer:
		purpose, never = deploy, []right{bind, policies, secrets, shell, forward}
	}
	if h.role == TenantOwner || h.role == TenantDeveloper {
		if !p.Access.DeveloperSecrets {
			never = append(never, secrets)
		}
		if !p.Access.DeveloperExec {
			never = append(never, shell, forward)
		}
		if !p.Access.HumansCreateTokens || h.role == TenantDeveloper {
			never = append(never, token)
		}
	}
	if neighbour.slug != "" {
		never = append(never, neighbour)
	}
	return purpose, never
}

// neighbourOf is another tenant.
func neighbourOf(p *posture.Posture, namespace string) string {
	for _, name := range p.NamespacesOf("tenant") {
		if name != namespace {
			return name
		}
	}
	return ""
}

// holdsIn says whether the holder has a role in another namespace as well.
func (h holder) holdsIn(p *posture.Posture, namespace string) bool {
	for _, other := range holders(p) {
		if other.namespace == namespace && (slices.ContainsFunc(other.who.Groups, func(g string) bool { return slices.Contains(h.who.Groups, g) }) ||
			strings.HasPrefix(h.who.User, "system:") && other.who.User == h.who.User) {
			return true
		}
	}
	return false
}

// partProbes ask for the first right of each part, as somebody who gets it by that part alone.
func partProbes(p *posture.Posture, list []holder) []generators.Probe {
	var probes []generators.Probe
	for _, pt := range parts {
		if pt.when != nil && !pt.when(p) {
			continue
		}
		i := slices.IndexFunc(list, func(h holder) bool { return slices.Contains(pt.to, h.role) })
		if i < 0 {
			continue
		}
		h, rule := list[i], pt.rules[0]
		check := generators.Access{As: h.who, Verb: rule.Verbs[0], Namespace: h.namespace}
		what := rule.Verbs[0] + " "
		if len(rule.NonResourceURLs) > 0 {
			check.Namespace, check.Path = "", rule.NonResourceURLs[0]
			what += check.Path
		} else {
			check.Group, check.Resource = rule.APIGroups[0], rule.Resources[0]
			what += check.Resource
		}
		probes = append(probes, generators.Probe{
			ID: "access-part-" + pt.name + "-allow", Domain: "access", Kind: generators.Allow,
			Title: h.name + ": " + what, Why: "The part is gone, or no longer goes into the role.",
			Controls: []string{"nsa-A3"}, Artifacts: []string{rolesFile + ": ClusterRole " + RoleName(pt.name)}, Check: check,
		})
	}
	return probes
}

// outsiders hold no role, or not any more.
func outsiders(p *posture.Posture) []generators.Probe {
	deny := func(slug, title, why string, controls []string, c generators.Access, artifacts ...string) generators.Probe {
		return generators.Probe{
			ID: "access-" + slug + "-deny", Domain: "access", Kind: generators.Deny, Title: title, Why: why,
			Controls: controls, Artifacts: artifacts, Plain: plainDenied, Check: c,
		}
	}
	probes := []generators.Probe{
		deny("break-glass-secrets", "the break-glass group reads secrets, outside of an emergency",
			"The binding of an emergency is still there: docs/break-glass.md says how to remove it.", []string{"cis-5.1.1"},
			generators.Access{As: generators.Person(p, p.Access.BreakGlass.Group), Verb: "get", Resource: "secrets", Namespace: "kube-system"},
			"break-glass/cluster-admin-binding.yaml"),
		deny("anybody-pods", "somebody who is signed in and in no group sees pods",
			"A role is bound to everybody.", []string{"nsa-A3"},
			generators.Access{As: generators.Person(p), Verb: "list", Resource: "pods", Namespace: "kube-system"}, rolesFile),
	}
	if len(p.Access.PlatformAdmins) > 0 && p.Identity.GroupsPrefix != "" {
		probes = append(probes, deny("unprefixed-group", "a group of the same name that does not come from the identity provider",
			"Roles are bound to names that another authenticator may give out.", []string{"access-1"},
			generators.Access{
				As:   generators.Identity{User: generators.ProbeName, Groups: []string{slices.Min(p.Access.PlatformAdmins)}},
				Verb: "patch", Resource: "nodes",
			}, "manifests/access/cluster.bindings.yaml"))
	}
	for _, name := range p.NamespacesOf("tenant") {
		file := "manifests/access/" + name + ".yaml"
		if p.Access.AutomountDefault {
			continue
		}
		probes = append(probes, deny("default-account-"+name, "the default service account of "+name+" reads secrets there",
			"Whoever breaks into any pod of the namespace has them.", []string{"cis-5.1.5"},
			generators.Access{As: generators.ServiceAccount(name, "default"), Verb: "get", Resource: "secrets", Namespace: name},
			file+": ServiceAccount "+name+"/default"))
		pod := generators.ProbePod(p, name)
		pod.Spec.AutomountServiceAccountToken = nil
		probes = append(probes, generators.Probe{
			ID: "access-default-token-" + name + "-allow", Domain: "access", Kind: generators.Allow,
			Title:    "a pod of " + name + " that names no service account gets no token",
			Why:      "Every pod could speak to the API server in the name of the namespace.",
			Controls: []string{"cis-5.1.5", "cis-5.1.6", "access-2"}, Artifacts: []string{file + ": ServiceAccount " + name + "/default"},
			Check: generators.Admission{Verb: "create", Object: pod, Returns: []generators.FieldValue{{Field: "spec.volumes[0].name"}}},
		})
	}
	return probes
}
