package workloads

import (
	"fmt"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const domain = "workloads"

// New returns the generator of the workloads domain.
func New() generators.Generator { return generator{} }

type generator struct{}

func (generator) Domain() string { return domain }

func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{}
	for _, pol := range policies() {
		objects := pol.objects(p)
		if len(objects) == 0 {
			continue
		}
		out.Artifacts = append(out.Artifacts, generators.Artifact{
			Path:    "manifests/workloads/" + pol.name + ".yaml",
			Comment: "Refuses " + plain(pol.refuses) + ". Instead: " + plain(pol.write) + ".",
			Objects: objects,
		})
	}
	out.Artifacts = append(out.Artifacts, static(p)...)
	page, err := documentation(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(out.Artifacts, page)
	out.Undecided = undecided(p)
	return out, nil
}

// policies lists every policy that workloads.policies knows, pods first.
func policies() []policy { return append(podPolicies(), guardPolicies()...) }

// undecided lists what stays out until the user says more, and what does not refuse yet.
func undecided(p *posture.Posture) []generators.Decision {
	var decisions []generators.Decision
	for _, d := range []struct {
		policy        string
		decided       bool
		line, enables string
		controls      []string
	}{
		{"allowed-registries", len(p.Images.Registries) > 0, `images: registries: ["registry.internal/team"]`,
			"refuses images from any other registry", []string{"wl-16", "nsa-S1", "cis-5.5.1"}},
		{"digests", p.Images.RequireDigest, `images: requireDigest: true`,
			"refuses images that are named by a tag alone", []string{"wl-17"}},
		{"secrets-as-env", p.Secrets.ForbidEnv, `secrets: forbidEnv: true`,
			"refuses secrets as environment variables; pods mount them as files", []string{"wl-26"}},
	} {
		if p.Workloads.Policies[d.policy].Enabled && !d.decided {
			decisions = append(decisions, generators.Decision{Controls: d.controls, Line: d.line, Enables: d.enables})
		}
	}
	if p.Workloads.Static && p.Cluster.Minor() < staticMinor {
		decisions = append(decisions, generators.Decision{
			Controls: []string{staticControl}, Line: fmt.Sprintf(`cluster: kubernetes: "1.%d"`, staticMinor),
			Enables: "policies from files on the control plane nodes, out of reach of every API request; the API server reads them from that version on",
		})
	}
	// What follows the domain's enforcement waits for one line, the others for a line each.
	waiting := generators.Decision{
		Line:    fmt.Sprintf("workloads: enforcement: %q", posture.Enforce),
		Enables: "refuses what the policies now only record",
	}
	var single []generators.Decision
	for _, pol := range policies() {
		if enforcement(p, pol.name) == posture.Enforce {
			continue
		}
		var controls []string
		for _, r := range pol.apply(p) {
			controls = append(controls, r.controls(pol.control)...)
		}
		if len(controls) == 0 {
			continue
		}
		if p.Workloads.Policies[pol.name].Enforcement == "" {
			waiting.Controls = append(waiting.Controls, controls...)
			continue
		}
		single = append(single, generators.Decision{
			Controls: unique(controls),
			Line:     fmt.Sprintf("workloads: policies: %q: enforcement: %q", pol.name, posture.Enforce),
			Enables:  "refuses " + plain(pol.refuses) + ", instead of recording them",
		})
	}
	if len(waiting.Controls) > 0 {
		waiting.Controls = unique(append(waiting.Controls, enforceControl))
		decisions = append(decisions, waiting)
	}
	return append(decisions, single...)
}

// plain is a text without the marks of Markdown.
func plain(s string) string { return strings.ReplaceAll(s, "`", "") }
