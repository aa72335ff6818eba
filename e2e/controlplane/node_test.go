package controlplane

import (
	"cmp"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What would stop a component on a node must stop it here as well, or the tests prove nothing.
func TestArguments(t *testing.T) {
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver}
spec:
  containers:
  - name: kube-apiserver
    command: [kube-apiserver, --secure-port=6443, ARGUMENT]
    volumeMounts:
    - {name: config, mountPath: /etc/kubernetes/k8ssec, readOnly: true}
    - {name: log, mountPath: /var/log/audit, readOnly: READONLY}
  volumes:
  - {name: config, hostPath: {path: /etc/kubernetes/k8ssec, type: TYPE}}
  - {name: log, hostPath: {path: /var/log/kubernetes, type: DirectoryOrCreate}}
`
	tests := []struct {
		name, argument, readOnly, kind string
		want, problem                  string
	}{
		{name: "a mounted file", argument: "--audit-policy-file=/etc/kubernetes/k8ssec/policy.yaml", want: "--audit-policy-file=ROOT/etc/kubernetes/k8ssec/policy.yaml"},
		{name: "a folder with another name outside", argument: "--audit-log-path=/var/log/audit/audit.log", want: "--audit-log-path=ROOT/var/log/kubernetes/audit.log"},
		{name: "no path", argument: "--tls-min-version=VersionTLS12", want: "--tls-min-version=VersionTLS12"},
		{name: "a file that nothing mounts", argument: "--audit-policy-file=/etc/audit.yaml", problem: "no volume of the pod holds /etc/audit.yaml"},
		{name: "a name that only begins like a mount", argument: "--audit-policy-file=/etc/kubernetes/k8ssec-keys/a", problem: "no volume of the pod holds"},
		{name: "a log that cannot be written", argument: "--audit-log-path=/var/log/audit/audit.log", readOnly: "true", problem: "mounted read-only"},
		{name: "a volume of another type", argument: "--v=1", kind: "File", problem: "is not a File"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &Node{Root: t.TempDir()}
			manifests := filepath.Join(n.Root, "etc/kubernetes/manifests")
			for _, dir := range []string{manifests, filepath.Join(n.Root, "etc/kubernetes/k8ssec")} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			text := strings.NewReplacer("ARGUMENT", tt.argument, "READONLY", cmp.Or(tt.readOnly, "false"), "TYPE", cmp.Or(tt.kind, "Directory")).Replace(pod)
			if err := os.WriteFile(filepath.Join(manifests, "kube-apiserver.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := n.arguments("kube-apiserver")
			switch {
			case tt.problem == "" && err != nil:
				t.Fatal(err)
			case tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)):
				t.Fatalf("the problem is %v, want %q", err, tt.problem)
			case tt.problem == "":
				want := []string{"--secure-port=6443", strings.ReplaceAll(tt.want, "ROOT", n.Root)}
				if !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

func TestMissingFolder(t *testing.T) {
	n := &Node{Root: t.TempDir()}
	manifests := filepath.Join(n.Root, "etc/kubernetes/manifests")
	if err := os.MkdirAll(manifests, 0o755); err != nil {
		t.Fatal(err)
	}
	const pod = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: etcd, command: [etcd]}\n  volumes:\n  - {name: keys, hostPath: {path: /keys, type: Directory}}\n"
	if err := os.WriteFile(filepath.Join(manifests, "etcd.yaml"), []byte(pod), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := n.arguments("etcd"); err == nil || !strings.Contains(err.Error(), "nothing is at /keys") {
		t.Errorf("the problem is %v, want a missing folder", err)
	}
}

func TestSorted(t *testing.T) {
	tests := []struct {
		name string
		all  []wave
		want []string
	}{
		{"flux", []wave{{name: "a", dependsOn: []string{"b"}}, {name: "b", dependsOn: []string{"c"}}, {name: "c"}}, []string{"c", "b", "a"}},
		{"argo", []wave{{name: "a", order: 2}, {name: "b", order: -1}, {name: "c"}}, []string{"b", "c", "a"}},
		{"a circle", []wave{{name: "a", dependsOn: []string{"b"}}, {name: "b", dependsOn: []string{"a"}}}, nil},
		{"nothing to wait for", []wave{{name: "a", dependsOn: []string{"elsewhere"}}}, nil},
	}
	for _, tt := range tests {
		got, err := sorted(tt.all)
		var names []string
		for _, w := range got {
			names = append(names, w.name)
		}
		if !slices.Equal(names, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%s: %q, %v, want %q", tt.name, names, err, tt.want)
		}
	}
}

// The examples are those of RFC 7386.
func TestMerge(t *testing.T) {
	type object = map[string]any
	tests := []struct{ value, patch, want any }{
		{object{"a": "b"}, object{"a": "c"}, object{"a": "c"}},
		{object{"a": "b"}, object{"a": nil}, object{}},
		{object{"a": []any{"b"}}, object{"a": "c"}, object{"a": "c"}},
		{object{"a": object{"b": "c"}}, object{"a": object{"b": "d", "c": nil}}, object{"a": object{"b": "d"}}},
		{object{"a": []any{object{"b": "c"}}}, object{"a": []any{1}}, object{"a": []any{1}}},
		{object{}, object{"a": object{"bb": object{"ccc": nil}}}, object{"a": object{"bb": object{}}}},
	}
	for _, tt := range tests {
		if got := merge(tt.value, tt.patch); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("merge of %v gives %v, want %v", tt.patch, got, tt.want)
		}
	}
}
