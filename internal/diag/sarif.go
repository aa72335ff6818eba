package diag

import (
	"encoding/json"
	"io"
	"slices"
)

// SARIF 2.1.0, as far as code scanning services read it.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

// WriteSARIF writes the findings as a SARIF 2.1.0 log of the given tool version. A finding without
// a control gets the rule "posture".
func (l List) WriteSARIF(w io.Writer, version string) error {
	run := sarifRun{
		Tool:    sarifTool{sarifDriver{Name: "k8ssec", Version: version, Rules: []sarifRule{}}},
		Results: []sarifResult{},
	}
	for _, d := range l {
		id := d.Control
		if id == "" && len(d.Controls) > 0 {
			id = d.Controls[0]
		}
		if id == "" {
			id = "posture"
		}
		if !slices.ContainsFunc(run.Tool.Driver.Rules, func(r sarifRule) bool { return r.ID == id }) {
			text := d.Rule
			if text == "" {
				text = d.Message
			}
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{id, sarifText{text}})
		}
		text := d.Message
		for _, part := range []string{d.Rule, d.Why, d.Fix} {
			if part != "" {
				text += "\n" + part
			}
		}
		result := sarifResult{RuleID: id, Level: string(d.Severity), Message: sarifText{text}}
		if d.File != "" {
			at := sarifPhysical{ArtifactLocation: sarifArtifact{d.File}}
			if d.Line > 0 {
				at.Region = &sarifRegion{d.Line, d.Column}
			}
			result.Locations = []sarifLocation{{at}}
		}
		run.Results = append(run.Results, result)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	})
}
