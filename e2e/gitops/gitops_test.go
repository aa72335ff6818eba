// Package gitops builds, with the real kustomize, what Flux will build from the emitted repository.
package gitops

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/k8ssec/k8ssec/e2e/components"
	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// flux is the part of `flux install --export` and of what `flux bootstrap` writes that the patches
// are for.
const flux = `
apiVersion: v1
kind: Namespace
metadata:
  name: flux-system
  labels: {app.kubernetes.io/part-of: flux, pod-security.kubernetes.io/warn: restricted, pod-security.kubernetes.io/warn-version: latest}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-egress, namespace: flux-system}
spec: {podSelector: {}, egress: [{}], ingress: [{from: [{podSelector: {}}]}], policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-scraping, namespace: flux-system}
spec: {podSelector: {}, ingress: [{ports: [{port: 8080}]}], policyTypes: [Ingress]}
`

const controller = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: flux-system}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers: [{name: manager, image: flux, args: [--watch-all-namespaces=true, --enable-leader-election]}]
`

const sync = `
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m0s, ref: {branch: main}, secretRef: {name: flux-system}, url: "ssh://git@git.internal/p.git"}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 10m0s, path: ./gitops, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
`

// TestFluxComponents bootstraps as docs/gitops.md says, and looks at what Flux then applies of itself.
func TestFluxComponents(t *testing.T) {
	repository := controlplane.Init(t, "--profile", "cis")
	dir := filepath.Join(repository, "gitops/flux-system")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Bootstrap first builds with two empty files.
	write("gotk-components.yaml", "")
	write("gotk-sync.yaml", "")
	if built := build(t, dir); len(built) != 0 {
		t.Errorf("something is made of nothing: %v", built)
	}

	text := flux
	for _, name := range []string{"source-controller", "kustomize-controller", "helm-controller", "notification-controller"} {
		text += strings.ReplaceAll(controller, "NAME", name)
	}
	write("gotk-components.yaml", text)
	write("gotk-sync.yaml", sync)
	built := build(t, dir)

	want := map[string][]string{
		"source-controller":       nil,
		"kustomize-controller":    {"--no-cross-namespace-refs=true", "--no-remote-bases=true", "--default-service-account=default"},
		"helm-controller":         {"--no-cross-namespace-refs=true", "--default-service-account=default"},
		"notification-controller": {"--no-cross-namespace-refs=true"},
	}
	for _, o := range built {
		switch o.GetKind() {
		case "NetworkPolicy":
			t.Errorf("Flux's own policy %s is left, and policies add up", o.GetName())
		case "Deployment":
			var d appsv1.Deployment
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
				t.Fatal(err)
			}
			if got := d.Spec.Template.Spec.Containers[0].Args[2:]; !slices.Equal(got, want[o.GetName()]) {
				t.Errorf("%s has the arguments %v, want %v", o.GetName(), got, want[o.GetName()])
			}
			delete(want, o.GetName())
		case "Namespace":
			for key, value := range map[string]string{
				"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn-version": "v1.37",
				"k8ssec.dev/kind": "addon", "app.kubernetes.io/part-of": "flux",
			} {
				if got := o.GetLabels()[key]; got != value {
					t.Errorf("the namespace has %s: %q, want %q", key, got, value)
				}
			}
		case "Kustomization":
			if name, _, _ := unstructured.NestedString(o.Object, "spec", "serviceAccountName"); name != "kustomize-controller" {
				t.Errorf("Flux's own Kustomization acts as %q, which may do nothing", name)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not built: %v", want)
	}
}

// TestBreakGlassIsNotApplied builds each folder that GitOps applies and looks for what must not be
// in any of them.
func TestBreakGlassIsNotApplied(t *testing.T) {
	repository := controlplane.Init(t, "--profile", "cis")
	folders, err := filepath.Glob(filepath.Join(repository, "manifests", "*", "kustomization.yaml"))
	if err != nil || len(folders) < 5 {
		t.Fatalf("%d folders: %v", len(folders), err)
	}
	for _, f := range folders {
		for _, o := range build(t, filepath.Dir(f)) {
			if role, _, _ := unstructured.NestedString(o.Object, "roleRef", "name"); role == "cluster-admin" {
				t.Errorf("%s binds cluster-admin by %s", f, o.GetName())
			}
		}
	}
}

// build returns the objects that kustomize makes of a folder.
func build(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	tools, err := components.Ensure(os.Stderr, components.Kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(tools, "kubectl"), "kustomize", dir)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kustomize %s: %v: %s", dir, err, stderr.String())
	}
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096); ; {
		o := map[string]any{}
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		if len(o) > 0 {
			objects = append(objects, &unstructured.Unstructured{Object: o})
		}
	}
}
