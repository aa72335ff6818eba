package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// mutant is one emitted object that is taken away, or weakened where it cannot be.
type mutant struct {
	// file is where it is emitted, domain its folder.
	file, domain string
	object       *unstructured.Unstructured
	// args choose the probes that are about it.
	args []string
}

// covered are the objects whose loss no request shows, because another rule does the same: only the
// probe that looks at the object itself turns red. Each has its reason.
var covered = map[string]string{
	"ResourceQuota default/namespace":                              "the admission policy no-default-namespace refuses first",
	"ResourceQuota kube-public/namespace":                          "the admission policy no-default-namespace refuses first",
	"ResourceQuota kube-node-lease/namespace":                      "the admission policy no-default-namespace refuses first",
	"ResourceQuota team-a/priority-tenant-high":                    "it bounds a number that no dry run reaches",
	"ResourceQuota team-a/priority-tenant-batch":                   "it bounds a number that no dry run reaches",
	"PodDisruptionBudget kube-system/cluster-dns":                  "only a drain shows it",
	"ValidatingAdmissionPolicy k8ssec-service-external-ips":        "the plug-in DenyServiceExternalIPs refuses first",
	"ValidatingAdmissionPolicyBinding k8ssec-service-external-ips": "the plug-in DenyServiceExternalIPs refuses first",
	"ServiceAccount kube-system/default":                           "pods there are the system's, and name accounts of their own",
	"ServiceAccount kube-public/default":                           "no pod runs there",
	"ServiceAccount kube-node-lease/default":                       "no pod runs there",
	"ServiceAccount default/default":                               "no pod runs there",
	"ServiceAccount flux-system/default":                           "Flux's pods name accounts of their own",
	"Namespace kube-public":                                        "no pod runs there",
	"Namespace kube-node-lease":                                    "no pod runs there",
	"Namespace kube-system":                                        "it is exempt from Pod Security",
}

// TestMutation takes away each emitted object in turn: at least one probe must turn red, and where
// the object has an effect that a request shows, one that sends requests must.
func TestMutation(t *testing.T) {
	t.Parallel()
	c := hardened(t)
	m := newMutator(t, c)
	var shown, looked, survivors []string
	for _, mu := range m.mutants {
		name := nameOf(mu.object)
		begin := time.Now()
		m.weaken(t, mu)
		killers, inPlace := m.killers(t, mu)
		m.restore(t, mu)
		t.Logf("%5.1f s  %s: %s", time.Since(begin).Seconds(), name, strings.Join(append(killers, inPlace...), " "))
		reason, excused := covered[name]
		switch {
		case len(killers) > 0:
			shown = append(shown, name)
			if excused {
				t.Errorf("%s is killed by %s, so it needs no excuse (%s)", name, killers[0], reason)
			}
		case len(inPlace) > 0:
			looked = append(looked, name)
			if !excused {
				t.Errorf("%s: only the probe of the object itself turns red, and there is no reason", name)
			}
		default:
			survivors = append(survivors, name)
			t.Errorf("%s survives: no probe turns red", name)
		}
	}
	t.Logf("%d objects: %d are missed by a request, %d more by looking at them, %d survive %v",
		len(m.mutants), len(shown), len(looked), len(survivors), survivors)
}

type mutator struct {
	c       *controlplane.ControlPlane
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	mutants []mutant
}

