package app

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/all"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// extra is a domain whose output a test decides, as a newer k8ssec would.
type extra struct{ artifacts *[]generators.Artifact }

func (extra) Domain() string { return "extra" }

func (e extra) Generate(*posture.Posture) (*generators.Output, error) {
	return &generators.Output{Artifacts: *e.artifacts}, nil
}

func agent(image string) generators.Object {
	yes := true
	labels := map[string]string{"app": "agent"}
	return generators.Object{
		Value: &appsv1.Deployment{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
			ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: "team-a"},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec: corev1.PodSpec{Containers: []corev1.Container{{
						Name: "agent", Image: image, SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: &yes},
					}}},
				},
			},
		},
		Claims: generators.Claims("spec.template.spec.containers[agent].securityContext.readOnlyRootFilesystem", "cis-5.2.5"),
	}
}

func config(name, value string) generators.Object {
	return generators.Object{Value: &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "team-a"},
		Data:       map[string]string{"key": value, "other": "x"},
	}}
}

func artifact(path string, objects ...generators.Object) generators.Artifact {
	return generators.Artifact{Path: path, Objects: objects}
}

// TestMerge lets a newer k8ssec render other files over edits.
func TestMerge(t *testing.T) {
	const main, other = "manifests/extra/main.yaml", "manifests/extra/other.yaml"
	tests := []struct {
		name          string
		first, second []generators.Artifact
		edit          func(t *testing.T, dir string)
		// want are texts that a file must have; with "!" before them must not have.
		want     map[string][]string
		err      string
		conflict string
		gone     []string
	}{
		{
			name:  "an edit that removes a securityContext is an error that names the control",
			first: []generators.Artifact{artifact(main, agent("registry.acme.io/agent:1"))}, second: []generators.Artifact{artifact(main, agent("registry.acme.io/agent:2"))},
			edit: func(t *testing.T, dir string) {
				replace(t, dir, main, "        securityContext:\n          readOnlyRootFilesystem: true\n", "")
			},
			err:  "readOnlyRootFilesystem\" was changed or removed",
			want: map[string][]string{main: {"agent:1"}},
		},
		{
			name:  "an edit beside it survives",
			first: []generators.Artifact{artifact(main, agent("registry.acme.io/agent:1"))}, second: []generators.Artifact{artifact(main, agent("registry.acme.io/agent:2"))},
			edit: func(t *testing.T, dir string) {
				replace(t, dir, main, "      - name: agent\n", "      - name: agent\n        args: [--verbose]\n")
			},
			want: map[string][]string{main: {"agent:2", "args: [--verbose]", "readOnlyRootFilesystem: true"}},
		},
		{
			name:  "an object that moves to another file takes its edits along",
			first: []generators.Artifact{artifact(main, config("a", "1"), config("b", "1"))}, second: []generators.Artifact{artifact(main, config("a", "1")), artifact(other, config("b", "1"), config("c", "1"))},
			edit: func(t *testing.T, dir string) {
				replace(t, dir, main, "  name: b\n  namespace: team-a\n", "  name: b\n  namespace: team-a\n  labels: {mine: \"yes\"} # keep\n")
			},
			want: map[string][]string{main: {"name: a", "!name: b"}, other: {"name: b", `labels: {mine: "yes"} # keep`, "name: c"}},
		},
		{
			name:   "an object that moves into a file that exists, with edits in both",
			first:  []generators.Artifact{artifact(main, config("a", "1"), config("b", "1")), artifact(other, config("c", "1"))},
			second: []generators.Artifact{artifact(other, config("c", "2"), config("b", "2"), config("a", "1"))},
			edit: func(t *testing.T, dir string) {
				replace(t, dir, main, "  name: b\n  namespace: team-a\n", "  name: b\n  namespace: team-a\n  labels: {mine: \"yes\"}\n")
				replace(t, dir, other, "  other: x\n", "  other: mine\n")
			},
			want: map[string][]string{other: {`labels: {mine: "yes"}`, `key: "2"`, "other: mine", "name: a"}},
			gone: []string{main},
		},
		{
			name:  "a file that is no longer rendered stays with its edits",
			first: []generators.Artifact{artifact(main, config("a", "1")), artifact(other, config("c", "1"))}, second: []generators.Artifact{artifact(other, config("c", "1"))},
			edit: func(t *testing.T, dir string) { replace(t, dir, main, "  other: x\n", "  other: mine\n") },
			want: map[string][]string{main: {"other: mine"}},
		},
		{
			name:  "a file that the user deleted comes back",
			first: []generators.Artifact{artifact(main, config("a", "1"))}, second: []generators.Artifact{artifact(main, config("a", "2"))},
			edit: func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, main)); err != nil {
					t.Fatal(err)
				}
			},
			want: map[string][]string{main: {`key: "2"`}},
		},
		{
			name:  "a file of the user's with the object that the tool now wants, and other values",
			first: []generators.Artifact{artifact(main, config("a", "1"))}, second: []generators.Artifact{artifact(main, config("a", "1")), artifact(other, config("c", "1"))},
			edit: func(t *testing.T, dir string) {
				text := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  namespace: team-a\ndata:\n  key: mine\n"
				if err := os.WriteFile(filepath.Join(dir, other), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			conflict: "ConfigMap team-a/c: data.key",
			want:     map[string][]string{other: {"key: mine", "!other"}},
		},
		{
			name:  "both change one value",
			first: []generators.Artifact{artifact(main, config("a", "1")), artifact(other, config("c", "1"))}, second: []generators.Artifact{artifact(main, config("a", "2")), artifact(other, config("c", "2"))},
			edit:     func(t *testing.T, dir string) { replace(t, dir, main, `key: "1"`, "key: mine") },
			conflict: "ConfigMap team-a/a: data.key",
			want:     map[string][]string{main: {"key: mine"}, other: {`key: "1"`}}, // nothing was written, also elsewhere
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			artifacts := test.first
			var stderr bytes.Buffer
			a := &App{
				Now: func() time.Time { return now }, Stdout: &bytes.Buffer{}, Stderr: &stderr, Version: "v1",
				Generators: append(all.List(), extra{&artifacts}),
			}
			dir := filepath.Join(t.TempDir(), "prod")
			ctx := context.Background()
			if _, err := a.Init(ctx, InitOptions{Dir: dir, Values: Values{Profiles: []string{"cis"}, Name: "cluster", Platform: "kubeadm", Kubernetes: "1.37", CNI: "cilium"}}); err != nil {
				t.Fatal(err)
			}
			test.edit(t, dir)
			artifacts, a.Version = test.second, "v2"
			w, err := a.Generate(ctx, GenerateOptions{Dir: dir})
			var found diag.List
			switch {
			case test.conflict != "":
				if !errors.Is(err, ErrConflict) || len(w.Conflicts) != 1 || w.Conflicts[0].Field != test.conflict {
					t.Fatalf("got %+v, %v", w, err)
				}
			case test.err != "":
				if !errors.As(err, &found) || !strings.Contains(found.Error(), test.err) || found[0].Control != "cis-5.2.5" {
					t.Fatalf("got %v", err)
				}
			case err != nil:
				t.Fatal(err)
			default:
				again, err := a.Generate(ctx, GenerateOptions{Dir: dir})
				if err != nil || len(again.Changes) > 0 {
					t.Errorf("again: %+v, %v", again, err)
				}
			}
			for name, texts := range test.want {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Error(err)
				}
				for _, text := range texts {
					text, not := strings.CutPrefix(text, "!")
					if strings.Contains(string(data), text) == not {
						t.Errorf("%s: %q in it is %v\n%s", name, text, not, data)
					}
				}
			}
			for _, name := range test.gone {
				if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
					t.Errorf("%s is still there", name)
				}
			}
		})
	}
}

func replace(t *testing.T, dir, name, from, to string) {
	t.Helper()
	full := filepath.Join(dir, name)
	data, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), from, to, 1)
	if text == string(data) {
		t.Fatalf("%q is not in\n%s", from, data)
	}
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
