// Package access asks a real API server what the emitted roles, bindings, quotas and flow schemas
// really allow: each test pairs what must be refused with what must work, so that neither an empty
// role nor an open one passes.
package access

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// tenants are two neighbours; the deployments of team-a come from a pipeline in ci, and from its
// own repository.
const tenants = `
namespaces: "team-a": {
	owner: "team-a"
	groups: {owners: ["a-owners"], developers: ["a-devs"], viewers: ["a-viewers"]}
	ci: ["ci/runner"]
	gitSource: {url: "https://git.internal/a.git", branch: "main", path: "."}
}
namespaces: "team-b": {owner: "team-b", groups: owners: ["b-owners"]}
namespaces: ci: {owner: "platform", apiAccess: true}
`

// start emits a repository with the profile and what is added to its cluster file, and applies it.
func start(t *testing.T, profile, added string) *controlplane.ControlPlane {
	t.Helper()
	file := "package cluster\n\nprofiles: [\"" + profile + "\"]\ncluster: {name: \"test\", cni: \"other\"}\n" + tenants + added
	c := controlplane.Start(t, controlplane.Generate(t, file))
	c.ApplyCRDs(t)
	for _, err := range c.Apply(t) {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	eventually(t, "the roles are aggregated", func(ctx context.Context) error {
		list, err := c.Client(t).RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{LabelSelector: "k8ssec.dev/domain=access"})
		if err != nil {
			return err
		}
		for _, r := range list.Items {
			if len(r.Rules) == 0 {
				return fmt.Errorf("%s has no rules", r.Name)
			}
		}
		return nil
	})
	return c
}

func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = check(t.Context()); err == nil {
			return
		}
	}
	t.Fatalf("not within 30 s: %s: %v", what, err)
}

// who is somebody of the emitted access.
type who struct {
	user   string
	groups []string
}

var people = map[string]who{
	"admin":       {"oidc:ann", []string{"oidc:platform-admins"}},
	"viewer":      {"oidc:vic", []string{"oidc:platform-viewers"}},
	"auditor":     {"oidc:aud", []string{"oidc:security-auditors"}},
	"owner":       {"oidc:olga", []string{"oidc:a-owners"}},
	"developer":   {"oidc:dave", []string{"oidc:a-devs"}},
	"guest":       {"oidc:gus", []string{"oidc:a-viewers"}},
	"neighbour":   {"oidc:nina", []string{"oidc:b-owners"}},
	"ci":          {"system:serviceaccount:ci:runner", []string{"system:serviceaccounts", "system:serviceaccounts:ci"}},
	"gitops":      {"system:serviceaccount:team-a:gitops-deployer", []string{"system:serviceaccounts", "system:serviceaccounts:team-a"}},
	"pod":         {"system:serviceaccount:team-a:default", []string{"system:serviceaccounts", "system:serviceaccounts:team-a"}},
	"nobody":      {"oidc:norm", []string{"oidc:everyone"}},
	"break-glass": {"oidc:bob", []string{"oidc:break-glass"}},
	// A group without the prefix of the identity provider is not the group of that name.
	"impostor": {"oidc:ivan", []string{"platform-admins", "a-owners"}},
}

