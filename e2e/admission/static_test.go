package admission_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// staticCluster has the static policies on, as every 1.37 cluster has by default.
const staticCluster = `package cluster

profiles: ["restricted"]
cluster: {name: "prod", kubernetes: "1.37"}
namespaces: "team-a": owner: "team-a"
`

// TestStatic holds the policies that the API server reads from files.
func TestStatic(t *testing.T) {
	c := start(t, staticCluster)
	k := &cluster{ControlPlane: c, resources: &resources{admin: c.Admin}}
	ctx := t.Context()
	people := k.staff(t)

	// Nothing has been applied yet: this is the first minute of a cluster. What is refused now is
	// refused by the files alone.
	t.Run("before anything is applied", func(t *testing.T) {
		k.create(t, object("v1", "Namespace", "", "early", map[string]any{"metadata": map[string]any{"labels": map[string]any{
			"pod-security.kubernetes.io/enforce": "privileged",
		}}}))
		for _, namespace := range []string{"early", "kube-system", "flux-system"} {
			k.create(t, object("v1", "Namespace", "", namespace, nil))
			k.create(t, object("v1", "ServiceAccount", namespace, "default", nil))
		}
		k.patch(t, "/api/v1/namespaces/flux-system", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)
		for _, name := range []string{"host-path/fail-pod", "host-namespaces/fail-hostpid", "privileged/fail-pod"} {
			policy, _, _ := strings.Cut(name, "/")
			for namespace, want := range map[string]string{"early": "k8ssec-" + policy + ".static.k8s.io", "kube-system": "", "flux-system": ""} {
				f, err := readFixture(filepath.Join(fixtureDir, name+".yaml"))
				if err != nil {
					t.Fatal(err)
				}
				f.object.SetNamespace(namespace)
				a, err := send(ctx, k.ConfigAs("oidc:alice", people), "POST", "/api/v1/namespaces/"+namespace+"/pods",
					map[string][]string{"dryRun": {"All"}}, f.object)
				if err != nil {
					t.Fatal(err)
				}
				if a.refusedBy() != want || want == "" && a.code != http.StatusCreated {
					t.Errorf("%s in %s: %d %s", name, namespace, a.code, a.message)
				}
			}
		}
		a, err := send(ctx, k.ConfigAs("oidc:alice", people), "POST", "/api/v1/namespaces", map[string][]string{"dryRun": {"All"}},
			object("v1", "Namespace", "", "sneaky", map[string]any{"metadata": map[string]any{"labels": map[string]any{"k8ssec.dev/kind": "addon"}}}))
		if err != nil {
			t.Fatal(err)
		}
		if a.refusedBy() != "k8ssec-namespace-labels.static.k8s.io" {
			t.Errorf("a false add-on namespace: %d %s", a.code, a.message)
		}
	})

	// The administrator, and so whoever bootstraps GitOps, applies the policies.
	for _, o := range policies(t, k.Repository) {
		k.put(t, o)
	}
	// The controller manager still writes their status.
	until(t, "the status of a policy", func() error {
		a, err := send(ctx, k.Admin, "GET", admissionPath+"/validatingadmissionpolicies/k8ssec-host-path", nil, nil)
		if err != nil {
			return err
		}
		if n, _, _ := unstructured.NestedInt64(a.object.Object, "status", "observedGeneration"); n == 0 {
			return errors.New("not written")
		}
		return nil
	})

	t.Run("self-protection", func(t *testing.T) {
		const refusal = "k8ssec-self-protection.static.k8s.io"
		binding := admissionPath + "/validatingadmissionpolicybindings/k8ssec-host-path"
		policy := admissionPath + "/validatingadmissionpolicies/k8ssec-host-path"
		weaken := `{"spec":{"validationActions":["Audit"]}}`
		unlabel := `{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`
		mallory := k.ConfigAs("oidc:mallory", "oidc:platform-admins", people)
		for what, ask := range map[string]func(*rest.Config) (answer, error){
			"delete a binding": func(as *rest.Config) (answer, error) { return send(ctx, as, "DELETE", binding, dryRun, nil) },
			"delete a policy":  func(as *rest.Config) (answer, error) { return send(ctx, as, "DELETE", policy, dryRun, nil) },
			"delete them all": func(as *rest.Config) (answer, error) {
				return send(ctx, as, "DELETE", admissionPath+"/validatingadmissionpolicybindings", dryRun, nil)
			},
			"weaken a binding":  func(as *rest.Config) (answer, error) { return patch(ctx, as, binding+"?dryRun=All", weaken) },
			"unlabel a binding": func(as *rest.Config) (answer, error) { return patch(ctx, as, binding+"?dryRun=All", unlabel) },
		} {
			a, err := ask(mallory)
			if err != nil {
				t.Fatal(err)
			}
			if a.refusedBy() != refusal {
				t.Errorf("%s: %d %s", what, a.code, a.message)
			}
			// No lock-out: Git, break-glass and the credentials on the control plane nodes get through.
			for _, as := range []*rest.Config{
				k.ConfigAs("system:serviceaccount:flux-system:kustomize-controller", people),
				k.ConfigAs("oidc:eve", "oidc:break-glass", people),
				k.Admin,
			} {
				if a, err = ask(as); err != nil {
					t.Fatal(err)
				}
				if a.code >= 300 {
					t.Errorf("%s as %s: %d %s", what, as.Impersonate.UserName, a.code, a.message)
				}
			}
		}
		// What others own is theirs.
		other := object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "", "other", map[string]any{
			"spec": map[string]any{
				"matchConstraints": map[string]any{"resourceRules": []any{map[string]any{
					"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "operations": []any{"CREATE"}, "resources": []any{"configmaps"},
				}}},
				"validations": []any{map[string]any{"expression": "true"}},
			},
		})
		k.create(t, other)
		a, err := send(ctx, mallory, "DELETE", admissionPath+"/validatingadmissionpolicies/other", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.code >= 300 {
			t.Errorf("delete a policy of somebody else's: %d %s", a.code, a.message)
		}
	})

	t.Run("the names are reserved", func(t *testing.T) {
		o := object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "", "k8ssec-host-path.static.k8s.io", map[string]any{
			"spec": map[string]any{"policyName": "k8ssec-host-path.static.k8s.io", "validationActions": []any{"Audit"}},
		})
		a, err := send(ctx, k.Admin, "POST", admissionPath+"/validatingadmissionpolicybindings", dryRun, o)
		if err != nil {
			t.Fatal(err)
		}
		if a.code < 400 {
			t.Error("an object of the same name can be made through the API")
		}
	})
}

const admissionPath = "/apis/admissionregistration.k8s.io/v1"

var dryRun = map[string][]string{"dryRun": {"All"}}

// staff binds a group to everything that RBAC can give.
func (k *cluster) staff(t *testing.T) string {
	t.Helper()
	k.create(t, object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", "fixtures", map[string]any{
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": people}},
	}))
	return people
}
