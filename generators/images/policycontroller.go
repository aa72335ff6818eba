package images

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// fulcio is the public certificate authority of Sigstore.
const fulcio = "https://fulcio.sigstore.dev"

// policyController installs sigstore's policy controller, and gives it a policy for each signer.
func policyController(p *posture.Posture) ([]generators.Artifact, error) {
	mode, noMatch := "enforce", "deny"
	if enforcement(p) != posture.Enforce {
		mode, noMatch = "warn", "warn"
	}
	webhook := map[string]any{
		"failurePolicy": "Fail",
		"replicaCount":  int64(3),
		// The namespaces that opt in: the tenants', by the label that k8ssec gives them.
		"namespaceSelector": map[string]any{"matchExpressions": []any{
			map[string]any{"key": generators.LabelSigned, "operator": "In", "values": []any{"true"}},
		}},
		// What matches no policy is not signed by anybody.
		"configData":          map[string]any{"no-match-policy": noMatch},
		"podDisruptionBudget": map[string]any{"enabled": true, "minAvailable": int64(2)},
		// The chart's own lacks two fields of Pod Security restricted.
		"podSecurityContext": map[string]any{
			"enabled":                  true,
			"allowPrivilegeEscalation": false,
			"capabilities":             map[string]any{"drop": []any{"ALL"}},
			"readOnlyRootFilesystem":   true,
			"runAsNonRoot":             true,
			"runAsUser":                int64(1000),
			"seccompProfile":           map[string]any{"type": "RuntimeDefault"},
		},
	}
	release, err := addons.Release(p, "policy-controller", map[string]any{"webhook": webhook}, claimed(p, "values.webhook.configData")...)
	if err != nil {
		return nil, err
	}
	var objects []generators.Object
	for _, name := range signers(p) {
		s := p.Images.Signers[name]
		var images []any
		for _, glob := range s.Images {
			// Its single star stops at a slash; the posture's does not.
			images = append(images, map[string]any{"glob": strings.ReplaceAll(glob, "*", "**")})
		}
		authority := map[string]any{"name": name}
		if s.Key != "" {
			authority["key"] = map[string]any{"data": s.Key}
		} else {
			authority["keyless"] = map[string]any{
				"url": fulcio, "identities": []any{map[string]any{"issuer": s.Issuer, "subject": s.Subject}},
			}
		}
		why := "Images that match must carry the signature of " + name + "."
		if s.Tlog == "required" {
			authority["ctlog"] = map[string]any{"url": rekor}
			why += " The signature must be in the transparency log: while that is out of reach, and the signature does not bring the log's own promise along, the image is refused."
		} else {
			why += " The transparency log is not asked."
		}
		objects = append(objects, generators.Object{
			Value: map[string]any{
				"apiVersion": "policy.sigstore.dev/v1beta1",
				"kind":       "ClusterImagePolicy",
				"metadata":   meta("", "k8ssec-signed-by-"+name),
				"spec":       map[string]any{"mode": mode, "images": images, "authorities": []any{authority}},
			},
			Why:    why,
			Claims: append(claimed(p, "spec.authorities"), claimed(p, "spec.mode")...),
		})
	}
	return append(release, generators.Artifact{
		Path:    "manifests/images/signatures.yaml",
		Comment: "Whose signature an image needs before a tenant may run it. Read by sigstore's policy controller.\nAn image that matches several signers needs all of their signatures; one that matches none is refused.",
		Objects: objects,
	}), nil
}
