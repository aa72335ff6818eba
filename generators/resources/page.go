package resources

import (
	"fmt"
	"maps"
	"slices"

	"github.com/k8ssec/k8ssec/cue/posture"
)

type tenantRow struct{ Name, CPU, Memory, Storage, Pods, Container string }

type classRow struct {
	Name, Preemption, Description, TenantPods string
	Value                                     int
}

type page struct {
	Tenants  []tenantRow
	Classes  []classRow
	Fairness *posture.Fairness
	Budget   bool
	DNS      string
}

func newPage(p *posture.Posture) page {
	d := page{Budget: p.Resources.RequireDisruptionBudget, DNS: p.Network.DNSNamespace}
	if p.Resources.Fairness.Enabled && len(p.NamespacesOf("tenant")) > 0 {
		d.Fairness = &p.Resources.Fairness
	}
	for _, name := range p.NamespacesOf("tenant") {
		ns := p.Namespaces[name]
		d.Tenants = append(d.Tenants, tenantRow{
			Name:      name,
			CPU:       between(ns.Quota["requests.cpu"], ns.Quota["limits.cpu"]),
			Memory:    between(ns.Quota["requests.memory"], ns.Quota["limits.memory"]),
			Storage:   or(ns.Quota["requests.storage"]),
			Pods:      or(ns.Quota["pods"]),
			Container: ns.Limits.MaxCPU + ", " + ns.Limits.MaxMemory,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Resources.PriorityClasses)) {
		c := p.Resources.PriorityClasses[name]
		d.Classes = append(d.Classes, classRow{
			Name: name, Value: c.Value, Preemption: c.Preemption, Description: c.Description, TenantPods: fmt.Sprint(c.TenantPods),
		})
	}
	return d
}

func or(value string) string {
	if value == "" {
		return "no bound"
	}
	return value
}

func between(requests, limits string) string { return or(requests) + " / " + or(limits) }
