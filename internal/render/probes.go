package render

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

// Probes are the probes of every domain, and for each file of manifests one that looks whether its
// objects are in place: by domain, those of the domain first.
func (t *Tree) Probes(p *posture.Posture, list []generators.Generator) ([]generators.Probe, error) {
	var probes []generators.Probe
	for _, g := range list {
		if prober, ok := g.(generators.Prober); ok {
			probes = append(probes, prober.Probes(p)...)
		}
	}
	for i := range t.Files {
		f := &t.Files[i]
		// What only kustomize reads is not in the cluster, and what Flux's own kustomization patches is
		// there in another form.
		if f.Artifact != nil && f.Artifact.Kind == generators.Manifest && len(f.Artifact.Objects) > 0 &&
			path.Base(f.Path) != "kustomization.yaml" && path.Base(f.Path) != "gotk-sync.yaml" {
			probes = append(probes, inPlace(f))
		}
	}
	slices.SortStableFunc(probes, func(a, b generators.Probe) int { return cmp.Compare(a.Domain, b.Domain) })
	seen := map[string]bool{}
	for _, probe := range probes {
		if seen[probe.ID] {
			return nil, fmt.Errorf("two probes are called %s", probe.ID)
		}
		seen[probe.ID] = true
	}
	return probes, nil
}

// inPlace asks for all objects of a file.
func inPlace(f *File) generators.Probe {
	var objects []any
	for _, o := range f.Artifact.Objects {
		objects = append(objects, o.Value)
	}
	var controls []string
	for _, c := range claims(f.Artifact) {
		controls = appendOnce(controls, c.Control)
	}
	slices.Sort(controls)
	name := strings.TrimSuffix(path.Base(f.Path), ".yaml")
	if folder := path.Base(path.Dir(f.Path)); strings.HasPrefix(folder, "addon-") {
		name = folder // a domain may have several, each with a file of the same name
	}
	return generators.Probe{
		ID: f.Domain + "-in-place-" + name + "-allow", Domain: f.Domain, Kind: generators.Allow,
		Title:    "the objects of " + f.Path,
		Why:      "Something changed or deleted them, or GitOps has not applied them.",
		Controls: controls, Artifacts: []string{f.Path}, Check: generators.InPlace{Objects: objects},
	}
}

func claims(a *generators.Artifact) []generators.Claim {
	all := slices.Clone(a.Claims)
	for _, o := range a.Objects {
		all = append(all, o.Claims...)
	}
	return all
}
