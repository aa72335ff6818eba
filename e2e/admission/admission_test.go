// Package admission_test holds every admission policy against a real API server: each resource that
// must be refused is, by exactly the policy that it is meant for, and each that must pass does.
package admission_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// clusterFile decides everything that a policy waits for. The static policies have a test of their
// own; here they would answer first.
const clusterFile = `package cluster

profiles: ["restricted"]
cluster: {name: "prod", kubernetes: "MINOR"}
images: {registries: ["registry.internal"], requireDigest: true}
secrets: forbidEnv: true
workloads: static: false
namespaces: {
	"team-a": owner: "team-a"
	"team-lb": {
		owner: "team-lb"
		quota: "services.loadbalancers": "1"
	}
}
waivers: "no-static": {
	control: "wl-30"
	scope: cluster: true
	reason:  "The test asks the policies in the cluster."
	owner:   "e2e"
	expires: "EXPIRES"
}
`

func clusterFor(minor string) string { return inForce(strings.ReplaceAll(clusterFile, "MINOR", minor)) }

// inForce lets the waivers of a cluster file hold for another month.
func inForce(text string) string {
	return strings.ReplaceAll(text, "EXPIRES", time.Now().AddDate(0, 1, 0).Format(time.DateOnly))
}

// cluster is a running API server, with the namespaces that the fixtures use and no policy yet.
type cluster struct {
	*controlplane.ControlPlane
	resources *resources
}

// people is the group to which RBAC allows everything: what is refused here, admission refuses.
const people = "oidc:fixtures"

func setUp(t *testing.T, c *controlplane.ControlPlane) *cluster {
	t.Helper()
	k := &cluster{ControlPlane: c, resources: &resources{admin: c.Admin}}
	// Pod Security is off here: it would refuse first, and its answer is not what is tested.
	for name, kind := range map[string]string{
		"team-a": "tenant", "team-lb": "tenant", "flux-system": "addon", "unlabelled": "", "default-kind": "something",
	} {
		labels := map[string]any{"pod-security.kubernetes.io/enforce": "privileged"}
		if kind != "" {
			labels["k8ssec.dev/kind"] = kind
		}
		k.create(t, object("v1", "Namespace", "", name, map[string]any{"metadata": map[string]any{"labels": labels}}))
	}
	for _, name := range []string{"default", "kube-public", "kube-system"} {
		k.patch(t, "/api/v1/namespaces/"+name, `{"metadata":{"labels":{"k8ssec.dev/kind":"system"}}}`)
	}
	for _, namespace := range []string{"team-a", "team-lb", "flux-system", "unlabelled", "default-kind", "default", "kube-public", "kube-system"} {
		k.create(t, object("v1", "ServiceAccount", namespace, "default", map[string]any{"automountServiceAccountToken": false}))
	}
	k.create(t, object("v1", "ServiceAccount", "team-a", "web", nil))
	k.create(t, object("v1", "ServiceAccount", "team-a", "quiet", map[string]any{"automountServiceAccountToken": false}))
	k.staff(t)
	return k
}

func object(apiVersion, kind, namespace, name string, more map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	maps.Copy(o.Object, more)
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetName(name)
	if namespace != "" {
		o.SetNamespace(namespace)
	}
	return o
}

// create stores an object as the administrator, unless it is there.
func (k *cluster) create(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	p, err := k.resources.path(t.Context(), o, false)
	if err != nil {
		t.Fatal(err)
	}
	a, err := send(t.Context(), k.Admin, "POST", p, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if a.code != http.StatusCreated && a.code != http.StatusConflict {
		t.Fatalf("%s %s: %d %s", o.GetKind(), o.GetName(), a.code, a.message)
	}
}

func (k *cluster) patch(t *testing.T, path, body string) {
	t.Helper()
	client, err := rest.HTTPClientFor(k.Admin)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, k.Admin.Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/merge-patch+json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("PATCH %s: %s", path, resp.Status)
	}
}

// policies reads the objects of the emitted policies.
func policies(t *testing.T, repository string) []*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "manifests/workloads/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := documents(b)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, docs...)
	}
	if len(all) == 0 {
		t.Fatal("the repository has no policies")
	}
	return all
}

