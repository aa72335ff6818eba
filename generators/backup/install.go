package backup

import (
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// addon is the name of Velero among the add-ons.
const addon = "velero"

// install is Velero by its chart. The chart makes no location and no schedule of its own: those are
// objects of this repository, where they can be read and merged.
func install(p *posture.Posture) ([]generators.Artifact, error) {
	pin, err := addons.Lookup(addon)
	if err != nil {
		return nil, err
	}
	server, plugin := pin.Images["server"], pin.Images["aws"]
	container := map[string]any{
		"allowPrivilegeEscalation": false,
		"capabilities":             map[string]any{"drop": []any{"ALL"}},
	}
	account := map[string]any{"create": true, "name": namespace}
	if arn := p.Backup.Location.RoleARN; arn != "" {
		account["annotations"] = map[string]any{"eks.amazonaws.com/role-arn": arn}
	}
	configuration := map[string]any{"uploaderType": "kopia", "logFormat": "json"}
	if p.Backup.VolumeMode == "snapshot" {
		configuration["features"] = "EnableCSI"
	}
	image := map[string]any{"repository": server.Repository, "tag": server.Tag}
	if server.Digest != "" {
		image["digest"] = server.Digest
	}
	values := map[string]any{
		"image": image,
		"initContainers": []any{map[string]any{
			"name":            "velero-plugin-for-aws",
			"image":           plugin.Ref(),
			"imagePullPolicy": "IfNotPresent",
			"securityContext": container,
			"resources":       resources("50m", "64Mi", "200m", "128Mi"),
			"volumeMounts":    []any{map[string]any{"name": "plugins", "mountPath": "/target"}},
		}},
		// The image names its user by name, so runAsNonRoot could not be checked and the pod would not
		// start; the user is not root.
		"podSecurityContext":       map[string]any{"fsGroup": int64(1002), "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
		"containerSecurityContext": container,
		"resources":                resources("100m", "256Mi", "1", "1Gi"),
		"configuration":            configuration,
		"backupsEnabled":           false,
		"snapshotsEnabled":         false,
		// Each location names its own credentials; there is none for all of Velero.
		"credentials":    map[string]any{"useSecret": false},
		"serviceAccount": map[string]any{"server": account},
		// Flux and Argo CD bring the CRDs of the chart up to date; the job for it needs a shell image.
		"upgradeCRDs":     false,
		"cleanUpCRDs":     false,
		"deployNodeAgent": true,
		"nodeAgent": map[string]any{
			// The agent reads files of every user in the volumes of its node.
			"podSecurityContext": map[string]any{"runAsUser": int64(0), "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
			"resources":          resources("100m", "256Mi", "1", "2Gi"),
			"tolerations":        []any{map[string]any{"operator": "Exists", "effect": "NoSchedule"}},
		},
	}
	return addons.Release(p, addon, values)
}

func resources(requestCPU, requestMemory, limitCPU, limitMemory string) map[string]any {
	return map[string]any{
		"requests": map[string]any{"cpu": requestCPU, "memory": requestMemory},
		"limits":   map[string]any{"cpu": limitCPU, "memory": limitMemory},
	}
}
