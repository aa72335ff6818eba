package admission_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// oldSpec is a pod spec that breaks a rule of every policy on pods.
const oldSpec = `
hostNetwork: true
hostPID: true
serviceAccountName: default
automountServiceAccountToken: true
containers:
- name: web
  image: web
  ports: [{containerPort: 8080, hostPort: 8080}]
  env: [{name: A, valueFrom: {secretKeyRef: {name: web, key: a}}}]
  securityContext: {privileged: true, runAsUser: 0}
volumes:
- name: root
  hostPath: {path: /}
`

func oldObjects(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	spec := func() map[string]any {
		var s map[string]any
		b, err := yaml.YAMLToJSON([]byte(oldSpec))
		if err != nil {
			t.Fatal(err)
		}
		if err := utiljson.Unmarshal(b, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	template := func() map[string]any {
		return map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "old"}}, "spec": spec()}
	}
	selector := map[string]any{"matchLabels": map[string]any{"app": "old"}}
	once := template()
	once["spec"].(map[string]any)["restartPolicy"] = "Never"
	objects := []*unstructured.Unstructured{
		object("v1", "Pod", "team-a", "old", map[string]any{"spec": spec()}),
		object("apps/v1", "Deployment", "team-a", "old", map[string]any{"spec": map[string]any{"replicas": int64(0), "selector": selector, "template": template()}}),
		object("apps/v1", "StatefulSet", "team-a", "old", map[string]any{"spec": map[string]any{"replicas": int64(0), "serviceName": "old", "selector": selector, "template": template()}}),
		object("batch/v1", "CronJob", "team-a", "old", map[string]any{"spec": map[string]any{
			"schedule": "17 2 1 1 *", "suspend": true, "jobTemplate": map[string]any{"spec": map[string]any{"template": once}},
		}}),
	}
	for _, o := range objects {
		o.SetFinalizers([]string{"k8ssec.dev/e2e"})
	}
	return objects
}

// createOld stores workloads that are older than the policies.
func createOld(t *testing.T, k *cluster) {
	for _, o := range oldObjects(t) {
		k.create(t, o)
	}
}

