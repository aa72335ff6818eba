package report

import (
	"crypto/sha1" //nolint:gosec // RFC 9562 defines name-based UUIDs by SHA-1; nothing here is a secret
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/k8ssec/k8ssec/internal/render"
)

// oscalVersion is the version of the model that WriteOSCAL writes.
const oscalVersion = "1.1.3"

// OSCAL assessment results, as far as this export fills them. Field names are the model's.
type (
	oscalDocument struct {
		Results oscalResults `json:"assessment-results"`
	}
	oscalResults struct {
		UUID     string        `json:"uuid"`
		Metadata oscalMetadata `json:"metadata"`
		ImportAP oscalHref     `json:"import-ap"`
		Results  []oscalResult `json:"results"`
		Back     oscalBack     `json:"back-matter"`
	}
	oscalMetadata struct {
		Title        string `json:"title"`
		LastModified string `json:"last-modified"`
		Version      string `json:"version"`
		OSCAL        string `json:"oscal-version"`
	}
	oscalHref struct {
		Href string `json:"href"`
	}
	oscalResult struct {
		UUID         string             `json:"uuid"`
		Title        string             `json:"title"`
		Description  string             `json:"description"`
		Start        string             `json:"start"`
		Reviewed     oscalReviewed      `json:"reviewed-controls"`
		Observations []oscalObservation `json:"observations"`
		Findings     []oscalFinding     `json:"findings"`
	}
	oscalReviewed struct {
		Selections []oscalSelection `json:"control-selections"`
	}
	oscalSelection struct {
		Description string        `json:"description,omitempty"`
		Include     []oscalSelect `json:"include-controls"`
	}
	oscalSelect struct {
		Control string `json:"control-id"`
	}
	oscalObservation struct {
		UUID        string          `json:"uuid"`
		Title       string          `json:"title"`
		Description string          `json:"description"`
		Methods     []string        `json:"methods"`
		Types       []string        `json:"types"`
		Evidence    []oscalEvidence `json:"relevant-evidence,omitempty"`
		Collected   string          `json:"collected"`
	}
	oscalEvidence struct {
		Href        string `json:"href"`
		Description string `json:"description"`
	}
	oscalFinding struct {
		UUID         string             `json:"uuid"`
		Title        string             `json:"title"`
		Description  string             `json:"description"`
		Props        []oscalProp        `json:"props"`
		Target       oscalTarget        `json:"target"`
		Observations []oscalObservedRef `json:"related-observations"`
	}
	oscalProp struct {
		Name  string `json:"name"`
		NS    string `json:"ns"`
		Value string `json:"value"`
	}
	oscalTarget struct {
		Type   string      `json:"type"`
		ID     string      `json:"target-id"`
		Status oscalStatus `json:"status"`
	}
	oscalStatus struct {
		State  string `json:"state"`
		Reason string `json:"reason,omitempty"`
	}
	oscalObservedRef struct {
		UUID string `json:"observation-uuid"`
	}
	oscalBack struct {
		Resources []oscalResource `json:"resources"`
	}
	oscalResource struct {
		UUID        string `json:"uuid"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
)

// WriteOSCAL writes the report as OSCAL assessment results: a result a catalogue, a finding a control.
// Only the time of the assessment tells two exports of the same state apart.
func (r *Report) WriteOSCAL(w io.Writer, version string) error {
	at := r.now.Format(time.RFC3339)
	plan := r.uuid("plan")
	doc := oscalDocument{oscalResults{
		UUID: r.uuid("results", at),
		Metadata: oscalMetadata{
			Title: "Security posture of the cluster " + r.Cluster.Name, LastModified: at, Version: version, OSCAL: oscalVersion,
		},
		ImportAP: oscalHref{"#" + plan},
		Back: oscalBack{[]oscalResource{{
			UUID: plan, Title: "How it was assessed",
			Description: "k8ssec computes each state from what the posture emits and from the files as they stand in the repository; k8ssec probe shows the same on the live cluster.",
		}}},
	}}
	for _, c := range r.Summary.Catalogues {
		result := oscalResult{
			UUID: r.uuid("result", c.Name, at), Title: c.Title, Start: at,
			Description: fmt.Sprintf("%d controls: %s.", c.Total, counts(c)),
		}
		selection := oscalSelection{Description: c.Title}
		for _, x := range r.Controls {
			if x.Catalogue != c.Name {
				continue
			}
			id := oscalToken(c.Name, x.ID)
			selection.Include = append(selection.Include, oscalSelect{id})
			seen := oscalObservation{
				UUID: r.uuid("observation", c.Name, x.ID), Title: x.ID, Description: x.Answer, Methods: []string{"EXAMINE"}, Types: []string{"finding"}, Collected: at,
			}
			if seen.Description == "" {
				seen.Description = x.Title
			}
			if len(x.Probes) > 0 {
				seen.Methods = append(seen.Methods, "TEST")
			}
			for _, place := range x.Artifacts {
				file, what, _ := strings.Cut(place, ": ")
				seen.Evidence = append(seen.Evidence, oscalEvidence{Href: file, Description: strings.TrimSpace("emitted " + what)})
			}
			status := oscalStatus{State: "satisfied"}
			if Short(x.State) {
				status = oscalStatus{State: "not-satisfied", Reason: "fail"}
				if x.State != render.Failing {
					status.Reason = "other"
				}
			}
			result.Observations = append(result.Observations, seen)
			result.Findings = append(result.Findings, oscalFinding{
				UUID: r.uuid("finding", c.Name, x.ID), Title: x.Title, Description: seen.Description,
				Props:        []oscalProp{{Name: "state", NS: "https://k8ssec.dev/ns/oscal", Value: string(x.State)}},
				Target:       oscalTarget{Type: "objective-id", ID: id, Status: status},
				Observations: []oscalObservedRef{{seen.UUID}},
			})
		}
		result.Reviewed.Selections = []oscalSelection{selection}
		doc.Results.Results = append(doc.Results.Results, result)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// oscalToken makes an id that is a token of the model, which begins with a letter.
func oscalToken(catalogue, id string) string {
	return strings.NewReplacer(":", "_", "/", "_").Replace(catalogue + "_" + id)
}

// uuid is a name-based UUID (version 5) below one of the cluster's name.
func (r *Report) uuid(name ...string) string {
	sum := sha1.Sum([]byte("https://k8ssec.dev/oscal/" + r.Cluster.Name + "/" + strings.Join(name, "/"))) //nolint:gosec // see the import
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
