package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/all"
	"github.com/k8ssec/k8ssec/internal/manifest"
	"github.com/k8ssec/k8ssec/internal/render"
)

// TestProbes holds the probes of every combination: each names artifacts that are emitted and
// controls that exist, and each pair is one denial and one that is allowed.
func TestProbes(t *testing.T) {
	known, named := map[string]bool{}, map[string]string{}
	for _, c := range combinations(t) {
		t.Run(c.name, func(t *testing.T) {
			result, tree := renderAll(t, c.source)
			probes, err := tree.Probes(result.Posture, all.List())
			if err != nil {
				t.Fatal(err)
			}
			places := places(t, tree)
			for _, a := range tree.Controls {
				known[a.Control.ID] = true
			}
			byID := map[string]*generators.Probe{}
			for i := range probes {
				byID[probes[i].ID] = &probes[i]
			}
			for _, p := range probes {
				if !strings.HasPrefix(p.ID, p.Domain+"-") || !strings.HasSuffix(p.ID, "-"+string(p.Kind)) {
					t.Errorf("%s: a probe is called <domain>-<what>-<kind>", p.ID)
				}
				if p.Title == "" || p.Check == nil || p.Check.Expected(p.Kind) == "" || len(p.Artifacts) == 0 {
					t.Errorf("%s lacks a title, a check or an artifact", p.ID)
				}
				for _, a := range p.Artifacts {
					if !places[a] {
						t.Errorf("%s is about %q, which is not emitted", p.ID, a)
					}
				}
				for _, id := range p.Controls {
					named[id] = p.ID
				}
				if p.Pair == "" {
					continue
				}
				if twin := byID[p.Pair]; twin == nil || twin.Kind == p.Kind || twin.Pair != p.ID {
					t.Errorf("%s and %s are no pair", p.ID, p.Pair)
				}
			}
		})
	}
	for id, probe := range named {
		if !known[id] {
			t.Errorf("%s is about control %s, which no profile has", probe, id)
		}
	}
}

// places are the files and objects of a tree, as probes name them.
func places(t *testing.T, tree *render.Tree) map[string]bool {
	t.Helper()
	places := map[string]bool{}
	for _, f := range tree.Files {
		places[f.Path] = true
		if f.Artifact == nil || len(f.Artifact.Objects) == 0 {
			continue
		}
		docs, err := manifest.Decode(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			places[f.Path+": "+objectName(d)] = true
		}
	}
	return places
}

// TestProbeChoice holds that a choice keeps what it names and nothing else.
func TestProbeChoice(t *testing.T) {
	probes := []generators.Probe{
		{ID: "a", Domain: "network", Controls: []string{"net-1"}},
		{ID: "b", Domain: "network", Controls: []string{"net-2"}},
		{ID: "c", Domain: "access", Controls: []string{"net-1"}},
	}
	for _, test := range []struct {
		options ProbeOptions
		want    string
	}{
		{ProbeOptions{}, "abc"},
		{ProbeOptions{Domains: []string{"network"}}, "ab"},
		{ProbeOptions{Controls: []string{"net-1"}}, "ac"},
		{ProbeOptions{Domains: []string{"network"}, Controls: []string{"net-1"}}, "a"},
		{ProbeOptions{Domains: []string{"network", "access"}}, "abc"},
	} {
		got, err := test.options.choose(slices.Clone(probes))
		if err != nil {
			t.Fatal(err)
		}
		ids := ""
		for _, p := range got {
			ids += p.ID
		}
		if ids != test.want {
			t.Errorf("%+v chooses %s, want %s", test.options, ids, test.want)
		}
	}
	for _, o := range []ProbeOptions{{Domains: []string{"netwrk"}}, {Controls: []string{"net-3"}}} {
		if _, err := o.choose(slices.Clone(probes)); err == nil || !strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
