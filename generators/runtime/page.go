package runtime

import (
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

type ruleRow struct{ Name, Desc, Technique, Runbook string }

// page is docs/runtime.md.
func page(p *posture.Posture) (generators.Artifact, error) {
	var rows []ruleRow
	detector := p.Runtime.Detector
	if p.Runtime.Install == posture.InstallOff {
		detector = "off"
	}
	if detector == "falco" {
		for _, r := range rules(p) {
			rows = append(rows, ruleRow{r.name, r.desc, r.technique, r.runbook})
		}
	}
	sandboxed := ""
	if s := p.Runtime.Sandbox; s != nil {
		sandboxed = strings.Join(slices.Sorted(slices.Values(s.Namespaces)), ", ")
	}
	text, err := generators.Text("runtime/runtime.md.tmpl", struct {
		*posture.Posture
		Detector, Sandboxed, Class, Profile, RulesFile string
		Install                                        bool
		Profiles                                       bool
		Rules                                          []ruleRow
	}{
		Posture: p, Detector: detector, Sandboxed: sandboxed, Class: generators.SandboxClass, Profile: strictProfile, RulesFile: rulesKey,
		Install: p.Runtime.Install == posture.InstallInstall, Profiles: p.Runtime.SecurityProfiles != posture.InstallOff, Rules: rows,
	})
	if err != nil {
		return generators.Artifact{}, err
	}
	return generators.Artifact{Path: "docs/runtime.md", Kind: generators.Doc, Text: text}, nil
}
