package lockout

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/k8ssec/k8ssec/internal/diag"
)

// located is an object that GitOps applies, by what the order depends on.
type located struct {
	file            string
	group, kind     string
	namespace, name string
	crdFor          string // group/kind that a CustomResourceDefinition brings
}

// locate notes where an object stands.
func (w *world) locate(value any, file string) {
	l := located{file: file}
	switch v := value.(type) {
	case map[string]any:
		apiVersion, _ := v["apiVersion"].(string)
		l.kind, _ = v["kind"].(string)
		l.group = groupOf(apiVersion)
		metadata, _ := v["metadata"].(map[string]any)
		l.namespace, _ = metadata["namespace"].(string)
		l.name, _ = metadata["name"].(string)
		if l.kind == "CustomResourceDefinition" {
			spec, _ := v["spec"].(map[string]any)
			names, _ := spec["names"].(map[string]any)
			group, _ := spec["group"].(string)
			kind, _ := names["kind"].(string)
			l.crdFor = group + "/" + kind
		}
	case []*policy:
		if len(v) == 0 {
			return
		}
		l.group, l.kind, l.namespace, l.name = "cilium.io", v[0].kind, v[0].namespace, v[0].name
	case typedObject:
		gvk := v.GetObjectKind().GroupVersionKind()
		l.group, l.kind, l.namespace, l.name = gvk.Group, gvk.Kind, v.GetNamespace(), v.GetName()
	default:
		return
	}
	w.placedObjects = append(w.placedObjects, l)
}

// ref names the object for people.
func (l *located) ref() string { return l.kind + " " + strings.TrimPrefix(l.namespace+"/"+l.name, "/") }

// typedObject is a pointer to a struct with TypeMeta and ObjectMeta.
type typedObject interface {
	GetObjectKind() schema.ObjectKind
	GetNamespace() string
	GetName() string
}

func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// step is one Flux Kustomization or Argo CD Application: a directory that is applied as a whole.
type step struct {
	name, dir, file string
	after           []string // names of steps that come before
	wave            int
}

func isStep(k schema.GroupKind) bool {
	return k == schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"} ||
		k == schema.GroupKind{Group: "argoproj.io", Kind: "Application"}
}

// kustomizeFile is the kind of a kustomization.yaml.
var kustomizeFile = schema.GroupKind{Group: "kustomize.config.k8s.io", Kind: "Kustomization"}

// namespacePatches are the labels that a kustomization.yaml gives to namespaces.
type namespacePatches map[string]map[string]string

