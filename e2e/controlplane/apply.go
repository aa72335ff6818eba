package controlplane

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/k8ssec/k8ssec/e2e/components"
)

// Apply applies the whole repository as a GitOps engine does: with the account of its controller,
// its Kustomizations in the order of their dependencies, each built by the real kustomize, by
// server-side apply. It returns every object that the API server refused, with its reason.
func (c *ControlPlane) Apply(t testing.TB) []error {
	t.Helper()
	waves, err := waves(c.Repository)
	if err != nil {
		t.Fatal(err)
	}
	a := applierFor(t, c.engine(t, waves[0].object))
	var refused []error
	for _, w := range waves {
		// There are no definitions of Argo CD's kinds to be had.
		if w.object.GroupVersionKind().Group != "argoproj.io" {
			refused = append(refused, a.apply(t.Context(), []*unstructured.Unstructured{w.object})...)
		}
		objects, err := c.kustomize(w.path)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		refused = append(refused, a.apply(t.Context(), objects)...)
		// Flux waits between its waves for longer than the API server needs to take up policies.
		if hasPolicies(objects) {
			if err := inForce(t.Context(), c.Admin); err != nil {
				t.Fatal(err)
			}
		}
	}
	return refused
}

// engine makes what is there before the repository is applied, the namespace of the GitOps engine and
// the rights of its controller, and returns a configuration that acts as that controller.
func (c *ControlPlane) engine(t testing.TB, object *unstructured.Unstructured) *rest.Config {
	t.Helper()
	namespace, account := object.GetNamespace(), "kustomize-controller"
	if object.GroupVersionKind().Group == "argoproj.io" {
		account = "argocd-application-controller"
	}
	objects := asObjects([]map[string]any{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}},
		{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
			"metadata": map[string]any{"name": "cluster-reconciler-" + namespace},
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": namespace}},
		},
	})
	if _, err := c.Client(t).CoreV1().Namespaces().Get(t.Context(), namespace, getOptions); apierrors.IsNotFound(err) {
		if errs := c.applier(t).apply(t.Context(), objects); len(errs) > 0 {
			t.Fatal(errors.Join(errs...))
		}
	}
	return c.ConfigAs("system:serviceaccount:"+namespace+":"+account, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
}

// ApplyCRDs applies the custom resource definitions that emitted objects need, as Cilium and Flux
// ship them. On a cluster they are there before the repository is.
func (c *ControlPlane) ApplyCRDs(t testing.TB) {
	t.Helper()
	c.applyFiles(t, components.CRDs)
}

// ApplyAddonCRDs applies those of the add-ons, whose charts bring them on a cluster.
func (c *ControlPlane) ApplyAddonCRDs(t testing.TB) {
	t.Helper()
	c.applyFiles(t, components.AddonCRDs)
}

func (c *ControlPlane) applyFiles(t testing.TB, list func() ([]string, error)) {
	t.Helper()
	files, err := list()
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := documents(b)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		objects = append(objects, asObjects(docs)...)
	}
	if errs := c.applier(t).apply(t.Context(), objects); len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
}

// ApplyYAML applies the documents of a YAML text as the administrator.
func (c *ControlPlane) ApplyYAML(t testing.TB, text string) []error {
	t.Helper()
	docs, err := documents([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c.applier(t).apply(t.Context(), asObjects(docs))
}

// kustomize builds a folder with the kustomize that kubectl carries.
func (c *ControlPlane) kustomize(dir string) ([]*unstructured.Unstructured, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(c.tools, "kubectl"), "kustomize", dir)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kustomize %s: %w: %s", dir, err, stderr.String())
	}
	docs, err := documents(out)
	if err != nil {
		return nil, fmt.Errorf("kustomize %s: %w", dir, err)
	}
	return asObjects(docs), nil
}

func asObjects(docs []map[string]any) []*unstructured.Unstructured {
	objects := make([]*unstructured.Unstructured, len(docs))
	for i, d := range docs {
		objects[i] = &unstructured.Unstructured{Object: d}
	}
	return objects
}

// wave is one Kustomization of Flux or one Application of Argo CD.
type wave struct {
	object    *unstructured.Unstructured
	name      string
	path      string
	dependsOn []string
	order     int
}

