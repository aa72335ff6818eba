package runtime

import (
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// strictProfile is the name of the profile that tenants may choose; the operator writes it on each node
// as operator/<name>.json.
const strictProfile = "k8ssec-strict"

// profiles installs the Security Profiles Operator and gives it the profile.
func profiles(p *posture.Posture) ([]generators.Artifact, error) {
	var out []generators.Artifact
	if p.Runtime.SecurityProfiles == posture.InstallInstall {
		pin, err := addons.Lookup("security-profiles-operator")
		if err != nil {
			return nil, err
		}
		host, path := pin.Images["operator"].Split()
		release, err := addons.Release(p, "security-profiles-operator", map[string]any{
			// The chart's own is the staging registry and the tag latest.
			"spoImage":           map[string]any{"registry": host, "repository": path, "tag": pin.Images["operator"].Pinned()},
			"replicaCount":       int64(2),
			"podSecurityContext": map[string]any{"runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
		})
		if err != nil {
			return nil, err
		}
		out = append(out, release...)
	}
	return append(out, generators.Artifact{
		Path:    "manifests/runtime/profiles.yaml",
		Comment: "Profiles that pods may name. Read by the Security Profiles Operator, which writes them on each node.",
		Objects: []generators.Object{{
			Value: map[string]any{
				"apiVersion": "security-profiles-operator.x-k8s.io/v1",
				"kind":       "SeccompProfile",
				"metadata":   meta("", strictProfile),
				"spec": map[string]any{
					"defaultAction": "SCMP_ACT_ERRNO",
					"architectures": []any{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"},
					"syscalls": []any{
						map[string]any{"action": "SCMP_ACT_ALLOW", "names": anyList(strictSyscalls())},
						// A new process, but no new namespace: none of the CLONE_NEW* flags.
						map[string]any{"action": "SCMP_ACT_ALLOW", "names": []any{"clone"}, "args": []any{
							map[string]any{"index": int64(0), "op": "SCMP_CMP_MASKED_EQ", "value": int64(0x7E020000), "valueTwo": int64(0)},
						}},
						// Sockets of every family but vsock, which reaches the hypervisor.
						map[string]any{"action": "SCMP_ACT_ALLOW", "names": []any{"socket"}, "args": []any{
							map[string]any{"index": int64(0), "op": "SCMP_CMP_NE", "value": int64(40)},
						}},
					},
				},
			},
			Why: "Stricter than the runtime's default. A pod names it as seccompProfile: {type: Localhost, localhostProfile: operator/" + strictProfile + ".json}.\n" +
				"clone3 is answered with an error that makes the C library take clone, whose flags can be looked at.",
			Claims: generators.Claims("spec.defaultAction", "rt-2"),
		}},
	}), nil
}
