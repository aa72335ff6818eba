package secrets

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

type readerRow struct{ Namespace, Purpose, Account, Name, Entries string }

// page is docs/secrets.md.
func page(p *posture.Posture, readers []reader) (generators.Artifact, error) {
	var rows []readerRow
	for _, r := range readers {
		row := readerRow{Namespace: r.namespace, Purpose: r.purpose, Account: r.account(), Name: r.name(p)}
		if p.Secrets.Provider == "aws" {
			row.Name = r.roleName(p)
		}
		var entries []string
		for _, path := range r.entries {
			entries = append(entries, "`"+entry(p, r.namespace, path)+"`")
		}
		row.Entries = strings.Join(entries, ", ")
		rows = append(rows, row)
	}
	controllerNamespace, controllerName, _ := strings.Cut(p.Secrets.Account, "/")
	text, err := generators.Text("secrets/secrets.md.tmpl", struct {
		*posture.Posture
		Readers                             []readerRow
		Example, ControllerNS, Controller   string
		ClientReviews, Install, PodIdentity bool
		ControllerRole, API                 string
	}{
		Posture: p, Readers: rows, Example: entry(p, "team-a", "database"), ControllerNS: controllerNamespace, Controller: controllerName,
		ClientReviews: clientReviews(p), Install: p.Secrets.Install == posture.InstallInstall,
		PodIdentity: p.Secrets.Provider == "aws" && p.Secrets.AWS.Identity == "pod-identity", ControllerRole: controllerRoleOf(p), API: apiOf(p),
	})
	if err != nil {
		return generators.Artifact{}, err
	}
	return generators.Artifact{
		Path: "docs/secrets.md", Kind: generators.Procedure, Text: text,
		Claims: []generators.Claim{{Control: "sec-6", Field: "## Replace an entry"}, {Control: "sec-6", Field: "## Find entries that are too old"}},
	}, nil
}

func controllerRoleOf(p *posture.Posture) string {
	if p.Secrets.Provider != "aws" {
		return ""
	}
	return controllerRole(p)
}

func apiOf(p *posture.Posture) string {
	if p.Secrets.Provider != "vault" {
		return ""
	}
	return apiURL(p)
}