// waves reads the order of the repository from its gitops folder.
func waves(repository string) ([]wave, error) {
	var all []wave
	files, err := filepath.Glob(filepath.Join(repository, "gitops", "*.yaml"))
	if err != nil {
		return nil, err
	}
	more, err := filepath.Glob(filepath.Join(repository, "gitops", "*", "*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, f := range append(files, more...) {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		docs, err := documents(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		for _, o := range asObjects(docs) {
			path, dependsOn, ok := waveOf(o)
			// The one that applies the gitops folder itself is not one of the waves.
			if !ok || filepath.Base(path) == "gitops" {
				continue
			}
			w := wave{object: o, name: o.GetName(), path: filepath.Join(repository, path), dependsOn: dependsOn}
			if order := o.GetAnnotations()["argocd.argoproj.io/sync-wave"]; order != "" {
				if w.order, err = strconv.Atoi(order); err != nil {
					return nil, fmt.Errorf("%s: sync wave: %w", f, err)
				}
			}
			all = append(all, w)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the gitops folder has no Kustomization of Flux and no Application of Argo CD")
	}
	return sorted(all)
}

func waveOf(o *unstructured.Unstructured) (path string, dependsOn []string, ok bool) {
	switch o.GroupVersionKind().Group + "/" + o.GetKind() {
	case "kustomize.toolkit.fluxcd.io/Kustomization":
		path, _, _ = unstructured.NestedString(o.Object, "spec", "path")
		list, _, _ := unstructured.NestedSlice(o.Object, "spec", "dependsOn")
		for _, d := range list {
			if m, isMap := d.(map[string]any); isMap {
				dependsOn = append(dependsOn, fmt.Sprint(m["name"]))
			}
		}
		return path, dependsOn, true
	case "argoproj.io/Application":
		path, _, _ = unstructured.NestedString(o.Object, "spec", "source", "path")
		return path, nil, true
	}
	return "", nil, false
}

// sorted puts each wave after those that it depends on, and those of Argo CD by their number.
func sorted(all []wave) ([]wave, error) {
	slices.SortStableFunc(all, func(a, b wave) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name))
	})
	done := map[string]bool{}
	var out []wave
	for len(out) < len(all) {
		before := len(out)
		for _, w := range all {
			ready := !done[w.name] && !slices.ContainsFunc(w.dependsOn, func(d string) bool { return !done[d] })
			if ready {
				done[w.name] = true
				out = append(out, w)
			}
		}
		if len(out) == before {
			return nil, errors.New("the Kustomizations depend on each other in a circle, or on one that does not exist")
		}
	}
	return out, nil
}

// applier applies objects of any kind.
type applier struct {
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func (c *ControlPlane) applier(t testing.TB) *applier {
	t.Helper()
	return applierFor(t, c.Admin)
}

func applierFor(t testing.TB, config *rest.Config) *applier {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &applier{client, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}
}

// apply applies in Flux's two stages: what defines others first, then everything else.
func (a *applier) apply(ctx context.Context, objects []*unstructured.Unstructured) []error {
	var first, second []*unstructured.Unstructured
	for _, o := range objects {
		switch o.GetKind() {
		case "CustomResourceDefinition", "Namespace", "PriorityClass", "RuntimeClass":
			first = append(first, o)
		default:
			second = append(second, o)
		}
	}
	refused := a.stage(ctx, first)
	if err := a.established(ctx, first); err != nil {
		refused = append(refused, err)
	}
	return append(refused, a.stage(ctx, second)...)
}

// stage applies objects at the same time, as many as keep the API server busy.
func (a *applier) stage(ctx context.Context, objects []*unstructured.Unstructured) []error {
	errs := make([]error, len(objects))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, o := range objects {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			if err := a.one(ctx, o); err != nil {
				errs[i] = fmt.Errorf("%s %s: %w", o.GetKind(), strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"), err)
			}
		}()
	}
	wg.Wait()
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

func (a *applier) one(ctx context.Context, o *unstructured.Unstructured) error {
	gvk := o.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	var client dynamic.ResourceInterface = a.dynamic.Resource(mapping.Resource)
	if o.GetNamespace() != "" {
		client = a.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	_, err = client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "kustomize-controller", Force: true})
	return err
}

// established waits until the API server serves the kinds of the definitions among the objects.
func (a *applier) established(ctx context.Context, objects []*unstructured.Unstructured) error {
	resource := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var defined bool
	for _, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		defined = true
		for {
			crd, err := a.dynamic.Resource(resource).Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("definition %s: %w", o.GetName(), err)
			}
			if condition(crd, "Established") == "True" {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	if defined {
		a.mapper.Reset()
	}
	return nil
}

func condition(o *unstructured.Unstructured, kind string) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == kind {
			return fmt.Sprint(m["status"])
		}
	}
	return ""
}