// testOld shows that a policy does not get in the way of what was there before it: such workloads
// can be labelled, scaled, restarted, reported on, deleted and cleaned up. Only a new pod spec is
// refused.
func testOld(t *testing.T, k *cluster) {
	as := k.ConfigAs("oidc:alice", people)
	passes := func(t *testing.T, path, body string) {
		t.Helper()
		a, err := patch(t.Context(), as, path, body)
		if err != nil {
			t.Fatal(err)
		}
		if a.code >= 400 {
			t.Errorf("PATCH %s: %d %s", path, a.code, a.message)
		}
	}
	for _, o := range oldObjects(t) {
		t.Run(o.GetKind(), func(t *testing.T) {
			p, err := k.resources.path(t.Context(), o, true)
			if err != nil {
				t.Fatal(err)
			}
			passes(t, p, `{"metadata":{"labels":{"team":"a"},"annotations":{"note":"touched"}}}`)
			passes(t, p+"/status", `{"metadata":{"annotations":{"note":"reported"}}}`)
			spec := `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web2"}]}}}}`
			switch o.GetKind() {
			case "Deployment", "StatefulSet":
				passes(t, p, `{"spec":{"replicas":1}}`)
				passes(t, p+"/scale", `{"spec":{"replicas":0}}`)
				passes(t, p, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
			case "CronJob":
				passes(t, p, `{"spec":{"schedule":"18 2 1 1 *"}}`)
				spec = `{"spec":{"jobTemplate":` + spec + `}}`
			case "Pod":
				spec = `{"spec":{"containers":[{"name":"web","image":"web2"}]}}`
			}
			a, err := strategicPatch(t.Context(), as, p, spec)
			if err != nil {
				t.Fatal(err)
			}
			if a.refusedBy() == "" {
				t.Errorf("a new pod spec is not refused: %d %s", a.code, a.message)
			}
			a, err = send(t.Context(), as, "DELETE", p, map[string][]string{"gracePeriodSeconds": {"0"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if a.code >= 400 {
				t.Errorf("DELETE: %d %s", a.code, a.message)
			}
			passes(t, p, `{"metadata":{"finalizers":null}}`)
			if a, err = send(t.Context(), as, "GET", p, nil, nil); err != nil || a.code != http.StatusNotFound {
				t.Errorf("after deletion: %d %s %v", a.code, a.message, err)
			}
		})
	}
}

func patch(ctx context.Context, config *rest.Config, path, body string) (answer, error) {
	return patchAs(ctx, config, path, "application/merge-patch+json", body)
}

func strategicPatch(ctx context.Context, config *rest.Config, path, body string) (answer, error) {
	return patchAs(ctx, config, path, "application/strategic-merge-patch+json", body)
}

func patchAs(ctx context.Context, config *rest.Config, path, contentType, body string) (answer, error) {
	client, err := rest.HTTPClientFor(rest.CopyConfig(config))
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, strings.TrimSuffix(config.Host, "/")+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	return read(resp)
}

// testBudget shows that the largest pods that etcd can store stay within the cost budget of the
// expressions: those that keep to the rules pass, and those that do not are refused with the
// policy's own message rather than for their size.
func testBudget(t *testing.T, k *cluster) {
	as := k.ConfigAs("oidc:alice", people)
	ask := func(o *unstructured.Unstructured) answer {
		t.Helper()
		a, err := send(t.Context(), as, "POST", "/api/v1/namespaces/team-a/pods", map[string][]string{"dryRun": {"All"}}, o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, shape := range []struct {
		name                          string
		containers, env, args, mounts int
	}{
		{"many containers", 400, 60, 0, 5},
		{"many variables", 1, 20000, 0, 2000},
		{"many ports and mounts", 50, 100, 100, 300},
	} {
		t.Run(shape.name, func(t *testing.T) {
			o := largePod(t, shape.containers, shape.env, shape.args, shape.mounts)
			b, _ := json.Marshal(o)
			if len(b) < 900_000 {
				t.Errorf("only %d bytes; the largest object that etcd takes has 1.5 MiB", len(b))
			}
			begin := time.Now()
			a := ask(o)
			t.Logf("%d bytes in %v", len(b), time.Since(begin))
			if a.code != http.StatusCreated {
				t.Errorf("a large pod that keeps to the rules: %d %.2000s", a.code, a.message)
			}
			list, _, _ := unstructured.NestedSlice(o.Object, "spec", "containers")
			for _, c := range list {
				c.(map[string]any)["securityContext"] = map[string]any{}
				c.(map[string]any)["image"] = "web"
				delete(c.(map[string]any), "resources")
			}
			set(t, o, list, "spec", "containers")
			if a = ask(o); a.refusedBy() == "" || strings.Contains(a.message, "budget") || strings.Contains(a.message, "failed expression") {
				t.Errorf("a large pod that breaks the rules: %d %.2000s", a.code, a.message)
			}
		})
	}
}

func largePod(t *testing.T, containers, env, args, mounts int) *unstructured.Unstructured {
	t.Helper()
	f, err := readFixture(filepath.Join(fixtureDir, "host-path/pass-pod.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o := f.object
	list, _, _ := unstructured.NestedSlice(o.Object, "spec", "containers")
	one := list[0].(map[string]any)
	var volumes []any
	for i := range mounts {
		volumes = append(volumes, map[string]any{"name": fmt.Sprintf("volume-%d", i), "emptyDir": map[string]any{}})
	}
	set(t, o, volumes, "spec", "volumes")
	list = nil
	for i := range containers {
		c := runtimeCopy(one)
		c["name"] = fmt.Sprintf("container-%d-%s", i, strings.Repeat("x", 40))
		var variables, arguments, ports, paths []any
		for j := range env {
			variables = append(variables, map[string]any{"name": fmt.Sprintf("VARIABLE_%d", j), "value": "value"})
		}
		for j := range args {
			arguments = append(arguments, fmt.Sprintf("--argument-%d=value", j))
			ports = append(ports, map[string]any{"containerPort": int64(1000 + j), "protocol": "TCP"})
		}
		for j := range mounts {
			paths = append(paths, map[string]any{"name": fmt.Sprintf("volume-%d", j), "mountPath": fmt.Sprintf("/mnt/%d", j)})
		}
		c["env"], c["args"], c["ports"], c["volumeMounts"] = variables, arguments, ports, paths
		list = append(list, c)
	}
	set(t, o, list, "spec", "containers")
	return o
}

func runtimeCopy(m map[string]any) map[string]any {
	return (&unstructured.Unstructured{Object: m}).DeepCopy().Object
}

// testDocumentedPod shows that the pod in docs/workloads.md, which developers start from, passes.
func testDocumentedPod(t *testing.T, k *cluster) {
	o := documentedPod(t, k.Repository)
	// Under Pod Security at the strictest level as well.
	k.create(t, object("v1", "Namespace", "", "strict", map[string]any{"metadata": map[string]any{"labels": map[string]any{
		"k8ssec.dev/kind": "tenant", "pod-security.kubernetes.io/enforce": "restricted",
	}}}))
	k.create(t, object("v1", "ServiceAccount", "strict", "default", map[string]any{"automountServiceAccountToken": false}))
	o.SetNamespace("strict")
	a, err := send(t.Context(), k.ConfigAs("oidc:alice", people), "POST", "/api/v1/namespaces/strict/pods",
		map[string][]string{"dryRun": {"All"}, "fieldValidation": {"Strict"}}, o)
	if err != nil {
		t.Fatal(err)
	}
	if a.code != http.StatusCreated || len(a.warnings) > 0 {
		t.Errorf("%d %s %s", a.code, a.message, a.warnings)
	}
}

func read(resp *http.Response) (answer, error) {
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{code: resp.StatusCode, warnings: resp.Header.Values("Warning")}
	o := &unstructured.Unstructured{}
	if utiljson.Unmarshal(b, &o.Object) == nil {
		a.object = o
		a.message, _, _ = unstructured.NestedString(o.Object, "message")
	} else {
		a.message = string(b)
	}
	return a, nil
}
