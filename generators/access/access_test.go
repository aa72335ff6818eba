package access

import (
	"path"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/generatortest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, New()) }

// sample is a posture with one tenant that uses everything this domain reads.
func sample(edit func(*posture.Posture)) *posture.Posture {
	p := &posture.Posture{
		Cluster:  posture.Cluster{Name: "prod", Platform: "kubeadm", Kubernetes: "1.37", CNI: "cilium"},
		Identity: posture.Identity{GroupsPrefix: "oidc:", UsernamePrefix: "oidc:"},
		Access: posture.Access{
			PlatformAdmins: []string{"platform-admins"},
			Viewers:        []string{"platform-viewers"},
			Auditors:       []string{"security-auditors"},
			BreakGlass:     posture.BreakGlass{Group: "break-glass", MaxHours: 4},
		},
		Namespaces: map[string]posture.Namespace{
			"kube-system": {Kind: "system"},
			"team-a": {
				Kind: "tenant",
				Groups: posture.NamespaceGroups{
					Owners: []string{"a-leads"}, Developers: []string{"a-devs", "a-devs", "a-contractors"}, Viewers: []string{"a-guests"},
				},
				CI:        []string{"ci/deployer"},
				GitSource: &posture.GitSource{URL: "https://git.internal/a.git", Branch: "main", Path: "."},
			},
		},
		Logging: posture.Logging{Audit: posture.AuditLog{Path: "/var/log/kubernetes/audit/audit.log"}},
		GitOps:  posture.GitOps{Engine: "flux", Namespace: "flux-system", Interval: "10m"},
	}
	if edit != nil {
		edit(p)
	}
	return p
}

func generate(t *testing.T, p *posture.Posture) *generators.Output {
	t.Helper()
	out, err := New().Generate(p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// aggregate does what the controller manager does: the rules of each role by its selectors.
func aggregate(t *testing.T, out *generators.Output) map[string][]rbacv1.PolicyRule {
	t.Helper()
	var all []*rbacv1.ClusterRole
	for _, a := range out.Artifacts {
		for _, o := range a.Objects {
			if r, ok := o.Value.(*rbacv1.ClusterRole); ok {
				all = append(all, r)
			}
		}
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, r := range all {
		if r.AggregationRule == nil {
			continue
		}
		for key := range r.AggregationRule.ClusterRoleSelectors[0].MatchLabels {
			for _, part := range all {
				if part.Labels[key] == "true" {
					rules[r.Name] = append(rules[r.Name], part.Rules...)
				}
			}
		}
	}
	return rules
}

func allows(rules []rbacv1.PolicyRule, verb, group, resource string) bool {
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return slices.Contains(r.Verbs, verb) && slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource)
	})
}

