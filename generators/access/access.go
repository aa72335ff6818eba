package access

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// BreakGlassBinding is the name of the binding that exists during an emergency only.
const BreakGlassBinding = "k8ssec:break-glass"

type generator struct{}

// New returns the generator of the access domain.
func New() generators.Generator { return generator{} }

func (generator) Domain() string { return "access" }

func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{Artifacts: []generators.Artifact{
		{
			Path:    "manifests/access/cluster.roles.yaml",
			Comment: "The roles and the parts that they are made of. Read by the RBAC authorizer of the API server.",
			Objects: clusterRoles(p),
		},
	}}
	if bindings := clusterRoleBindings(p); len(bindings) > 0 {
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/access/cluster.bindings.yaml",
			Comment: "Who holds a role in the whole cluster: groups of the identity provider, never single people.",
			Objects: bindings,
		})
	}
	for _, name := range p.NamespaceNames() {
		if objects := namespaceObjects(p, name); len(objects) > 0 {
			out.Artifacts = append(out.Artifacts, generators.Artifact{
				Path:    "manifests/access/" + name + ".yaml",
				Comment: "Who may do what in the namespace " + name + ".",
				Objects: objects,
			})
		}
	}
	out.Artifacts = append(out.Artifacts, breakGlass(p))
	docs, err := docs(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, docs...)
	return out, nil
}

// groups are RBAC subjects for groups of the identity provider, sorted.
func groups(p *posture.Posture, names []string) []rbacv1.Subject {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	subjects := make([]rbacv1.Subject, len(names))
	for i, g := range names {
		subjects[i] = rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: p.Identity.GroupsPrefix + g}
	}
	return subjects
}

func roleRef(role string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: RoleName(role)}
}

func clusterRoleBindings(p *posture.Posture) []generators.Object {
	var objects []generators.Object
	for _, b := range []struct {
		role   string
		groups []string
		why    string
	}{
		{PlatformAdmin, p.Access.PlatformAdmins, "The people who run the cluster. They are not cluster-admin: that is for emergencies (docs/break-glass.md)."},
		{PlatformViewer, p.Access.Viewers, "The people who may look, but not touch."},
		{PlatformAuditor, p.Access.Auditors, "The people who check whether this cluster is what it should be."},
	} {
		if len(b.groups) == 0 {
			continue
		}
		objects = append(objects, generators.Object{
			Value: &rbacv1.ClusterRoleBinding{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
				ObjectMeta: generators.Meta("access", "", RoleName(b.role)),
				RoleRef:    roleRef(b.role),
				Subjects:   groups(p, b.groups),
			},
			Why:    b.why,
			Claims: bindingClaims,
		})
		if b.role == PlatformAdmin {
			last := &objects[len(objects)-1]
			last.Claims = append(slices.Clone(bindingClaims), generators.Claim{Control: "access-5", Field: "subjects"})
		}
	}
	return objects
}

// Claims that many objects share; nothing changes them.
var (
	bindingClaims = append(generators.Claims("roleRef", "cis-5.1.1"), generators.Claims("subjects", "nsa-A3", "access-1")...)
	accountClaims = generators.Claims("automountServiceAccountToken", "cis-5.1.5", "cis-5.1.6", "nsa-P8", "access-2")
)

// namespaceObjects returns the service accounts and bindings of one namespace.
func namespaceObjects(p *posture.Posture, name string) []generators.Object {
	ns := p.Namespaces[name]
	var objects []generators.Object
	if !p.Access.AutomountDefault {
		objects = append(objects, generators.Object{
			Value:  serviceAccount(name, "default"),
			Why:    "The account of each pod that names none. Without a token such a pod cannot speak to the API server at all.",
			Claims: accountClaims,
		})
	}
	var deployers []rbacv1.Subject
	if ns.GitSource != nil {
		objects = append(objects, generators.Object{
			Value:  serviceAccount(name, generators.DeployerAccount),
			Why:    "What the GitOps controller acts as when it applies the tenant's own repository: it cannot do more there than this account may.",
			Claims: accountClaims,
		})
		deployers = append(deployers, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: name, Name: generators.DeployerAccount})
	}
	for _, ci := range slices.Compact(slices.Sorted(slices.Values(ns.CI))) {
		namespace, account, _ := strings.Cut(ci, "/")
		deployers = append(deployers, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account})
	}
	for _, b := range []struct {
		role     string
		subjects []rbacv1.Subject
		why      string
	}{
		{TenantOwner, groups(p, ns.Groups.Owners), "The owners of the namespace."},
		{TenantDeveloper, groups(p, ns.Groups.Developers), "The developers of the namespace."},
		{TenantViewer, groups(p, ns.Groups.Viewers), "Who may look into the namespace."},
		{TenantDeployer, deployers, "What deploys into the namespace."},
	} {
		if len(b.subjects) == 0 {
			continue
		}
		objects = append(objects, generators.Object{
			Value: &rbacv1.RoleBinding{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
				ObjectMeta: generators.Meta("access", name, RoleName(b.role)),
				RoleRef:    roleRef(b.role),
				Subjects:   b.subjects,
			},
			Why:    b.why,
			Claims: bindingClaims,
		})
	}
	return objects
}

func serviceAccount(namespace, name string) *corev1.ServiceAccount {
	automount := false
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   generators.Meta("access", namespace, name),
		AutomountServiceAccountToken: &automount,
	}
}

// breakGlass returns the binding that people apply by hand. It lies outside of manifests/ and of
// gitops/, the only folders that a GitOps controller reads.
func breakGlass(p *posture.Posture) generators.Artifact {
	meta := generators.Meta("access", "", BreakGlassBinding)
	meta.Labels["k8ssec.dev/break-glass"] = "true"
	return generators.Artifact{
		Path: "break-glass/cluster-admin-binding.yaml",
		Kind: generators.Procedure,
		Comment: "NOT applied by GitOps, and it must not be: no Kustomization or Application reads this folder.\n" +
			"In an emergency a person applies it by the steps of docs/break-glass.md, which also remove it again.",
		Objects: []generators.Object{{
			Value: &rbacv1.ClusterRoleBinding{
				TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
				ObjectMeta: meta,
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
				Subjects:   groups(p, []string{p.Access.BreakGlass.Group}),
			},
			Why:    "Everything, for the people of one group, until the binding is deleted.",
			Claims: generators.Claims("", "cis-5.1.1"),
		}},
	}
}
