package namespaces

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

type row struct{ Name, Kind, Owner, DataClass, Enforce, Note string }

type page struct {
	Cluster, Kubernetes, Keep, Release string
	Prune                              bool
	Rows                               []row
}

func newPage(p *posture.Posture) page {
	key, value := generators.KeepAnnotation(p)
	d := page{
		Cluster:    p.Cluster.Name,
		Kubernetes: p.Cluster.Kubernetes,
		Keep:       key + ": " + value,
		Release:    `"kustomize.toolkit.fluxcd.io/prune": "enabled"`,
		Prune:      p.GitOps.Prune,
	}
	if p.GitOps.Engine == "argocd" {
		d.Release = `"argocd.argoproj.io/sync-options": "Prune=true"`
	}
	for _, name := range p.NamespaceNames() {
		ns := p.Namespaces[name]
		note := ns.Purpose
		if ns.Why != "" {
			note = strings.TrimSpace(note + " " + ns.Why)
		}
		d.Rows = append(d.Rows, row{
			Name: name, Kind: ns.Kind, Owner: ns.Owner, DataClass: ns.DataClass,
			Enforce: string(ns.PodSecurity.Enforce), Note: strings.ReplaceAll(strings.ReplaceAll(note, "\n", " "), "|", "\\|"),
		})
	}
	return d
}
