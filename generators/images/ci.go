package images

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/addons"
)

// job is what the CI templates need.
type job struct {
	Trivy, Cosign string
	Registries    []string
	Severities    string
	NonRoot       bool
	// Keyed and Log say how images are signed: with a key or as the job itself, in the transparency log
	// or not. Sign is false where no signature is asked for.
	Sign, Keyed, Log bool
}

// ci are the jobs for the repositories in which images are built: for GitHub Actions one that others
// call, for GitLab one that others include.
func ci(p *posture.Posture) ([]generators.Artifact, error) {
	pin, err := addons.Lookup("ci")
	if err != nil {
		return nil, err
	}
	d := job{
		Trivy: pin.Images["trivy"].Ref(), Cosign: pin.Images["cosign"].Ref(),
		Registries: p.Images.Registries, Severities: strings.Join(severities(p), ","),
		NonRoot: p.Workloads.Policies["run-as-non-root"].Enabled,
		Sign:    p.Images.Verify != "off" && len(p.Images.Signers) > 0,
	}
	for _, name := range signers(p) {
		s := p.Images.Signers[name]
		d.Keyed, d.Log = s.Key != "", s.Tlog == "required"
		break // the first; the page says how the others sign
	}
	var out []generators.Artifact
	for _, f := range []struct{ path, template string }{
		{"ci/github/image.yml", "images/github.yml.tmpl"},
		{"ci/gitlab/image.yml", "images/gitlab.yml.tmpl"},
	} {
		text, err := generators.Text(f.template, d)
		if err != nil {
			return nil, err
		}
		out = append(out, generators.Artifact{
			Path: f.path, Text: text, Kind: generators.Procedure,
			Claims: []generators.Claim{
				{Control: "nsa-P3", Field: "--exit-code 1", Note: "The job that builds an image fails on findings of severity " + d.Severities + " for which there is a fix."},
				{Control: "img-2", Field: "--exit-code 1"},
			},
		})
	}
	return out, nil
}
