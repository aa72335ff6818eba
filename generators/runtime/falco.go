package runtime

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// rulesKey is the name of the rules file.
const rulesKey = "k8ssec_rules.yaml"

// falco installs Falco with the posture's rules, or gives them to the one that runs already.
func falco(p *posture.Posture) ([]generators.Artifact, error) {
	text := rulesFile(p)
	if p.Runtime.Install == posture.InstallExisting {
		namespace := "falco"
		if _, ok := p.Namespaces[namespace]; !ok {
			namespace = p.GitOps.Namespace
		}
		return []generators.Artifact{{
			Path:    "manifests/runtime/falco-rules.yaml",
			Comment: "Rules for Falco. Mount this ConfigMap as a directory and name it in rules_files; docs/runtime.md says how.",
			Objects: []generators.Object{{
				Value: &corev1.ConfigMap{
					TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
					ObjectMeta: generators.Meta(domain, namespace, "k8ssec-falco-rules"),
					Data:       map[string]string{rulesKey: text},
				},
				Why:    "What this posture forbids, seen when it happens.",
				Claims: generators.Claims("data["+rulesKey+"]", detectControls...),
			}},
		}}, nil
	}
	pin, err := addons.Lookup("falco")
	if err != nil {
		return nil, err
	}
	host, path := pin.Images["falco"].Split()
	values := map[string]any{
		"image": map[string]any{"registry": host, "repository": path, "tag": pin.Images["falco"].Pinned()},
		// The probe that is part of Falco itself: nothing is compiled or downloaded on the node. It has the
		// capabilities that it needs instead of all privileges.
		"driver": map[string]any{"kind": "modern_ebpf", "modernEbpf": map[string]any{"leastPrivileged": true}},
		// Rules come from the image and from here, reviewed, not from the internet at run time.
		"falcoctl": map[string]any{"artifact": map[string]any{
			"follow":  map[string]any{"enabled": false},
			"install": map[string]any{"enabled": false},
		}},
		"falco": map[string]any{
			"json_output": true,
			"rules_files": []any{"/etc/falco/falco_rules.yaml", "/etc/falco/rules.d"},
		},
		"customRules": map[string]any{rulesKey: text},
		"metrics":     map[string]any{"enabled": true},
		"tty":         true,                                        // each event at once
		"tolerations": []any{map[string]any{"operator": "Exists"}}, // on every node
	}
	if class := addons.Priority(p); class != "" {
		values["podPriorityClassName"] = class
	}
	return addons.Release(p, "falco", values, generators.Claims("values.customRules["+rulesKey+"]", detectControls...)...)
}
