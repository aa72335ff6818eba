package images

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// scanner installs the Trivy Operator for what runs: vulnerabilities, exposed secrets and
// configuration. The nodes' files are the benchmark's (kube-bench): without that part nothing of it
// needs a privilege, and its namespace is restricted.
func scanner(p *posture.Posture) ([]generators.Artifact, error) {
	pin, err := addons.Lookup("trivy-operator")
	if err != nil {
		return nil, err
	}
	image := func(part string) map[string]any {
		host, path := pin.Images[part].Split()
		return map[string]any{"registry": host, "repository": path, "tag": pin.Images[part].Pinned()}
	}
	confined := func() map[string]any {
		return map[string]any{
			"allowPrivilegeEscalation": false,
			"capabilities":             map[string]any{"drop": []any{"ALL"}},
			"privileged":               false,
			"readOnlyRootFilesystem":   true,
			"runAsNonRoot":             true,
			"runAsUser":                int64(10000),
			"seccompProfile":           map[string]any{"type": "RuntimeDefault"},
		}
	}
	trivy := map[string]any{
		"image":         image("trivy"),
		"severity":      strings.Join(severities(p), ","),
		"ignoreUnfixed": true,
	}
	values := map[string]any{
		"image": image("operator"),
		"operator": map[string]any{
			// With it the operator reads every secret and service account of the cluster, to pull as the
			// scanned pod does. Name a secret in operator.privateRegistryScanSecretsNames instead.
			"accessGlobalSecretsAndServiceAccount": false,
			"infraAssessmentScannerEnabled":        false,
			"clusterComplianceEnabled":             false,
			"scanJobsConcurrentLimit":              int64(3),
			"scanJobTTL":                           "10m",
		},
		"trivyOperator": map[string]any{
			"scanJobAutomountServiceAccountToken":        false,
			"scanJobPodTemplateContainerSecurityContext": confined(),
			"scanJobPodTemplatePodSecurityContext": map[string]any{
				"fsGroup": int64(10000), "runAsNonRoot": true, "runAsUser": int64(10000), "seccompProfile": map[string]any{"type": "RuntimeDefault"},
			},
		},
		"trivy":           trivy,
		"securityContext": confined(),
		"podSecurityContext": map[string]any{
			"fsGroup": int64(10000), "runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"},
		},
		"resources": map[string]any{
			"limits":   map[string]any{"memory": "512Mi"},
			"requests": map[string]any{"cpu": "50m", "memory": "128Mi"},
		},
	}
	return addons.Release(p, "trivy-operator", values, generators.Claims("values.trivy.severity", scanControls...)...)
}
