package images

import (
	"maps"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

const domain = "images"

// signed is the control that a waiver of the check names; cis-5.5.1 is served by the list of allowed
// registries too, so a waiver of it does not say which is meant.
const signed = "img-1"

// The controls that the objects serve.
var (
	signatureControls = []string{signed, "cis-5.5.1"}
	scanControls      = []string{"nsa-P3", "img-2"}
)

type generator struct{}

// New returns the generator of the domain images.
func New() generators.Generator { return generator{} }

// Domain is "images".
func (generator) Domain() string { return domain }

// Generate emits the check of signatures, the scanner and the CI jobs.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{}
	switch {
	case p.Images.Verify == "off":
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{signed},
			Line:     `images: {verify: "kyverno", signers: ci: {images: ["registry.internal/*"], issuer: "https://token.actions.githubusercontent.com", subject: "https://github.com/acme/app/.github/workflows/image.yml@refs/heads/main"}}`,
			Enables:  "tenants run only images that one of the signers has signed",
		})
	case len(p.Images.Signers) == 0:
		out.Undecided = append(out.Undecided, generators.Decision{
			Controls: []string{signed},
			Line:     `images: signers: ci: {images: ["registry.internal/*"], issuer: "https://token.actions.githubusercontent.com", subject: "https://github.com/acme/app/.github/workflows/image.yml@refs/heads/main"}`,
			Enables:  "the check of signatures, which is asked for but does not know whose",
		})
	default:
		verifier := kyverno
		if p.Images.Verify == "policy-controller" {
			verifier = policyController
		}
		artifacts, err := verifier(p)
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, artifacts...)
	}
	if p.Images.Scanner == posture.InstallInstall {
		release, err := scanner(p)
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, release...)
	}
	jobs, err := ci(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, jobs...)
	page, err := page(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, page)
	return out, nil
}

// signers are the names of the posture's signers.
func signers(p *posture.Posture) []string { return slices.Sorted(maps.Keys(p.Images.Signers)) }

// exempt are the namespaces in which the check of signatures is waived, and whether it is everywhere.
func exempt(p *posture.Posture) (namespaces []string, everywhere bool) {
	namespaces, everywhere = p.WaivedIn(signed)
	namespaces = slices.Clone(namespaces)
	slices.Sort(namespaces)
	return slices.Compact(namespaces), everywhere
}

// tenantSelector selects the namespaces whose images are checked, as a label selector: not those of the
// system and of add-ons, so that nothing which the check itself needs ever waits for it.
func tenantSelector(p *posture.Posture) map[string]any {
	without, _ := exempt(p)
	without = append(without, "kube-system", p.GitOps.Namespace)
	slices.Sort(without)
	return map[string]any{"matchExpressions": []any{
		map[string]any{"key": generators.LabelKind, "operator": "NotIn", "values": []any{"addon", "system"}},
		map[string]any{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": anyList(slices.Compact(without))},
	}}
}

func anyList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// enforcement is what happens to an image that nobody signed.
func enforcement(p *posture.Posture) posture.Enforcement {
	if _, everywhere := exempt(p); everywhere {
		return posture.Audit
	}
	return p.Workloads.Enforcement
}

// claimed are the claims of what enforces signatures; a check that does not refuse serves none yet.
func claimed(p *posture.Posture, field string) []generators.Claim {
	if enforcement(p) != posture.Enforce {
		return nil
	}
	return generators.Claims(field, signatureControls...)
}

// meta is the metadata of an object that is a map.
func meta(namespace, name string) map[string]any {
	m := generators.Meta(domain, namespace, name)
	labels := map[string]any{}
	for k, v := range m.Labels {
		labels[k] = v
	}
	out := map[string]any{"name": name, "labels": labels}
	if namespace != "" {
		out["namespace"] = namespace
	}
	return out
}

// severities are those that fail a scan: the lowest that the posture names, and what is worse.
func severities(p *posture.Posture) []string {
	order := []string{"CRITICAL", "HIGH", "MEDIUM"}
	return order[:slices.Index(order, p.Images.FailOn)+1]
}

// priority sets the priority class of add-ons under the key, where there is one.
func priority(p *posture.Posture, values map[string]any, key string) {
	if class := addons.Priority(p); class != "" {
		values[key] = class
	}
}

// pattern is a signer's pattern as a regular expression (RE2, as CEL has it).
func pattern(glob string) string {
	var b strings.Builder
	b.WriteByte('^')
	for _, r := range glob {
		switch {
		case r == '*':
			b.WriteString(".*")
		case strings.ContainsRune(`\.+?()|[]{}^$`, r):
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + "$"
}