// may asks the authorizer.
func may(t *testing.T, c *controlplane.ControlPlane, name, verb, group, resource, namespace string) bool {
	t.Helper()
	w := people[name]
	resource, sub, _ := strings.Cut(resource, "/")
	review, err := c.Client(t).AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: w.user, Groups: append([]string{"system:authenticated"}, w.groups...),
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: verb, Group: group, Resource: resource, Subresource: sub, Namespace: namespace,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// row is one right: who has it, and by that who of all others has not.
type row struct {
	verbs, group, resources, namespace string
	allowed                            string
}

// matrix is who may do what. A name that is not listed must be refused.
func matrix(t *testing.T, c *controlplane.ControlPlane, rows []row) {
	t.Helper()
	for _, r := range rows {
		allowed := strings.Fields(r.allowed)
		for name := range people {
			want := false
			for _, a := range allowed {
				want = want || a == name
			}
			for verb := range strings.FieldsSeq(r.verbs) {
				for resource := range strings.FieldsSeq(r.resources) {
					if got := may(t, c, name, verb, r.group, resource, r.namespace); got != want {
						t.Errorf("%s may %s %s %s in %q: %v, want %v", name, verb, r.group, resource, r.namespace, got, want)
					}
				}
			}
		}
	}
}

const (
	rbac      = "rbac.authorization.k8s.io"
	admission = "admissionregistration.k8s.io"
)

// always holds under every posture.
var always = []row{
	// What runs, in one's own namespace and in others.
	{"get list watch", "", "pods services resourcequotas", "team-a", "admin viewer auditor owner developer guest ci gitops"},
	{"get list watch", "", "pods", "team-b", "admin viewer auditor neighbour"},
	{"get list watch", "", "pods", "kube-system", "admin viewer auditor"},
	{"get list watch", "", "configmaps pods/log", "team-a", "admin viewer owner developer guest ci gitops"},
	{"get list watch", "", "nodes persistentvolumes", "", "admin viewer auditor"},
	// Deploying.
	{"create update patch delete", "apps", "deployments statefulsets", "team-a", "owner developer ci gitops"},
	{"create patch", "apps", "deployments", "team-b", "neighbour"},
	{"create patch", "apps", "deployments", "kube-system", ""},
	{"create update patch delete", "", "configmaps services", "team-a", "owner developer ci gitops"},
	{"create patch", "apps", "daemonsets", "team-a", ""},
	{"create update patch delete", "", "serviceaccounts", "team-a", "owner ci gitops"},
	{"patch update", "apps", "deployments/scale", "team-a", "admin owner developer ci gitops"},
	{"delete", "", "pods", "team-a", "admin owner developer"},
	{"create", "", "pods/eviction", "team-a", "admin owner developer"},
	// Operating.
	{"patch update delete", "", "nodes", "", "admin"},
	{"delete", "", "pods", "kube-system", "admin"},
	{"create delete", "storagemigration.k8s.io", "storageversionmigrations", "", "admin"},
	// Looking at what decides.
	{"get list watch", rbac, "clusterroles clusterrolebindings", "", "admin auditor"},
	{"get list watch", rbac, "roles rolebindings", "team-a", "admin auditor owner"},
	{"get list watch", admission, "validatingadmissionpolicies mutatingwebhookconfigurations", "", "admin auditor"},
	{"get list watch", "certificates.k8s.io", "certificatesigningrequests", "", "admin auditor"},
	// What nobody may.
	{"create update patch", "", "pods", "team-a", ""},
	{"update patch", "", "pods/ephemeralcontainers", "team-a", ""},
	{"get create", "", "pods/attach pods/proxy services/proxy", "team-a", ""},
	{"get create", "", "nodes/proxy", "", ""},
	{"get", "", "nodes/log", "", ""},
	{"create", "", "persistentvolumes", "", ""},
	{"create update patch delete", "", "namespaces", "team-a", ""},
	{"create update patch delete", "", "resourcequotas limitranges endpoints", "team-a", ""},
	{"create update patch delete", "networking.k8s.io", "networkpolicies", "team-a", ""},
	{"create update patch delete escalate", rbac, "roles clusterroles", "team-a", ""},
	{"create update patch delete", rbac, "rolebindings clusterrolebindings", "team-a", ""},
	{"bind", rbac, "clusterroles roles", "team-a", ""},
	{"impersonate impersonate:user-info", "", "users groups serviceaccounts", "", ""},
	{"impersonate:user-info", "authentication.k8s.io", "users groups", "", ""},
	{"impersonate:serviceaccount", "", "serviceaccounts", "team-a", ""},
	{"create update patch delete", admission, "validatingadmissionpolicies validatingadmissionpolicybindings mutatingadmissionpolicies validatingwebhookconfigurations mutatingwebhookconfigurations", "", ""},
	{"update patch", "certificates.k8s.io", "certificatesigningrequests/approval", "", ""},
	{"approve sign", "certificates.k8s.io", "signers", "", ""},
	{"create update patch delete", "kustomize.toolkit.fluxcd.io", "kustomizations", "team-a", ""},
	{"create update patch delete", "kustomize.toolkit.fluxcd.io", "kustomizations", "flux-system", ""},
	{"create update patch delete", "flowcontrol.apiserver.k8s.io", "flowschemas", "", ""},
	{"create update patch delete", "scheduling.k8s.io", "priorityclasses", "", ""},
	{"deletecollection", "", "pods configmaps", "team-a", ""},
}

// closed and opened are what the posture decides.
var (
	closed = []row{
		{"get list watch update patch delete", "", "secrets", "team-a", ""},
		{"create", "", "secrets", "team-a", "owner"},
		{"get list", "", "secrets", "kube-system", ""},
		{"get create", "", "pods/exec pods/portforward", "team-a", ""},
		{"create", "", "serviceaccounts/token", "team-a", ""},
	}
	opened = []row{
		{"get list watch create update patch delete", "", "secrets", "team-a", "owner developer"},
		{"get list", "", "secrets", "team-b", "neighbour"},
		{"get list", "", "secrets", "kube-system", ""},
		{"get create", "", "pods/exec pods/portforward", "team-a", "owner developer"},
		{"get create", "", "pods/exec", "kube-system", ""},
		{"create", "", "serviceaccounts/token", "team-a", "owner"},
		{"create", "", "serviceaccounts/token", "kube-system", ""},
	}
)

func TestClosed(t *testing.T) {
	c := start(t, "cis", "")
	t.Run("matrix", func(t *testing.T) { matrix(t, c, always); matrix(t, c, closed) })
	t.Run("no way up", func(t *testing.T) { noWayUp(t, c) })
	t.Run("tenant deploys", func(t *testing.T) { deploys(t, c) })
	t.Run("secrets go in, not out", func(t *testing.T) { secrets(t, c) })
	t.Run("default accounts mount nothing", func(t *testing.T) { defaultAccounts(t, c) })
	t.Run("add-ons extend roles", func(t *testing.T) { extend(t, c) })
	t.Run("priorities are the platform's", func(t *testing.T) { priorities(t, c) })
	t.Run("requests are sorted by who sends them", func(t *testing.T) { fairness(t, c) })
	t.Run("break-glass opens and closes", func(t *testing.T) { breakGlass(t, c) })
}

func TestOpened(t *testing.T) {
	c := start(t, "baseline", "access: {developerSecrets: true, developerExec: true, humansCreateTokens: true}\n")
	matrix(t, c, always)
	matrix(t, c, opened)
}

func as(t *testing.T, c *controlplane.ControlPlane, name string) *kubernetes.Clientset {
	t.Helper()
	return c.As(t, people[name].user, people[name].groups...)
}

func forbidden(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s was accepted", what)
	} else if !apierrors.IsForbidden(err) {
		t.Errorf("%s failed, but not as forbidden: %v", what, err)
	}
}

