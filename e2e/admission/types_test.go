package admission_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// testTypes shows that the controller manager's type checker finds nothing wrong in any expression.
//
// That alone says little. The checker takes every variable that holds an object for dynamic, and the
// pod spec is dynamic by itself, because one expression reads it from objects of several kinds: a
// field that does not exist would go unnoticed. So each policy is checked a second time with its
// variables written out, and those on pods with the true types of a Pod, once for each kind of
// container.
func testTypes(t *testing.T, k *cluster) {
	emitted := slices.DeleteFunc(policies(t, k.Repository), func(o *unstructured.Unstructured) bool {
		return o.GetKind() != "ValidatingAdmissionPolicy"
	})
	var typed []*unstructured.Unstructured
	for _, o := range emitted {
		typed = append(typed, withTypes(t, o)...)
	}
	// The checker must be able to see a mistake.
	wrong := typed[0].DeepCopy()
	wrong.SetName("typed-wrong")
	set(t, wrong, []any{map[string]any{"expression": "!object.spec.hostNetwrok", "message": "x"}}, "spec", "validations")
	all := slices.Concat(emitted, typed, []*unstructured.Unstructured{wrong})
	for _, o := range all {
		k.put(t, o)
	}
	for _, o := range all {
		until(t, o.GetName(), func() error {
			p, err := k.resources.path(t.Context(), o, true)
			if err != nil {
				return err
			}
			a, err := send(t.Context(), k.Admin, "GET", p, nil, nil)
			if err != nil {
				return err
			}
			generation, _, _ := unstructured.NestedInt64(a.object.Object, "metadata", "generation")
			observed, _, _ := unstructured.NestedInt64(a.object.Object, "status", "observedGeneration")
			if observed < generation {
				return errors.New("the controller manager has not checked it")
			}
			warnings, _, _ := unstructured.NestedSlice(a.object.Object, "status", "typeChecking", "expressionWarnings")
			if o == wrong {
				if len(warnings) == 0 {
					t.Error("a misspelt field goes unnoticed")
				}
				return nil
			}
			for _, w := range warnings {
				m, _ := w.(map[string]any)
				t.Errorf("%s: %v: %v", o.GetName(), m["fieldRef"], m["warning"])
			}
			return nil
		})
	}
}

// withTypes returns the policy with its variables written out: once where it does not look into
// containers, else once for each list of containers that it looks into.
func withTypes(t *testing.T, policy *unstructured.Unstructured) []*unstructured.Unstructured {
	t.Helper()
	variables, _, err := unstructured.NestedSlice(policy.Object, "spec", "variables")
	if err != nil {
		t.Fatal(err)
	}
	validations, _, err := unstructured.NestedSlice(policy.Object, "spec", "validations")
	if err != nil {
		t.Fatal(err)
	}
	lists := []string{""}
	for _, v := range variables {
		if m := v.(map[string]any); m["name"] == "containers" {
			lists = nil
			for _, field := range []string{"containers", "initContainers", "ephemeralContainers"} {
				if all := m["expression"].(string); strings.Contains(all, "."+field) || strings.Contains(all, ".?"+field) {
					lists = append(lists, field)
				}
			}
		}
	}
	var typed []*unstructured.Unstructured
	for _, list := range lists {
		o := policy.DeepCopy()
		o.SetName(strings.TrimSuffix(strings.ToLower("typed-"+strings.TrimPrefix(policy.GetName(), "k8ssec-")+"-"+list), "-"))
		onPods := false
		var written []string // pairs for a Replacer, in the order of the variables
		for _, v := range variables {
			m := v.(map[string]any)
			name, expression := m["name"].(string), m["expression"].(string)
			switch name {
			case "podSpec":
				onPods = true
				expression = "object.spec"
			case "containers":
				expression = "variables.podSpec." + list
			}
			written = append(written, "variables."+name, "("+writeOut(expression, written)+")")
		}
		var changed []any
		for _, v := range validations {
			m := v.(map[string]any)
			n := map[string]any{"message": m["message"], "expression": writeOut(m["expression"].(string), written)}
			if detail, ok := m["messageExpression"].(string); ok {
				n["messageExpression"] = writeOut(detail, written)
			}
			changed = append(changed, n)
		}
		set(t, o, changed, "spec", "validations")
		unstructured.RemoveNestedField(o.Object, "spec", "variables")
		unstructured.RemoveNestedField(o.Object, "spec", "auditAnnotations")
		if onPods {
			rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "matchConstraints", "resourceRules")
			set(t, o, rules[:1], "spec", "matchConstraints", "resourceRules")
			unstructured.RemoveNestedField(o.Object, "spec", "matchConditions")
		}
		typed = append(typed, o)
	}
	return typed
}

// writeOut replaces each variable by its expression. A name may begin with another one's. The checker
// does not know maps of quantities, so what is below resources stays dynamic.
func writeOut(expression string, written []string) string {
	expression = strings.NewReplacer("c.?resources", "dyn(c).?resources",
		"variables.podSpec.?resources", "dyn(variables.podSpec).?resources").Replace(expression)
	for i := 0; i < len(written); i += 2 {
		expression = regexp.MustCompile(regexp.QuoteMeta(written[i])+`\b`).ReplaceAllLiteralString(expression, written[i+1])
	}
	return expression
}

func set(t *testing.T, o *unstructured.Unstructured, value []any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedSlice(o.Object, value, path...); err != nil {
		t.Fatal(err)
	}
}