// newMutator reads every emitted object that the API server enforces itself. Network policies are
// enforced by the network plug-in, which the suite with kind has.
func newMutator(t *testing.T, c *controlplane.ControlPlane) *mutator {
	t.Helper()
	client, err := dynamic.NewForConfig(c.Admin)
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(c.Admin)
	if err != nil {
		t.Fatal(err)
	}
	m := &mutator{c: c, dynamic: client, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}
	files, err := filepath.Glob(filepath.Join(c.Repository, "manifests/*/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		domain := filepath.Base(filepath.Dir(f))
		if filepath.Base(f) == "kustomization.yaml" || domain == "network" {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.SplitSeq(string(b), "\n---\n") {
			var o map[string]any
			if err := yaml.Unmarshal([]byte(text), &o); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			u := &unstructured.Unstructured{Object: o}
			// The second tenant has what the first has.
			if len(o) == 0 || u.GetNamespace() == "team-b" || u.GetName() == "team-b" {
				continue
			}
			m.mutants = append(m.mutants, mutant{
				file: "manifests/" + domain + "/" + filepath.Base(f), domain: domain, object: u,
			})
		}
	}
	if len(m.mutants) < 80 {
		t.Fatalf("only %d objects are emitted", len(m.mutants))
	}
	list := probes(t, c, c.Repository, "--list").Probes
	for i := range m.mutants {
		m.mutants[i].args = about(list, m.mutants[i])
	}
	return m
}

// about are the arguments that choose the probes about an object and its file.
func about(list []result, mu mutant) []string {
	var args []string
	needsActive := false
	for _, p := range list {
		mine := slices.ContainsFunc(p.Artifacts, func(a string) bool {
			return a == mu.file+": "+nameOf(mu.object) || a == mu.file && (p.Check == "in-place" || mu.object.GetKind() == "Namespace")
		})
		if mine {
			args, needsActive = append(args, p.ID), needsActive || p.Active
		}
	}
	if needsActive {
		args = append(args, active...)
	}
	return args
}

func nameOf(o *unstructured.Unstructured) string {
	return o.GetKind() + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
}

func (m *mutator) client(t *testing.T, o *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	gvk := o.GroupVersionKind()
	mapping, err := m.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		t.Fatal(err)
	}
	if o.GetNamespace() != "" {
		return m.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	return m.dynamic.Resource(mapping.Resource)
}

// weaken deletes an object. What Kubernetes makes again by itself, or takes everything with it, loses
// what the repository wrote into it.
func (m *mutator) weaken(t *testing.T, mu mutant) {
	t.Helper()
	client, name := m.client(t, mu.object), mu.object.GetName()
	var err error
	switch mu.object.GetKind() {
	case "Namespace":
		patch := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged","k8ssec.dev/owner":null}}}`
		_, err = client.Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	case "ServiceAccount":
		_, err = client.Patch(t.Context(), name, types.MergePatchType, []byte(`{"automountServiceAccountToken":null}`), metav1.PatchOptions{})
	default:
		err = client.Delete(t.Context(), name, metav1.DeleteOptions{})
		if err == nil {
			eventually(t, name+" is gone", func(ctx context.Context) error {
				if _, err := client.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					return errors.New("it is still there")
				}
				return nil
			})
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", nameOf(mu.object), err)
	}
}

// killers runs the probes that are about an object until one of them that sends requests turns red:
// the API server takes up policies and roles a moment later.
func (m *mutator) killers(t *testing.T, mu mutant) (killers, inPlace []string) {
	t.Helper()
	attempts := 6
	if covered[nameOf(mu.object)] != "" {
		attempts = 2
	}
	for range attempts {
		killers, inPlace = nil, nil
		for _, p := range probes(t, m.c, m.c.Repository, mu.args...).Probes {
			switch {
			case p.Result != "failed":
			case p.Check == "in-place":
				inPlace = append(inPlace, p.ID)
			default:
				killers = append(killers, p.ID)
			}
		}
		if len(killers) > 0 {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	slices.Sort(killers)
	return killers[:min(len(killers), 2)], inPlace
}

// restore applies the object again and waits until its domain is green.
func (m *mutator) restore(t *testing.T, mu mutant) {
	t.Helper()
	b, err := json.Marshal(mu.object.Object)
	if err != nil {
		t.Fatal(err)
	}
	force := true
	_, err = m.client(t, mu.object).Patch(t.Context(), mu.object.GetName(), types.ApplyPatchType, b, metav1.PatchOptions{FieldManager: "kustomize-controller", Force: &force})
	if err != nil {
		t.Fatalf("%s: %v", nameOf(mu.object), err)
	}
	settle(t, m.c)
	eventually(t, nameOf(mu.object)+" is back", func(context.Context) error {
		for _, p := range probes(t, m.c, m.c.Repository, mu.args...).Probes {
			if p.Result == "failed" {
				return fmt.Errorf("%s: %s", p.ID, p.Observed)
			}
		}
		return nil
	})
}