// put creates or replaces an object as the administrator.
func (k *cluster) put(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	p, err := k.resources.path(t.Context(), o, true)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(k.Admin)
	if err != nil {
		t.Fatal(err)
	}
	b, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch,
		k.Admin.Host+p+"?fieldManager=test&force=true&fieldValidation=Strict", strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/apply-patch+yaml")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		body := make([]byte, 4000)
		n, _ := resp.Body.Read(body)
		t.Fatalf("%s %s: %s %s", o.GetKind(), o.GetName(), resp.Status, body[:n])
	}
}

// warning returns a copy of the policies' objects whose bindings warn and refuse nothing.
func warning(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	copies := make([]*unstructured.Unstructured, len(objects))
	for i, o := range objects {
		copies[i] = o.DeepCopy()
		if o.GetKind() == "ValidatingAdmissionPolicyBinding" {
			_ = unstructured.SetNestedStringSlice(copies[i].Object, []string{"Warn"}, "spec", "validationActions")
		}
	}
	return copies
}

// ask makes the request of a fixture, as its user.
func (k *cluster) ask(ctx context.Context, f fixture) (answer, error) {
	return f.request(ctx, k.resources, k.ConfigAs(f.user, append(slices.Clone(f.groups), people)...))
}

// belongs says whether an object is one of the policy's.
func belongs(object, policy string) bool {
	name := "k8ssec-" + policy
	return object == name || slices.Contains([]string{
		"k8ssec-service-types-load-balancer", "k8ssec-service-types-node-port",
		"k8ssec-rbac-guard-roles", "k8ssec-rbac-guard-bindings", "k8ssec-disruption-budget-drainable",
	}, object) && strings.HasPrefix(object, name+"-")
}

