package probe

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// addonsCluster reads a secret store by an External Secrets that is there already, and asks for
// sandboxes and user namespaces.
const addonsCluster = `package cluster

profiles: ["cis"]
cluster: {name: "prod", kubernetes: "1.37", cni: "cilium", controlPlaneEndpoint: "api.internal:6443"}
secrets: {provider: "vault", install: "existing", vault: address: "https://vault.internal:8200"}
runtime: {detector: "tetragon", install: "existing", securityProfiles: "existing", userNamespaces: true, sandbox: {handler: "runsc", namespaces: ["team-b"]}}
namespaces: {
	"external-secrets": {kind: "addon", owner: "platform"}
	"team-a": {owner: "team-a", secrets: database: path: "database"}
	"team-b": owner: "team-b"
}
`

// TestAddons applies what is emitted for add-ons, runs the probes of their domains, and takes each of
// their admission policies away: its probe must turn red.
func TestAddons(t *testing.T) {
	t.Parallel()
	c := controlplane.Start(t, controlplane.Generate(t, addonsCluster))
	c.ApplyCRDs(t)
	c.ApplyAddonCRDs(t)
	// The chart of External Secrets gives its controller these rights.
	for _, err := range c.ApplyYAML(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: external-secrets-controller}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [get, list, watch, create, update, delete, patch]}
- {apiGroups: [""], resources: [serviceaccounts/token], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: external-secrets-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: external-secrets-controller}
subjects: [{kind: ServiceAccount, name: external-secrets, namespace: external-secrets}]
`) {
		t.Error(err)
	}
	for _, phase := range []string{"upload-config all", "bootstrap-token", "addon all"} {
		c.KubeadmPhase(t, phase)
	}
	for _, err := range c.Apply(t) {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	settle(t, c)

	domains := []string{"--domain", "secrets", "--domain", "runtime"}
	denied := 0
	for _, p := range probes(t, c, c.Repository, domains...).Probes {
		if p.Result != "passed" {
			t.Errorf("%s is %s: %s; expected %s", p.ID, p.Result, p.Observed, p.Expected)
		}
		if p.Kind == "deny" {
			denied++
		}
	}
	if denied < 6 {
		t.Errorf("only %d denials", denied)
	}
	policies := c.Client(t).AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	bindings, err := policies.List(t.Context(), metav1.ListOptions{LabelSelector: "k8ssec.dev/domain in (secrets, runtime)"})
	if err != nil || len(bindings.Items) != 6 {
		t.Fatalf("%d bindings: %v", len(bindings.Items), err)
	}
	for _, b := range bindings.Items {
		if err := policies.Delete(t.Context(), b.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// The API server takes up to a few seconds to forget a binding.
	time.Sleep(5 * time.Second)
	var red []string
	for _, p := range probes(t, c, c.Repository, domains...).Probes {
		if p.Kind == "deny" && p.Result == "failed" {
			red = append(red, p.ID)
		}
	}
	for _, b := range bindings.Items {
		if !slices.ContainsFunc(red, func(id string) bool {
			return strings.Contains(id, strings.TrimPrefix(strings.TrimPrefix(b.Name, "k8ssec-secret-"), "k8ssec-"))
		}) {
			t.Errorf("nothing misses %s: %v", b.Name, red)
		}
	}
}
