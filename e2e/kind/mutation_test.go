package kind_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/k8ssec/k8ssec/e2e/kind"
)

// mutant is one change for the worse, and what noticed it.
type mutant struct {
	Object, Change string
	// Effect are the probes that turned red because something is now allowed, or denied, that was not
	// before. Missing are those that only compare the object with the repository.
	Effect, Missing []string
	// Seconds is how long the probes took to notice.
	Seconds float64
}

// inPlace is the check that compares objects.
const inPlace = "in-place"

// mutation deletes or weakens one object of each emitted class in turn, while Flux is paused. At least
// one probe must turn red each time, and green again once the object is back.
func (h *hardened) mutation(t *testing.T) {
	h.pause(t)
	defer h.resume(t)
	list := h.probe(t, "--list").Probes
	var mu sync.Mutex
	var mutants []mutant
	t.Run("objects", func(t *testing.T) {
		for file, classes := range byFile(h.classes(t)) {
			t.Run(path.Base(file), func(t *testing.T) {
				// Each admission policy has probes of its own, so no policy hides what another does.
				if strings.HasPrefix(file, "manifests/workloads/") {
					t.Parallel()
				}
				for _, class := range classes {
					for _, c := range mutations(class) {
						m := h.mutate(t, class, c, list)
						mu.Lock()
						mutants = append(mutants, m)
						mu.Unlock()
					}
				}
			})
		}
	})
	slices.SortFunc(mutants, func(a, b mutant) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Change, b.Change))
	})
	var survivors, quiet []string
	for _, m := range mutants {
		switch {
		case len(m.Effect) > 0:
		case len(m.Missing) > 0:
			quiet = append(quiet, m.Object+": "+m.Change)
		default:
			survivors = append(survivors, m.Object+": "+m.Change)
		}
	}
	save(t, "mutation.json", mutants)
	if still := red(h.probe(t, "--active")); len(still) > 0 {
		t.Errorf("red after every object is back: %v", still)
	}
	fmt.Fprintf(os.Stderr, "mutation score: %d of %d; %d are noticed by their effect, %d by comparing objects\n",
		len(mutants)-len(survivors), len(mutants), len(mutants)-len(survivors)-len(quiet), len(quiet))
	for _, s := range quiet {
		fmt.Fprintf(os.Stderr, "  noticed by comparing objects only: %s\n", s)
	}
	for _, s := range survivors {
		t.Errorf("no probe notices: %s", s)
	}
}

// byFile groups objects by their file, in the order of the files.
func byFile(all []object) iter.Seq2[string, []object] {
	groups := map[string][]object{}
	for _, o := range all {
		groups[o.file] = append(groups[o.file], o)
	}
	return func(yield func(string, []object) bool) {
		for _, file := range slices.Sorted(maps.Keys(groups)) {
			if !yield(file, groups[file]) {
				return
			}
		}
	}
}

// about are the IDs of the probes that name the object among what they turn red without.
func about(list []result, object string) (ids []string, active bool) {
	for _, p := range list {
		if slices.ContainsFunc(p.Artifacts, func(a string) bool { return strings.HasSuffix(a, ": "+object) }) {
			ids, active = append(ids, p.ID), active || p.Active
		}
	}
	return ids, active
}

// object is one emitted object and the file that it is in.
type object struct {
	*unstructured.Unstructured
	file string
}

