package secrets

import (
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// release installs External Secrets with what this cluster needs of it. Its pods meet Pod Security
// restricted by the chart's own defaults; a test renders the chart with these values.
func release(p *posture.Posture) ([]generators.Artifact, error) {
	pin, err := addons.Lookup("external-secrets")
	if err != nil {
		return nil, err
	}
	image := pin.Images["controller"]
	stores := p.Secrets.ClusterStores
	values := map[string]any{
		"image":        map[string]any{"repository": image.Repository, "tag": image.Pinned()},
		"replicaCount": int64(2),
		"leaderElect":  true,
		// Only what is used is there to be misused.
		"crds": map[string]any{
			"createClusterExternalSecret": false,
			"createClusterGenerator":      false,
			"createClusterPushSecret":     false,
			"createClusterSecretStore":    stores,
			"createPushSecret":            false,
		},
		"processClusterExternalSecret": false,
		"processClusterGenerator":      false,
		"processClusterPushSecret":     false,
		"processClusterStore":          stores,
		"processPushSecret":            false,
		// The built-in roles view and edit would otherwise be able to read and write stores.
		"rbac": map[string]any{
			"aggregateToEdit": false,
			"aggregateToView": false,
			"servicebindings": map[string]any{"create": false},
		},
		// Its webhook checks the form of its own objects, which admission policies and the published
		// schema do already. Without it nothing fails while it is down, and the controller that makes
		// its certificate, which reads every secret of the cluster, is not needed.
		"webhook":             map[string]any{"create": false},
		"certController":      map[string]any{"create": false},
		"podDisruptionBudget": map[string]any{"enabled": true, "minAvailable": int64(1)},
		"resources": map[string]any{
			"limits":   map[string]any{"memory": "256Mi"},
			"requests": map[string]any{"cpu": "20m", "memory": "64Mi"},
		},
	}
	if class := addons.Priority(p); class != "" {
		values["priorityClassName"] = class
	}
	claims := append(generators.Claims("values.certController.create", "sec-3"), generators.Claims("values.rbac.aggregateToEdit", "sec-2")...)
	if !stores {
		claims = append(claims, generators.Claims("values.processClusterStore", "sec-2")...)
	}
	return addons.Release(p, "external-secrets", values, claims...)
}