// patchedNamespaces reads the patches of a kustomization.yaml that are about namespaces.
func patchedNamespaces(m map[string]any) (namespacePatches, error) {
	d := &decoder{}
	found := namespacePatches{}
	for _, p := range d.objects(m, "patches") {
		if d.text(d.object(p, "target"), "kind") != "Namespace" {
			continue
		}
		var patch struct {
			Metadata struct {
				Name   string            `yaml:"name"`
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(d.text(p, "patch")), &patch); err != nil {
			return nil, fmt.Errorf("a patch of a namespace is not YAML: %w", err)
		}
		if patch.Metadata.Name != "" {
			found[patch.Metadata.Name] = patch.Metadata.Labels
		}
	}
	return found, d.err
}

// step reads a Kustomization or an Application. A tenant's own source has its own order and comes back
// as it is.
func (w *world) step(m map[string]any) (any, error) {
	d := &decoder{}
	metadata, spec := d.object(m, "metadata"), d.object(m, "spec")
	s := step{name: d.text(metadata, "name")}
	if d.text(metadata, "namespace") != w.p.GitOps.Namespace {
		return m, nil
	}
	if d.text(m, "kind") == "Application" {
		source := d.object(spec, "source")
		if d.text(source, "repoURL") != w.p.GitOps.URL {
			return m, nil
		}
		s.dir = d.text(source, "path")
		if wave := d.text(d.object(metadata, "annotations"), "argocd.argoproj.io/sync-wave"); wave != "" {
			n, err := strconv.Atoi(wave)
			if err != nil {
				d.fail("its sync wave is not a number")
			}
			s.wave = n
		}
	} else {
		if d.text(d.object(spec, "sourceRef"), "name") != w.p.GitOps.SourceName {
			return m, nil
		}
		s.dir = d.text(spec, "path")
		for _, dep := range d.objects(spec, "dependsOn") {
			if ns := d.text(dep, "namespace"); ns == "" || ns == w.p.GitOps.Namespace {
				s.after = append(s.after, d.text(dep, "name"))
			}
		}
	}
	s.dir = path.Clean(s.dir)
	if prefix := path.Clean(w.p.GitOps.Path); prefix != "." {
		s.dir = path.Clean("./" + strings.TrimPrefix(strings.TrimPrefix(s.dir, prefix), "/"))
	}
	return s, d.err
}

// order checks that what an object needs is applied before it: its namespace, its CRD, the policy of a
// binding. Within one step both engines put namespaces and CRDs first themselves.
func (w *world) order() {
	steps := w.steps
	if len(steps) == 0 {
		return
	}
	byName := make(map[string]*step, len(steps))
	for i := range steps {
		byName[steps[i].name] = &steps[i]
	}
	before := w.reach(steps, byName)
	of := make(map[string]*step) // by directory of a file
	find := func(file string) *step {
		dir := path.Dir(file)
		if s, ok := of[dir]; ok {
			return s
		}
		var best *step
		for i := range steps {
			s := &steps[i]
			if (dir == s.dir || strings.HasPrefix(dir, s.dir+"/") || s.dir == ".") && (best == nil || len(s.dir) > len(best.dir)) {
				best = s
			}
		}
		of[dir] = best
		return best
	}

	namespaces, crds, policies := map[string]*located{}, map[string]*located{}, map[string]*located{}
	for i := range w.placedObjects {
		l := &w.placedObjects[i]
		switch {
		case l.kind == "Namespace" && l.group == corev1.GroupName:
			namespaces[l.name] = l
		case l.crdFor != "":
			crds[l.crdFor] = l
		case l.kind == "ValidatingAdmissionPolicy" && l.group == admissionv1.GroupName:
			policies[l.name] = l
		}
	}
	reported := map[string]bool{}
	check := func(l *located, needs *located, why string) {
		if needs == nil || needs == l {
			return
		}
		have, want := find(l.file), find(needs.file)
		if have == nil || want == nil || have == want || before[have.name][want.name] {
			return
		}
		key := have.name + " " + want.name
		if reported[key] {
			return
		}
		reported[key] = true
		w.report(Finding{
			Severity: diag.Error, Rule: ruleOrder, From: have.name, To: want.name, Object: l.ref(), File: have.file,
			Message: fmt.Sprintf("%s (in %s) may be applied before %s (in %s), which it needs", l.ref(), have.name, needs.ref(), want.name),
			Why:     why,
			Fix:     fmt.Sprintf("Let %s come after %s: dependsOn, or a later sync wave.", have.name, want.name),
		})
	}
	for i := range w.placedObjects {
		l := &w.placedObjects[i]
		// System namespaces are there from the start, and the GitOps controllers' own before they run.
		if ns := w.p.Namespaces[l.namespace]; ns.Kind != "system" && l.namespace != w.p.GitOps.Namespace {
			check(l, namespaces[l.namespace], "An object of a namespace that is not there yet is refused, and with it everything of the same Kustomization or Application.")
		}
		check(l, crds[l.group+"/"+l.kind], "An object without its CustomResourceDefinition is refused, and with it everything of the same Kustomization or Application.")
	}
	for _, b := range w.bindings {
		l := &located{file: b.file, kind: "ValidatingAdmissionPolicyBinding", name: b.value.Name}
		check(l, policies[b.value.Spec.PolicyName], "A binding without its policy refuses nothing.")
	}
}

// reach returns for each step all steps that are applied before it, and reports names that nobody has
// and circles.
func (w *world) reach(steps []step, byName map[string]*step) map[string]map[string]bool {
	before := make(map[string]map[string]bool, len(steps))
	var visit func(s *step, trail []string) map[string]bool
	visit = func(s *step, trail []string) map[string]bool {
		if done, ok := before[s.name]; ok {
			return done
		}
		if i := slices.Index(trail, s.name); i >= 0 {
			circle := append(slices.Clone(trail[i:]), s.name)
			w.report(Finding{
				Severity: diag.Error, Rule: ruleOrder, Object: "Kustomization " + s.name, File: s.file,
				Message: "the Kustomizations wait for each other in a circle: " + strings.Join(circle, " -> "),
				Why:     "None of them is ever applied.", Fix: "Remove one of these dependsOn entries.",
			})
			return nil
		}
		set := map[string]bool{}
		for _, name := range s.after {
			next, ok := byName[name]
			if !ok {
				w.report(Finding{
					Severity: diag.Error, Rule: ruleOrder, From: s.name, To: name, Object: "Kustomization " + s.name, File: s.file,
					Message: fmt.Sprintf("Kustomization %s depends on %s, which does not exist", s.name, name),
					Why:     "It waits for ever and is never applied.", Fix: "Correct the name in dependsOn, or remove it.",
				})
				continue
			}
			set[name] = true
			for earlier := range visit(next, append(trail, s.name)) {
				set[earlier] = true
			}
		}
		for i := range steps {
			if steps[i].wave < s.wave {
				set[steps[i].name] = true
			}
		}
		before[s.name] = set
		return set
	}
	for i := range steps {
		visit(&steps[i], nil)
	}
	return before
}
