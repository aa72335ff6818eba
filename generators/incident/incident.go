package incident

import (
	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

const domain = "incident"

// New returns the generator of the domain incident.
func New() generators.Generator { return generator{} }

type generator struct{}

func (generator) Domain() string { return domain }

// Generate emits the containment objects and scripts in incident/, and the plan, the runbooks and the
// drills in docs/.
func (generator) Generate(p *posture.Posture) (*generators.Output, error) {
	out := &generators.Output{Undecided: undecided(p)}
	out.Artifacts = append(out.Artifacts, quarantine(p), quarantineGuard(p), rbacFreeze(p), imageDeny())
	scripts, err := scripts(p)
	if err != nil {
		return nil, err
	}
	pages, err := pages(p)
	if err != nil {
		return nil, err
	}
	out.Artifacts = append(append(out.Artifacts, scripts...), pages...)
	return out, nil
}

// undecided is what only the user knows.
func undecided(p *posture.Posture) []generators.Decision {
	var d []generators.Decision
	if len(p.Contacts) == 0 {
		d = append(d, generators.Decision{
			Controls: []string{"incident-1"},
			Line:     `contacts: oncall: {name: "Platform on call", phone: "+49 30 1234567", role: "incident commander"}`,
			Enables:  "the response plan and each runbook name whom to call",
		})
	}
	if len(p.Incident.Notify) == 0 {
		d = append(d, generators.Decision{
			Controls: []string{"incident-6"},
			Line:     `incident: notify: "data-protection": {whom: "the data protection authority", within: "72h", when: "personal data was read, changed or lost"}`,
			Enables:  "the response plan has the deadlines of law and contract, and its clock",
		})
	}
	if p.Incident.EvidenceStore == "" {
		d = append(d, generators.Decision{
			Controls: []string{"incident-7"},
			Line:     `incident: evidenceStore: "s3://acme-evidence/prod"`,
			Enables:  "the runbooks say where collected evidence goes, out of reach of whoever took the cluster",
		})
	}
	return d
}