// until repeats a check that depends on the API server having seen a new policy.
func until(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// TestPolicies shows of every policy that it refuses what it must, alone, and lets pass what it must;
// that what is older than a policy can still be operated and removed; and that no expression is
// mistyped or too expensive.
func TestPolicies(t *testing.T) {
	k := setUp(t, start(t, clusterFor("1.37")))
	createOld(t, k)
	if !t.Run("fixtures", func(t *testing.T) { testFixtures(t, k, "1.37") }) {
		return // it leaves the policies in force, on which the others rest
	}
	t.Run("old workloads", func(t *testing.T) { testOld(t, k) })
	t.Run("budget", func(t *testing.T) { testBudget(t, k) })
	t.Run("documented pod", func(t *testing.T) { testDocumentedPod(t, k) })
	t.Run("exemptions are recorded", func(t *testing.T) { testExempted(t, k) })
	t.Run("types", func(t *testing.T) { testTypes(t, k) })
	t.Run("waivers", func(t *testing.T) { testWaivers(t, k) })
}

// TestMinors holds the policies against the API servers of the older minors.
func TestMinors(t *testing.T) {
	for _, minor := range []string{"1.34", "1.35", "1.36"} {
		t.Run(minor, func(t *testing.T) {
			testFixtures(t, setUp(t, startServer(t, clusterFor(minor))), minor)
		})
	}
}

func testFixtures(t *testing.T, k *cluster, minor string) {
	all := fixtures(t)
	objects := policies(t, k.Repository)
	for policy := range all {
		all[policy] = slices.DeleteFunc(all[policy], func(f fixture) bool { return f.since > minor })
		for _, f := range all[policy] {
			if f.before != nil {
				k.create(t, f.before)
			}
		}
	}
	for _, name := range emitted(objects) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(all)), func(policy string) bool { return belongs(name, policy) }) {
			t.Errorf("policy %s has no fixtures", name)
		}
	}

	// First with warnings, which show every policy that objects, not only the first.
	for _, o := range warning(objects) {
		k.put(t, o)
	}
	canaries(t, k, all, func(a answer) []string { return a.warnedBy() })
	each(t, all, func(f fixture) error {
		a, err := k.ask(t.Context(), f)
		if err != nil {
			return err
		}
		if by := a.refusedBy(); by != "" {
			return fmt.Errorf("refused by %s, which should warn only", by)
		}
		if f.subresource == "" || f.before != nil {
			if a.code >= 400 {
				return fmt.Errorf("the fixture is wrong, the API server itself refuses it: %s", a.message)
			}
		}
		var others []string
		own := false
		for _, name := range a.warnedBy() {
			if belongs(name, f.policy) {
				own = true
			} else if !slices.ContainsFunc(f.also, func(policy string) bool { return belongs(name, policy) }) {
				others = append(others, name)
			}
		}
		switch {
		case len(others) > 0:
			return fmt.Errorf("other policies object: %s\n%s", strings.Join(others, ", "), strings.Join(a.warnings, "\n"))
		case own && f.want == "pass":
			return fmt.Errorf("the policy objects: %s", strings.Join(a.warnings, "\n"))
		case !own && f.want != "pass":
			return fmt.Errorf("the policy does not object: %d %s", a.code, a.message)
		}
		return nil
	})
	if t.Failed() {
		return
	}

	// Then as emitted.
	for _, o := range objects {
		k.put(t, o)
	}
	canaries(t, k, all, func(a answer) []string { return []string{a.refusedBy()} })
	each(t, all, func(f fixture) error {
		a, err := k.ask(t.Context(), f)
		if err != nil {
			return err
		}
		by := a.refusedBy()
		switch f.want {
		case "fail":
			if !belongs(by, f.policy) && !slices.ContainsFunc(f.also, func(policy string) bool { return belongs(by, policy) }) {
				return fmt.Errorf("not refused by the policy: %d %s", a.code, a.message)
			}
			t.Logf("%s/%s: %s", f.policy, f.name, a.message)
		case "warn":
			if by != "" || !slices.ContainsFunc(a.warnedBy(), func(name string) bool { return belongs(name, f.policy) }) {
				return fmt.Errorf("want a warning: %d %s %s", a.code, a.message, a.warnings)
			}
		default:
			if by != "" || len(a.warnedBy()) > 0 {
				return fmt.Errorf("does not pass: %d %s %s", a.code, a.message, a.warnings)
			}
		}
		return nil
	})
}

// emitted returns the names of the policies among the objects.
func emitted(objects []*unstructured.Unstructured) []string {
	var names []string
	for _, o := range objects {
		if o.GetKind() == "ValidatingAdmissionPolicy" {
			names = append(names, o.GetName())
		}
	}
	return names
}

// canaries waits until each policy objects to its first failing fixture.
func canaries(t *testing.T, k *cluster, all map[string][]fixture, by func(answer) []string) {
	t.Helper()
	for policy, list := range all {
		i := slices.IndexFunc(list, func(f fixture) bool { return f.want == "fail" })
		if i < 0 {
			t.Errorf("policy %s has no fixture that fails", policy)
			continue
		}
		if !slices.ContainsFunc(list, func(f fixture) bool { return f.want == "pass" }) {
			t.Errorf("policy %s has no fixture that passes", policy)
		}
		until(t, policy, func() error {
			a, err := k.ask(t.Context(), list[i])
			if err != nil {
				return err
			}
			also := append(slices.Clone(list[i].also), policy)
			for _, p := range also {
				if slices.ContainsFunc(by(a), func(name string) bool { return belongs(name, p) }) {
					return nil
				}
			}
			return fmt.Errorf("%s: %d %s %s", list[i].name, a.code, a.message, a.warnings)
		})
	}
}

// each runs the check for every fixture, several at a time.
func each(t *testing.T, all map[string][]fixture, check func(fixture) error) {
	t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, policy := range slices.Sorted(maps.Keys(all)) {
		for _, f := range all[policy] {
			wg.Add(1)
			slots <- struct{}{}
			go func() {
				defer wg.Done()
				defer func() { <-slots }()
				if err := check(f); err != nil {
					t.Errorf("%s/%s: %v", f.policy, f.name, err)
				}
			}()
		}
	}
	wg.Wait()
}
