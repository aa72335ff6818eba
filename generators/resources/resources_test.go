package resources

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/generatortest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, New()) }

func objects[T any](out *generators.Output) map[string]T {
	found := map[string]T{}
	for _, a := range out.Artifacts {
		for _, o := range a.Objects {
			if v, ok := o.Value.(T); ok {
				meta := any(v).(interface {
					GetName() string
					GetNamespace() string
				})
				found[meta.GetNamespace()+"/"+meta.GetName()] = v
			}
		}
	}
	return found
}

const twoTenants = `package cluster
profiles: ["cis"]
cluster: name: "prod"
namespaces: "team-a": {owner: "a", groups: {owners: ["shared", "a"], viewers: ["shared"]}}
namespaces: "team-b": owner: "b"
`

// TestSystemNamespacesKeepRunning shows that nothing here can stop the system: quotas and limits are
// for tenants, and for the namespaces in which nothing runs.
func TestSystemNamespacesKeepRunning(t *testing.T) {
	out, err := New().Generate(generatortest.Posture(t, twoTenants))
	if err != nil {
		t.Fatal(err)
	}
	empty := []string{"default", "kube-public", "kube-node-lease"}
	tenants := []string{"team-a", "team-b"}
	for key, q := range objects[*corev1.ResourceQuota](out) {
		if !slices.Contains(tenants, q.Namespace) && !slices.Contains(empty, q.Namespace) {
			t.Errorf("%s: a quota where the system runs", key)
		}
	}
	for key, l := range objects[*corev1.LimitRange](out) {
		if !slices.Contains(tenants, l.Namespace) {
			t.Errorf("%s: limits where the system runs", key)
		}
	}
}

// TestQuotaHasRoomForItsPods shows that the default requests of as many containers as the quota has
// pods fit into the quota, so that no number makes another one unreachable.
func TestQuotaHasRoomForItsPods(t *testing.T) {
	out, err := New().Generate(generatortest.Posture(t, twoTenants))
	if err != nil {
		t.Fatal(err)
	}
	quota := objects[*corev1.ResourceQuota](out)["team-a/namespace"].Spec.Hard
	limits := objects[*corev1.LimitRange](out)["team-a/namespace"].Spec.Limits[0]
	pods := quota[corev1.ResourcePods]
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		request, ok := limits.DefaultRequest[r]
		if !ok {
			t.Errorf("%s has no default request: the API server takes the default limit", r)
			continue
		}
		hard := quota["requests."+r]
		if need := request.MilliValue() * pods.Value(); need > hard.MilliValue() {
			t.Errorf("%s: %s pods with the default request of %s do not fit into %s", r, pods.String(), request.String(), hard.String())
		}
	}
}

func TestReservedPriorities(t *testing.T) {
	out, err := New().Generate(generatortest.Posture(t, twoTenants))
	if err != nil {
		t.Fatal(err)
	}
	quotas := objects[*corev1.ResourceQuota](out)
	for _, ns := range []string{"team-a", "team-b"} {
		reserved := quotas[ns+"/priority-reserved"]
		if reserved == nil || !reserved.Spec.Hard.Pods().IsZero() {
			t.Fatalf("%s: nothing reserves the platform's priorities", ns)
		}
		got := reserved.Spec.ScopeSelector.MatchExpressions[0].Values
		if want := []string{"platform-critical", "system-cluster-critical", "system-node-critical"}; !slices.Equal(got, want) {
			t.Errorf("%s reserves %v, want %v", ns, got, want)
		}
	}
}

// TestFairness holds the schemas between those of the API server that must come first and those
// that must come after, and every subject to a tenant or a person.
func TestFairness(t *testing.T) {
	out, err := New().Generate(generatortest.Posture(t, twoTenants))
	if err != nil {
		t.Fatal(err)
	}
	schemas := objects[*flowcontrolv1.FlowSchema](out)
	want := map[string][]string{
		"/k8ssec-platform":        {"oidc:break-glass", "oidc:platform-admins"},
		"/k8ssec-tenant-accounts": {"system:serviceaccounts:team-a", "system:serviceaccounts:team-b"},
		"/k8ssec-tenant-people":   {"oidc:a", "oidc:shared"},
	}
	for name, groups := range want {
		s := schemas[name]
		if s == nil {
			t.Fatalf("no schema %s", name)
		}
		if p := s.Spec.MatchingPrecedence; p <= 900 || p >= 9000 {
			t.Errorf("%s has precedence %d: it shadows the system, or service-accounts shadows it", name, p)
		}
		var got []string
		for _, subject := range s.Spec.Rules[0].Subjects {
			got = append(got, subject.Group.Name)
		}
		if !slices.Equal(got, groups) {
			t.Errorf("%s matches %v, want %v", name, got, groups)
		}
	}
	if len(schemas) != len(want) {
		t.Errorf("%d schemas, want %d", len(schemas), len(want))
	}
}