// noWayUp tries, with real requests, what would turn a role into more.
func noWayUp(t *testing.T, c *controlplane.ControlPlane) {
	ctx := t.Context()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "mine"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "oidc:ann"}},
	}
	part := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "mine", Labels: map[string]string{"k8ssec.dev/aggregate-to-platform-admin": "true"}},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}},
	}
	for _, name := range []string{"admin", "auditor", "owner", "developer", "ci", "gitops"} {
		client := as(t, c, name)
		_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
		forbidden(t, name+": a binding to cluster-admin", err)
		_, err = client.RbacV1().ClusterRoles().Create(ctx, part, metav1.CreateOptions{})
		forbidden(t, name+": a part that extends the admins' role", err)
		_, err = client.RbacV1().RoleBindings("team-a").Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "mine"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"}, Subjects: binding.Subjects,
		}, metav1.CreateOptions{})
		forbidden(t, name+": a binding to admin", err)
		patch := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged","k8ssec.dev/kind":"system"}}}`)
		_, err = client.CoreV1().Namespaces().Patch(ctx, "team-a", types.MergePatchType, patch, metav1.PatchOptions{})
		forbidden(t, name+": another Pod Security level", err)
		config := c.ConfigAs(people[name].user, people[name].groups...)
		err = kubernetes.NewForConfigOrDie(config).CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/kube-system/secrets").Do(ctx).Error()
		forbidden(t, name+": secrets of the system", err)
	}
}