func TestRoles(t *testing.T) {
	open := func(p *posture.Posture) {
		p.Access.DeveloperSecrets, p.Access.DeveloperExec, p.Access.HumansCreateTokens = true, true, true
	}
	old := func(p *posture.Posture) { p.Cluster.Kubernetes = "1.34" }
	tests := []struct {
		name  string
		edit  func(*posture.Posture)
		role  string
		allow []string // verb group/resource
		deny  []string
	}{
		{
			name:  "platform admin operates nodes, but starts nothing",
			role:  PlatformAdmin,
			allow: []string{"list pods", "get pods/log", "patch nodes", "delete pods", "create pods/eviction", "patch apps/deployments/scale", "list rbac.authorization.k8s.io/clusterroles", "create storagemigration.k8s.io/storageversionmigrations"},
			deny: []string{
				"get secrets", "list secrets", "watch secrets", "create pods", "patch pods", "patch apps/deployments", "create apps/deployments",
				"create pods/exec", "get pods/exec", "patch pods/ephemeralcontainers", "patch namespaces", "delete namespaces",
				"create rbac.authorization.k8s.io/clusterrolebindings", "create rbac.authorization.k8s.io/rolebindings",
				"create persistentvolumes", "patch admissionregistration.k8s.io/validatingadmissionpolicies",
				"delete admissionregistration.k8s.io/validatingwebhookconfigurations", "patch kustomize.toolkit.fluxcd.io/kustomizations",
				"update certificates.k8s.io/certificatesigningrequests/approval", "create serviceaccounts/token",
			},
		},
		{
			name: "storage migrations exist from 1.37 on", edit: old, role: PlatformAdmin,
			deny: []string{"create storagemigration.k8s.io/storageversionmigrations"},
		},
		{
			name:  "platform viewer sees no RBAC",
			role:  PlatformViewer,
			allow: []string{"list pods", "get configmaps", "get pods/log", "list nodes"},
			deny:  []string{"get secrets", "list rbac.authorization.k8s.io/rolebindings", "delete pods", "create pods/eviction"},
		},
		{
			name:  "auditor sees rules, not data",
			role:  PlatformAuditor,
			allow: []string{"list rbac.authorization.k8s.io/clusterrolebindings", "list admissionregistration.k8s.io/validatingadmissionpolicies", "list events", "list pods"},
			deny:  []string{"get secrets", "get configmaps", "get pods/log", "delete pods"},
		},
		{
			name:  "owner",
			role:  TenantOwner,
			allow: []string{"create apps/deployments", "create secrets", "patch serviceaccounts", "delete pods", "list rbac.authorization.k8s.io/rolebindings"},
			deny: []string{
				"get secrets", "list secrets", "watch secrets", "patch secrets", "update secrets", "delete secrets", "create pods", "create pods/exec", "get pods/exec",
				"create networking.k8s.io/networkpolicies", "patch resourcequotas", "patch limitranges", "patch namespaces",
				"create rbac.authorization.k8s.io/rolebindings", "create serviceaccounts/token", "create apps/daemonsets", "patch endpoints",
				"create discovery.k8s.io/endpointslices",
			},
		},
		{
			name:  "developer",
			role:  TenantDeveloper,
			allow: []string{"create apps/deployments", "create batch/jobs", "delete pods", "get pods/log"},
			deny:  []string{"create secrets", "get secrets", "patch serviceaccounts", "create pods/exec", "get pods/portforward", "list rbac.authorization.k8s.io/rolebindings"},
		},
		{
			name: "developer, opened", edit: open, role: TenantDeveloper,
			allow: []string{"get secrets", "patch secrets", "get pods/exec", "create pods/exec", "get pods/portforward", "create pods/portforward"},
			deny:  []string{"create serviceaccounts/token", "create pods/attach", "patch pods/ephemeralcontainers"},
		},
		{
			name: "owner, opened", edit: open, role: TenantOwner,
			allow: []string{"get secrets", "create pods/exec", "create serviceaccounts/token"},
			deny:  []string{"create pods"},
		},
		{
			name: "viewer, opened", edit: open, role: TenantViewer,
			allow: []string{"get configmaps", "list pods", "get pods/log"},
			deny:  []string{"get secrets", "create pods/exec", "get pods/exec", "delete pods", "create configmaps"},
		},
		{
			name: "deployer, opened", edit: open, role: TenantDeployer,
			allow: []string{"create apps/deployments", "patch apps/deployments", "create serviceaccounts"},
			deny:  []string{"get secrets", "create secrets", "create pods/exec", "delete pods", "create serviceaccounts/token", "create rbac.authorization.k8s.io/rolebindings", "create kustomize.toolkit.fluxcd.io/kustomizations"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := aggregate(t, generate(t, sample(tt.edit)))[RoleName(tt.role)]
			check := func(list []string, want bool) {
				for _, s := range list {
					verb, target, _ := strings.Cut(s, " ")
					group, resource := "", target
					if g, r, ok := strings.Cut(target, "/"); ok && (strings.Contains(g, ".") || g == "apps" || g == "batch") {
						group, resource = g, r
					}
					if got := allows(rules, verb, group, resource); got != want {
						t.Errorf("%s may %s = %v, want %v", tt.role, s, got, want)
					}
				}
			}
			check(tt.allow, true)
			check(tt.deny, false)
		})
	}
}

// TestNeverGranted reads each rule of each posture, so that a part added later cannot bring in what
// this package promises to leave out.
func TestNeverGranted(t *testing.T) {
	for _, edit := range []func(*posture.Posture){
		nil,
		func(p *posture.Posture) {
			p.Access.DeveloperSecrets, p.Access.DeveloperExec, p.Access.HumansCreateTokens = true, true, true
		},
		func(p *posture.Posture) {
			p.Cluster.CNI, p.GitOps.Engine, p.Cluster.Kubernetes = "calico", "argocd", "1.34"
		},
	} {
		for _, a := range generate(t, sample(edit)).Artifacts {
			for _, o := range a.Objects {
				role, ok := o.Value.(*rbacv1.ClusterRole)
				if !ok {
					continue
				}
				if role.AggregationRule != nil && role.Rules != nil {
					t.Errorf("%s: an aggregated role has rules of its own, which the controller manager would fight over", role.Name)
				}
				for key := range role.Labels {
					if strings.HasPrefix(key, "rbac.authorization.k8s.io/") {
						t.Errorf("%s is aggregated into a built-in role", role.Name)
					}
				}
				for _, r := range role.Rules {
					if len(r.Verbs) == 0 || len(r.Resources)+len(r.NonResourceURLs) == 0 {
						t.Errorf("%s: a rule without verbs or resources", role.Name)
					}
					for _, s := range slices.Concat(r.Verbs, r.APIGroups, r.Resources, r.NonResourceURLs) {
						if strings.Contains(s, "*") {
							t.Errorf("%s: wildcard %q", role.Name, s)
						}
					}
					for _, v := range r.Verbs {
						if v == "escalate" || v == "bind" || strings.HasPrefix(v, "impersonate") || v == "deletecollection" || v == "approve" || v == "sign" {
							t.Errorf("%s: verb %q", role.Name, v)
						}
					}
					for _, res := range r.Resources {
						forbidden := []string{"nodes/proxy", "nodes/log", "pods/proxy", "services/proxy", "pods/attach", "pods/ephemeralcontainers", "certificatesigningrequests/approval"}
						if slices.Contains(forbidden, res) {
							t.Errorf("%s: resource %q", role.Name, res)
						}
						writes := slices.ContainsFunc(r.Verbs, func(v string) bool { return !slices.Contains(read, v) })
						readOnly := []string{"endpoints", "endpointslices", "networkpolicies", "resourcequotas", "limitranges", "namespaces", "daemonsets"}
						if writes && (slices.Contains(readOnly, res) || slices.Contains(r.APIGroups, "admissionregistration.k8s.io") || slices.Contains(r.APIGroups, "rbac.authorization.k8s.io")) {
							t.Errorf("%s: writes %q", role.Name, res)
						}
						if slices.Contains(r.Verbs, "create") && (res == "pods" || res == "persistentvolumes") {
							t.Errorf("%s: creates %q", role.Name, res)
						}
					}
				}
			}
		}
	}
}

