package images

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// rekor is the public transparency log of Sigstore.
const rekor = "https://rekor.sigstore.dev"

// kyverno installs Kyverno's admission controller alone, and gives it the one policy.
func kyverno(p *posture.Posture) ([]generators.Artifact, error) {
	pin, err := addons.Lookup("kyverno")
	if err != nil {
		return nil, err
	}
	image := func(part string) map[string]any {
		host, path := pin.Images[part].Split()
		return map[string]any{"registry": host, "repository": path, "tag": pin.Images[part].Pinned()}
	}
	reports := enforcement(p) == posture.Audit
	admission := map[string]any{
		"replicas":            int64(3),
		"container":           map[string]any{"image": image("admission")},
		"initContainer":       map[string]any{"image": image("init")},
		"podDisruptionBudget": map[string]any{"enabled": true, "minAvailable": int64(2)},
		// Kyverno's own account may otherwise see everything that the role view shows.
		"rbac": map[string]any{"createViewRoleBinding": false},
	}
	priority(p, admission, "priorityClassName")
	values := map[string]any{
		"admissionController": admission,
		// What Kyverno can do besides is not used: ValidatingAdmissionPolicy does it.
		"backgroundController": map[string]any{"enabled": false},
		"cleanupController":    map[string]any{"enabled": false},
		"reportsController":    map[string]any{"enabled": reports},
		"features": map[string]any{
			"admissionReports": map[string]any{"enabled": reports},
			"aggregateReports": map[string]any{"enabled": reports},
			"backgroundScan":   map[string]any{"enabled": false},
			"policyExceptions": map[string]any{"enabled": false},
			"policyReports":    map[string]any{"enabled": reports},
		},
		// Its webhooks are not called for the namespaces of the system and of add-ons, Kyverno's own and
		// GitOps' among them: while Kyverno is down these keep working, and can bring it back.
		"config": map[string]any{"webhooks": map[string]any{"namespaceSelector": tenantSelector(p)}},
		"rbac":   map[string]any{"roles": map[string]any{"aggregate": map[string]any{"admin": false, "view": false}}},
	}
	release, err := addons.Release(p, "kyverno", values)
	if err != nil {
		return nil, err
	}
	return append(release, generators.Artifact{
		Path:    "manifests/images/signatures.yaml",
		Comment: "Whose signature an image needs before a tenant may run it. Read by Kyverno.",
		Objects: []generators.Object{{
			Value: kyvernoPolicy(p),
			Why: "Each image of a pod must match a signer below and carry that signer's signature; an image that matches none is refused.\n" +
				"The tag is replaced by the digest that was checked, so that nobody can move it in between.\n" +
				"Closed when in doubt: if the registry, the log of a signer that needs it or Kyverno itself is out of reach, new pods of tenants wait, and running ones run on.",
			Claims: append(claimed(p, "spec.validations"), claimed(p, "spec.validationActions")...),
		}},
	}), nil
}

func kyvernoPolicy(p *posture.Posture) map[string]any {
	var attestors []any
	var accepted []string
	for _, name := range signers(p) {
		s := p.Images.Signers[name]
		cosign := map[string]any{}
		if s.Tlog == "ignored" {
			cosign["ctlog"] = map[string]any{"insecureIgnoreTlog": true, "insecureIgnoreSCT": true}
		} else {
			cosign["ctlog"] = map[string]any{"url": rekor}
		}
		if s.Key != "" {
			cosign["key"] = map[string]any{"data": s.Key}
		} else {
			cosign["keyless"] = map[string]any{"identities": []any{map[string]any{"issuer": s.Issuer, "subject": s.Subject}}}
		}
		attestor := attestorName(name)
		attestors = append(attestors, map[string]any{"name": attestor, "cosign": cosign})
		var patterns []string
		for _, glob := range s.Images {
			patterns = append(patterns, "image.matches('"+strings.ReplaceAll(pattern(glob), `\`, `\\`)+"')")
		}
		accepted = append(accepted, "(("+strings.Join(patterns, " || ")+") && verifyImageSignatures(image, [attestors."+attestor+"]) > 0)")
	}
	action := map[posture.Enforcement]string{posture.Enforce: "Deny", posture.Warn: "Warn", posture.Audit: "Audit"}[enforcement(p)]
	const images = "(SPEC.containers + SPEC.?initContainers.orValue([]) + SPEC.?ephemeralContainers.orValue([])).map(c, c.image)"
	return map[string]any{
		"apiVersion": "policies.kyverno.io/v1",
		"kind":       "ImageValidatingPolicy",
		"metadata":   meta("", "k8ssec-signatures"),
		"spec": map[string]any{
			"validationActions":    []any{action},
			"failurePolicy":        "Fail",
			"webhookConfiguration": map[string]any{"timeoutSeconds": int64(20)},
			"evaluation": map[string]any{
				"admission":  map[string]any{"enabled": true},
				"background": map[string]any{"enabled": false},
			},
			// Pods alone: a template is checked when it makes its pods, and changing the images of a
			// template would look like drift to GitOps.
			"autogen": map[string]any{"podControllers": map[string]any{"controllers": []any{}}},
			"matchConstraints": map[string]any{
				"namespaceSelector": tenantSelector(p),
				"resourceRules": []any{map[string]any{
					"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "operations": []any{"CREATE", "UPDATE"},
					"resources": []any{"pods", "pods/ephemeralcontainers"},
				}},
			},
			// A pod that only gets a label, or loses a finalizer, is not checked again; and a dry run, as
			// k8ssec probe makes them, starts nothing.
			"matchConditions": []any{map[string]any{
				"name": "something-may-start", "expression": "request.?dryRun.orValue(false) == false",
			}, map[string]any{
				"name": "images-are-new",
				"expression": "request.operation == 'CREATE' ||\n" + strings.ReplaceAll(images, "SPEC", "object.spec") + " !=\n" +
					strings.ReplaceAll(images, "SPEC", "oldObject.spec"),
			}},
			"matchImageReferences":     []any{map[string]any{"glob": "*"}},
			"validationConfigurations": map[string]any{"mutateDigest": true, "verifyDigest": true, "required": true},
			"attestors":                attestors,
			"validations": []any{map[string]any{
				"expression": "(images.containers + images.?initContainers.orValue([]) + images.?ephemeralContainers.orValue([])).all(image,\n" +
					strings.Join(accepted, " ||\n") + ")",
				"message": "an image of the pod has no signature by a signer of this cluster: docs/images.md says how to sign.",
			}},
		},
	}
}

// attestorName is a signer's name as an identifier of CEL.
func attestorName(name string) string { return "signer_" + strings.ReplaceAll(name, "-", "_") }
