package admission_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// wholeCluster is a cluster as a team finds it: the benchmark's profile, nothing decided.
const wholeCluster = `package cluster

profiles: ["cis"]
cluster: {name: "prod", kubernetes: "1.37", cni: "other"}
namespaces: "team-a": {
	owner: "team-a"
	groups: developers: ["a-devs"]
}
`

// TestWholeCluster shows that a cluster works with the whole repository applied: kubeadm can still
// install and upgrade what it owns, and a developer who starts from the documented pod gets a running
// Deployment, through the real controllers.
func TestWholeCluster(t *testing.T) {
	c := start(t, wholeCluster)
	c.ApplyCRDs(t)
	for _, err := range c.Apply(t) {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	until(t, "the policies are in force", func() error {
		a, err := send(t.Context(), c.Admin, "POST", "/api/v1/namespaces/default/services", map[string][]string{"dryRun": {"All"}},
			object("v1", "Service", "default", "canary", map[string]any{"spec": map[string]any{"ports": []any{map[string]any{"port": int64(80)}}}}))
		if err != nil {
			return err
		}
		if a.refusedBy() != "k8ssec-no-default-namespace" {
			return fmt.Errorf("%d %s", a.code, a.message)
		}
		return nil
	})

	for _, phase := range []string{"upload-config all", "bootstrap-token", "addon all"} {
		c.KubeadmPhase(t, phase)
	}
	for _, name := range []string{"daemonsets/kube-proxy", "deployments/coredns"} {
		a, err := send(t.Context(), c.Admin, "GET", "/apis/apps/v1/namespaces/kube-system/"+name, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.code != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.code, a.message)
		}
	}

	developer := c.ConfigAs("oidc:dora", "oidc:a-devs")
	deployment := object("apps/v1", "Deployment", "team-a", "web", map[string]any{"spec": map[string]any{
		"replicas": int64(1),
		"selector": map[string]any{"matchLabels": map[string]any{"app": "web"}},
		"template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
			"spec":     documentedPod(t, c.Repository).Object["spec"],
		},
	}})
	a, err := send(t.Context(), developer, "POST", "/apis/apps/v1/namespaces/team-a/deployments", nil, deployment)
	if err != nil {
		t.Fatal(err)
	}
	if a.code != http.StatusCreated || len(a.warnings) > 0 {
		t.Fatalf("%d %s %s", a.code, a.message, a.warnings)
	}
	until(t, "the pod of the Deployment", func() error {
		a, err := send(t.Context(), c.Admin, "GET", "/api/v1/namespaces/team-a/pods", map[string][]string{"labelSelector": {"app=web"}}, nil)
		if err != nil {
			return err
		}
		if items, _, _ := unstructured.NestedSlice(a.object.Object, "items"); len(items) == 0 {
			return errors.New("there is none")
		}
		return nil
	})

	// And the same Deployment with one line changed is refused when it is applied, not later.
	spec, _, _ := unstructured.NestedMap(deployment.Object, "spec", "template", "spec")
	spec["hostNetwork"] = true
	if err := unstructured.SetNestedMap(deployment.Object, spec, "spec", "template", "spec"); err != nil {
		t.Fatal(err)
	}
	deployment.SetName("reaching")
	a, err = send(t.Context(), developer, "POST", "/apis/apps/v1/namespaces/team-a/deployments", nil, deployment)
	if err != nil {
		t.Fatal(err)
	}
	if a.refusedBy() != "k8ssec-host-namespaces" {
		t.Errorf("a Deployment on the host's network: %d %s", a.code, a.message)
	}
}

// documentedPod is the pod in docs/workloads.md, which developers start from.
func documentedPod(t *testing.T, repository string) *unstructured.Unstructured {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, "docs/workloads.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := bytes.Cut(b, []byte("```yaml\n"))
	text, _, ends := bytes.Cut(rest, []byte("```"))
	if !ok || !ends {
		t.Fatal("docs/workloads.md has no pod")
	}
	docs, err := documents(text)
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d documents: %v", len(docs), err)
	}
	return docs[0]
}