func deployment(name string) *appsv1.Deployment {
	yes, no := true, false
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					ServiceAccountName:           "app",
					AutomountServiceAccountToken: &no,
					SecurityContext:              &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
					Containers: []corev1.Container{{
						Name:  "app",
						Image: "registry.internal/app@sha256:0000000000000000000000000000000000000000000000000000000000000000",
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
							Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
					}},
				},
			},
		},
	}
}

// deploys shows that the roles are enough for what they are for.
func deploys(t *testing.T, c *controlplane.ControlPlane) {
	for _, name := range []string{"owner", "developer", "ci", "gitops"} {
		client := as(t, c, name)
		if _, err := client.AppsV1().Deployments("team-a").Create(t.Context(), deployment(name), metav1.CreateOptions{}); err != nil {
			t.Errorf("%s cannot deploy: %v", name, err)
		}
		_, err := client.AppsV1().Deployments("team-b").Create(t.Context(), deployment(name), metav1.CreateOptions{})
		forbidden(t, name+": a deployment at the neighbour's", err)
	}
	admin := as(t, c, "admin")
	// The deployment controller writes to the same object.
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		scale, err := admin.AppsV1().Deployments("team-a").GetScale(t.Context(), "owner", metav1.GetOptions{})
		if err != nil {
			return err
		}
		scale.Spec.Replicas = 0
		_, err = admin.AppsV1().Deployments("team-a").UpdateScale(t.Context(), "owner", scale, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Errorf("an admin cannot stop a tenant's deployment: %v", err)
	}
	_, err = admin.AppsV1().Deployments("team-a").Patch(t.Context(), "owner", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{})
	forbidden(t, "an admin's patch of a tenant's deployment", err)
}

func secrets(t *testing.T, c *controlplane.ControlPlane) {
	owner := as(t, c, "owner").CoreV1().Secrets("team-a")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db-1"}, StringData: map[string]string{"password": "x"}}
	if _, err := owner.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Errorf("an owner cannot put a secret in: %v", err)
	}
	_, err := owner.Get(t.Context(), "db-1", metav1.GetOptions{})
	forbidden(t, "reading it", err)
	_, err = owner.Patch(t.Context(), "db-1", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	forbidden(t, "an empty patch, which would answer with the secret", err)
	foreground := metav1.DeletePropagationForeground
	forbidden(t, "a dry run of deleting it, which would answer with the secret",
		owner.Delete(t.Context(), "db-1", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}, PropagationPolicy: &foreground}))
}

func defaultAccounts(t *testing.T, c *controlplane.ControlPlane) {
	list, err := c.Client(t).CoreV1().ServiceAccounts("").List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=default"})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list.Items {
		if a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
			t.Errorf("the default account of %s mounts a token", a.Namespace)
		}
	}
	if len(list.Items) < 6 {
		t.Errorf("only %d default accounts", len(list.Items))
	}
}

