package runtime

import (
	"path"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// tetragon installs Tetragon with the posture's policies, or gives them to the one that runs already.
func tetragon(p *posture.Posture) ([]generators.Artifact, error) {
	var out []generators.Artifact
	if p.Runtime.Install == posture.InstallInstall {
		pin, err := addons.Lookup("tetragon")
		if err != nil {
			return nil, err
		}
		image := func(part string) map[string]any {
			return map[string]any{"repository": pin.Images[part].Repository, "tag": pin.Images[part].Pinned()}
		}
		values := map[string]any{
			"tetragon": map[string]any{
				"image": image("agent"),
				// Tenants have no right to them, and processes of the node are events too.
				"exportDenyList": "",
				"grpc":           map[string]any{"address": "localhost:54321"},
			},
			"tetragonOperator": map[string]any{"image": image("operator")},
			"tolerations":      []any{map[string]any{"operator": "Exists"}},
		}
		if class := addons.Priority(p); class != "" {
			values["priorityClassName"] = class
		}
		release, err := addons.Release(p, "tetragon", values)
		if err != nil {
			return nil, err
		}
		out = append(out, release...)
	}
	return append(out, generators.Artifact{
		Path:    "manifests/runtime/tracing.yaml",
		Comment: "What is reported when it happens. Read by Tetragon.",
		Objects: tracingPolicies(p),
	}), nil
}

// tracing is one TracingPolicy: a hook with its selectors.
type tracing struct {
	name, why string
	calls     []map[string]any
}

func tracingPolicies(p *posture.Posture) []generators.Object {
	// A process of the node itself is in its PID namespace; one of a container is not.
	inContainer := []any{map[string]any{"namespace": "Pid", "operator": "NotIn", "values": []any{"host_ns"}}}
	post := []any{map[string]any{"action": "Post", "rateLimit": "1m"}}
	syscall := func(name, message, technique, book string) map[string]any {
		return map[string]any{
			"call": name, "syscall": true, "message": sentence(message), "tags": tags(technique, book),
			"selectors": []any{map[string]any{"matchNamespaces": inContainer, "matchActions": post}},
		}
	}
	file := func(message, technique string, paths, programs []string, access string) map[string]any {
		return map[string]any{
			"call": "security_file_permission", "syscall": false, "message": sentence(message), "tags": tags(technique, "control-plane-compromise"),
			"args": []any{map[string]any{"index": int64(0), "type": "file"}, map[string]any{"index": int64(1), "type": "int"}},
			"selectors": []any{map[string]any{
				"matchArgs": []any{
					map[string]any{"index": int64(0), "operator": "Prefix", "values": anyList(paths)},
					map[string]any{"index": int64(1), "operator": "Equal", "values": []any{access}},
				},
				"matchBinaries": []any{map[string]any{"operator": "NotIn", "values": anyList(programs)}},
				"matchActions":  post,
			}},
		}
	}
	const read, write = "4", "2" // MAY_READ and MAY_WRITE
	control := []string{"/usr/bin/containerd", "/usr/bin/kubeadm", "/usr/bin/kubelet", "/usr/local/bin/etcd", "/usr/local/bin/kube-apiserver", "/usr/local/bin/kube-controller-manager", "/usr/local/bin/kube-scheduler", "/usr/lib/systemd/systemd"}
	list := []tracing{
		{
			name: "k8ssec-escape", why: "The ways out of a container: other namespaces, and modules for the kernel.",
			calls: []map[string]any{
				syscall("sys_setns", "a container changed its namespaces", "T1611", "compromised-node"),
				syscall("sys_init_module", "a kernel module was loaded from a container", "T1611", "compromised-node"),
				syscall("sys_finit_module", "a kernel module was loaded from a container", "T1611", "compromised-node"),
			},
		},
		{
			name: "k8ssec-control-plane-files", why: "Keys, static pods and the audit log, in other hands than those of the control plane.",
			calls: []map[string]any{
				file("a key of the control plane was read", "T1552", []string{generators.NodeKeyDir, "/etc/kubernetes/pki"}, control, read),
				file("a file of the control plane was changed", "T1610", []string{"/etc/kubernetes"}, control, write),
				file("the audit log was written by another program", "T1070", []string{path.Dir(p.Logging.Audit.Path)}, control, write),
				file("the data of etcd was read", "T1552", []string{"/var/lib/etcd"}, append([]string{"/usr/local/bin/etcdctl", "/usr/local/bin/etcdutl"}, control...), read),
			},
		},
	}
	if p.Network.BlockMetadata && len(p.Network.MetadataCIDRs) > 0 {
		list = append(list, tracing{
			name: "k8ssec-metadata", why: "The cloud metadata service, which the network policies close.",
			calls: []map[string]any{{
				"call": "tcp_connect", "syscall": false, "message": "A connection to the cloud metadata service was tried.", "tags": tags("T1552", "exposed-secret"),
				"args": []any{map[string]any{"index": int64(0), "type": "sock"}},
				"selectors": []any{map[string]any{
					"matchArgs":       []any{map[string]any{"index": int64(0), "operator": "DAddr", "values": anyList(p.Network.MetadataCIDRs)}},
					"matchNamespaces": inContainer,
					"matchActions":    post,
				}},
			}},
		})
	}
	var objects []generators.Object
	for _, t := range list {
		calls := make([]any, len(t.calls))
		for i, c := range t.calls {
			calls[i] = c
		}
		objects = append(objects, generators.Object{
			Value: map[string]any{
				"apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": meta("", t.name),
				"spec": map[string]any{"kprobes": calls},
			},
			Why:    t.why,
			Claims: generators.Claims("spec.kprobes", detectControls...),
		})
	}
	return objects
}

// tags are Tetragon's: short words.
func tags(technique, book string) []any {
	return []any{"k8ssec", "mitre:" + technique, "runbook:" + book}
}
