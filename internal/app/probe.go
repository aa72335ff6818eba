package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
	"github.com/k8ssec/k8ssec/internal/probe"
)

// ProbeOptions name a repository and which of its probes are meant.
type ProbeOptions struct {
	Dir string
	// Domains and Controls choose probes; without them all are meant.
	Domains, Controls []string
}

// ListProbes describes the probes of a repository. It needs no cluster.
func (a *App) ListProbes(ctx context.Context, o ProbeOptions) (*probe.Report, error) {
	result, t, _, err := a.tree(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	probes, err := t.Probes(result.Posture, a.Generators)
	if err != nil {
		return nil, err
	}
	if probes, err = o.choose(probes); err != nil {
		return nil, err
	}
	return probe.List(result.Posture.Cluster.Name, probes), nil
}

// choose keeps the probes that were asked for.
func (o ProbeOptions) choose(probes []generators.Probe) ([]generators.Probe, error) {
	domains, controls := map[string]bool{}, map[string]bool{}
	for _, p := range probes {
		domains[p.Domain] = true
		for _, c := range p.Controls {
			controls[c] = true
		}
	}
	for _, d := range o.Domains {
		if !domains[d] {
			return nil, unknownChoice("domain", d, domains)
		}
	}
	for _, c := range o.Controls {
		if !controls[c] {
			return nil, unknownChoice("control", c, controls)
		}
	}
	return slices.DeleteFunc(probes, func(p generators.Probe) bool {
		wanted := len(o.Domains) == 0 || slices.Contains(o.Domains, p.Domain)
		if wanted && len(o.Controls) > 0 {
			wanted = slices.ContainsFunc(p.Controls, func(c string) bool { return slices.Contains(o.Controls, c) })
		}
		return !wanted
	}), nil
}

func unknownChoice(what, value string, known map[string]bool) error {
	names := slices.Sorted(maps.Keys(known))
	d := diag.Diagnostic{
		Severity: diag.Error, Value: value, Message: fmt.Sprintf("no probe is about the %s %q", what, value),
		Rule: fmt.Sprintf("--%s chooses among the probes of this repository", what), Fix: "k8ssec probe DIR --list",
	}
	if near := engine.Nearest(value, names); near != "" {
		d.Message += fmt.Sprintf("; did you mean %q?", near)
	}
	if what == "domain" {
		d.Fix = "one of " + strings.Join(names, ", ")
	}
	return diag.List{d}
}