// extend adds a part as an add-on would, and takes it away again.
func extend(t *testing.T, c *controlplane.ControlPlane) {
	if may(t, c, "guest", "list", "example.org", "things", "team-a") {
		t.Fatal("a guest may already see the add-on's objects")
	}
	for _, err := range c.ApplyYAML(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: read-things
  labels:
    k8ssec.dev/aggregate-to-tenant-viewer: "true"
rules:
- apiGroups: [example.org]
  resources: [things]
  verbs: [get, list, watch]
`) {
		t.Fatal(err)
	}
	eventually(t, "a guest sees the add-on's objects", func(context.Context) error {
		if !may(t, c, "guest", "list", "example.org", "things", "team-a") {
			return fmt.Errorf("still refused")
		}
		return nil
	})
	if may(t, c, "developer", "list", "example.org", "things", "team-a") {
		t.Error("a role that the part does not name has it too")
	}
}

// priorities shows that a tenant cannot have the platform's priority, and can have its own.
func priorities(t *testing.T, c *controlplane.ControlPlane) {
	ctx := t.Context()
	admin := c.Client(t)
	eventually(t, "the quotas of team-a have a status", func(ctx context.Context) error {
		list, err := admin.CoreV1().ResourceQuotas("team-a").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, q := range list.Items {
			if len(q.Status.Hard) == 0 {
				return fmt.Errorf("%s has none", q.Name)
			}
		}
		return nil
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "app"}}
	if _, err := admin.CoreV1().ServiceAccounts("team-a").Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	for class, want := range map[string]bool{"system-node-critical": false, "system-cluster-critical": false, "platform-critical": false, "tenant-high": true, "tenant-batch": true, "": true} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: deployment("p").Spec.Template.Spec}
		pod.Spec.PriorityClassName = class
		_, err := admin.CoreV1().Pods("team-a").Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if want && err != nil {
			t.Errorf("a pod with the priority %q: %v", class, err)
		}
		if !want && (err == nil || !strings.Contains(err.Error(), "priority-reserved")) {
			t.Errorf("a tenant's pod with the priority %q: %v", class, err)
		}
	}
}

// fairness reads from the answers which flow schema the API server put each request into.
func fairness(t *testing.T, c *controlplane.ControlPlane) {
	schemas, err := c.Client(t).FlowcontrolV1().FlowSchemas().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, s := range schemas.Items {
		names[string(s.UID)] = s.Name
		for _, cond := range s.Status.Conditions {
			if strings.HasPrefix(s.Name, "k8ssec-") && cond.Type == "Dangling" && cond.Status != "False" {
				t.Errorf("%s has no priority level: %s", s.Name, cond.Message)
			}
		}
	}
	people := map[string]who{
		"admin": people["admin"], "owner": people["owner"], "guest": people["guest"], "pod": people["pod"], "nobody": people["nobody"],
		"both":    {"oidc:bea", []string{"oidc:a-owners", "oidc:platform-admins"}},
		"runner":  people["ci"],
		"flux":    {"system:serviceaccount:flux-system:kustomize-controller", []string{"system:serviceaccounts", "system:serviceaccounts:flux-system"}},
		"coredns": {"system:serviceaccount:kube-system:coredns", []string{"system:serviceaccounts", "system:serviceaccounts:kube-system"}},
		"kubelet": {"system:node:a", []string{"system:nodes"}},
	}
	want := map[string]string{
		"admin": "k8ssec-platform", "both": "k8ssec-platform",
		"owner": "k8ssec-tenant-people", "guest": "k8ssec-tenant-people",
		"pod": "k8ssec-tenant-accounts", "runner": "k8ssec-tenant-accounts",
		"nobody": "global-default", "flux": "service-accounts", "coredns": "kube-system-service-accounts", "kubelet": "system-nodes",
	}
	for name, w := range people {
		eventually(t, name+" is in "+want[name], func(ctx context.Context) error {
			got, err := schemaOf(ctx, c.ConfigAs(w.user, w.groups...), names)
			if err == nil && got != want[name] {
				err = fmt.Errorf("is in %q", got)
			}
			return err
		})
	}
}

func schemaOf(ctx context.Context, config *rest.Config, names map[string]string) (string, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/api/v1/namespaces/team-a/pods", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return names[resp.Header.Get("X-Kubernetes-Pf-Flowschema-Uid")], nil
}

// breakGlass applies the binding as docs/break-glass.md says, and removes it.
func breakGlass(t *testing.T, c *controlplane.ControlPlane) {
	if may(t, c, "break-glass", "get", "", "secrets", "kube-system") {
		t.Fatal("the group has its power before anything was opened")
	}
	c.Kubectl(t, "create", "-f", filepath.Join(c.Repository, "break-glass/cluster-admin-binding.yaml"))
	eventually(t, "break-glass is open", func(context.Context) error {
		if !may(t, c, "break-glass", "get", "", "secrets", "kube-system") || !may(t, c, "break-glass", "create", rbac, "clusterrolebindings", "") {
			return fmt.Errorf("still refused")
		}
		return nil
	})
	c.Kubectl(t, "delete", "clusterrolebinding", "k8ssec:break-glass")
	eventually(t, "break-glass is closed", func(context.Context) error {
		if may(t, c, "break-glass", "get", "", "secrets", "kube-system") {
			return fmt.Errorf("still open")
		}
		return nil
	})
}
