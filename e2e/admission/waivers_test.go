package admission_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

// testWaivers shows that a waiver opens what it names and nothing else, and that what it lets through
// is still recorded.
func testWaivers(t *testing.T, k *cluster) {
	text := inForce(clusterFor("1.37") + `
namespaces: "team-w": owner: "team-w"
waivers: {
	"node-logs": {
		control: "wl-1"
		scope: namespace: "team-w"
		reason: "The collector reads the logs of its node."
		owner:  "team-w"
		expires: "EXPIRES"
	}
	"node-network": {
		control: "cis-5.2.5"
		scope: namespace: "team-w"
		reason: "The collector listens on its node."
		owner:  "team-w"
		expires: "EXPIRES"
	}
	"ports": {
		control: "wl-4"
		scope: cluster: true
		reason: "The old ingress still takes ports of the node."
		owner:  "platform"
		expires: "EXPIRES"
	}
	"late": {
		control: "wl-3"
		scope: namespace: "team-w"
		reason: "This one has expired long ago."
		owner:  "team-w"
		expires: "2020-01-01"
	}
}
`)
	text = strings.Replace(text, `profiles: ["restricted"]`, `profiles: ["restricted", "cis"]`, 1)
	for _, o := range policies(t, controlplane.Generate(t, text)) {
		k.put(t, o)
	}
	k.create(t, object("v1", "Namespace", "", "team-w", map[string]any{"metadata": map[string]any{"labels": map[string]any{
		"k8ssec.dev/kind": "tenant", "pod-security.kubernetes.io/enforce": "privileged",
	}}}))
	k.create(t, object("v1", "ServiceAccount", "team-w", "default", map[string]any{"automountServiceAccountToken": false}))
	as := k.ConfigAs("oidc:alice", people)
	ask := func(t *testing.T, file, namespace string) answer {
		t.Helper()
		f, err := readFixture(filepath.Join(fixtureDir, file))
		if err != nil {
			t.Fatal(err)
		}
		f.object.SetNamespace(namespace)
		a, err := send(t.Context(), as, "POST", "/api/v1/namespaces/"+namespace+"/pods", map[string][]string{"dryRun": {"All"}}, f.object)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	until(t, "the waiver of wl-1", func() error {
		if a := ask(t, "host-path/fail-pod.yaml", "team-w"); a.code != http.StatusCreated {
			return errors.New(a.message)
		}
		return nil
	})
	until(t, "the waiver of cis-5.2.5", func() error {
		if a := ask(t, "host-namespaces/fail-hostnetwork.yaml", "team-w"); a.code != http.StatusCreated {
			return errors.New(a.message)
		}
		return nil
	})
	until(t, "the waiver of wl-4", func() error {
		if a := ask(t, "host-ports/fail-pod.yaml", "team-a"); a.code != http.StatusCreated {
			return errors.New(a.message)
		}
		return nil
	})
	for file, namespace := range map[string]string{
		"host-path/fail-pod.yaml":                      "team-a",
		"host-namespaces/fail-hostnetwork.yaml":        "team-a",
		"host-namespaces/fail-hostpid.yaml":            "team-w",
		"privileged/fail-pod.yaml":                     "team-w",
		"privilege-escalation/fail-pod.yaml":           "team-w",
		"no-default-service-account/fail-by-name.yaml": "team-w",
	} {
		if a := ask(t, file, namespace); a.refusedBy() == "" {
			t.Errorf("%s passes in %s, where nothing waives it: %d %s", file, namespace, a.code, a.message)
		}
	}
	for _, want := range []string{"k8ssec-host-path-waived", "k8ssec-host-ports"} {
		until(t, "a record by "+want, func() error {
			return k.recorded(t, "validation.policy.admission.k8s.io/validation_failure", `"binding":"`+want+`"`)
		})
	}
}

// testExempted shows that whoever is exempt leaves a trace when using it, and only then.
func testExempted(t *testing.T, k *cluster) {
	wildcard := object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "exempted-wildcard", map[string]any{
		"rules": []any{map[string]any{"apiGroups": []any{"*"}, "resources": []any{"*"}, "verbs": []any{"*"}}},
	})
	modest := object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "exempted-modest", map[string]any{
		"rules": []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"pods"}, "verbs": []any{"get"}}},
	})
	for _, o := range []*unstructured.Unstructured{modest, wildcard} {
		a, err := send(t.Context(), k.ConfigAs("oidc:eve", "oidc:break-glass", people), "POST",
			"/apis/rbac.authorization.k8s.io/v1/clusterroles", nil, o)
		if err != nil {
			t.Fatal(err)
		}
		if a.code != http.StatusCreated {
			t.Fatalf("%s: %d %s", o.GetName(), a.code, a.message)
		}
	}
	const annotation = "k8ssec-rbac-guard-roles/exempted"
	until(t, "a record of the exemption", func() error { return k.recorded(t, annotation, "oidc:eve is exempt") })
	for _, event := range k.audit(t) {
		name, _, _ := unstructured.NestedString(event, "objectRef", "name")
		annotations, _, _ := unstructured.NestedStringMap(event, "annotations")
		if name == "exempted-modest" && annotations[annotation] != "" {
			t.Error("a role that breaks no rule is recorded as exempted")
		}
	}
}

// recorded says whether some audit event has an annotation with the text in it.
func (k *cluster) recorded(t *testing.T, annotation, text string) error {
	t.Helper()
	for _, event := range k.audit(t) {
		annotations, _, _ := unstructured.NestedStringMap(event, "annotations")
		if strings.Contains(annotations[annotation], text) {
			return nil
		}
	}
	return fmt.Errorf("no audit event has %s with %s", annotation, text)
}

// audit returns the events of the audit log.
func (k *cluster) audit(t *testing.T) []map[string]any {
	t.Helper()
	f, err := os.Open(filepath.Join(k.Root, "var/log/kubernetes/audit/audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []map[string]any
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(`"annotations"`)) {
			continue
		}
		var event map[string]any
		if err := utiljson.Unmarshal(lines.Bytes(), &event); err == nil {
			events = append(events, event)
		}
	}
	return events
}