// classes are the emitted objects, one of each class: what differs only in its namespace is one class.
// A tenant's stands for all.
func (h *hardened) classes(t *testing.T) []object {
	t.Helper()
	var all []object
	root := os.DirFS(h.repository)
	if err := fs.WalkDir(root, "manifests", func(name string, e fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".yaml" || e.Name() == "kustomization.yaml" {
			return err
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
			doc, err := r.Read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			o := object{&unstructured.Unstructured{}, name}
			if err := yaml.Unmarshal(doc, &o.Object); err != nil {
				return err
			}
			if o.GetKind() != "" {
				all = append(all, o)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	tenant := func(o object) bool {
		return o.GetNamespace() == "team-a" || (o.GetKind() == "Namespace" && o.GetName() == "team-a")
	}
	slices.SortStableFunc(all, func(a, b object) int {
		switch {
		case tenant(a) == tenant(b):
			return 0
		case tenant(a):
			return -1
		}
		return 1
	})
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(o object) bool {
		class := o.GetKind() + "/" + o.GetName()
		if o.GetKind() == "Namespace" {
			class = "Namespace"
		}
		dup := seen[class]
		seen[class] = true
		return dup
	})
}

// change makes an object worse; an empty patch deletes it.
type change struct {
	name  string
	patch string
}

// mutations are the ways to make an object of its kind worse.
func mutations(o object) []change {
	remove := change{name: "deleted"}
	switch o.GetKind() {
	case "Namespace":
		// A namespace cannot go without its content.
		var list []change
		for _, label := range []string{"pod-security.kubernetes.io/enforce", "k8ssec.dev/kind"} {
			list = append(list, change{"without " + label, fmt.Sprintf(`[{"op":"remove","path":"/metadata/labels/%s"}]`, strings.ReplaceAll(label, "/", "~1"))})
		}
		return list
	case "ServiceAccount":
		if o.GetName() == "default" { // comes back at once, by Kubernetes
			return []change{{"mounts its token", `[{"op":"add","path":"/automountServiceAccountToken","value":true}]`}}
		}
	case "ClusterRole", "Role":
		if _, aggregated, _ := unstructured.NestedMap(o.Object, "aggregationRule"); aggregated {
			// Kubernetes fills in its rules anew at once.
			return []change{remove, {"takes in what admins may", `[{"op":"add","path":"/aggregationRule/clusterRoleSelectors/-",` +
				`"value":{"matchLabels":{"rbac.authorization.k8s.io/aggregate-to-admin":"true"}}}]`}}
		}
		return []change{remove, {"may read secrets", `[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["secrets"],"verbs":["get","list","watch"]}}]`}}
	case "ValidatingAdmissionPolicy":
		return []change{remove, {"allows everything", `[{"op":"replace","path":"/spec/validations","value":[{"expression":"true"}]}]`}}
	case "ValidatingAdmissionPolicyBinding":
		return []change{remove, {"records only", `[{"op":"replace","path":"/spec/validationActions","value":["Audit"]}]`}}
	case "ResourceQuota":
		return []change{remove, {"of 10000 pods", `[{"op":"replace","path":"/spec/hard/pods","value":"10000"}]`}}
	}
	return []change{remove}
}

func (h *hardened) mutate(t *testing.T, o object, c change, list []result) mutant {
	t.Helper()
	ctx := t.Context()
	name := strings.ToLower(o.GetKind()) + "." + o.GroupVersionKind().Group
	name = strings.TrimSuffix(name, ".") + "/" + o.GetName()
	args := []string{"delete", name, "--wait=true"}
	if c.patch != "" {
		args = []string{"patch", name, "--type=json", "--patch", c.patch}
	}
	if o.GetNamespace() != "" {
		args = append(args, "--namespace", o.GetNamespace())
	}
	m := mutant{Object: o.GetKind() + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"), Change: c.name}
	ids, active := about(list, m.Object)
	if o.GroupVersionKind().Group == "rbac.authorization.k8s.io" {
		// What one role allows shows in what others are made of.
		for _, p := range list {
			if p.Check == "access" && !slices.Contains(ids, p.ID) {
				ids = append(ids, p.ID)
			}
		}
	}
	effects := len(ids)
	for _, p := range list {
		if p.Check == inPlace && slices.Contains(p.Artifacts, o.file) {
			ids = append(ids, p.ID)
		}
	}
	if active {
		ids = append(ids, "--active")
	}
	if out, err := h.cluster.Kubectl(ctx, args...); err != nil {
		t.Errorf("%s: %v\n%s", m.Object, err, out)
		return m
	}
	begin := time.Now()
	// Policies take a moment to come into force, and to go out of it.
	_ = kind.Eventually(ctx, 12*time.Second, func() error {
		m.Effect, m.Missing = nil, nil
		for _, p := range h.probe(t, ids...).Probes {
			switch {
			case p.Result == "passed":
			case p.Check == inPlace:
				m.Missing = append(m.Missing, p.ID)
			default:
				m.Effect = append(m.Effect, p.ID)
			}
		}
		if len(m.Effect) == 0 && (effects > 0 || len(m.Missing) == 0) {
			return errors.New("no probe is red for what is allowed now")
		}
		return nil
	})
	m.Seconds = time.Since(begin).Seconds()
	b, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cluster.Replace(ctx, string(b)); err != nil {
		t.Fatal(err)
	}
	if active {
		return m // pods take their time; whether all is back shows at the end
	}
	if err := kind.Eventually(ctx, 30*time.Second, func() error {
		if still := red(h.probe(t, ids...)); len(still) > 0 {
			return fmt.Errorf("red after the object is back: %v", still)
		}
		return nil
	}); err != nil {
		t.Errorf("%s: %v", m.Object, err)
	}
	return m
}

func red(r results) []string {
	var list []string
	for _, p := range r.Probes {
		if p.Result != "passed" {
			list = append(list, p.ID)
		}
	}
	return list
}

// pause stops Flux as the emitted docs say, so that it does not undo what the test does.
func (h *hardened) pause(t *testing.T) { h.scaleFlux(t, 0) }

func (h *hardened) resume(t *testing.T) { h.scaleFlux(t, 1) }

func (h *hardened) scaleFlux(t *testing.T, replicas int) {
	t.Helper()
	for _, args := range [][]string{
		{"-n", "flux-system", "scale", "deployment/kustomize-controller", fmt.Sprintf("--replicas=%d", replicas)},
		{"-n", "flux-system", "rollout", "status", "deployment/kustomize-controller", "--timeout=60s"},
	} {
		if out, err := h.cluster.Kubectl(t.Context(), args...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// restored deletes objects while Flux runs: it puts them back, and the probes are green again.
func (h *hardened) restored(t *testing.T) {
	ctx := t.Context()
	for _, object := range []string{"networkpolicy/default-deny", "resourcequota/namespace"} {
		if _, err := h.cluster.Kubectl(ctx, "-n", "team-a", "delete", object); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.cluster.Reconcile(ctx); err != nil {
		t.Fatal(err)
	}
	if err := kind.Eventually(ctx, 2*time.Minute, func() error {
		_, err := h.cluster.Kubectl(ctx, "-n", "team-a", "get", "networkpolicy/default-deny", "resourcequota/namespace")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if still := red(h.probe(t, "--active")); len(still) > 0 {
		t.Errorf("red after Flux restored what was deleted: %v", still)
	}
}