func TestBindings(t *testing.T) {
	out := generate(t, sample(nil))
	bound := map[string][]string{}
	for _, a := range out.Artifacts {
		for _, o := range a.Objects {
			var name string
			var subjects []rbacv1.Subject
			var ref rbacv1.RoleRef
			switch b := o.Value.(type) {
			case *rbacv1.RoleBinding:
				name, subjects, ref = b.Namespace, b.Subjects, b.RoleRef
			case *rbacv1.ClusterRoleBinding:
				subjects, ref = b.Subjects, b.RoleRef
			default:
				continue
			}
			if ref.Name == "cluster-admin" && strings.HasPrefix(a.Path, "manifests/") {
				t.Errorf("%s binds cluster-admin where GitOps applies it", a.Path)
			}
			for _, s := range subjects {
				who := s.Name
				if s.Kind == rbacv1.ServiceAccountKind {
					who = "sa:" + s.Namespace + "/" + s.Name
				}
				if s.Kind == rbacv1.UserKind {
					t.Errorf("%s binds a user", a.Path)
				}
				bound[path.Join(name, ref.Name)] = append(bound[path.Join(name, ref.Name)], who)
			}
		}
	}
	want := map[string][]string{
		"cluster-admin":                  {"oidc:break-glass"},
		"k8ssec:platform-admin":          {"oidc:platform-admins"},
		"k8ssec:platform-viewer":         {"oidc:platform-viewers"},
		"k8ssec:platform-auditor":        {"oidc:security-auditors"},
		"team-a/k8ssec:tenant-owner":     {"oidc:a-leads"},
		"team-a/k8ssec:tenant-developer": {"oidc:a-contractors", "oidc:a-devs"},
		"team-a/k8ssec:tenant-viewer":    {"oidc:a-guests"},
		"team-a/k8ssec:tenant-deployer":  {"sa:team-a/gitops-deployer", "sa:ci/deployer"},
	}
	for k, v := range want {
		if !slices.Equal(bound[k], v) {
			t.Errorf("%s is bound to %v, want %v", k, bound[k], v)
		}
	}
	if len(bound) != len(want) {
		t.Errorf("bound: %v", bound)
	}
}

func TestDefaultAccounts(t *testing.T) {
	count := func(p *posture.Posture) (n int) {
		for _, a := range generate(t, p).Artifacts {
			for _, o := range a.Objects {
				if sa, ok := o.Value.(*corev1.ServiceAccount); ok && sa.Name == "default" {
					if sa.AutomountServiceAccountToken == nil || *sa.AutomountServiceAccountToken {
						t.Errorf("%s mounts a token", sa.Namespace)
					}
					n++
				}
			}
		}
		return n
	}
	if got := count(sample(nil)); got != 2 {
		t.Errorf("%d default accounts, want one a namespace", got)
	}
	if got := count(sample(func(p *posture.Posture) { p.Access.AutomountDefault = true })); got != 0 {
		t.Errorf("%d default accounts although the posture lets them mount tokens", got)
	}
}

// TestClaimsFollowThePosture shows that nothing claims a control that the posture itself breaks.
func TestClaimsFollowThePosture(t *testing.T) {
	claimed := func(p *posture.Posture, control string) bool {
		for _, a := range generate(t, p).Artifacts {
			for _, o := range a.Objects {
				if slices.ContainsFunc(o.Claims, func(c generators.Claim) bool { return c.Control == control }) {
					return true
				}
			}
		}
		return false
	}
	open := sample(func(p *posture.Posture) {
		p.Access.DeveloperSecrets, p.Access.DeveloperExec, p.Access.HumansCreateTokens, p.Access.AutomountDefault = true, true, true, true
		ns := p.Namespaces["team-a"]
		ns.GitSource = nil
		p.Namespaces["team-a"] = ns
	})
	for _, control := range []string{"cis-5.1.2", "cis-5.1.13", "cis-5.1.5", "access-2", "access-6", "access-7", "access-8"} {
		if !claimed(sample(nil), control) {
			t.Errorf("%s: nothing serves it", control)
		}
		if claimed(open, control) {
			t.Errorf("%s is claimed although the posture breaks it", control)
		}
	}
}
